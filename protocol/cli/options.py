"""Reads the dialects and the token from the options; no network."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from protocol.dialect import Dialect
from protocol.token import Token
from smtpstatus.dialect_file import find, known_dialects
from smtpstatus.errors import ConfigError


def dialects_of(options: Namespace) -> Mapping[str, Dialect]:
    """The built-in dialects and those of --dialect-file, by name. Raises `ValueError`."""
    try:
        return known_dialects(options.dialect_file)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def dialect_of(options: Namespace) -> Dialect:
    """The dialect of --dialect or the environment, v0 by default. Raises `ValueError`."""
    name = options.dialect or options.environment_dialect or "v0"
    return find(name, dialects_of(options))


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
