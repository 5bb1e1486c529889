"""Mail addresses (RFC 5321 4.1.2, RFC 6531 3.3), read as Postfix, Exim and OpenSMTPD read them.

Accepted beyond the grammar, because real clients send it: addresses without angle brackets, and dots at any place of a
local part (`a..b@`, `.a@`, `a.@`). Any other text is rejected and never repaired.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

import idna

_UTF8 = "\u0080-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{_UTF8}-]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_LABEL = rf"(?!-)[A-Za-z0-9_{_UTF8}-]{{1,63}}(?<!-)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_MAILBOX = (
    rf"(?P<local>(?:{_ATEXT}|\.)+|\"(?:[^\"\\]|\\.)*\")"
    rf"(?:@(?P<domain>{_DOMAIN}|\[[!-Z^-~]+\]))?"
)
_PATH = re.compile(
    # A source route is read and ignored: RFC 5321 4.1.1.3
    rf"<(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?{_MAILBOX}>"
)
_BARE = re.compile(rf"{_MAILBOX}(?= |\Z)")
_NAME = re.compile(_DOMAIN)
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_+=-.")

_DIRECTORY_OCTETS = 192
"""Of a user's directory name; a longer one is cut, and a hash of all of it appended."""


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
        """A safe name for this user's directory: lower-case letters, and %XX for other octets.

        At most 192 characters; never empty, `.`, `..` or hidden; different local parts differ, but for ASCII case.
        """
        octets = self.local.encode().lower()
        name = "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)
        if name.startswith("."):
            name = "%2E" + name[1:]
        if len(name) > _DIRECTORY_OCTETS:  # "%~" occurs only in truncated names
            name = f"{name[:120]}%~{hashlib.sha256(octets).hexdigest()}"
        return name or "%"


def parse_path(text: str) -> tuple[Address | None, str]:
    """Read an address at the start of `text`, which holds no control characters; it ends at a space or a bracket.

    Returns the address, None for the null path <>, and what follows it. Raises `ValueError`. A local part may be longer
    than the 64 octets that every server must accept (RFC 5321 4.5.3.1): SRS and VERP make such.
    """
    if text.startswith("<>"):
        return None, text[2:]
    found = (_PATH if text.startswith("<") else _BARE).match(text)
    if not found:
        raise ValueError("not an address")
    local, domain = found["local"], found["domain"] or ""
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if not domain and local.lower() != "postmaster":
        raise ValueError("the address has no domain")
    if len(domain.encode()) > 255:
        raise ValueError("the domain is longer than 255 octets")
    return Address(local, domain), text[found.end() :]


@lru_cache(1024)
def comparable_domain(domain: str) -> str:
    """The form in which domains are compared: A-labels (RFC 5890) in small letters.

    `BÜCHER.example`, its decomposed form and `xn--bcher-kva.example` are one domain. A name that is not valid under
    IDNA compares as it is written, case folded.
    """
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return domain.casefold()


def is_domain(text: str) -> bool:
    """Whether `text` is a domain name or an address literal such as [192.0.2.1]."""
    return bool(_NAME.fullmatch(text) or re.fullmatch(r"\[[!-Z^-~]+\]", text))
