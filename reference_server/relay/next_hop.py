"""The address of a next hop: `smtp://HOST:PORT`, `lmtp://HOST:PORT` or `lmtp+unix:/path`."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

from protocol.address import HostPort


class Protocol(Enum):
    """What a next hop speaks: SMTP (RFC 5321), or LMTP (RFC 2033) with one reply per recipient."""

    SMTP = "smtp"
    LMTP = "lmtp"


@dataclass(frozen=True, slots=True)
class NextHop:
    """A mail server to which messages are forwarded: its protocol, and a TCP address or a Unix socket."""

    protocol: Protocol
    address: HostPort | Path

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses a URL. Raises `ValueError`, which names the expected forms."""
        scheme, _, rest = text.partition(":")
        try:
            match scheme.lower():
                case "smtp" | "lmtp" if rest.startswith("//"):
                    return cls(Protocol(scheme.lower()), _tcp_address(rest[2:]))
                case "lmtp+unix" if (
                    rest.startswith("/") and rest.strip("/") and rest.isprintable()
                ):
                    return cls(Protocol.LMTP, Path("/" + rest.lstrip("/")))
        except ValueError as error:
            raise ValueError(f"invalid next hop {text!r}: {error}") from None
        raise ValueError(
            f"invalid next hop {text!r}:"
            " expected smtp://HOST:PORT, lmtp://HOST:PORT or lmtp+unix:/path"
        )

    def __str__(self) -> str:
        if isinstance(self.address, Path):
            return f"lmtp+unix:{self.address}"
        return f"{self.protocol.value}://{self.address}"


def _tcp_address(text: str) -> HostPort:
    text = text.removesuffix("/")
    if set(text) & set("/?#@"):
        raise ValueError("expected HOST:PORT after //, without user, path or query")
    address = HostPort.parse(text)
    if not address.host or not address.port:
        raise ValueError("expected a host and a port above 0")
    return address
