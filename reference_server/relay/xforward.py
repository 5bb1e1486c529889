"""The true client of a forwarded message (Postfix XFORWARD): attributes that an SMTP client passes to a server."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

UNAVAILABLE = "[UNAVAILABLE]"
"""The value of an attribute that is not known; another such value is [TEMPUNAVAIL]."""

_XTEXT_QUOTED = re.compile(rb"[^!-*,-<>-~]")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_VALUE_LIMIT = 255
"""Octets of one value (Postfix XFORWARD_README)."""


@dataclass(frozen=True, slots=True)
class OriginalClient:
    """What is known of the client that a message came from originally; empty where unknown.

    `addr` is a numeric address without a prefix. No value has a control character or a space.
    """

    name: str = ""
    addr: str = ""
    port: str = ""
    proto: str = ""
    helo: str = ""
    ident: str = ""
    source: str = ""

    def updated(self, parameters: str) -> Self:
        """Returns a copy with the attributes of an XFORWARD command: `NAME=value ...`. Raises `ValueError`."""
        values: dict[str, str] = {}
        for word in parameters.split():
            name, equals, text = word.partition("=")
            if not equals or name.upper() not in ATTRIBUTES:
                raise ValueError(f"expected NAME=value with one of {' '.join(ATTRIBUTES)}")
            values[name.lower()] = _decode(text)
        if not values:
            raise ValueError("expected at least one attribute")
        if addr := values.get("addr"):
            values["addr"] = re.sub("(?i)^IPV6:", "", addr)
        return replace(self, **values)

    def commands(self, offered: Iterable[str]) -> Iterator[str]:
        """Yields XFORWARD commands with every attribute that the server offers, also the unknown ones.

        A connection is used for messages of several clients: each overrides what the previous one set. Two commands,
        because one with all values could exceed the 512 octets of RFC 5321 4.5.3.1.4.
        """
        accepted = frozenset(offered)
        for group in (ATTRIBUTES[:3], ATTRIBUTES[3:]):
            words = [f"{name}={self._encoded(name)}" for name in group if name in accepted]
            if words:
                yield " ".join(("XFORWARD", *words))

    def _encoded(self, attribute: str) -> str:
        value: str = getattr(self, attribute.lower())
        if attribute == "ADDR" and ":" in value:
            value = f"IPV6:{value}"
        octets = value.encode(errors="replace")[:_VALUE_LIMIT]
        return _XTEXT_QUOTED.sub(lambda found: b"+%02X" % found[0][0], octets).decode() or (
            UNAVAILABLE
        )


ATTRIBUTES = tuple(field.name.upper() for field in fields(OriginalClient))


def _decode(text: str) -> str:
    """Decodes xtext (RFC 3461 4). Raises `ValueError` if the value is not valid in a header or a log line."""
    if text.upper() in (UNAVAILABLE, "[TEMPUNAVAIL]"):
        return ""
    try:
        value = _HEX.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1").decode()
    except UnicodeError:
        raise ValueError("a value is not UTF-8") from None
    if len(value.encode()) > _VALUE_LIMIT:
        raise ValueError(f"a value is longer than {_VALUE_LIMIT} octets")
    if not value.isprintable() or " " in value:
        raise ValueError("a value has a space or a control character")
    return value
