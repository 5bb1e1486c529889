"""Readings with their targets."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, overload

from exporter.configuration.config import Target
from protocol.address import HostPort
from protocol.client import Peer, Reading
from protocol.dialect import Dialect
from protocol.readings import Readings


class TargetReading(NamedTuple):
    """A reading of one server; `target` is None for an address that is not a target's."""

    where: HostPort
    dialect: Dialect
    target: Target | None
    reading: Reading


class TargetReadings(Sequence[TargetReading]):
    """Readings with their targets; `rows` are the places of targets by name."""

    def __init__(
        self,
        peers: Sequence[Peer],
        targets: Sequence[Target | None],
        readings: Readings,
        rows: Mapping[str, int],
    ) -> None:
        self.targets = targets
        self.readings = readings
        self.rows = rows
        self._peers = peers

    def __len__(self) -> int:
        return len(self._peers)

    @overload
    def __getitem__(self, place: int) -> TargetReading: ...
    @overload
    def __getitem__(self, place: slice) -> list[TargetReading]: ...
    def __getitem__(self, place: int | slice) -> TargetReading | list[TargetReading]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        peer = self._peers[place]
        return TargetReading(peer.where, peer.dialect, self.targets[place], self.readings[place])
