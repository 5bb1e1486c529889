"""One target asked some commands: what to send and when, and what a datagram that comes in means.

No socket and no clock: `now` is handed in, in seconds of a monotonic clock. protocol/multiplexer.py moves the bytes.

Theory of operation. Every command gets a random identifier of its own and keeps it over its retransmissions,
so an answer to any of them counts. All commands of a query share one timer: what is unanswered when it expires is
retransmitted, and the next wait is twice as long. A datagram is accepted if its source, size, signature, version,
identifier, status and result fit the command (protocol.md 6.4); all others are counted, by reason, and discarded.

A reading never mixes two servers: all its answers come from one address. Of a name with several, the next
address is tried when the present one is silent or unreachable, for as long as none has answered.
"""

from collections.abc import Mapping, Set
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from protocol.address import Address
from protocol.dialect import Operation
from protocol.errors import (
    BadResponse,
    DiscardReason,
    FailureReason,
    InvalidResponses,
    NoAnswer,
    NoReading,
    OtherDialect,
    Refused,
    Unreachable,
)
from protocol.message import Response, Value, fitting_dialects, meaning
from protocol.roundtrip import RoundTrip
from protocol.template import RequestTemplate
from protocol.vocabulary import Command, Status

REASONS = {
    Status.AUTHENTICATION_FAILED: FailureReason.AUTHENTICATION,
    Status.INVALID_VERSION: FailureReason.VERSION,
    Status.INVALID_COMMAND: FailureReason.COMMAND,
    Status.INVALID_REQUEST: FailureReason.REQUEST,
    Status.SERVER_FAILURE: FailureReason.SERVER,
    Status.NO_TRANSFORM_PROGRAM: FailureReason.SERVER,
    Status.INVALID_SIGNATURE: FailureReason.REQUEST,
}

_FOREIGN = frozenset({DiscardReason.SIZE, DiscardReason.SIGNATURE, DiscardReason.VERSION})
"""What is wrong with the answers of a server that speaks another dialect."""

_NONE: Mapping[DiscardReason, int] = MappingProxyType({})


# Named tuples, since a fleet's scrape makes tens of thousands of these: a third of what frozen dataclasses cost.


class Cost(NamedTuple):
    """What a query cost. Round trips, in seconds, are those of answers to a command sent once."""

    datagrams_sent: int = 0
    retransmissions: int = 0
    round_trips: tuple[float, ...] = ()
    discarded: Mapping[DiscardReason, int] = _NONE


