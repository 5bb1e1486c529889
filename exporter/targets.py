"""Reads and writes the targets: the only module of the exporter that talks to servers.

Deadlines are times of the running loop's clock. Nothing that a server reported is kept.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from exporter.configuration.config import Config, Target, token
from exporter.configuration.secret import Secret
from exporter.probe_policy import Denied, ProbePolicy, renewed
from exporter.reading import TargetReading, TargetReadings
from exporter.secret_files import SecretFiles, SecretThreads, weakly
from exporter.singleflight import SingleFlight
from protocol.address import HostPort
from protocol.client import Peer, Reading, Switched
from protocol.dialects import V0
from protocol.errors import (
    DiscardReason,
    FailureReason,
    InternalError,
    NoAnswer,
    Resource,
    Shortage,
    UnknownName,
)
from protocol.reader import Reader
from protocol.readings import Readings
from protocol.timeslice import timeslices
from protocol.trace import Trace
from protocol.vocabulary import Command
from smtpstatus.defect import summary

logger = logging.getLogger(__name__)

_MIN_RETRY_S = 0.01
"""Minimum seconds for another attempt: a shorter one would time out and hide the previous reason."""

_RETRIED = frozenset({FailureReason.TIMEOUT, FailureReason.RESPONSE, FailureReason.DIALECT})
"""Failures of a shared reading that a caller with a later deadline retries."""

_MAX_LOGGED = 200
"""Maximum characters of a client's text in a log line."""


class UnknownTarget(Exception):
    """No target has this name."""


class BadAddress(Exception):
    """The text is neither a target's name nor a valid address."""


Observe = Callable[[TargetReadings, Mapping[DiscardReason, int]], Iterable[None] | None]
"""Receives all readings once, and the number of stray datagrams. May yield to the event loop."""


