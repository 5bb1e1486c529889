"""Parses secrets in files, variables, flags and documents, with one set of rules for all."""

import re
from pathlib import Path

from smtpstatus.file import read_text

MAX_BYTES = 4096
"""Maximum bytes of a secret: common servers and proxies reject longer HTTP headers."""

_NAMED = re.compile(r"\$\{(\w+)[^}]*\}|\$\((\w+)\)", re.ASCII)
_VARIABLE = re.compile(
    r"\$\{[^}]*\}|\$\([^)]*\)|\{\{.*\}\}|%[A-Z_][A-Z0-9_]*%|\$[A-Z_][A-Z0-9_]*", re.ASCII
)
"""A variable or template that was not expanded: anyone who knows the form of the file could guess such a token."""
_PLACEHOLDER = "<secret>"
"""What /config shows instead of a secret."""


def secret_text(text: str) -> str:
    """Return a secret without the line end that editors and `echo` add.

    A secret is printable text without a space at either end: it must fit into an HTTP header (RFC 9110 5.5). Beyond
    ASCII, clients send it as UTF-8.
    Raises `ValueError`, whose text never repeats the secret.
    """
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("token is empty")
    if text.startswith("\ufeff"):
        raise ValueError("token begins with a byte order mark: save it as UTF-8 without one")
    if "\n" in text or "\r" in text:
        raise ValueError("expected one line with the token and nothing else")
    if text != text.strip():
        raise ValueError("token begins or ends with a space or tab: remove it")
    if not text.isprintable():
        raise ValueError("token has a character that is not printable")
    if len(text) > MAX_BYTES:
        raise ValueError(f"token is longer than {MAX_BYTES} characters")
    if _VARIABLE.fullmatch(text) or text == _PLACEHOLDER:
        raise ValueError("token is a placeholder, which nothing has replaced")
    return text


def unexpanded(text: str) -> str | None:
    """The name of the variable in `${NAME}` or `$(NAME)`, or None if `text` is anything else."""
    found = _NAMED.fullmatch(text)
    return found and (found[1] or found[2])


def read_secret(path: Path) -> str:
    """Return the secret in a file of one line. Raises `ValueError`, which repeats neither path nor content."""
    return secret_text(read_text(path, MAX_BYTES + 2))
