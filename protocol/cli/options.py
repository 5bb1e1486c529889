"""What the options of a run mean: its dialects and its token; and the exit statuses. No network."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.token import Token

DONE, REFUSED, USAGE, NO_RESPONSE = 0, 1, 2, 3
"""Exit statuses: REFUSED also stands for a failed check, a malformed datagram and an unknown dialect."""


def known_dialects(options: Namespace) -> Mapping[str, Dialect]:
    """The built-in dialects and those of --dialect-file, by name. Raises `ValueError`."""
    if options.dialect_file is None:
        return DIALECTS
    # Only a dialect file needs PyYAML.
    try:
        from smtpstatus.dialects import read_file
        from smtpstatus.errors import ConfigError
    except ModuleNotFoundError as error:
        raise ValueError(
            f"cannot read --dialect-file: the Python package {error.name} is not installed: install PyYAML"
        ) from None
    try:
        return {**DIALECTS, **read_file(Path(options.dialect_file))}
    except ConfigError as error:
        raise ValueError(str(error)) from None


def dialect_of(options: Namespace) -> Dialect:
    """The dialect of --dialect or the environment, v0 by default. Raises `ValueError`."""
    dialects = known_dialects(options)
    name = options.dialect or options.environment_dialect or "v0"
    if name not in dialects:
        raise ValueError(
            f"unknown dialect {name!r}: expected one of {', '.join(dialects)}, or add it with --dialect-file"
        )
    return dialects[name]


def token_of(options: Namespace, dialect: Dialect) -> Token:
    """The token of --token, --token-file or the environment. Raises `ValueError`."""
    if options.token is not None and options.token_file is not None:
        raise ValueError("--token and --token-file exclude each other: pass one of them")
    if options.token_file is not None:
        return Token.read(Path(options.token_file), dialect.token_length)
    text = options.environment_token if options.token is None else options.token
    if text is None:
        raise ValueError("no token: pass --token-file or --token, or set SMTPSTATUS_TOKEN")
    return Token.parse(text, dialect.token_length)


def print_json(document: Mapping[str, object]) -> None:
    """One JSON document on one line."""
    print(json.dumps(document), flush=True)
