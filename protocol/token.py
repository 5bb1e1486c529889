"""The authentication token of a request (protocol.md 3.3): a secret of exactly the length of AUTH."""

from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Self

from protocol.errors import TokenError
from smtpstatus.secret import read_secret, secret_text


def _form(length: int) -> str:
    characters = "1 ASCII character" if length == 1 else f"exactly {length} ASCII characters"
    return f"{characters}, or hex: and {2 * length} hex digits"


@dataclass(frozen=True, slots=True)
class Token:
    """A secret; `repr` does not show it."""

    octets: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, length: int = 8) -> Self:
        """Parses `length` ASCII characters, or `hex:` and twice as many hex digits.

        Raises `TokenError`; its message never contains the token.
        """
        try:
            text = secret_text(text)
        except ValueError as error:
            raise TokenError(f"{error}: expected {_form(length)}") from None
        if text.startswith("hex:"):
            try:
                octets = bytes.fromhex(text.removeprefix("hex:"))
            except ValueError:
                raise TokenError(f"token is not hexadecimal: expected {_form(length)}") from None
        elif text.isascii():
            octets = text.encode()
        else:
            raise TokenError(f"token is not ASCII: expected {_form(length)}")
        if len(octets) != length:
            plural = "" if len(octets) == 1 else "s"
            raise TokenError(f"token has {len(octets)} byte{plural}: expected {_form(length)}")
        return cls(octets)

    @classmethod
    def read(cls, path: Path, length: int = 8) -> Self:
        """Reads a token from the only line of a file. Raises `TokenError`, which names the file."""
        try:
            return cls.parse(read_secret(path), length)
        except ValueError as error:
            raise TokenError(f"cannot read token file {path}: {error}") from None

    @property
    def is_weak(self) -> bool:
        """Whether trying 60,000 tokens a second finds it in about a month: short, or of one kind of characters."""
        octets = self.octets
        one_case = octets.isalpha() and (octets.islower() or octets.isupper())
        return len(octets) < 8 or one_case or octets.isdigit() or len(set(octets)) < 4

    def matches(self, octets: bytes) -> bool:
        """Compares in constant time (protocol.md 6.3)."""
        return compare_digest(self.octets, octets)
