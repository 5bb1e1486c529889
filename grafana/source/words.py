"""What values are called, and their colours."""

RUNBOOK = "https://smtpstatus.example/runbook"
"""The address of docs/runbook.md; prometheus/runbook-url.sh sets it."""

UP_DOWN = {"1": ("up", "green"), "0": ("down", "red"), "null": ("not asked", "gray")}
ON_OFF = {"1": ("on", "green"), "0": ("off", "orange"), "null": ("not known", "gray")}
REASONS = {
    "authentication": ("wrong token", "red"),
    "command": ("refuses the command", "red"),
    "contradiction": ("contradicts itself", "red"),
    "dialect": ("another dialect", "red"),
    "name": ("unknown host name", "red"),
    "request": ("refuses the request", "red"),
    "response": ("makes no sense", "red"),
    "server": ("fails inside", "red"),
    "timeout": ("silent", "red"),
    "unreachable": ("port closed", "red"),
    "version": ("another version", "red"),
}
