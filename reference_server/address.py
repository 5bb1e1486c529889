"""Mail addresses, read strictly (RFC 5321 4.1.2, RFC 6531 3.3): what is not one is refused, never repaired."""

import re
from dataclasses import dataclass

_BEYOND = "\u0080-\U0010ffff"
_ATOM = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_BEYOND}-]+"
_LABEL = rf"(?!-)[A-Za-z0-9_{_BEYOND}-]{{1,63}}(?<!-)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_PATH = re.compile(
    rf"<(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"  # a source route is read and ignored: RFC 5321 4.1.1.3
    rf"(?P<local>{_ATOM}(?:\.{_ATOM})*|\"(?:[^\"\\]|\\.)*\")"
    rf"(?:@(?P<domain>{_DOMAIN}|\[[!-Z^-~]+\]))?>"
)
_DOT_STRING = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_NAME = re.compile(_DOMAIN)
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_+=-.")


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox: `local` without its quotes, empty for <""@domain>; `domain` empty for the bare <postmaster> alone.

    `str()` gives it as SMTP writes it, quoted where it must be. It has no control characters.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        local = self.local
        if not _DOT_STRING.fullmatch(local):
            local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def directory(self) -> str:
        """A safe name for this user's directory: small letters, and %XX for whatever a path could misread.

        At most 192 characters; never empty, `.`, `..` or hidden; different local parts differ, but for ASCII case.
        """
        octets = self.local.encode().lower()
        name = "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)
        return "%2E" + name[1:] if name.startswith(".") else name or "%"


def parse_path(text: str) -> tuple[Address | None, str]:
    """Read a path in angle brackets at the start of `text`, which holds printable characters alone.

    Returns the address, None for the null path <>, and what follows the bracket. Raises `ValueError`.
    """
    if text.startswith("<>"):
        return None, text[2:]
    found = _PATH.match(text)
    if not found:
        raise ValueError("not an address in angle brackets")
    local, domain = found["local"], found["domain"] or ""
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if not domain and local.lower() != "postmaster":
        raise ValueError("the address has no domain")
    if len(local.encode()) > 64:
        raise ValueError("the local part is longer than 64 octets")
    if len(domain.encode()) > 255:
        raise ValueError("the domain is longer than 255 octets")
    return Address(local, domain), text[found.end() :]


def is_domain(text: str) -> bool:
    """Whether `text` is a domain name or an address literal such as [192.0.2.1]."""
    return bool(_NAME.fullmatch(text) or re.fullmatch(r"\[[!-Z^-~]+\]", text))
