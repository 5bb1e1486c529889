"""Runs the cases of protocol/conformance/table.py against a server.

Servers limit the rate of their error responses (protocol.md 6.1). So an error response that is expected and does not
arrive is requested again, a few times, before it counts as missing.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic

from protocol.address import Address
from protocol.conformance.case import Case, Mode, Step, violation
from protocol.conformance.datagrams import unsafe_codes
from protocol.conformance.prober import Prober, Stopped, collect, receive, transmit
from protocol.dialect import Dialect
from protocol.errors import BadResponse
from protocol.masking import Mask
from protocol.message import Response, Value
from protocol.token import Token
from protocol.vocabulary import Command, Status

_ATTEMPTS = 6
"""Transmissions of a datagram whose response is expected."""

_MISSING_ERRORS = 2
"""Error responses missing in a row after which the runner does not wait for the next: this server sends none."""

_LONGEST_LOOP = 256
"""Responses to its own responses after which a server counts as looping for ever."""


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NO_RESPONSE = "no response"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was wrong; `step` and `received` where it is about one datagram."""

    text: str
    step: Step | None = None
    received: bytes | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a case, which took `seconds`."""

    case: Case
    verdict: Verdict
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0


class Runner:
    """Tests one server over its own sockets.

    `timeout` is how many seconds a valid request may go unanswered before the server counts as stopped. A missing error
    response is requested again after `pause` seconds; `waiting` is called before that. `grace` is how many seconds a
    response may be later than that to a later request.
    """

    def __init__(
        self,
        address: Address,
        token: Token,
        dialect: Dialect,
        timeout: float,
        waiting: Callable[[Case], None] = lambda case: None,
        pause: float = 1.0,
        grace: float = 0.02,
    ) -> None:
        self._prober = Prober(address, token, dialect, timeout, grace)
        self._dialect = dialect
        self._mask = Mask(token, dialect)
        self._waiting = waiting
        self._pause = pause
        self._missing_errors = 0

    def run(self, cases: Sequence[Case]) -> Iterator[Result]:
        """Run the cases in order, each when the iterator is advanced."""
        stopped = False
        for number, case in enumerate(cases):
            start = monotonic()
            try:
                if stopped:
                    self._prober.synchronize()
                    stopped = False
                failures = tuple(self._run(case))
            except Stopped:
                if stopped:
                    yield from _not_run(cases[number:])
                    return
                stopped = True
                failures = (Failure("the server stopped responding"),)
            yield Result(case, _verdict(failures), failures, monotonic() - start)

    def _run(self, case: Case) -> Iterator[Failure]:
        with self._prober.open() as opened:
            if not case.writes:
                yield from self._send(case, opened)
                return
            before = self._ask(Command.TRANSFORMS)
            if before is None:
                yield Failure("not run: the state to restore cannot be read")
                return
            try:
                yield from self._send(case, opened)
            finally:
                self._ask(Command.ENABLE_TRANSFORMS if before else Command.DISABLE_TRANSFORMS)

    def _ask(self, command: Command) -> Value | None:
        with suppress(BadResponse):
            response = Response.decode(self._prober.synchronize(command), self._dialect)
            if response.status is Status.DONE:
                return response.value(command, self._dialect)
        return None

    def _send(self, case: Case, opened: socket.socket) -> Iterator[Failure]:
        if case.mode is Mode.ECHO:
            yield from self._echo(case, opened)
        elif case.mode is Mode.CONCURRENT:
            yield from self._concurrent(case, opened)
        else:
            yield from self._sequential(case, opened)

    def _sequential(self, case: Case, opened: socket.socket) -> Iterator[Failure]:
        read: list[tuple[Command, Value]] = []
        for step in case.steps:
            responses = self._responses(case, step, opened)
            if not responses:
                if not step.expected.silence:
                    yield Failure("no response", step)
                continue
            if fault := self._fault(step, responses[0]):
                yield Failure(fault, step, responses[0])
                continue
            if case.once and len(responses) > 1:
                text = f"{len(responses)} responses to one datagram"
                yield Failure(text, step, responses[1])
            read += self._read(step, responses[0])
        if text := violation(case.requirement, read, self._dialect) or "":
            yield Failure(text)

    def _fault(self, step: Step, received: bytes) -> str | None:
        """What is wrong with a response, or None. A response with the token in it is described no further."""
        if self._mask.repeats_token(received, step.sent):
            return "the response repeats the token"
        return step.expected.fault(received, self._dialect)

    def _concurrent(self, case: Case, opened: socket.socket) -> Iterator[Failure]:
        place = self._dialect.response_identifier.span
        waiting = {step.expected.identifier: step for step in case.steps}
        stray = None
        for _ in range(_ATTEMPTS):
            for step in waiting.values():
                transmit(opened, step.sent)
            self._prober.synchronize()
            while waiting and (received := receive(opened, self._prober.grace)):
                answered = waiting.pop(int.from_bytes(received[place]), None)
                if answered is None:
                    stray = received
                elif fault := self._fault(answered, received):
                    yield Failure(fault, answered, received)
            if not waiting:
                return
        if stray:
            yield Failure("a response has the RID of no request", received=stray)
        for step in waiting.values():
            yield Failure("no response", step)

    def _echo(self, case: Case, opened: socket.socket) -> Iterator[Failure]:
        step = case.steps[0]
        responses = self._responses(case, step, opened)
        if not responses and not step.expected.silence:
            yield Failure("no response", step)
        for _ in range(_LONGEST_LOOP):
            if not responses or self._writes(responses[0]):
                return
            transmit(opened, responses[0])
            self._prober.synchronize()
            responses = collect(opened, self._prober.grace)
        if responses:
            text = f"the server answered {_LONGEST_LOOP} of its own responses, and continues"
            yield Failure(text, step, responses[0])

    def _writes(self, datagram: bytes) -> bool:
        """Whether a response has a code that may write where a request has CMD; then it is not sent back."""
        code = datagram[self._dialect.command.span]
        return bool(code) and code[0] in unsafe_codes(self._dialect)

    def _responses(self, case: Case, step: Step, opened: socket.socket) -> list[bytes]:
        """All responses to one datagram; it is sent again while an expected response is missing."""
        expected = step.expected
        is_error = Status.DONE not in expected.statuses or len(expected.statuses) > 1
        wait = not expected.silence and self._missing_errors < _MISSING_ERRORS
        for attempt in range(_ATTEMPTS if wait else 1):
            if attempt:
                self._waiting(case)
            transmit(opened, step.sent)
            self._prober.synchronize()
            seconds = self._pause if attempt else self._prober.grace
            if responses := collect(opened, seconds, linger=case.once):
                if is_error:
                    self._missing_errors = 0
                return responses[:1] if attempt else responses
        if is_error and not expected.silence:
            self._missing_errors += 1
        return []

    def _read(self, step: Step, datagram: bytes) -> list[tuple[Command, Value]]:
        response = Response.decode(datagram, self._dialect)
        command = step.expected.command
        if command is None or response.status is not Status.DONE:
            return []
        value = response.value(command, self._dialect)
        return [] if value is None else [(command, value)]


def _not_run(cases: Sequence[Case]) -> Iterator[Result]:
    failure = Failure("not run: the server had stopped responding")
    for case in cases:
        yield Result(case, Verdict.NO_RESPONSE, (failure,))


def _verdict(failures: Sequence[Failure]) -> Verdict:
    if not failures:
        return Verdict.PASSED
    answered = any(one.received is not None or one.step is None for one in failures)
    return Verdict.FAILED if answered else Verdict.NO_RESPONSE
