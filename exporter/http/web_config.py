"""The file of `--web.config.file`, in the official exporters' format: TLS, basic authentication, headers, a limit.

The file and the certificates that it names are looked at on every connection and request, and read again when
they have changed. What is wrong then is logged once, and the old settings stay.
"""

import logging
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from exporter.http import tls
from smtpstatus import document
from smtpstatus.document import Value
from smtpstatus.duration import parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.tokenbucket import TokenBucket

logger = logging.getLogger(__name__)

Stamp = tuple[int, ...] | None
"""What changes when a file is written or replaced, also through the links of a Kubernetes volume."""

_KEYS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
"""The headers that may be set, and the values that each may have where not all are good."""
_BCRYPT = re.compile(r"\$2[abxy]?\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What one version of the file says."""

    context: ssl.SSLContext | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """User names and their bcrypt hashes; none at all: everybody may come in."""
    tells_users: bool = False
    """Whether the file has the key, be it to say that there are none."""
    rate: TokenBucket | None = None
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    """The files that it was made from, as they were before they were read."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file, and the certificates that it names. Raises `ConfigError` with the file and the key."""
        stamps = {path: _stamp(path)}
        root = document.read(path)
        if root is None:
            return cls(stamps=stamps)
        keys = root.keys(_KEYS)
        server = keys.get("tls_server_config")
        if server:
            stamps |= {named: _stamp(named) for named in tls.files(server, path.parent)}
        return cls(
            context=tls.context(server, path.parent) if server else None,
            headers=_headers(keys["http_server_config"]) if "http_server_config" in keys else (),
            users=_users(keys["basic_auth_users"]) if "basic_auth_users" in keys else {},
            tells_users="basic_auth_users" in keys,
            rate=_rate(keys["rate_limit"]) if "rate_limit" in keys else None,
            stamps=stamps,
        )


class WebFile:
    """The file as it is now. Raises `ConfigError` when its first version is bad."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._config = WebConfig.load(path)
        self._stamps = self._config.stamps
        self._refused: str | None = None

    def current(self) -> WebConfig:
        """The last good version, after a look whether there is another.

        A bad version is tried again each time, as what it lacks may come; it is logged once.
        """
        stamps = {path: _stamp(path) for path in self._stamps}
        if stamps != self._stamps or self._refused is not None:
            self._stamps = stamps
            self._take()
        return self._config

    def _take(self) -> None:
        try:
            self.reload()
        except ConfigError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                logger.error(
                    "Web configuration refused, the old one stays", extra={"err": self._refused}
                )
        else:
            logger.info("Web configuration loaded", extra={"file": str(self._path)})

    def reload(self) -> None:
        """Read everything again at once. Raises `ConfigError`, and then the old version stays."""
        config = WebConfig.load(self._path)
        if (config.context is None) != (self._config.context is None):
            raise ConfigError(
                f"{self._path}: tls_server_config: TLS cannot be switched while running: restart"
            )
        if self._config.users and not config.tells_users:
            # A file that is being written looks like this too, and must not open the door meanwhile.
            raise ConfigError(
                f"{self._path}: basic_auth_users is gone: write basic_auth_users: {{}} to let everybody in"
            )
        self._config = config
        self._stamps = config.stamps
        self._refused = None

    def ssl_context(self) -> ssl.SSLContext | None:
        """The context to listen with, which follows the file; None where the file has no TLS."""
        return None if self._config.context is None else tls.LiveContext(self._current_context)

    def _current_context(self) -> ssl.SSLContext:
        context = self.current().context
        assert context is not None  # a reload never takes TLS away
        return context


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _headers(value: Value) -> tuple[tuple[bytes, bytes], ...]:
    keys = value.keys(("http2", "headers"))
    if "http2" in keys:
        keys["http2"].boolean()  # understood and without effect: this server speaks HTTP/1.1
    if "headers" not in keys:
        return ()
    entries = keys["headers"].keys(tuple(_HEADERS))
    return tuple((name.lower().encode(), _header(name, entries[name])) for name in entries)


def _header(name: str, value: Value) -> bytes:
    text = value.text()
    good = _HEADERS[name]
    if good and text not in good:
        value.refuse(f"{text!r} is not one of {', '.join(good)}")
    if not (text.isascii() and text.isprintable()):
        value.refuse("a header takes printable ASCII characters only")
    return text.encode()


def _users(value: Value) -> Mapping[bytes, bytes]:
    users = {}
    for name, entry in value.entries().items():
        digest = entry.text()
        if ":" in name:
            entry.refuse("a user name cannot have a colon")
        if not _BCRYPT.fullmatch(digest):
            entry.refuse("a bcrypt hash is wanted here: `htpasswd -nBC 10 USER` makes one")
        users[name.encode()] = digest.encode()
    return users


def _rate(value: Value) -> TokenBucket:
    keys = value.keys(("interval", "burst"), ("interval", "burst"))
    interval = keys["interval"].parsed(parse_duration)
    burst = keys["burst"].integer(1, 1_000_000)
    return TokenBucket(burst, 1 / interval, time.monotonic())
