"""How many requests may be under way at once."""

from collections.abc import Iterator
from contextlib import contextmanager


class TooManyRequests(Exception):
    """All places are taken."""


class ConcurrencyLimit:
    """Places for requests; 0 means as many as come."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place until the context is left, however it is left. Raises `TooManyRequests`."""
        if self.places and self.taken >= self.places:
            raise TooManyRequests(
                f"{self.taken} scrapes are under way, as many as --web.max-requests allows"
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
