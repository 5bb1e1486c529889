"""Log lines as the official exporters write them: logfmt or JSON, with ts, level, msg and the record's own fields."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

LogFormat = Literal["logfmt", "json"]
LEVELS = ("debug", "info", "warn", "error")

_BUILT_IN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Formatter(logging.Formatter):
    """One line per record, whatever the values hold."""

    def __init__(self, form: LogFormat) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields["err"] = self.formatException(record.exc_info)
        if self._form == "json":
            return json.dumps(fields)
        return " ".join(f"{key}={_logfmt(key, value)}" for key, value in fields.items())


class _Scarcity(logging.Filter):
    """Lets asyncio say once a minute that it can accept no connection; it says so many times a second."""

    _due = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        due = record.created >= self._due
        if due:
            self._due = record.created + 60
        return due


def _fields(record: logging.LogRecord) -> dict[str, object]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    level = {"WARNING": "warn", "CRITICAL": "error"}.get(record.levelname, record.levelname)
    fields: dict[str, object] = {
        "ts": at.replace("+00:00", "Z"),
        "level": level.lower(),
        "msg": record.getMessage(),
    }
    extra: Mapping[str, object] = vars(record)
    for key, value in extra.items():
        if key not in _BUILT_IN:
            plain = isinstance(value, bool | int | float) or value is None
            fields[key] = value if plain else str(value)
    return fields


def _logfmt(key: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = str(value)
    if key != "msg" and _PLAIN.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=True)


def configure(level: str, form: LogFormat, stream: TextIO) -> None:
    """Send every log line to `stream`; the HTTP server's own are those that warn."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter(form))
    handler.addFilter(_Scarcity())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
