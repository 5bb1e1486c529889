"""The web configuration in use: follows its file and the certificates that the file names.

An invalid change is logged once, and the previous settings stay in use. The files are checked in
a thread, because a file system that does not answer must not block the event loop.
"""

import asyncio
import logging
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from types import MappingProxyType

from exporter.http.web_config import WebConfig, stamp
from smtpstatus.defect import summary
from smtpstatus.errors import ConfigError
from smtpstatus.threads import DaemonThreads

logger = logging.getLogger(__name__)

_WAIT_S = 0.1
"""Seconds that a request waits for the file system before the previous settings are used."""


class WebFile:
    """The file of `--web.config.file`. Raises `ConfigError` if its first version is invalid."""

    fresh_s = 1.0
    """Minimum seconds between two checks of the files."""

    def __init__(self, path: Path, environ: Mapping[str, str] = MappingProxyType({})) -> None:
        self._path = path
        self._environ = environ
        self._threads = DaemonThreads("web configuration", 1)
        self._lock = threading.Lock()
        self._config = WebConfig.load(path, environ)
        self._stamps = self._config.stamps
        self._rejected: str | None = None
        self._fresh_until = 0.0
        self._checking: asyncio.Future[None] | None = None
        self._late = False
        self._warn()

    @property
    def known(self) -> WebConfig:
        """Settings in use, without checking the file."""
        return self._config

    async def current(self) -> WebConfig:
        """Settings in use, after checking the file for changes."""
        if self._checking is None and monotonic() >= self._fresh_until:
            self._checking = self._threads.run(self.check)
            self._checking.add_done_callback(self._finish)
        if self._checking is not None and not self._late:
            _, late = await asyncio.wait({self._checking}, timeout=_WAIT_S)
            self._late = bool(late)
        return self._config

    async def context(self) -> ssl.SSLContext:
        """The TLS context for a new connection."""
        context = (await self.current()).context
        assert context is not None  # a reload never turns TLS off
        return context

    def check(self) -> None:
        """Load changed files. An invalid version is retried each time, as a missing file may appear."""
        stamps = {path: stamp(path) for path in self._stamps}
        if stamps == self._stamps and self._rejected is None:
            return
        self._stamps = stamps
        try:
            self.reload()
        except Exception as error:
            text = str(error) if isinstance(error, ConfigError) else summary(error)
            if text != self._rejected:
                self._rejected = text
                logger.error(
                    "Web configuration rejected; keeping the previous one", extra={"err": text}
                )
        else:
            logger.info("Web configuration loaded", extra={"file": str(self._path)})

    def reload(self) -> None:
        """Load everything again. Raises `ConfigError`; the previous version then stays in use."""
        with self._lock:
            config = WebConfig.load(self._path, self._environ)
            if (config.context is None) != (self._config.context is None):
                raise ConfigError(
                    f"{self._path}: tls_server_config: turning TLS on or off requires a restart"
                )
            if self._config.users and not config.mentions_users:
                # A file that is being written looks like this too, and must not disable authentication.
                raise ConfigError(
                    f"{self._path}: basic_auth_users was removed: write basic_auth_users: {{}}"
                    " to turn authentication off"
                )
            self._config = config
            self._stamps = config.stamps
            self._rejected = None
            self._warn()

    def _finish(self, checking: "asyncio.Future[None]") -> None:
        self._checking = None
        self._late = False
        self._fresh_until = monotonic() + self.fresh_s
        checking.exception()  # `check` raises nothing

    def _warn(self) -> None:
        for warning in self._config.warnings:
            logger.warning(
                "Web configuration setting has no effect",
                extra={"file": str(self._path), "err": warning},
            )
