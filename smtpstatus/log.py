"""The log of all commands: logfmt or JSON lines like those of the official exporters, written without blocking.

Each line has `time` (RFC 3339, UTC), `level` (debug, info, warn, error), `msg` and the record's own fields; an error is
under `err`. A thread writes the lines, so that a stalled reader (a stopped terminal, a full pipe) blocks no
caller: when the queue is full, lines are dropped and counted, and the count is logged when the reader recovers.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from typing import Literal, TextIO

LogFormat = Literal["logfmt", "json"]
LEVELS = ("debug", "info", "warn", "error")

_QUEUED_LINES = 10_000
"""Queued lines above which further ones are dropped: a few megabytes."""

_FLUSH_S = 1.0
"""Seconds for which the end of the process waits for the queue to drain."""

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


class QueueingHandler(logging.Handler):
    """Writes lines in a thread of its own. `flush` waits for them at most `_FLUSH_S` seconds."""

    def __init__(self, form: LogFormat, stream: TextIO, queued_lines: int = _QUEUED_LINES) -> None:
        super().__init__()
        self.setFormatter(Formatter(form))
        self._stream = stream
        self._queue: Queue[str] = Queue(queued_lines)
        self._dropped = 0
        # A daemon: the process may end while the thread waits for the reader.
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._queue.put_nowait(self.format(record))
        except Full:
            self._dropped += 1
        except Exception:  # a record that cannot be formatted, as in every handler of logging
            self.handleError(record)

    def flush(self) -> None:
        deadline = time.monotonic() + _FLUSH_S
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and deadline > time.monotonic():
                self._queue.all_tasks_done.wait(deadline - time.monotonic())

    def _write(self) -> None:
        reported = failed = 0
        while True:
            lines = self._next_lines()
            text = "".join(f"{line}\n" for line in lines)
            dropped = self._dropped
            if missing := dropped - reported + failed:
                text += f"{self.format(_missing_lines(missing))}\n"
            try:
                self._stream.write(text)
                self._stream.flush()
                reported, failed = dropped, 0
            except (OSError, ValueError):  # the stream is closed: there is nowhere to report it
                failed += len(lines)
            for _ in lines:
                self._queue.task_done()

    def _next_lines(self) -> list[str]:
        lines = [self._queue.get()]
        try:
            while True:
                lines.append(self._queue.get_nowait())
        except Empty:
            return lines


def _missing_lines(count: int) -> logging.LogRecord:
    message = "Log lines dropped: the reader of the log was too slow"
    return logging.makeLogRecord({"levelname": "WARNING", "msg": message, "lines": count})


class _Scarcity(logging.Filter):
    """Passes asyncio's "cannot accept a connection" once a minute; it logs that many times a second."""

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
        "time": at.replace("+00:00", "Z"),
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
    """Send every log line to `stream`; uvicorn's and asyncio's own only from `warn` on.

    Raises `RuntimeError` where the system refuses a thread.
    """
    handler = QueueingHandler(form, stream)
    handler.addFilter(_Scarcity())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