class Query:
    """The state of one question to one target, from its first datagram to its end."""

    __slots__ = (
        "_again",
        "_attempts_left",
        "_dialect",
        "_discarded",
        "_ended",
        "_fitting",
        "_others",
        "_questions",
        "_random",
        "_retransmissions",
        "_round_trip",
        "_round_trips",
        "_sent",
        "_sent_at",
        "_started",
        "_transmissions_here",
        "_unanswered",
        "_wait",
        "address",
        "deadline",
        "done",
        "due",
        "error",
        "identifiers",
        "values",
    )

    def __init__(
        self,
        addresses: tuple[Address, ...],
        questions: RequestTemplate,
        *,
        round_trip: RoundTrip,
        attempts: int,
        deadline: float,
        random: Random,
    ) -> None:
        self.address = addresses[0]
        self.deadline = deadline
        """When it ends, whatever has come."""
        self.values: dict[Command, Value | None] = {}
        self.error: NoReading | None = None
        self.done = False
        self.due = 0.0
        """When `transmit` is to be called next, or `expire` where this is the deadline."""
        self._others = addresses[1:]
        self._questions = questions
        self._dialect = questions.dialect
        self._round_trip = round_trip
        self._random = random
        self._unanswered: dict[bytes, tuple[Command, Operation, bytes]] = {}
        """Commands with their datagrams, by the beginning of a good answer, or by the identifier alone."""
        self._attempts_left = max(attempts, len(addresses))
        self._wait = 0.0
        self._started = 0.0
        self._sent_at = 0.0
        self._ended = 0.0
        self._transmissions_here = 0
        self._again = False
        self._sent = 0
        self._retransmissions = 0
        self._round_trips: tuple[float, ...] = ()
        self._discarded: dict[DiscardReason, int] | None = None
        self._fitting: dict[str, None] | None = None
        self.identifiers: Set[bytes] = frozenset()
        """Those under which it asks, or has asked, the present address."""

    @property
    def seconds(self) -> float:
        """From the first datagram sent to the end; 0 where none was sent."""
        return self._ended - self._started if self._sent else 0.0

    @property
    def cost(self) -> Cost:
        return Cost(self._sent, self._retransmissions, self._round_trips, self._discarded or _NONE)

    def identify(self, taken: Set[bytes]) -> None:
        """Give each command an identifier that cannot be guessed and is not among `taken`.

        To be called before the first datagram to an address.
        """
        asked = self._questions.asked
        size, count = self._dialect.request_identifier.size, len(asked)
        if len(taken) + count > (1 << 8 * size) * 3 // 4:
            # Beyond this share of all identifiers, drawing free ones would take ever longer.
            self._fail(Unreachable(f"too many questions at once for identifiers of {size} bytes"))
            return
        drawn = self._random.randbytes(size * count)
        identifiers = {drawn[at : at + size] for at in range(0, len(drawn), size)}
        if taken:
            identifiers -= taken
        while len(identifiers) < count:
            identifiers |= {self._random.randbytes(size)} - taken
        self.identifiers = identifiers
        good_before, good_behind = self._questions.before, self._questions.behind
        self._unanswered = {
            good_before + one + good_behind: (command, operation, before + one + behind)
            for one, (command, operation, before, behind) in zip(identifiers, asked, strict=True)
        }

    def turn(self) -> bool:
        """Turn to the next address if the present one has said nothing; returns whether it did."""
        silent = self._transmissions_here > 0 and not self.values
        if silent and self._others:
            self._move()
            return True
        return False

    def transmit(self, now: float) -> list[bytes]:
        """The datagrams to send now to `address`; sets when it is due again.

        The waits start from the target's own round-trip timeout and double, with jitter so that a fleet's do not beat
        together; where the deadline would cut off the last attempts, they start shorter.
        """
        if self._sent == 0:
            self._started = now
            fitting = (self.deadline - now) / (2**self._attempts_left - 1)
            self._wait = min(self._round_trip.timeout, fitting)
        self._attempts_left -= 1
        self.due = self.deadline
        if self._attempts_left > 0:
            wait = self._wait * (0.9 + 0.2 * self._random.random())
            self.due = min(now + wait, self.deadline)
        self._wait *= 2
        self._sent_at = now
        count = len(self._unanswered)
        self._sent += count
        self._again = self._transmissions_here > 0
        self._retransmissions += count * self._again
        self._transmissions_here += 1
        return [datagram for _, _, datagram in self._unanswered.values()]

    def withdraw(self, count: int) -> None:
        """Take back the last `count` datagrams of a `transmit`: they were not sent."""
        self._sent -= count
        self._retransmissions -= count * self._again

    def awaits(self, datagram: bytes) -> bool:
        """Whether the identifier in this datagram, if it has one, is that of an unanswered command."""
        found = datagram[self._dialect.response_identifier.span]
        return self._key(found) in self._unanswered and not self.done

    def receive(self, datagram: bytes, now: float) -> DiscardReason | None:
        """The reason for which a datagram from `address` is not believed, or None. After the end it changes nothing."""
        dialect = self._dialect
        status, value = Status.DONE, None
        try:
            # Nearly all are good answers, which this tells for a third of what decoding them costs.
            key = datagram[self._questions.beginning]
            if key in self._unanswered and len(datagram) == dialect.response_length:
                command, operation, _ = self._unanswered[key]
                if operation.value is not None:
                    octets = datagram[operation.value.span]
                    value = int.from_bytes(octets, dialect.byte_order, signed=operation.signed)
                    if operation.flag or value < 0:
                        value = meaning(value, command, dialect)
            else:
                response = Response.decode(datagram, dialect)
                key = self._match(response)
                command, status = self._unanswered[key][0], response.status
                if status is Status.DONE:
                    value = response.value(command, dialect)
        except BadResponse as error:
            if not self.done:
                self._discard(datagram, error.reason)
            return error.reason
        if self.done:  # as when the first of its answers was a refusal
            return None
        if self._transmissions_here == 1:  # Karn: it is clear which datagram was answered
            sample = now - self._sent_at
            self._round_trips += (sample,)
            if not self.values:  # one sample a round trip, as RFC 6298 wants it
                self._round_trip.observe(sample)
        self._ended = now
        if status is Status.DONE:
            del self._unanswered[key]
            self.values[command] = value
            self.done = not self._unanswered or self.error is not None
        else:
            self._fail(Refused(status, REASONS[status]))
        return None

    def unreachable(self, text: str, now: float) -> None:
        """Take the system's word that nobody is at `address`: the next one is due at once, or it is over."""
        if self._others and not self.values:
            self._move()
            self.due = now
        else:
            self._fail(Unreachable(text))
            self._ended = now

    def expire(self, now: float) -> None:
        """The deadline has come: say what there was instead of an answer."""
        self._ended = now
        if self._fitting:
            self._fail(OtherDialect(self._dialect.name, tuple(self._fitting)))
        elif self._discarded:
            self._fail(InvalidResponses(self._discarded))
        else:
            self._fail(NoAnswer(self.seconds, self._sent))

    def _fail(self, error: NoReading) -> None:
        self.error = error
        self.done = True

    def _discard(self, datagram: bytes, reason: DiscardReason) -> None:
        if self._discarded is None:  # it is in nearly all of a fleet's
            self._discarded = {}
        self._discarded[reason] = self._discarded.get(reason, 0) + 1
        if reason in _FOREIGN:
            self._fitting = (self._fitting or {}) | dict.fromkeys(fitting_dialects(datagram))

    def _key(self, identifier: bytes) -> bytes:
        return self._questions.before + identifier + self._questions.behind

    def _match(self, response: Response) -> bytes:
        """The key of what a response answers. Raises `BadResponse`."""
        if response.identifier is None and self._unanswered:
            # Either an error, which ends the query whatever was asked, or the answer to a command asked alone.
            return next(iter(self._unanswered))
        if response.identifier is not None:
            size = self._dialect.response_identifier.size
            key = self._key(response.identifier.to_bytes(size))
            if key in self._unanswered:
                return key
        raise BadResponse(DiscardReason.IDENTIFIER, "an answer to nothing that is asked")

    def _move(self) -> None:
        """Turn to the next address; the first datagram there is no retransmission."""
        self.address, *others = self._others
        self._others = tuple(others)
        self._transmissions_here = 0
