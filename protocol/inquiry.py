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
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from random import Random

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


@dataclass(frozen=True, slots=True)
class Cost:
    """What an inquiry cost. Round trips, in seconds, are those of answers to a command sent once."""

    datagrams_sent: int = 0
    retransmissions: int = 0
    round_trips: tuple[float, ...] = ()
    discarded: dict[Discard, int] = field(default_factory=dict)


class Inquiry:
    """The state of one question to one target, from its first datagram to its end."""

    __slots__ = (
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
        "_token",
        "_transmissions_here",
        "_unanswered",
        "_wait",
        "address",
        "due",
        "error",
        "values",
    )

    def __init__(
        self,
        addresses: tuple[Address, ...],
        token: Token,
        dialect: Dialect,
        commands: tuple[Command, ...],
        *,
        round_trip: RoundTrip,
        attempts: int,
        random: Random,
    ) -> None:
        self.address = addresses[0]
        self.values: dict[Command, Value | None] = {}
        self.error: NoReading | None = None
        self.due = 0.0
        """When `transmit` is to be called next; infinite when all attempts are made."""
        self._others = addresses[1:]
        self._token = token
        self._dialect = dialect
        self._round_trip = round_trip
        self._random = random
        self._unanswered = dict(enumerate(commands))
        self._attempts_left = max(attempts, len(addresses))
        self._wait = 0.0
        self._started = 0.0
        self._sent_at = 0.0
        self._ended = 0.0
        self._transmissions_here = 0
        self._sent = 0
        self._retransmissions = 0
        self._round_trips: list[float] = []
        self._discarded: dict[Discard, int] = {}
        self._fitting: dict[str, None] = {}

    @property
    def done(self) -> bool:
        return self.error is not None or not self._unanswered

    @property
    def seconds(self) -> float:
        """From the first datagram sent to the end; 0 where none was sent."""
        return self._ended - self._started if self._sent else 0.0

    @property
    def cost(self) -> Cost:
        return Cost(
            self._sent, self._retransmissions, tuple(self._round_trips), dict(self._discarded)
        )

    def identify(self, taken: Set[int]) -> set[int]:
        """Give each command an identifier that cannot be guessed and is not among `taken`; returns them.

        To be called before the first datagram to an address.
        """
        size = self._dialect.request_identifier.size
        if len(taken) + len(self._unanswered) > (1 << 8 * size) * 3 // 4:
            # Beyond this share of all identifiers, drawing free ones would take ever longer.
            self.error = Unreachable(f"too many questions at once for identifiers of {size} bytes")
            return set()
        identified: dict[int, Command] = {}
        drawn = self._random.randbytes(size * len(self._unanswered))  # one system call for all
        for place, command in enumerate(self._unanswered.values()):
            identifier = int.from_bytes(drawn[place * size : (place + 1) * size])
            while identifier in identified or identifier in taken:
                identifier = int.from_bytes(self._random.randbytes(size))
            identified[identifier] = command
        self._unanswered = identified
        return set(identified)

    def turn(self) -> bool:
        """Turn to the next address if the present one has said nothing; returns whether it did."""
        silent = self._transmissions_here > 0 and not self.values
        if silent and self._others:
            self._move()
            return True
        return False

    def transmit(self, now: float, deadline: float) -> Iterator[bytes]:
        """The datagrams to send now to `address`; sets when it is due again.

        The waits start from the target's own round-trip timeout and double, with jitter so that a fleet's do not beat
        together; where the deadline would cut off the last attempts, they start shorter.
        """
        if self._sent == 0:
            self._started = now
            fitting = (deadline - now) / (2**self._attempts_left - 1)
            self._wait = min(self._round_trip.timeout, fitting)
        self._attempts_left -= 1
        self.due = math.inf
        if self._attempts_left > 0:
            self.due = now + self._wait * self._random.uniform(0.9, 1.1)
        self._wait *= 2
        self._sent_at = now
        again = self._transmissions_here > 0
        self._transmissions_here += 1
        for identifier, command in self._unanswered.items():
            self._sent += 1
            self._retransmissions += again
            code = self._dialect.operations[command].code
            yield Request(identifier, self._token.octets, code).encode(self._dialect)

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
            command = self._unanswered[identifier]
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
            self._round_trip.observe(now - self._sent_at)
        self._ended = now
        if response.status is Status.DONE:
            del self._unanswered[identifier]
            self.values[command] = value
        else:
            self.error = Refused(response.status, REASONS[response.status])
        return None

    def unreachable(self, text: str, now: float) -> None:
        """Take the system's word that nobody is at `address`: the next one is due at once, or it is over."""
        if self._others and not self.values:
            self._move()
            self.due = now
        else:
            self.error = Unreachable(text)
            self._ended = now

    def expire(self, now: float) -> None:
        """The deadline has come: say what there was instead of an answer."""
        self._ended = now
        if self._fitting:
            self.error = OtherDialect(self._dialect.name, tuple(self._fitting))
        elif self._discarded:
            self.error = Disbelieved(self._discarded)
        else:
            self.error = NoAnswer(self.seconds, self._sent)

    def _match(self, response: Response) -> int:
        response_to = response.identifier
        if response_to is None:
            # Either an error, which ends the inquiry whatever was asked, or the answer to a command asked alone.
            response_to = next(iter(self._unanswered), None)
        if response_to not in self._unanswered:
            raise BadResponse(Discard.IDENTIFIER, "an answer to nothing that is asked")
        return response_to

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
