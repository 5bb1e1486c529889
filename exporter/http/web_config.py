"""The file of `--web.config.file`, in the format of the official exporters (exporter-toolkit)."""

import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Self

import bcrypt

from exporter.configuration.secret import file_path
from exporter.http import tls
from smtpstatus import document
from smtpstatus.document import Value
from smtpstatus.tokenbucket import TokenBucket

Stamp = tuple[int, ...] | None
"""Differs after a file was written or replaced, also through the links of a Kubernetes volume."""

_KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""Headers that may be set, with their allowed values if these are restricted."""
_BCRYPT = re.compile(r"(\$2[abxy])\$(?:0[4-9]|[12]\d|3[01])(\$[./A-Za-z0-9]{22})[./A-Za-z0-9]{31}")
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Contents of one version of the file."""

    context: ssl.SSLContext | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """User names and their bcrypt hashes; without any, no authentication is required."""
    mentions_users: bool = False
    """Whether the file has the key, be it without users."""
    rate: TokenBucket | None = None
    warnings: tuple[str, ...] = ()
    """Settings that have less effect here than in the official exporters."""
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    """The files that it was made from, as they were before they were read."""

    @classmethod
    def load(cls, path: Path, environ: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Reads the file, and the certificates that it names. Raises `ConfigError` with file and key."""
        resolve = partial(file_path, directory=path.parent, environ=environ)
        stamps = {path: stamp(path)}
        root = document.read(path)
        if root is None:
            return cls(stamps=stamps)
        keys = root.keys(_KEYS)
        warnings: list[str] = []
        context = None
        if server := keys.get("tls_server_config"):
            stamps |= {named: stamp(named) for named in tls.files(server, resolve)}
            context = tls.context(server, resolve, warnings)
        return cls(
            context=context,
            headers=document.optional(keys, "http_server_config", _headers, ()),
            users=document.optional(keys, "basic_auth_users", _users, {}),
            mentions_users="basic_auth_users" in keys,
            rate=document.optional(keys, "rate_limit", _rate, None),
            warnings=tuple(warnings),
            stamps=stamps,
        )


def stamp(path: Path) -> Stamp:
    """The stamp of a file, or None if there is none. May block."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _headers(value: Value) -> tuple[tuple[bytes, bytes], ...]:
    keys = tls.set_keys(value, ("http2", "headers"))
    if "http2" in keys:
        keys["http2"].boolean()  # without effect: this server speaks HTTP/1.1
    if "headers" not in keys:
        return ()
    entries = tls.set_keys(keys["headers"], tuple(_HEADERS))
    return tuple((name.lower().encode(), _header(name, entries[name])) for name in entries)


def _header(name: str, value: Value) -> bytes:
    text = value.scalar()  # `X-XSS-Protection: 1` is a number
    allowed = _HEADERS[name]
    if allowed and text not in allowed:
        value.refuse(f"{text!r} is not one of {', '.join(allowed)}")
    if not (text.isascii() and text.isprintable()):
        value.refuse("a header has printable ASCII characters only")
    return text.encode()


def _users(value: Value) -> Mapping[bytes, bytes]:
    users: dict[bytes, bytes] = {}
    if value.is_unset:
        return users
    for name, entry in value.entries().items():
        digest = entry.text()
        if ":" in name:
            entry.refuse("a user name cannot have a colon")
        found = _BCRYPT.fullmatch(digest)
        if not found or not _is_salt(f"{found[1]}$04{found[2]}".encode()):
            entry.refuse("expected a bcrypt hash, as `htpasswd -nBC 10 USER` makes it")
        users[name.encode()] = digest.encode()
    return users


def _is_salt(salt: bytes) -> bool:
    """Whether bcrypt accepts it: not every text of the right form can be decoded."""
    try:
        bcrypt.hashpw(b"", salt)
    except ValueError:
        return False
    return True


def _rate(value: Value) -> TokenBucket | None:
    keys = tls.set_keys(value, ("interval", "burst"))
    interval = keys["interval"].scalar() if "interval" in keys else "0"
    try:
        interval_s = _seconds(interval)
    except ValueError as error:
        keys["interval"].refuse(str(error))
    if not interval_s:
        return None
    if "burst" not in keys:
        value.refuse("missing key burst")
    return TokenBucket(keys["burst"].integer(1, 1_000_000), 1 / interval_s, time.monotonic())


def _seconds(text: str) -> float:
    """A duration as Go writes it. Raises `ValueError`."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"invalid duration {text[:40]!r}: write 500ms, 1s or 1m30s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
