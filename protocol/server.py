"""The server side: `respond` maps a datagram to a response or None; `serve` runs it on a UDP socket.

`respond` is pure and synchronous, so each datagram is handled in one step of the event loop.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from protocol.dialect import Dialect
from protocol.dialects import V0
from protocol.errors import BadRequest, ForeignDatagram
from protocol.fastpath import BatchResponder
from protocol.message import Request, Response, Value, result
from protocol.mmsg import MessageBatch, host_of
from protocol.ratelimit import ErrorRateLimiter, network_of
from protocol.rejections import RejectedTokens
from protocol.token import Token
from protocol.vocabulary import WRITES, Command, Status
from smtpstatus.listen import bound_socket

logger = logging.getLogger(__name__)

Answer = Callable[[Command], Value | None]
"""The application: executes a command and returns the value of RES."""

_PACKET_INFO = {
    socket.AF_INET: (socket.IPPROTO_IP, 8),  # IP_PKTINFO
    socket.AF_INET6: (socket.IPPROTO_IPV6, 49),  # IPV6_RECVPKTINFO
}
"""Linux reports the address that a datagram was sent to; passed back, the response is sent from it."""

_CONTROL = 64
"""Size of that ancillary data in bytes, for either family."""

_BATCH_SIZE = 48
"""Datagrams per system call: fewer use more CPU, more delay the clients. The best of 16 to 64 as measured."""

_BATCHES_PER_WAKE = 4
"""Batches per wake-up of the event loop; SMTP is served before the next."""

_ERRORS_PER_WAKE = 48
"""Maximum number of invalid requests examined per callback; further ones are dropped.

An error response costs ten times as much as the check of a token: without a limit, a flood would fill the socket's
buffer and valid requests would be lost.
"""


def respond(
    datagram: bytes, token: Token, answer: Answer, dialect: Dialect = V0
) -> Response | None:
    """Returns the response to a datagram, or None for no response (protocol.md 5).

    An exception in the application becomes status 05 and one line in the log.
    """
    try:
        request = Request.decode(datagram, dialect)
    except ForeignDatagram:
        return None
    except BadRequest as error:
        return Response(error.identifier, error.status)
    if not token.matches(request.authentication):
        return Response(request.identifier, Status.AUTHENTICATION_FAILED)
    command = dialect.codes.get(request.code)
    if command is None:
        return Response(request.identifier, Status.INVALID_COMMAND)
    try:
        value = answer(command)
    except Exception:
        logger.exception("Command failed", extra={"command": command.value})
        return Response(request.identifier, Status.SERVER_FAILURE)
    return Response(request.identifier, Status.DONE, result(command, value, dialect))


class Endpoint:
    """A UDP socket that answers requests, read in batches whenever it is readable."""

    def __init__(
        self,
        listening: socket.socket,
        token: Token,
        answer: Answer,
        dialect: Dialect = V0,
        limiter: ErrorRateLimiter | None = None,
        *,
        everywhere: bool = False,
    ) -> None:
        """`everywhere`: the socket is bound to all addresses and reports which one a datagram was sent to."""
        self.port: int = listening.getsockname()[1]
        self._socket = listening
        self._token = token
        self._answer = answer
        self._dialect = dialect
        self._errors_left = 0
        self._rejected = RejectedTokens()
        self._limiter = ErrorRateLimiter() if limiter is None else limiter
        control = _CONTROL if everywhere else 0
        # One byte more than a request, to detect datagrams that are too long.
        self._inbox = MessageBatch(
            listening.family, _BATCH_SIZE, dialect.request_length + 1, control
        )
        self._outbox = MessageBatch(
            listening.family, _BATCH_SIZE, dialect.response_length, control
        )
        self._reads = BatchResponder(token, answer, dialect, self._inbox.size, _BATCH_SIZE)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listening, self._drain)

    def close(self) -> None:
        """Stops answering and closes the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._rejected.close()

    def _drain(self) -> None:
        inbox, outbox = self._inbox, self._outbox
        self._errors_left = _ERRORS_PER_WAKE
        for _ in range(_BATCHES_PER_WAKE):
            try:
                count = inbox.receive(self._socket)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                continue  # an ICMP error about an earlier response; the socket is usable
            # Each response is sent to the source of the request with the same index.
            outbox.sockaddrs[:] = inbox.sockaddrs
            if inbox.controls:
                outbox.controls[:] = inbox.controls
                outbox.control_lengths[:] = inbox.control_lengths
            octets, lengths = bytes(inbox.octets), inbox.lengths[:count].tolist()
            if responses := self._reads.answers(octets, lengths):
                outbox.put(responses)
                self._send(0, count)
            else:
                self._answer_each(octets, lengths)

    def _answer_each(self, octets: bytes, lengths: Sequence[int]) -> None:
        authentication = self._dialect.authentication
        for number, length in enumerate(lengths):
            start = number * self._inbox.size
            datagram = octets[start : start + length]
            if not self._token.matches(datagram[authentication.offset : authentication.end]):
                if self._errors_left <= 0:
                    continue
                self._errors_left -= 1
            response = respond(datagram, self._token, self._answer, self._dialect)
            if response is None:
                continue
            if response.status is Status.DONE:
                self._log_switch(datagram, number)
            else:
                if response.status is Status.AUTHENTICATION_FAILED:
                    self._rejected.add(self._source(number))
                if not self._may_report(response, number):
                    continue
            self._outbox.put(response.encode(self._dialect), number)
            self._send(number, 1)

    def _log_switch(self, datagram: bytes, number: int) -> None:
        """Logs a completed request if it changes a setting."""
        command = self._dialect.codes[Request.decode(datagram, self._dialect).code]
        if command in WRITES:
            source = network_of(self._source(number))
            logger.info("Setting changed", extra={"command": command.value, "source": source})

    def _may_report(self, error: Response, number: int) -> bool:
        """Whether the source of this datagram of the batch is sent its error response."""
        if self._dialect.silent_errors or error.status not in self._dialect.status_codes:
            return False
        return self._limiter.allows(self._source(number), self._loop.time())

    def _source(self, number: int) -> str:
        width = self._inbox.sockaddr_size
        return host_of(bytes(self._inbox.sockaddrs[number * width : (number + 1) * width]))

    def _send(self, first: int, count: int) -> None:
        end = first + count
        while first < end:
            try:
                first += self._outbox.send(self._socket, first, end - first)
            except OSError as error:
                # UDP may lose a response; the client retransmits.
                extra = {"source": self._source(first), "err": error}
                logger.debug("Response not sent", extra=extra)
                first += 1


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    token: Token,
    answer: Answer,
    dialect: Dialect = V0,
    limiter: ErrorRateLimiter | None = None,
) -> AsyncIterator[Endpoint]:
    """Serves on `host` and `port` (0: any free one) in the running event loop, until the context ends.

    An empty host is every address of both families. Raises `OSError` if the address cannot be bound.
    """
    listening = await asyncio.get_running_loop().run_in_executor(
        None, bound_socket, host, port, socket.SOCK_DGRAM
    )
    try:
        listening.setblocking(False)
        # For a burst from many clients while the loop is busy with a message; capped by the system.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        # A response of a wildcard socket could come from another local address, and clients would discard it.
        everywhere = listening.getsockname()[0] in ("0.0.0.0", "::")
        if everywhere:
            listening.setsockopt(*_PACKET_INFO[listening.family], 1)
    except OSError:
        listening.close()
        raise
    endpoint = Endpoint(listening, token, answer, dialect, limiter, everywhere=everywhere)
    try:
        yield endpoint
    finally:
        endpoint.close()
