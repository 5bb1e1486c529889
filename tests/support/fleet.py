"""Reads a fleet with a new reader."""

from collections import Counter
from collections.abc import Sequence

from protocol.client import Peer, Reading
from protocol.errors import DiscardReason
from protocol.reader import Reader


async def read_all(
    peers: Sequence[Peer],
    *,
    timeout: float,
    attempts: int = 3,
    strays: Counter[DiscardReason] | None = None,
) -> list[Reading]:
    """`Reader.read_all`; `strays` counts the datagrams that belong to no reading."""
    reader = Reader()
    try:
        readings = await reader.read_all(peers, timeout=timeout, attempts=attempts)
    finally:
        reader.close()
    if strays is not None:
        strays.update(reader.take_strays())
    return list(readings)
