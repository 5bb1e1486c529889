"""Resolves names in threads, so that a slow name does not delay others.

Look-ups of one name are shared. They run in daemon threads: getaddrinfo(3) may take many seconds and cannot be
interrupted, and a thread that hangs must not delay the end of the program. Names of probes, and names that were slow
the last time, use at most half of the threads.
"""

import asyncio
import socket
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from typing import TypeVar

from protocol.address import Address, HostPort, numeric, unique_addresses
from protocol.errors import Resource, Shortage, UnknownName

T = TypeVar("T")

_THREADS = 64

_SLOW_S = 1.0
"""Seconds after which a look-up is slow."""

_LATE = 0.25
"""Share of the remaining time after which the last good addresses are used instead of a late look-up."""

_GOOD_S = 60.0
"""Seconds for which the last good addresses may be used."""

_KEPT = 1 << 16
"""Maximum number of names whose last good addresses are kept."""


class _TemporaryFailure(UnknownName):
    """The name servers did not answer, so it is unknown whether the name exists."""


@dataclass(eq=False, slots=True)
class _LookUp:
    """One look-up: `limited` ones use half of the threads; `waiters` is the number of callers."""

    host: str
    limited: bool
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    since: float = 0.0
    waiters: int = 0
    future: "asyncio.Future[tuple[Address, ...] | UnknownName]" = field(init=False)

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()


class Resolver:
    """Look-ups in progress and the last good addresses, for one event loop; must be closed."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._threads = threads
        self._started = 0
        self._jobs: SimpleQueue[_LookUp | None] = SimpleQueue()
        self._look_ups: dict[str, _LookUp] = {}
        self._waiting: OrderedDict[_LookUp, None] = OrderedDict()
        self._waiting_limited: OrderedDict[_LookUp, None] = OrderedDict()
        """Look-ups without a thread, oldest first."""
        self._running: set[_LookUp] = set()
        self._slow: dict[str, None] = {}
        self._good: dict[str, tuple[float, tuple[Address, ...]]] = {}
        """The last good addresses of each name, and since when."""

    def close(self) -> None:
        """Ends the idle threads; one that hangs ends with the program."""
        for _ in range(self._started):
            self._jobs.put(None)

    async def resolve(
        self, where: HostPort, timeout: float, *, probe: bool = False
    ) -> tuple[Address, ...]:
        """Returns all addresses of a host in the system's order. Raises `UnknownName`, also at the timeout."""
        if addresses := numeric(where):
            return addresses
        since, good = self._good.get(where.host, (0.0, ()))
        if monotonic() - since > _GOOD_S:
            good = ()
        try:
            async with asyncio.timeout(timeout * _LATE if good else timeout):
                found = await self._look_up(where.host, probe)
        except TimeoutError:
            found = _TemporaryFailure(f"name resolution of {where.host} timed out")
        if isinstance(found, _TemporaryFailure) and good:
            found = good
        if isinstance(found, UnknownName):
            raise found
        return tuple((host, where.port, *rest) for host, _, *rest in found)  # type: ignore[misc]

    async def _look_up(self, host: str, probe: bool) -> tuple[Address, ...] | UnknownName:
        limited = probe or host in self._slow
        look_up = self._look_ups.get(host)
        if look_up is None:
            look_up = self._look_ups[host] = _LookUp(host, limited)
            self._queue(look_up)[look_up] = None
        elif look_up in self._waiting_limited and not limited:
            del self._waiting_limited[look_up]
            look_up.limited = False
            self._waiting[look_up] = None
        self._dispatch()
        look_up.waiters += 1
        try:
            return await asyncio.shield(look_up.future)
        finally:
            look_up.waiters -= 1
            if not look_up.waiters and look_up in self._queue(look_up):
                del self._queue(look_up)[look_up], self._look_ups[host]

    def _queue(self, look_up: _LookUp) -> OrderedDict[_LookUp, None]:
        return self._waiting_limited if look_up.limited else self._waiting

    def _dispatch(self) -> None:
        """Starts waiting look-ups in threads."""
        while len(self._running) < self._threads:
            limited = sum(look_up.limited for look_up in self._running)
            if self._waiting:
                look_up, _ = self._waiting.popitem(last=False)
            elif self._waiting_limited and limited < self._threads // 2:
                look_up, _ = self._waiting_limited.popitem(last=False)
            else:
                return
            look_up.since = monotonic()
            if not self._has_thread():
                del self._look_ups[look_up.host]
                shortage = Shortage(Resource.THREADS, "cannot start a thread to resolve a name")
                look_up.future.set_exception(shortage)
                continue
            self._running.add(look_up)
            self._jobs.put(look_up)

    def _has_thread(self) -> bool:
        """Starts a thread for another look-up; where that fails, those that there are do it later."""
        if self._started <= len(self._running):
            with suppress(RuntimeError):
                threading.Thread(target=self._work, name="resolver", daemon=True).start()
                self._started += 1
        return self._started > 0

    def _work(self) -> None:
        """Thread function: runs look-ups until idle."""
        while look_up := self._jobs.get():
            found = _addresses_of(look_up.host)
            with suppress(RuntimeError):  # the loop is closed
                look_up.loop.call_soon_threadsafe(self._finish, look_up, found)

    def _finish(self, look_up: _LookUp, found: tuple[Address, ...] | UnknownName) -> None:
        self._running.remove(look_up)
        del self._look_ups[look_up.host]
        if monotonic() - look_up.since > _SLOW_S:
            _keep(self._slow, look_up.host, None)
        else:
            self._slow.pop(look_up.host, None)
        if not isinstance(found, UnknownName):
            _keep(self._good, look_up.host, (monotonic(), found))
        look_up.future.set_result(found)
        self._dispatch()


def _keep(kept: dict[str, T], host: str, value: T) -> None:
    kept.pop(host, None)
    kept[host] = value
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]


def _addresses_of(host: str) -> tuple[Address, ...] | UnknownName:
    try:
        return unique_addresses(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM))
    except socket.gaierror as error:
        kind = _TemporaryFailure if error.errno == socket.EAI_AGAIN else UnknownName
        return kind(f"cannot resolve {host}: {error.strerror}")
    except (UnicodeError, OSError):
        return UnknownName(f"cannot resolve {host!r}: not a valid host name")
