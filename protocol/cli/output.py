"""Formats a reading as a table and as JSON, and numbers for people."""

from protocol.client import Reading
from protocol.dialect import Dialect
from protocol.message import Value
from protocol.vocabulary import Command

_LABELS = {
    Command.CONNECTIONS: "total connections",
    Command.ACTIVE_CONNECTIONS: "active connections",
    Command.TRANSFERRED_BYTES: "transferred bytes",
    Command.SENT_BYTES: "sent bytes",
    Command.RECEIVED_BYTES: "received bytes",
    Command.MAILS: "mails",
    Command.TRANSFORMS: "transforms",
    Command.VERBOSE: "verbose mode",
}

_BYTES = frozenset({Command.TRANSFERRED_BYTES, Command.SENT_BYTES, Command.RECEIVED_BYTES})


def as_json(target: str, dialect: Dialect, reading: Reading) -> dict[str, object]:
    """The keys of the exporter's `GET /api/v1/targets/{name}`; null without a value."""
    values = {command.value: reading.values.get(command) for command in dialect.reads}
    return {
        "target": target,
        "up": reading.error is None,
        **values,
        "round_trip_seconds": round_trip(reading),
        **({"error": str(reading.error)} if reading.error else {}),
    }


def as_table(target: str, dialect: Dialect, reading: Reading) -> str:
    """A successful reading in aligned lines."""
    trip = round_trip(reading)
    took = "" if trip is None else f", round trip {human_seconds(trip)}"
    lines = [f"{target} is up{took}", ""]
    shown = {command: human_value(reading[command]) for command in dialect.reads}
    width = max(16, *map(len, shown.values()))
    for command, text in shown.items():
        value = reading[command]
        scaled = (
            f"  ({human_bytes(value)})" if command in _BYTES and value and value >= 1000 else ""
        )
        lines.append(f"  {_LABELS[command]:<24}{text:>{width}}{scaled}")
    return "\n".join(lines)


def round_trip(reading: Reading) -> float | None:
    """The shortest round-trip time in seconds, rounded to microseconds; None without one."""
    shortest = min(reading.cost.round_trips, default=None)
    return None if shortest is None else round(shortest, 6)


def label(command: Command) -> str:
    return _LABELS[command]


def human_value(value: Value | None) -> str:
    """Formats a value: `on`, `off`, `1,234`, or a dash if there is none."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "-" if value is None else f"{value:,}"


def human_bytes(count: float) -> str:
    """Three digits and a decimal unit: `999 B`, `51.2 kB`, `1.05 GB`."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} EB"


def human_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
