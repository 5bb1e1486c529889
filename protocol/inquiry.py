"""One target asked some commands: what to send and when, and what a datagram that comes in means.

No socket and no clock: `now` is handed in, in seconds of a monotonic clock. protocol/exchange.py moves the bytes.

Theory of operation. Every command gets a random identifier of its own and keeps it over its retransmissions,
so an answer to any of them counts. All commands of an inquiry share their timer: what is unanswered when it
runs out is sent again, and the next wait is twice as long. A datagram is believed if its source, size,
signature, version and identifier fit and its status and result make sense for the command asked
(protocol.md 6.4); anything else is counted, by reason, and ignored.

A reading never mixes two servers: all its answers come from one address. Of a name with several, the next
address is tried when the present one is silent or unreachable, for as long as none has answered.
"""

import math
from collections.abc import Mapping, Sequence, Set
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from protocol.address import Address
from protocol.dialect import Command, Dialect, Status
from protocol.dialects import DIALECTS
from protocol.errors import (
    BadResponse,
    Disbelieved,
    Discard,
    NoAnswer,
    NoReading,
    OtherDialect,
    Reason,
    Refused,
    Unreachable,
)
from protocol.message import Request, Response, Value
from protocol.roundtrip import RoundTrip
from protocol.token import Token

REASONS = {
    Status.AUTHENTICATION_FAILED: Reason.AUTHENTICATION,
    Status.INVALID_VERSION: Reason.VERSION,
    Status.INVALID_COMMAND: Reason.COMMAND,
    Status.INVALID_REQUEST: Reason.REQUEST,
    Status.SERVER_FAILURE: Reason.SERVER,
    Status.NO_TRANSFORM_PROGRAM: Reason.SERVER,
    Status.INVALID_SIGNATURE: Reason.REQUEST,
}


# Named tuples, since a fleet's scrape makes tens of thousands of these: a third of what frozen dataclasses cost.


class Cost(NamedTuple):
    """What an inquiry cost. Round trips, in seconds, are those of answers to a command sent once."""

    datagrams_sent: int = 0
    retransmissions: int = 0
    round_trips: tuple[float, ...] = ()
    discarded: Mapping[Discard, int] = MappingProxyType({})


class Question(NamedTuple):
    """A command, and the bytes of its request before and behind the identifier."""

    command: Command
    before: bytes
    behind: bytes


def questions(token: Token, dialect: Dialect, commands: Sequence[Command]) -> tuple[Question, ...]:
    """The commands as they are asked of any server that has this token and dialect."""
    place = dialect.request_identifier
    datagrams = {
        command: Request(0, token.octets, dialect.operations[command].code).encode(dialect)
        for command in commands
    }
    return tuple(
        Question(command, datagram[: place.offset], datagram[place.end :])
        for command, datagram in datagrams.items()
    )


