"""How many requests may be under way at once."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request


class Full(Exception):
    """All places are taken."""


class Admission:
    """Places for requests; 0 means as many as come."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place until the context is left, however it is left. Raises `Full`."""
        if self.places and self.taken >= self.places:
            raise Full(f"{self.taken} scrapes are under way, as many as --web.max-requests allows")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


async def placed(request: Request) -> AsyncIterator[None]:
    """Hold a place until the answer is written, or nobody is there to read it. Raises `Full`."""
    with request.app.state.admission.place():
        yield