class Targets:
    """The configured servers, with the round-trip times measured for each."""

    def __init__(
        self,
        config: Config,
        observe: Observe,
        reader: Reader | None = None,
        threads: SecretThreads | None = None,
    ) -> None:
        """`reader` and `threads` outlive the configuration."""
        self.config = config
        self._reader = reader or Reader()
        self._files = SecretFiles(threads or SecretThreads(), weakly(self._renew))
        self._observe = observe
        self._peers = {target.name: _peer(target) for target in config.targets}
        self._by_peer = {self._peers[target.name]: target for target in config.targets}
        self._by_address = {target.address: target for target in reversed(config.targets)}
        self._networks = ProbePolicy(config.probe, self._reader.resolver, self._files)
        self._flights: SingleFlight[TargetReadings] = SingleFlight()
        self._writing: dict[str, asyncio.Lock] = {}
        """Serialises writes to one target."""
        self._all = tuple(self._by_peer)
        self._rows = {target.name: row for row, target in enumerate(config.targets)}
        self._changed: dict[tuple[str, HostPort], float] = {}
        """Times of the last changes of the transforms by this exporter, by target and address."""
        self._file_secrets: dict[Peer, Secret] = {}
        self._sharing: defaultdict[Secret, list[Peer]] = defaultdict(list)
        for peer, target in self._by_peer.items():
            if target.secret.can_change:
                self._file_secrets[peer] = target.secret
                self._sharing[target.secret].append(peer)

    def inherit(self, before: "Targets") -> None:
        """Keeps the state of targets that are also in the previous configuration.

        It is shared with `before`, so that a write that is under way during a reload is not lost.
        """
        self._writing = before._writing
        self._changed = before._changed
        kept = {(target.name, target.address) for target in self.config.targets}
        for gone in self._changed.keys() - kept:
            del self._changed[gone]
        for target in self.config.targets:
            old = before._peers.get(target.name)
            if old and old.where == target.address:
                self._peers[target.name].round_trip = old.round_trip
                self._peers[target.name].preferred = old.preferred

    def changed(self, target: Target) -> float | None:
        """Returns when this exporter last changed the transforms of a target, in seconds since 1970."""
        return self._changed.get((target.name, target.address))

    def changes(self) -> dict[int, float]:
        """Returns these times for all changed targets, by index in the configuration."""
        return {
            self._rows[name]: at
            for (name, where), at in self._changed.items()
            if name in self._rows and self._peers[name].where == where
        }

    def named(self, name: str) -> Target:
        """Raises `UnknownTarget`."""
        if name in self._peers:
            return self._by_peer[self._peers[name]]
        raise UnknownTarget(f"unknown target {name[:_MAX_LOGGED]!r}")

    async def read_all(self, deadline: float) -> TargetReadings:
        """Reads every target simultaneously; the readings are in the order of the configuration."""
        return await self._read(self._all, deadline)

    async def read(self, target: Target, deadline: float) -> TargetReading:
        return (await self._read((self._peers[target.name],), deadline))[0]

    async def probe(self, text: str, deadline: float, trace: Trace | None = None) -> TargetReading:
        """Reads one target by name, or an address that may be probed. With a trace, the reading is not shared.

        Raises `UnknownTarget`, `BadAddress`, or `Denied` of exporter/probe_policy.py.
        """
        began = time.monotonic()
        try:
            peer = await self._find(text, deadline)
        except (UnknownTarget, BadAddress, Denied) as error:
            logger.debug("Probe refused", extra={"asked": text[:_MAX_LOGGED], "err": error})
            raise
        except UnknownName as error:
            reading = Reading(error=error, seconds=time.monotonic() - began)
            return TargetReading(HostPort.parse(text), V0, None, reading)
        if trace is None:
            return (await self._read((peer,), deadline))[0]
        await self._refresh((peer,))
        async with self._reader.connect(peer, trace) as connection:
            reading = await connection.read(timeout=_left(deadline), attempts=self.config.attempts)
        return await self._observed_one(peer, reading)

    async def read_transforms(self, target: Target, deadline: float) -> Reading:
        """Reads only the state of the transforms."""
        peer = await self._peer(target)
        async with self._reader.connect(peer) as connection:
            reading = await connection.ask(
                Command.TRANSFORMS, timeout=_left(deadline), attempts=self.config.attempts
            )
        return (await self._observed_one(connection.peer, reading)).reading

    async def set_transforms(self, target: Target, enabled: bool, deadline: float) -> Switched:
        """Reads the state, sets it, and reads it back. Serialises writes to one target."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._writing.setdefault(target.name, asyncio.Lock()).acquire()
        except TimeoutError:
            return Switched(None, Reading(error=NoAnswer(0.0, 0)))
        try:
            peer = await self._peer(target)
            async with self._reader.connect(peer) as connection:
                switched = await connection.set_transforms(
                    enabled, timeout=_left(deadline), attempts=self.config.attempts
                )
        except Shortage:
            raise
        except Exception as error:  # as a reading, so that the write is in the audit log
            switched = Switched(None, _internal_error(self._peers[target.name], error))
        finally:
            self._writing[target.name].release()
        if switched.reading.error is None and switched.before is not enabled:
            self._changed[target.name, target.address] = time.time()
        await self._observed_one(self._peers[target.name], switched.reading)
        return switched

    async def _peer(self, target: Target) -> Peer:
        peer = self._peers[target.name]
        await self._refresh((peer,))
        return peer

    async def _read(self, peers: tuple[Peer, ...], deadline: float) -> TargetReadings:
        """Reads peers, sharing a reading of the same peers in progress if it ends in time.

        What failed because the other reading had less time is read again, and that reading is not shared: joining
        one short reading after another would take all the time.
        """
        found = await self._flights.join(peers, deadline, lambda: self._fly(peers, deadline))
        late = [row for row, error in found.readings.errors.items() if error.reason in _RETRIED]
        if not late or _left(deadline) < _MIN_RETRY_S:
            return found
        again = await self._fly(tuple(peers[row] for row in late), deadline)
        readings = found.readings.replaced(dict(zip(late, again.readings, strict=True)))
        return TargetReadings(peers, found.targets, readings, found.rows)

    async def _fly(self, peers: tuple[Peer, ...], deadline: float) -> TargetReadings:
        if self._file_secrets:
            await self._refresh(peers)
        if (timeout := _left(deadline)) <= 0:
            raise Shortage(Resource.STALL, "this program did not run until the deadline")
        if len(peers) == 1:
            readings = Readings.of([await self._read_one(peers[0], deadline)])
        else:
            attempts = self.config.attempts
            try:
                readings = await self._reader.read_all(peers, timeout=timeout, attempts=attempts)
            except Shortage:
                raise
            except Exception:
                # A defect that one target provokes: each is read by itself, so that it has no other victim.
                alone = (self._read_one(peer, deadline) for peer in peers)
                readings = Readings.of(await asyncio.gather(*alone))
        return await self._observed(peers, readings)

    async def _read_one(self, peer: Peer, deadline: float) -> Reading:
        try:
            timeout = _left(deadline)
            return await self._reader.read(peer, timeout=timeout, attempts=self.config.attempts)
        except Shortage:
            raise
        except Exception as error:
            return _internal_error(peer, error)

    async def _observed(self, peers: Sequence[Peer], readings: Readings) -> TargetReadings:
        """The readings with their targets, after the observer has received them."""
        if peers is self._all:
            found = TargetReadings(peers, self.config.targets, readings, self._rows)
        else:
            targets = [self._by_peer.get(peer) for peer in peers]
            rows = {target.name: row for row, target in enumerate(targets) if target}
            found = TargetReadings(peers, targets, readings, rows)
        try:
            steps = self._observe(found, self._reader.take_strays()) or ()
            if len(peers) == 1:
                deque(steps, maxlen=0)
            else:
                async for _ in timeslices(steps):
                    pass
        except Exception as error:  # what was read is reported all the same
            logger.error("Internal error while recording readings", extra={"err": summary(error)})
        return found

    async def _observed_one(self, peer: Peer, reading: Reading) -> TargetReading:
        return (await self._observed((peer,), Readings.of([reading])))[0]

    async def _find(self, text: str, deadline: float) -> Peer:
        if text in self._peers:
            return self._peers[text]
        try:
            where = HostPort.parse(text)
        except ValueError as error:
            if ":" in text:
                raise BadAddress(str(error)) from None
            name = text[:_MAX_LOGGED]
            raise UnknownTarget(f"unknown target {name!r}: expected a name or host:port") from None
        if where in self._by_address:
            return self._peers[self._by_address[where].name]
        return await self._networks.peer(where, _left(deadline))

    async def refresh(self, secret: Secret) -> None:
        """Rereads a secret whose file has changed; an unusable one is logged, and the old one is kept."""
        await self._files.refresh((secret,))

    async def _refresh(self, peers: Sequence[Peer]) -> None:
        """Rereads the secrets of these peers only."""
        await self._files.refresh(
            {self._file_secrets[peer] for peer in peers if peer in self._file_secrets}
        )

    def _renew(self, secret: Secret) -> None:
        """Applies the new text of a secret to every peer that uses it."""
        for peer in self._sharing.get(secret, ()):
            peer.token = renewed(peer.token, secret, peer.dialect)
        self._networks.renew(secret)


def _internal_error(peer: Peer, error: Exception) -> Reading:
    extra = {"address": str(peer.where), "err": summary(error)}
    logger.error("Internal error while querying a server", extra=extra)
    return Reading(error=InternalError("internal error; see the exporter's log"))


def _left(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()


def _peer(target: Target) -> Peer:
    return Peer(target.address, token(target.secret, target.dialect), target.dialect)
