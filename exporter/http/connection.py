"""HTTP/1.1 connections with limits on time, bytes and requests.

Subclasses `HttpToolsProtocol` of uvicorn 0.54 over httptools 0.9 and replaces four behaviours:

- All requests in one read are parsed and queued. Here a read is parsed in pieces, each with the end
  of one request at most, and the next piece is parsed after the response.
- A request with `Upgrade` ends after its head. Here the head is parsed again without that field, so
  the body is the request's body (RFC 9110, 7.8).
- Any byte stops the only timer, the keep-alive timer. Here a timer runs whenever the connection
  waits for its client.
- The end of the client's side closes the connection. Here a complete request gets its response.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from exporter.http.head import Refused, check_head, piece_end, without_upgrade
from exporter.http.limits import ABORT, ConnectionLimits
from exporter.http.output import Output
from exporter.http.timeout import Timeout

logger = logging.getLogger(__name__)

_MAPPED = "::ffff:"
_BODY_AHEAD_BYTES = 8192
_HEADER_COST = 128
"""Approximate bytes of memory for a header field in addition to its text."""


class _Flow(FlowControl):
    """Does not resume reading while received bytes wait to be parsed."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """A client's connection; `limits` are those that all connections share."""

    flow: _Flow
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    request_timeout_s = 10.0
    """Maximum seconds from a request's first byte to its last, and from the connection to its first request."""
    response_timeout_s = 10.0
    """Maximum seconds for the client to read each chunk of a response."""
    half_closed_timeout_s = 3.0
    """Maximum seconds until a response begins after the client has ended its side. A client that closed
    the connection looks the same until something is sent to it."""
    longest_head = 1 << 15
    """Maximum bytes of a request without its body: request line, header, chunk framing and trailer fields."""
    longest_body = 1 << 20
    most_headers = 100

    def __init__(self, limits: ConnectionLimits, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limits = limits
        self.headers = []  # uvicorn's is None until a request begins
        self.idle_since = self.loop.time()
        self.buffered = 0
        """Bytes that this connection holds: of the current request, and not parsed yet."""
        self._unparsed = b""
        self._receiving = False
        """Whether a request has begun and is not complete."""
        self._in_head = True
        self._upgrade: bytes | None = None
        """The head of a request with `Upgrade`, without that field."""
        self._head_bytes = 0
        self._body_bytes = 0
        self._body_left: int | None = None
        """Bytes of the body still to come, by Content-Length."""
        self._ended = False
        """Whether the client has ended its side, and waits for the response to its last request."""
        self._client = Timeout(self.loop, self.abort)
        """Within it the client must send its next request, or the rest of it."""
        self._response_timer: asyncio.TimerHandle | None = None
        self._half_closed_timer: asyncio.TimerHandle | None = None

    @property
    def answering(self) -> bool:
        """Whether a complete request has no complete response yet."""
        return self.cycle is not None and not self._receiving and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client and self.client[0].startswith(_MAPPED):  # IPv4 on a socket for both
            self.client = (self.client[0].removeprefix(_MAPPED), self.client[1])
        self.flow = _Flow(transport)
        # Writing pauses until the system has taken every byte; under TLS a limit of 0 is never reached.
        transport.set_write_buffer_limits(high=1, low=0)
        self._client.after(self.request_timeout_s)
        self._client.watch()
        self.limits.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.limits.release(self)
        self._client.close()
        _cancel(self._response_timer)
        _cancel(self._half_closed_timer)
        self._unparsed = b""
        super().connection_lost(exc)
        # The scope refers to the connection: without this, both would be garbage until the next collection.
        self.cycle = self.scope = None  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.limits.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.limits.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unparsed += data
        self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays open, for the response to a complete request."""
        self._ended = self.answering and self.scheme == "http"  # TLS ends in both directions
        if self._ended:
            self._half_closed_timer = self.loop.call_later(
                self.half_closed_timeout_s, self._abort_unanswered
            )
        return self._ended

    def pause_writing(self) -> None:
        self._response_timer = self.loop.call_later(self.response_timeout_s, self.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        _cancel(self._response_timer)
        super().resume_writing()

    def abort(self) -> None:
        self._unparsed = b""
        if self.cycle is not None:
            self.cycle.body = bytearray()
        self.transport.abort()

    def _abort_unanswered(self) -> None:
        if self.cycle is None or not self.cycle.response_started:
            self.abort()

    def _parse(self) -> None:
        """Parse what was received, up to the end of a request whose response is not complete."""
        data, at = self._unparsed, 0
        try:
            while at < len(data) and not self.answering:
                end = piece_end(data, at, self._body_left)
                if end == at:
                    break
                self._feed(data[at:end])
                at = end
        except Refused as refused:
            self._refuse(refused)
            return
        self._unparsed = data[at:]
        self._client.watch()
        self.flow.held = self.answering and bool(self._unparsed)
        if self.flow.held:
            self.flow.pause_reading()
        self._account()

    def _feed(self, piece: bytes) -> None:
        """Raises `Refused`."""
        self._head_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            assert self._upgrade is not None
            head, self._upgrade = self._upgrade, None
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head)
            return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, Refused):
                raise error.__context__ from None
            raise Refused(HTTPStatus.BAD_REQUEST, "invalid HTTP request") from None
        if self._head_bytes > self.longest_head:
            raise Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the request has more than {self.longest_head} bytes besides its body",
            )
        if self._body_bytes > self.longest_body:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")

    def _refuse(self, refused: Refused) -> None:
        """Send a response instead of the application's, unless that has begun, and close."""
        logger.debug("HTTP request refused", extra={"client": self.client, "err": refused})
        self._unparsed = b""
        if self.cycle is not None:
            if self.cycle.response_complete:
                self.transport.close()  # the response is sent; the body is not read any further
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.abort()
                return
        self.transport.write(refused.response())
        self.transport.close()

    def on_message_begin(self) -> None:
        self._receiving = self._in_head = True
        self._client.after(self.request_timeout_s)
        super().on_message_begin()
        self.scope[ABORT] = self.abort  # type: ignore[literal-required]

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer field, which may not count as one of the header (RFC 9110, 6.5.1)
        if len(self.headers) >= self.most_headers:
            raise Refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the request has more than {self.most_headers} header fields",
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            method, version = self.parser.get_method(), self.parser.get_http_version()
            self._upgrade = without_upgrade(method, self.url, version, self.headers)
            self._head_bytes = 0  # counted when it is parsed again
            return
        self._in_head = False
        self._body_left = check_head(self.parser.get_http_version(), self.headers)
        super().on_headers_complete()
        if self.cycle is not None and self.scope["method"] != "HEAD":  # no body follows
            self.cycle.transport = Output(self.transport)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        self._body_bytes += len(body)
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return  # uvicorn discards the rest of the body
        if len(cycle.body) > _BODY_AHEAD_BYTES:
            self.flow.pause_reading()  # until the application reads it

    def on_message_complete(self) -> None:
        if self._upgrade is not None:
            return
        self._receiving = False
        self._body_left = None
        self._client.stop()
        super().on_message_complete()
        if self.cycle and self.cycle.response_complete:  # before the body was
            self._become_idle()

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        if not self._receiving:
            self._become_idle()
        self.flow.held = False
        self.flow.resume_reading()
        self._parse()
        if self._ended and not self.answering:
            self.transport.close()

    def _become_idle(self) -> None:
        self._head_bytes = self._body_bytes = 0
        # An idle connection keeps nothing of its last request.
        self.cycle, self.headers = None, []
        self.scope = None  # type: ignore[assignment]
        self.idle_since = self.loop.time()
        self._client.after(self.limits.idle_timeout_s)

    def _account(self) -> None:
        held = len(self._unparsed)
        if self._head_bytes:
            held += self._head_bytes + len(self.headers) * _HEADER_COST
            if self.cycle is not None:
                held += len(self.cycle.body)
        self.limits.account(self, held)

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn's own timer, which is never set here."""


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
