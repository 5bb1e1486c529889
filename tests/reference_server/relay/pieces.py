"""Splits bytes into pieces."""

from collections.abc import Iterator


def cuts(octets: bytes) -> Iterator[list[bytes]]:
    """Yields the bytes whole, cut once at every position, and octet by octet."""
    yield [octets]
    for position in range(1, len(octets)):
        yield [octets[:position], octets[position:]]
    yield [octets[n : n + 1] for n in range(len(octets))]
