"""Asking the targets: the only module that talks to servers.

Deadlines are times of the running loop's clock. Nothing is kept of what a server said.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from exporter.configuration.config import Config, Target, token
from exporter.configuration.secret import Secret
from exporter.probe_policy import ProbePolicy, renewed
from exporter.singleflight import SingleFlight
from protocol.address import HostPort
from protocol.client import Peer, Reading, Switched
from protocol.dialect import Dialect
from protocol.dialects import V0
from protocol.errors import DiscardReason, FailureReason, NoAnswer, UnknownName
from protocol.reader import Reader
from protocol.timeslice import batches, timeslices
from protocol.trace import Trace
from protocol.vocabulary import Command
from smtpstatus.errors import ConfigError

logger = logging.getLogger(__name__)

_SLICE = 500
"""Readings that the observer is told of together."""

_WORTH_ASKING = 0.01
"""Seconds: with less left, asking again would say nothing but that there was no answer, whatever was found before."""

_FOR_WANT_OF_TIME = frozenset(
    {FailureReason.TIMEOUT, FailureReason.RESPONSE, FailureReason.DIALECT}
)


class UnknownTarget(Exception):
    """No target has this name."""


class BadAddress(Exception):
    """What was given is neither a target's name nor an address."""


class TargetReading(NamedTuple):
    """What one asking of one server brought: `target` is None for an address beyond the targets."""

    where: HostPort
    dialect: Dialect
    target: Target | None
    reading: Reading


Observe = Callable[[Sequence[TargetReading], Mapping[DiscardReason, int]], None]
"""Told once of every exchange with servers, and of the datagrams from addresses that were not asked."""


