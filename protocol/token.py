"""The token that a request carries (protocol.md 3.3): a secret of exactly as many bytes as AUTH has."""

from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path
from typing import Self

from protocol.errors import TokenError


@dataclass(frozen=True, slots=True)
class Token:
    """A secret; its text form never shows it."""

    octets: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str, length: int = 8) -> Self:
        """Read a token as people write it: ASCII text of `length` characters, or `hex:` and twice as many digits.

        Raises `TokenError`; its text never holds the token.
        """
        wanted = f"exactly {length} characters of ASCII text, or hex: and {2 * length} hex digits"
        if text.startswith("hex:"):
            try:
                octets = bytes.fromhex(text.removeprefix("hex:"))
            except ValueError:
                raise TokenError(f"the token is not hexadecimal: it takes {wanted}") from None
        elif text.isascii():
            octets = text.encode()
        else:
            raise TokenError(f"the token has characters beyond ASCII: it takes {wanted}")
        if len(octets) != length:
            raise TokenError(f"the token is {len(octets)} bytes long: it takes {wanted}")
        return cls(octets)

    @classmethod
    def read(cls, path: Path, length: int = 8) -> Self:
        """Read a token from the first and only line of a file. Raises `TokenError`, which names the file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise TokenError(f"the token file {path} cannot be read: {problem}") from None
        try:
            return cls.parse(text.removesuffix("\n").removesuffix("\r"), length)
        except TokenError as error:
            raise TokenError(f"{path}: {error}") from None

    def matches(self, octets: bytes) -> bool:
        """Compare in a time that does not depend on where the difference is (protocol.md 6.3)."""
        return compare_digest(self.octets, octets)
