"""State machine of a query, some commands to one target, without sockets, clock and randomness.

Inputs are `start`, `timer`, `datagram`, `unreachable` and `refused`, each with the time in seconds of a monotonic
clock. Outputs are values: the datagrams to send, when the query is `due` next, and in the end its reading.
protocol/multiplexer.py moves the bytes.

- Every command has its own identifier, the same in retransmissions, so a response to any copy is accepted.
- A datagram is accepted if its source, size, signature, version, identifier, status and result fit a command
  (protocol.md 6.4). All others are discarded and counted by reason.
- All answers of a reading come from one server: the address that answered first. Until one has, each attempt asks
  one more of the addresses of a name, and those asked before again; all of them are listened to until the end.
- Only "port unreachable" for each address ends a query early. Every other error of the network is a hint: it may be
  forged or pass (RFC 1122 4.2.3.9, RFC 5927), so the query goes on until the deadline.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from protocol.address import Address
from protocol.errors import (
    BadResponse,
    DiscardReason,
    InvalidResponses,
    NoAnswer,
    NoReading,
    OtherDialect,
    Refused,
    Resource,
    Shortage,
    Unreachable,
)
from protocol.message import Response, Value, fitting_dialects
from protocol.reading import NO_DISCARDS, Cost, Reading
from protocol.roundtrip import transmission_time
from protocol.template import RequestTemplate
from protocol.vocabulary import Command, Status

Outgoing = tuple[bytes, Address]
"""Datagram to send, and its destination."""

_FOREIGN = frozenset({DiscardReason.SIZE, DiscardReason.SIGNATURE, DiscardReason.VERSION})
"""Reasons for which responses of a server with another dialect are discarded."""

_DONE = Status.DONE
"""Compared for every datagram: the look-up of an `Enum` member takes 0.2 µs."""

_RETRY_S = 0.01
"""Seconds until a datagram that the kernel refused is sent again."""


class Query:
    """State of one query; it ends without a response at `deadline`."""

    due = 0.0
    """Time to call `timer`, or `expire` if this is the deadline."""
    done = False
    error: NoReading | Shortage | None = None
    server: Address | None = None
    """The address that answered first."""
    _started = _ended = 0.0
    _attempt = 0
    _next_attempt = 0.0
    _next_at_once = False
    _refused: tuple[Outgoing, ...] = ()
    _shortage = Resource.SEND_QUEUE
    _closed: frozenset[Address] = frozenset()
    _reports: Mapping[Address, str] = MappingProxyType({})
    """ICMP errors by address."""
    _sent = _retransmissions = 0
    _discarded: Mapping[DiscardReason, int] = NO_DISCARDS
    _fitting: frozenset[str] = frozenset()

    def __init__(
        self,
        template: RequestTemplate,
        identifiers: Sequence[bytes],
        addresses: tuple[Address, ...],
        *,
        rto: float,
        attempts: int,
        deadline: float,
        jitter: float = 1.0,
    ) -> None:
        """`identifiers`: one for each entry of the template. `rto` is the retransmission timeout, in seconds."""
        self.dialect = template.dialect
        self.addresses = addresses
        self.deadline = deadline
        self.values: dict[Command, Value | None] = {}
        self._unanswered = {
            identifier: (command, before + identifier + after)
            for identifier, (command, before, after) in zip(
                identifiers, template.entries, strict=True
            )
        }
        self._rto, self._jitter = rto, jitter
        self._attempts = max(attempts, len(addresses))
        self._asked: dict[Address, tuple[int, float]] = {}
        """Number and last time of the attempts at each address."""
        self._round_trips: list[float] = []

    @property
    def reading(self) -> Reading:
        """The reading, once the query is done. Raises `Shortage`."""
        if isinstance(self.error, Shortage):
            raise self.error
        trips = tuple(self._round_trips)
        cost = Cost(self._sent, self._retransmissions, trips, self._discarded)
        seconds = self._ended - self._started if self._started else 0.0
        return Reading({} if self.error else self.values, self.error, cost, seconds, self.server)

    def start(self, now: float) -> list[Outgoing]:
        """Returns the first datagrams; sets when the query is due."""
        self._started = self._ended = now
        self._schedule_next()
        return self._ask(self.addresses[0], now)

    def timer(self, now: float) -> list[Outgoing]:
        """Returns the datagrams to send when the query is due; sets when it is due next."""
        outgoing: list[Outgoing] = []
        if self._next_attempt <= now:
            self._schedule_next()
            self._refused = ()
            for address in self._targets():
                outgoing += self._ask(address, now)
        else:
            if self._next_at_once and (following := self._unasked()):
                outgoing += self._ask(following, now)
            outgoing += self._ask_refused_again()
            self.due = self._next_attempt
        self._next_at_once = False
        return outgoing

    def _schedule_next(self) -> None:
        """Counts an attempt, and sets when the next one is due."""
        self._attempt += 1
        self._next_attempt = self.deadline
        if self._attempt < self._attempts:
            budget = self.deadline - self._started
            after = transmission_time(self._attempt, self._rto, self._attempts, budget)
            self._next_attempt = self._started + after * self._jitter
        self.due = self._next_attempt

    def _targets(self) -> list[Address]:
        """Returns the server; until one answered, the addresses queried before and one more."""
        if self.server:
            return [self.server]
        targets = [address for address in self._asked if address not in self._closed]
        following = self._unasked()
        return [*targets, following] if following else targets

    def _unasked(self) -> Address | None:
        if self.server:
            return None
        return next((address for address in self.addresses if address not in self._asked), None)

    def _ask(self, address: Address, now: float) -> list[Outgoing]:
        times, _ = self._asked.get(address, (0, now))
        self._asked[address] = times + 1, now
        count = len(self._unanswered)
        self._sent += count
        self._retransmissions += count if times else 0
        return [(datagram, address) for _, datagram in self._unanswered.values()]

    def _ask_refused_again(self) -> list[Outgoing]:
        waiting = {datagram for _, datagram in self._unanswered.values()}
        again = [outgoing for outgoing in self._refused if outgoing[0] in waiting]
        self._refused = ()
        self._sent += len(again)
        self._retransmissions += sum(self._asked[address][0] > 1 for _, address in again)
        return again

    def not_sent(self, address: Address) -> None:
        """Input: the kernel did not send a datagram to `address`."""
        self._sent -= 1
        self._retransmissions -= self._asked[address][0] > 1

    def refused(self, outgoing: Outgoing, resource: Resource, now: float) -> None:
        """Input: a send buffer of this machine was full. The datagram is sent again soon."""
        self.not_sent(outgoing[1])
        self._refused += (outgoing,)
        self._shortage = resource
        self.due = min(self.due, now + _RETRY_S)

    def datagram(self, datagram: bytes, address: Address, now: float) -> DiscardReason | None:
        """Input: a datagram came from `address`. Returns why it is discarded, or None.

        After the end of the query it changes nothing; the reason is still returned.
        """
        try:
            response = Response.decode(datagram, self.dialect)
            identifier = self._match(response, datagram, address)
            command = self._unanswered[identifier][0]
            value = None
            if response.status is _DONE:
                value = response.value(command, self.dialect)
        except BadResponse as error:
            if not self.done:
                self._discard(datagram, error.reason)
            return error.reason
        if self.done:  # as when its first response was an error
            return None
        self.server, self._ended = address, now
        times, sent_at = self._asked[address]
        if times == 1:  # Karn's algorithm: only unambiguous samples
            self._round_trips.append(now - sent_at)
        if response.status is _DONE:
            del self._unanswered[identifier]
            self.values[command] = value
            self.done = not self._unanswered
        else:
            self.fail(Refused(response.status))
        return None

    def _match(self, response: Response, datagram: bytes, address: Address) -> bytes:
        """Returns the identifier of the command that a response answers. Raises `BadResponse`."""
        if address not in self._asked or (self.server and self.server != address):
            raise BadResponse(DiscardReason.SOURCE, "an answer from another server")
        identifier = datagram[self.dialect.response_identifier.span]
        if response.identifier is None and self._unanswered:
            # Either an error, which ends any query, or the response to a query of a single command.
            identifier = next(iter(self._unanswered))
        if identifier not in self._unanswered:
            raise BadResponse(DiscardReason.IDENTIFIER, "an answer to nothing that is asked")
        return identifier

    def _discard(self, datagram: bytes, reason: DiscardReason) -> None:
        self._discarded = {**self._discarded, reason: self._discarded.get(reason, 0) + 1}
        if reason in _FOREIGN:
            self._fitting |= frozenset(fitting_dialects(datagram))

    def has_sent(self, quoted: bytes) -> bool:
        """Whether `quoted`, the datagram in an ICMP error, is a prefix of a request that is still unanswered.

        It must have the identifier, which only this machine, the server and those between them know (RFC 5927).
        """
        found = self._unanswered.get(quoted[self.dialect.request_identifier.span])
        return found is not None and found[1].startswith(quoted)

    def unreachable(self, address: Address, text: str, now: float, *, final: bool) -> None:
        """Input: the network reported that `address` cannot be reached, for certain or as a hint."""
        if self.done:
            return
        if address not in self._reports and self._unasked():
            self._next_at_once = True
            self.due = now
        self._reports = {**self._reports, address: text}
        if final:
            self._closed |= {address}
            if address == self.server or self._closed.issuperset(self.addresses):
                self._ended = now
                self.fail(Unreachable(text))

    def expire(self, now: float, *, stalled: bool = False) -> None:
        """Input: the deadline has passed. `stalled`: this program did not run when datagrams were due."""
        self._ended = now
        if self._refused:
            self.fail(Shortage(self._shortage, "datagrams could not be sent until the deadline"))
        elif stalled and self._attempt < self._attempts:
            self.fail(Shortage(Resource.STALL, "this program did not run until the deadline"))
        elif self._fitting:
            self.fail(OtherDialect(self.dialect.name, tuple(sorted(self._fitting))))
        elif self._discarded:
            self.fail(InvalidResponses(self._discarded))
        elif self._reports:
            self.fail(Unreachable(list(self._reports.values())[-1]))
        else:
            self.fail(NoAnswer(now - self._started, self._sent))

    def fail(self, error: NoReading | Shortage) -> None:
        """Ends the query."""
        self.error = error
        self.done = True
