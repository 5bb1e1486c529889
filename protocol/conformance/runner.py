"""A server examined: every case of protocol/conformance/table.py sent to it, and what it answered.

Theory of operation. Behind every datagram that is examined goes a good request from another port. Its answer tells,
without waiting for a timeout, that the server has had its turn: what it has not answered by then, and a moment later,
it answers with silence; and a server that does not answer this either has stopped. Servers ration error answers
(protocol.md 6.1), so an error that is wanted and does not come is waited for, and asked for again, a few times.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from protocol.address import Address
from protocol.conformance.case import Case, Mode, Step, broken
from protocol.conformance.masking import Mask
from protocol.conformance.table import unsafe_codes
from protocol.dialect import Dialect
from protocol.errors import BadResponse
from protocol.message import Request, Response, Value
from protocol.token import Token
from protocol.vocabulary import Command, Status

_MOMENT = 0.02
"""Seconds, and two round trips more, by which an answer may come later than that to a request sent behind it."""

_ATTEMPTS = 6
_PATIENCE = 2
"""Errors in a row that may fail to come before the next is not waited for: this server does not tell them."""

_LONGEST_LOOP = 256
"""Answers to its own answers after which a server is taken to go on for ever."""

_LONGEST = 2048


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_ANSWERED = "not answered"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was wrong with an answer: `step` and `got` where it is about one datagram."""

    text: str
    step: Step | None = None
    got: bytes | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A case, and how the server did."""

    case: Case
    verdict: Verdict
    shortfalls: tuple[Failure, ...] = ()


class Stopped(Exception):
    """The server answers nothing any more."""


class Runner:
    """One server examined over sockets of its own.

    `timeout` seconds without an answer to a good request mean that it has stopped. An error that does not come is
    asked for again after `pause` seconds; `waiting` is told of that before.
    """

    def __init__(
        self,
        address: Address,
        token: Token,
        dialect: Dialect,
        timeout: float,
        waiting: Callable[[Case], None] = lambda case: None,
        pause: float = 1.0,
    ) -> None:
        self._address = address
        self._token = token
        self._dialect = dialect
        self._mask = Mask(token, dialect)
        self._timeout = timeout
        self._waiting = waiting
        self._pause = pause
        self._moment = _MOMENT
        self._unanswered = 0
        """Errors that were wanted and did not come, in a row."""

    def run(self, cases: Sequence[Case]) -> Iterator[Result]:
        """Examine the cases in their order, each as the iterator is advanced."""
        stopped = False
        for case in cases:
            try:
                if stopped:
                    self._await_turn()
                    stopped = False
                shortfalls = tuple(self._examine(case))
            except Stopped:
                if stopped:
                    yield from self._give_up(cases[cases.index(case) :])
                    return
                stopped = True
                yield Result(case, Verdict.FAILED, (Failure("the server stopped answering"),))
            else:
                yield Result(case, _verdict(shortfalls), shortfalls)

    def _give_up(self, cases: Sequence[Case]) -> Iterator[Result]:
        for case in cases:
            shortfall = Failure("not tried: the server had stopped answering")
            yield Result(case, Verdict.NOT_ANSWERED, (shortfall,))

    def _examine(self, case: Case) -> Iterator[Failure]:
        with self._socket() as examined:
            if not case.writes:
                yield from self._send(case, examined)
                return
            before = self._ask(Command.TRANSFORMS)
            if before is None:
                yield Failure("not tried: the state to go back to cannot be read")
                return
            try:
                yield from self._send(case, examined)
            finally:
                self._ask(Command.ENABLE_TRANSFORMS if before else Command.DISABLE_TRANSFORMS)

    def _ask(self, command: Command) -> Value | None:
        with suppress(BadResponse):
            response = Response.decode(self._await_turn(command), self._dialect)
            if response.status is Status.DONE:
                return response.value(command, self._dialect)
        return None

    def _send(self, case: Case, examined: socket.socket) -> Iterator[Failure]:
        if case.manner is Mode.ECHOED:
            yield from self._echo(case, examined)
        elif case.manner is Mode.AT_ONCE:
            yield from self._at_once(case, examined)
        else:
            yield from self._in_turn(case, examined)

    def _in_turn(self, case: Case, examined: socket.socket) -> Iterator[Failure]:
        read: list[tuple[Command, Value]] = []
        for step in case.steps:
            answers = self._answers(case, step, examined)
            if not answers:
                if not step.wanted.silence:
                    yield Failure("no answer", step)
                continue
            if fault := self._fault(step, answers[0]):
                yield Failure(fault, step, answers[0])
                continue
            if case.once and len(answers) > 1:
                yield Failure(f"{len(answers)} answers to one datagram", step, answers[1])
            read += self._read(step, answers[0])
        if fault := broken(case.rule, read, self._dialect):
            yield Failure(fault)

    def _fault(self, step: Step, received: bytes) -> str | None:
        """What is wrong with a response, or None. A response with the token in it is described no further."""
        if self._mask.repeats_token(received, step.sent):
            return "the response repeats the token"
        return step.wanted.fault(received, self._dialect)

    def _at_once(self, case: Case, examined: socket.socket) -> Iterator[Failure]:
        place = self._dialect.response_identifier.span
        waiting = {step.wanted.identifier: step for step in case.steps}
        stray = None
        for _ in range(_ATTEMPTS):
            for step in waiting.values():
                _transmit(examined, step.sent)
            self._await_turn()
            while waiting and (got := _receive(examined, self._moment)):
                identifier = int.from_bytes(got[place])
                answered = waiting.pop(identifier, None)
                if answered is None:
                    stray = got
                elif fault := self._fault(answered, got):
                    yield Failure(fault, answered, got)
            if not waiting:
                return
        if stray:
            yield Failure("an answer has the RID of no request", got=stray)
        for step in waiting.values():
            yield Failure("no answer", step)

    def _echo(self, case: Case, examined: socket.socket) -> Iterator[Failure]:
        answers = self._answers(case, case.steps[0], examined)
        if not answers:
            if not case.steps[0].wanted.silence:
                yield Failure("no answer", case.steps[0])
            return
        for _ in range(_LONGEST_LOOP):
            echoed = answers[0]
            if self._writes(echoed):
                return
            _transmit(examined, echoed)
            self._await_turn()
            answers = self._collect(examined, self._moment)
            if not answers:
                return
        text = f"it answered {_LONGEST_LOOP} of its own answers, and goes on"
        yield Failure(text, case.steps[0], answers[0])

    def _writes(self, datagram: bytes) -> bool:
        """Whether a response has a code that writes where a request has CMD; then it is not sent back."""
        code = datagram[self._dialect.command.span]
        return bool(code) and code[0] in unsafe_codes(self._dialect)

    def _answers(self, case: Case, step: Step, examined: socket.socket) -> list[bytes]:
        """All answers to one datagram; where one is wanted, it is sent again until one comes."""
        rationed = Status.DONE not in step.wanted.statuses or len(step.wanted.statuses) > 1
        patient = not step.wanted.silence and self._unanswered < _PATIENCE
        attempts = _ATTEMPTS if patient else 1
        for attempt in range(attempts):
            if attempt:
                self._waiting(case)
            _transmit(examined, step.sent)
            self._await_turn()
            seconds = self._pause if attempt else self._moment
            if answers := self._collect(examined, seconds, linger=case.once):
                self._unanswered *= not rationed
                return answers[:1] if attempt else answers
        self._unanswered += rationed and not step.wanted.silence
        return []

    def _collect(
        self, examined: socket.socket, seconds: float, *, linger: bool = False
    ) -> list[bytes]:
        """The answers that have come, and the first one that comes in `seconds`, or all of them."""
        answers: list[bytes] = []
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            got = _receive(examined, left if linger or not answers else 0)
            if got is None:
                break
            answers.append(got)
        return answers

    def _await_turn(self, command: Command = Command.CONNECTIONS) -> bytes:
        """Send a good request until it is answered; returns the answer. Raises `Stopped`."""
        code = self._dialect.operations[command].code
        good = Request(0, self._token.octets, code).encode(self._dialect)
        with self._socket() as witness:
            for _ in range(_ATTEMPTS):
                sent_at = monotonic()
                _transmit(witness, good)
                if (answer := _receive(witness, self._timeout / _ATTEMPTS)) is not None:
                    self._moment = _MOMENT + 2 * (monotonic() - sent_at)
                    return answer
        raise Stopped

    def _read(self, step: Step, answer: bytes) -> list[tuple[Command, Value]]:
        response = Response.decode(answer, self._dialect)
        command = step.wanted.command
        if command is None or response.status is not Status.DONE:
            return []
        value = response.value(command, self._dialect)
        return [] if value is None else [(command, value)]

    def _socket(self) -> socket.socket:
        family = socket.AF_INET if len(self._address) == 2 else socket.AF_INET6
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.connect(self._address)
        return opened


def _transmit(opened: socket.socket, datagram: bytes) -> None:
    """Send a datagram. Raises `Stopped` where the port was closed for an earlier one."""
    try:
        opened.send(datagram)
    except ConnectionRefusedError:
        raise Stopped from None


def _receive(opened: socket.socket, seconds: float) -> bytes | None:
    """The next datagram, or None where there is none in time. Raises `Stopped` where the port is closed."""
    opened.settimeout(max(seconds, 0))
    try:
        return opened.recv(_LONGEST)
    except (TimeoutError, BlockingIOError):
        return None
    except ConnectionRefusedError:
        raise Stopped from None


def _verdict(shortfalls: Sequence[Failure]) -> Verdict:
    if not shortfalls:
        return Verdict.PASSED
    answered = any(shortfall.got is not None or shortfall.step is None for shortfall in shortfalls)
    return Verdict.FAILED if answered else Verdict.NOT_ANSWERED
