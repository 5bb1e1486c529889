"""The dialects that a command knows: the built-in ones, and those of its --dialect-file.

PyYAML is imported only if there is such a file, so that the commands work without it.
"""

from collections.abc import Mapping
from pathlib import Path

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from smtpstatus.errors import ConfigError


def known_dialects(file: str | None) -> Mapping[str, Dialect]:
    """The dialects by name. Raises `ConfigError`."""
    if not file:
        return DIALECTS
    try:
        from smtpstatus.dialects import read_file
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"cannot read the dialect file: no Python package {error.name}: install PyYAML"
        ) from None
    return {**DIALECTS, **read_file(Path(file))}


def find(name: str, dialects: Mapping[str, Dialect]) -> Dialect:
    """Raises `ValueError`, which lists the known names."""
    if name not in dialects:
        raise ValueError(
            f"unknown dialect {name!r}: expected one of {', '.join(dialects)}, or add it with --dialect-file"
        )
    return dialects[name]
