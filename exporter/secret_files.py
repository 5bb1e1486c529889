"""Keeps the secrets that are in files current, without a file system call in the event loop.

A network mount that does not answer blocks a thread of its own: its secrets stay in use, and others are still reread.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from weakref import WeakMethod

from exporter.configuration.secret import Secret
from protocol.timeslice import batches
from smtpstatus.defect import summary
from smtpstatus.errors import ConfigError
from smtpstatus.threads import DaemonThreads

logger = logging.getLogger(__name__)

_FRESH_S = 1.0
"""Minimum seconds between two checks of a file."""

_WAIT_S = 0.1
_WAIT_PER_FILE_S = 0.0002
"""Seconds per file that a request waits for the file system before it uses the previous secrets."""

_BATCH = 64

Outcome = bool | Exception
"""Whether a secret changed, or why it could not be read."""


class SecretThreads:
    """A thread for each file system that has secrets, for all configurations of a process."""

    def __init__(self) -> None:
        self._of: dict[int | None, DaemonThreads] = {}

    def check(
        self, device: int | None, secrets: Sequence[Secret]
    ) -> "asyncio.Future[list[Outcome]]":
        """Rereads secrets on one device, if their files have changed."""
        if device not in self._of:
            self._of[device] = DaemonThreads("secret files", 1)
        return self._of[device].run(partial(_refreshed, secrets))


def weakly(changed: Callable[[Secret], None]) -> Callable[[Secret], None]:
    """Calls a method as long as its object exists, without keeping the object.

    In a cycle, a replaced configuration would stay until a full garbage collection, which is rare.
    """
    method = WeakMethod(changed)

    def call(secret: Secret) -> None:
        if (bound := method()) is not None:
            bound(secret)

    return call


class SecretFiles:
    """Rereads secrets whose files changed, and calls `changed` in the event loop for each new text."""

    def __init__(self, threads: SecretThreads, changed: Callable[[Secret], None]) -> None:
        self._threads = threads
        self._changed = changed
        self._fresh_until: dict[Secret, float] = {}
        self._checking: dict[Secret, asyncio.Future[list[Outcome]]] = {}
        self._late: set[int | None] = set()
        """Devices that do not answer; nothing waits for them."""

    async def refresh(self, secrets: Iterable[Secret]) -> None:
        """Checks the files of these secrets, unless that was done within the last second."""
        now = monotonic()
        due: dict[int | None, list[Secret]] = {}
        awaited: dict[asyncio.Future[list[Outcome]], int | None] = {}
        for secret in secrets:
            if checking := self._checking.get(secret):
                awaited[checking] = secret.device
            elif secret.can_change and now >= self._fresh_until.get(secret, 0.0):
                due.setdefault(secret.device, []).append(secret)
        for device, found in due.items():
            for batch in batches(found, _BATCH):
                checking = self._threads.check(device, batch)
                checking.add_done_callback(partial(self._finish, device, batch))
                self._checking |= dict.fromkeys(batch, checking)
                awaited[checking] = device
        awaited = {one: device for one, device in awaited.items() if device not in self._late}
        if awaited:
            count = sum(map(len, due.values()))
            _, late = await asyncio.wait(awaited, timeout=_WAIT_S + count * _WAIT_PER_FILE_S)
            if new := {awaited[one] for one in late} - self._late:
                self._late |= new
                logger.warning("Secret files are slow to read; keeping the known secrets")

    def _finish(
        self,
        device: int | None,
        secrets: Sequence[Secret],
        checking: "asyncio.Future[list[Outcome]]",
    ) -> None:
        self._late.discard(device)
        until = monotonic() + _FRESH_S
        for secret, outcome in zip(secrets, checking.result(), strict=True):
            del self._checking[secret]
            self._fresh_until[secret] = until
            if outcome is True:
                self._changed(secret)
            elif isinstance(outcome, Exception):
                error = outcome if isinstance(outcome, ConfigError) else summary(outcome)
                logger.warning(
                    "Cannot reread secret; keeping the previous one", extra={"err": error}
                )


def _refreshed(secrets: Sequence[Secret]) -> list[Outcome]:
    return [_refresh(secret) for secret in secrets]


def _refresh(secret: Secret) -> Outcome:
    try:
        return secret.refresh()
    except Exception as error:  # one secret must not keep the others from being read
        return error
