"""A connection that its client must use: whoever sends no request, or takes no answer, is hung up on."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """uvicorn's, with a limit to each wait for the client; by itself it limits the idle time after an answer only."""

    patience = 10.0
    """Seconds in which a request must come whole, and in which each piece of an answer must be taken."""

    longest_head = 1 << 20
    """Bytes of a request before its body, about: as many as Go's programs take."""

    _head: int | None = 0
    """Bytes that came of a request's head; None while there is none to come."""
    _request: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # A piece is under way until the system has taken all of it; under TLS a limit of 0 would never be kept.
        transport.set_write_buffer_limits(high=1, low=0)
        self._request = self._hang_up_later()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._request)
        _cancel(self._answer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > self.longest_head:
                # uvicorn has no limit of its own, and a head is gathered before anybody is asked for a password.
                self.transport.abort()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        self._head = 0
        _cancel(self._request)
        self._request = self._hang_up_later()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        _cancel(self._request)
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._answer = self._hang_up_later()
        super().pause_writing()

    def resume_writing(self) -> None:
        _cancel(self._answer)
        super().resume_writing()

    def _hang_up_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.patience, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
