"""Words and colours of values, and the address of the runbook."""

RUNBOOK = "https://smtpstatus.example/runbook"
"""The address of docs/runbook.md; prometheus/runbook-url.sh sets it."""

UP_DOWN = {"1": ("up", "green"), "0": ("down", "red"), "null": ("unknown", "gray")}
STATES = UP_DOWN | {"-1": ("unknown", "gray")}
ON_OFF = {"1": ("on", "green"), "0": ("off", "orange"), "null": ("unknown", "gray")}
ON_OFF_KNOWN = {"1": ("on", "green"), "0": ("off", "orange"), "-1": ("unknown", "gray")}
SEVERITY = {"1": ("critical", "red"), "2": ("warning", "orange"), "3": ("info", "blue")}
REASONS = {
    "authentication": ("token rejected", "dark-orange"),
    "command": ("command rejected", "semi-dark-purple"),
    "contradiction": ("readback differs", "dark-purple"),
    "dialect": ("other dialect", "semi-dark-orange"),
    "internal": ("exporter defect", "dark-blue"),
    "name": ("unknown host", "dark-yellow"),
    "request": ("request rejected", "purple"),
    "response": ("invalid response", "orange"),
    "server": ("server error", "light-purple"),
    "timeout": ("timeout", "red"),
    "unreachable": ("unreachable", "dark-red"),
    "version": ("other version", "light-orange"),
}
DISCARDS = {
    "identifier": "blue",
    "result": "orange",
    "signature": "red",
    "size": "dark-orange",
    "source": "dark-red",
    "status": "yellow",
    "version": "purple",
}
"""Only late responses, of the reason `identifier`, are normal."""
OUTCOMES = {
    "done": "green",
    "denied": "red",
    "failed": "dark-orange",
    "invalid": "orange",
    "unsupported": "yellow",
}
