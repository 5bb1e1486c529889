"""What a server offers in its reply to EHLO or LHLO (RFC 5321 4.1.1.1)."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Extensions:
    """The service extensions that a client can use. `size_limit` is in octets, None where none is stated."""

    pipelining: bool = False
    eight_bit_mime: bool = False
    smtputf8: bool = False
    size: bool = False
    size_limit: int | None = None
    xforward: frozenset[str] = frozenset()
    """The names of the attributes that the server accepts, in capitals."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses the text of the reply: the server's name on the first line, then one keyword per line."""
        offers: dict[str, list[str]] = {}
        for line in text.split("\n")[1:]:
            # Some servers write AUTH=PLAIN for AUTH PLAIN; no keyword used here is written so.
            keyword, *parameters = line.upper().split() or [""]
            offers[keyword] = parameters
        limit = next(iter(offers.get("SIZE", ())), "")
        known = limit.isascii() and limit.isdigit() and len(limit) <= 20
        return cls(
            pipelining="PIPELINING" in offers,
            eight_bit_mime="8BITMIME" in offers,
            smtputf8="SMTPUTF8" in offers,
            size="SIZE" in offers,
            # RFC 1870 5: 0 means that no fixed limit exists.
            size_limit=(int(limit) or None) if known else None,
            xforward=frozenset(offers.get("XFORWARD", ())),
        )