class Inquiry:
    """The state of one question to one target, from its first datagram to its end."""

    __slots__ = (
        "_again",
        "_attempts_left",
        "_dialect",
        "_discarded",
        "_ended",
        "_fitting",
        "_others",
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
        "done",
        "due",
        "error",
        "values",
    )

    def __init__(
        self,
        addresses: tuple[Address, ...],
        dialect: Dialect,
        questions: tuple[Question, ...],
        *,
        round_trip: RoundTrip,
        attempts: int,
        random: Random,
    ) -> None:
        self.address = addresses[0]
        self.values: dict[Command, Value | None] = {}
        self.error: NoReading | None = None
        self.done = False
        self.due = 0.0
        """When `transmit` is to be called next; infinite when all attempts are made."""
        self._others = addresses[1:]
        self._dialect = dialect
        self._round_trip = round_trip
        self._random = random
        self._unanswered = dict(enumerate(questions))
        self._attempts_left = max(attempts, len(addresses))
        self._wait = 0.0
        self._started = 0.0
        self._sent_at = 0.0
        self._ended = 0.0
        self._transmissions_here = 0
        self._again = False
        self._sent = 0
        self._retransmissions = 0
        self._round_trips: list[float] = []
        self._discarded: dict[Discard, int] = {}
        self._fitting: dict[str, None] = {}

    @property
    def seconds(self) -> float:
        """From the first datagram sent to the end; 0 where none was sent."""
        return self._ended - self._started if self._sent else 0.0

    @property
    def cost(self) -> Cost:
        return Cost(self._sent, self._retransmissions, tuple(self._round_trips), self._discarded)

    def identify(self, taken: Set[int]) -> set[int]:
        """Give each command an identifier that cannot be guessed and is not among `taken`; returns them.

        To be called before the first datagram to an address.
        """
        size, count = self._dialect.request_identifier.size, len(self._unanswered)
        if len(taken) + count > (1 << 8 * size) * 3 // 4:
            # Beyond this share of all identifiers, drawing free ones would take ever longer.
            self._fail(Unreachable(f"too many questions at once for identifiers of {size} bytes"))
            return set()
        drawn = self._random.randbytes(size * count)  # one system call for all
        identifiers = {
            int.from_bytes(drawn[at : at + size]) for at in range(0, size * count, size)
        }
        identifiers -= taken
        while len(identifiers) < count:
            identifiers |= {int.from_bytes(self._random.randbytes(size))} - taken
        self._unanswered = dict(zip(identifiers, self._unanswered.values(), strict=True))
        return identifiers

    def turn(self) -> bool:
        """Turn to the next address if the present one has said nothing; returns whether it did."""
        silent = self._transmissions_here > 0 and not self.values
        if silent and self._others:
            self._move()
            return True
        return False

    def transmit(self, now: float, deadline: float) -> list[bytes]:
        """The datagrams to send now to `address`; sets when it is due again.

        The waits start from the target's own round-trip timeout and double, with jitter so that a fleet's do not beat
        together; where the deadline would cut off the last attempts, they start shorter.
        """
        if self._sent == 0:
            self._started = now
            fitting = (deadline - now) / (2**self._attempts_left - 1)
            self._wait = min(self._round_trip.timeout, fitting)
        self._attempts_left -= 1
        if self._attempts_left > 0:
            self.due = now + self._wait * (0.9 + 0.2 * self._random.random())
        else:
            self.due = math.inf
        self._wait *= 2
        self._sent_at = now
        count = len(self._unanswered)
        self._sent += count
        self._again = self._transmissions_here > 0
        self._retransmissions += count * self._again
        self._transmissions_here += 1
        size = self._dialect.request_identifier.size
        return [
            before + identifier.to_bytes(size) + behind
            for identifier, (_, before, behind) in self._unanswered.items()
        ]

    def withdraw(self, count: int) -> None:
        """Take back the last `count` datagrams of a `transmit`: they were not sent."""
        self._sent -= count
        self._retransmissions -= count * self._again

    def awaits(self, datagram: bytes) -> bool:
        """Whether the identifier in this datagram, if it has one, is that of an unanswered command."""
        place = self._dialect.response_identifier.span
        found = int.from_bytes(datagram[place])
        return found in self._unanswered and not self.done

    def receive(self, datagram: bytes, now: float) -> Discard | None:
        """Take a datagram that came from `address`: the reason for which it is not believed, or None if it is."""
        try:
            response = Response.decode(datagram, self._dialect)
            identifier = self._match(response)
            command = self._unanswered[identifier].command
            value = None
            if response.status is Status.DONE:
                value = response.value(command, self._dialect)
        except BadResponse as error:
            self._discarded[error.reason] = self._discarded.get(error.reason, 0) + 1
            if error.reason in (Discard.SIZE, Discard.SIGNATURE, Discard.VERSION):
                self._fitting |= dict.fromkeys(fitting_dialects(datagram))
            return error.reason
        if self._transmissions_here == 1:  # Karn: it is clear which datagram was answered
            self._round_trips.append(now - self._sent_at)
            if not self.values:  # one sample a round trip, as RFC 6298 wants it
                self._round_trip.observe(now - self._sent_at)
        self._ended = now
        if response.status is Status.DONE:
            del self._unanswered[identifier]
            self.values[command] = value
            self.done = not self._unanswered or self.error is not None
        else:
            self._fail(Refused(response.status, REASONS[response.status]))
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
            self._fail(Disbelieved(self._discarded))
        else:
            self._fail(NoAnswer(self.seconds, self._sent))

    def _fail(self, error: NoReading) -> None:
        self.error = error
        self.done = True

    def _match(self, response: Response) -> int:
        identifier = response.identifier
        if identifier in self._unanswered:
            return identifier
        if identifier is None and self._unanswered:
            # Either an error, which ends the inquiry whatever was asked, or the answer to a command asked alone.
            return next(iter(self._unanswered))
        raise BadResponse(Discard.IDENTIFIER, "an answer to nothing that is asked")

    def _move(self) -> None:
        """Turn to the next address; the first datagram there is no retransmission."""
        self.address, *others = self._others
        self._others = tuple(others)
        self._transmissions_here = 0


def fitting_dialects(datagram: bytes) -> list[str]:
    """The names of the known dialects whose response this datagram could be."""
    names = []
    for dialect in DIALECTS.values():
        try:
            Response.decode(datagram, dialect)
        except BadResponse:
            continue
        names.append(dialect.name)
    return names
