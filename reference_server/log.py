"""Log lines as logfmt or JSON: a time, a level, a message, and what was given as `extra`."""

import json
import logging
from typing import Literal

Format = Literal["logfmt", "json"]

_BUILT_IN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class Lines(logging.Formatter):
    """One line per record, whatever is in it."""

    def __init__(self, form: Format) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "msg": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _BUILT_IN}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        if self._form == "json":
            return json.dumps(fields, default=str)
        return " ".join(f"{name}={_word(value)}" for name, value in fields.items())


def _word(value: object) -> str:
    text = str(value)
    plain = text and text.isascii() and text.isprintable() and not set(text) & set(' ="\\')
    return text if plain else json.dumps(text)