class Targets:
    """The configured servers, and what is learned about the way to each."""

    def __init__(self, config: Config, observe: Observe, reader: Reader | None = None) -> None:
        """`reader` outlives the configuration: what it knows of names stays known after a reload."""
        self.config = config
        self._reader = reader or Reader()
        self._observe = observe
        self._peers = {target.name: _peer(target) for target in config.targets}
        self._by_peer = {self._peers[target.name]: target for target in config.targets}
        self._by_address = {target.address: target for target in reversed(config.targets)}
        self._networks = ProbePolicy(config.probe, self._reader.resolver)
        self._flights: SingleFlight[list[TargetReading]] = SingleFlight()
        self._writing: dict[str, asyncio.Lock] = {}
        """Writes to one target wait for each other."""
        self._all = tuple(self._by_peer)
        self._secrets = [secret for secret in config.secrets if secret.can_change]
        self.changed: dict[str, float] = {}
        """When the transforms of a target were last changed from here: seconds since 1970, by name."""

    def inherit(self, before: "Targets") -> None:
        """Keep what those that this replaces have learned about the targets that stay."""
        self._writing = before._writing
        for target in self.config.targets:
            old = before._peers.get(target.name)
            if old and old.where == target.address:
                self._peers[target.name].round_trip = old.round_trip
                if target.name in before.changed:
                    self.changed[target.name] = before.changed[target.name]

    def named(self, name: str) -> Target:
        """Raises `UnknownTarget`."""
        if peer := self._peers.get(name):
            return self._by_peer[peer]
        raise UnknownTarget(f"no target is called {name!r}")

    async def read_all(self, deadline: float) -> list[TargetReading]:
        """Every target, in the order of the configuration, all asked at once."""
        return await self._read(self._all, deadline)

    async def read(self, target: Target, deadline: float) -> TargetReading:
        return (await self._read((self._peers[target.name],), deadline))[0]

    async def probe(self, text: str, deadline: float, trace: Trace | None = None) -> TargetReading:
        """One target by name, or by an address that may be asked; traced, it is asked alone.

        Raises `UnknownTarget`, `BadAddress`, or `Denied` of exporter/probe_policy.py.
        """
        began = time.monotonic()
        try:
            peer = await self._find(text, deadline)
        except UnknownName as error:
            reading = Reading(error=error, seconds=time.monotonic() - began)
            return TargetReading(HostPort.parse(text), V0, None, reading)
        if trace is None:
            return (await self._read((peer,), deadline))[0]
        async with self._reader.connect(peer, trace) as connection:
            reading = await connection.read(timeout=_left(deadline), attempts=self.config.attempts)
        return await self._seen_one(peer, reading)

    async def read_transforms(self, target: Target, deadline: float) -> Reading:
        """The state of the transforms and nothing else."""
        async with self._reader.connect(self._peer(target)) as connection:
            reading = await connection.ask(
                Command.TRANSFORMS, timeout=_left(deadline), attempts=self.config.attempts
            )
        return (await self._seen_one(connection.peer, reading)).reading

    async def set_transforms(self, target: Target, enabled: bool, deadline: float) -> Switched:
        """Reads the state, sets it, and reads it back. Writes to one target wait for each other."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._writing.setdefault(target.name, asyncio.Lock()).acquire()
        except TimeoutError:
            return Switched(None, Reading(error=NoAnswer(0.0, 0)))
        try:
            async with self._reader.connect(self._peer(target)) as connection:
                switched = await connection.set_transforms(
                    enabled, timeout=_left(deadline), attempts=self.config.attempts
                )
        finally:
            self._writing[target.name].release()
        if switched.reading.error is None and switched.before is not enabled:
            self.changed[target.name] = time.time()
        await self._seen_one(connection.peer, switched.reading)
        return switched

    def _peer(self, target: Target) -> Peer:
        self.refresh_secrets()
        return self._peers[target.name]

    async def _read(self, peers: tuple[Peer, ...], deadline: float) -> list[TargetReading]:
        """Reads peers, together with a reading of the same peers that is under way and ends in time.

        What failed because the other reading had less time is read again, and that reading is not shared: joining
        one short reading after another would take all the time.
        """
        scrapes = await self._flights.join(peers, deadline, lambda: self._fly(peers, deadline))
        late = {
            place: peer
            for place, (peer, scrape) in enumerate(zip(peers, scrapes, strict=True))
            if scrape.reading.error and scrape.reading.error.reason in _FOR_WANT_OF_TIME
        }
        if not late or _left(deadline) < _WORTH_ASKING:
            return scrapes
        again = await self._fly(tuple(late.values()), deadline)
        found = dict(enumerate(scrapes)) | dict(zip(late, again, strict=True))
        return list(found.values())

    async def _fly(self, peers: tuple[Peer, ...], deadline: float) -> list[TargetReading]:
        self.refresh_secrets()
        timeout, attempts = _left(deadline), self.config.attempts
        readings: Sequence[Reading]
        if len(peers) == 1:
            readings = (await self._reader.read(peers[0], timeout=timeout, attempts=attempts),)
        else:
            readings = await self._reader.read_all(peers, timeout=timeout, attempts=attempts)
        return await self._seen(peers, readings, self._reader.take_strays())

    async def _seen_one(self, peer: Peer, reading: Reading) -> TargetReading:
        return (await self._seen((peer,), (reading,), {}))[0]

    async def _seen(
        self,
        peers: Sequence[Peer],
        readings: Sequence[Reading],
        strays: Mapping[DiscardReason, int],
    ) -> list[TargetReading]:
        """The readings as scrapes, which the observer has been told of, in slices."""
        scrapes: list[TargetReading] = []
        pairs = list(zip(peers, readings, strict=True))
        async for batch in timeslices(batches(pairs, _SLICE)):
            seen = [
                TargetReading(peer.where, peer.dialect, self._by_peer.get(peer), reading)
                for peer, reading in batch
            ]
            self._observe(seen, strays)
            strays = {}
            scrapes += seen
        return scrapes

    async def _find(self, text: str, deadline: float) -> Peer:
        if text in self._peers:
            return self._peers[text]
        try:
            where = HostPort.parse(text)
        except ValueError as error:
            if ":" in text:
                raise BadAddress(str(error)) from None
            raise UnknownTarget(
                f"no target is called {text!r}, and an address is written host:port"
            ) from None
        if where in self._by_address:
            return self._peers[self._by_address[where].name]
        return await self._networks.peer(where, _left(deadline))

    def refresh_secrets(self) -> None:
        """Take up secrets whose files have changed; one that does not fit is told in the log, and the old one stays."""
        changed = {secret for secret in self._secrets if _refreshed(secret)}
        if not changed:
            return
        for peer, target in self._by_peer.items():
            if target.secret in changed:
                peer.token = renewed(peer.token, target.secret, target.dialect)
        self._networks.renew()


def _refreshed(secret: Secret) -> bool:
    try:
        return secret.refresh()
    except ConfigError as error:
        logger.warning("Cannot reread secret; keeping the previous one", extra={"err": error})
        return False


def _left(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()


def _peer(target: Target) -> Peer:
    return Peer(target.address, token(target.secret, target.dialect), target.dialect)
