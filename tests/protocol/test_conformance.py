"""Conformance cases against valid servers of every dialect, and against servers with one fault each."""

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from protocol.conformance.runner import Result, Runner, Verdict
from protocol.conformance.table import cases
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.message import Response, Value
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import respond, serve
from protocol.token import Token
from protocol.vocabulary import WRITES, Command, Status
from tests.support.udp import Source, udp_server, udp_socket

TOKEN = Token(b"secretpa")
AMPLE = 150
"""Error responses with which a check need not wait."""

dialects = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


class Counters:
    """Application with counters and a switch that records the commands it receives."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.asked: list[Command] = []

    def answer(self, command: Command) -> Value:
        self.asked.append(command)
        if command in WRITES:
            self.enabled = command is Command.ENABLE_TRANSFORMS
        if command in (Command.CONNECTIONS, Command.TRANSFERRED_BYTES):
            return len(self.asked) + 1
        return 1 if command.endswith(("_total", "_connections")) else self.enabled


def token(dialect: Dialect) -> Token:
    return Token(TOKEN.octets[: dialect.token_length])


async def check(
    port: int, dialect: Dialect = V0, *, write: bool = True, timeout: float = 2, pause: float = 1
) -> list[Result]:
    runner = Runner(
        ("127.0.0.1", port), token(dialect), dialect, timeout, pause=pause, grace=0.001
    )
    table = cases(dialect, token(dialect), write=write)
    return await asyncio.to_thread(lambda: list(runner.run(table)))


def not_passed(results: list[Result]) -> set[str]:
    return {result.case.name for result in results if result.verdict is not Verdict.PASSED}


@dialects
async def test_the_library_server_passes_in_every_dialect(dialect: Dialect) -> None:
    application = Counters()
    async with serve(
        "127.0.0.1", 0, token(dialect), application.answer, dialect, ErrorRateLimiter(AMPLE)
    ) as endpoint:
        results = await check(endpoint.port, dialect)

    assert not_passed(results) == set()
    assert set(application.asked) >= set(dialect.reads)


@pytest.mark.parametrize("enabled", [True, False])
async def test_the_switch_is_tested_and_restored(enabled: bool) -> None:
    application = Counters(enabled)
    async with serve(
        "127.0.0.1", 0, TOKEN, application.answer, V0, ErrorRateLimiter(AMPLE)
    ) as endpoint:
        results = await check(endpoint.port)

    assert not_passed(results) == set()
    assert {Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS} <= set(application.asked)
    assert application.enabled is enabled


async def test_a_server_without_transforms_may_report_no_transform_program() -> None:
    dialect = DIALECTS["group-4"]
    application = Counters(enabled=False)
    limiter = ErrorRateLimiter(AMPLE)

    def answer(datagram: bytes) -> list[bytes]:
        response = respond(datagram, TOKEN, application.answer, dialect)
        application.enabled = False
        if response is None or (response.status is not Status.DONE and not limiter.allows("", 0)):
            return []
        if response.status is Status.DONE and datagram[13] == 5:
            response = Response(response.identifier, Status.NO_TRANSFORM_PROGRAM)
        return [response.encode(dialect)]

    async with udp_server(answer) as port:
        results = await check(port, dialect)

    assert not_passed(results) == set()


@dialects
async def test_nothing_is_written_without_the_write_option(dialect: Dialect) -> None:
    application = Counters()
    async with serve(
        "127.0.0.1", 0, token(dialect), application.answer, dialect, ErrorRateLimiter(AMPLE)
    ) as endpoint:
        await check(endpoint.port, dialect, write=False)

    assert not WRITES & set(application.asked)


def test_the_table_has_every_command_every_status_and_every_size() -> None:
    table = cases(V0, TOKEN, write=True)
    steps = [step for case in table for step in case.steps]

    assert {step.expected.command for step in steps} >= set(V0.operations)
    reported = {
        status
        for step in steps
        if len(step.expected.statuses) == 1
        for status in step.expected.statuses
    }
    assert reported == set(V0.status_codes) - {Status.SERVER_FAILURE}
    assert {len(step.sent) for step in steps} >= {*range(65), 1400}
    assert len({case.name for case in table}) == len(table)


async def test_a_check_waits_for_the_servers_error_limit() -> None:
    waited: list[str] = []
    async with serve(
        "127.0.0.1", 0, TOKEN, Counters().answer, V0, ErrorRateLimiter(2, 2)
    ) as endpoint:
        runner = Runner(
            ("127.0.0.1", endpoint.port), TOKEN, V0, 2, lambda case: waited.append(case.name)
        )
        table = [case for case in cases(V0, TOKEN) if case.name == TOKEN_FAULT]
        results = await asyncio.to_thread(lambda: list(runner.run(table)))

    assert not_passed(results) == set()
    assert TOKEN_FAULT in waited


class Server:
    """Valid server, parts of which the faulty ones override."""

    def __init__(self) -> None:
        self.application = Counters()
        self.limiter = ErrorRateLimiter(AMPLE, per_second=0)

    def __call__(self, datagram: bytes) -> list[bytes]:
        response = self.respond(datagram)
        if response is None:
            return []
        if response.status is not Status.DONE and not self.limiter.allows("", 0):
            return []
        return [self.encode(response)]

    def respond(self, datagram: bytes) -> Response | None:
        return respond(datagram, TOKEN, self.application.answer)

    def encode(self, response: Response) -> bytes:
        return response.encode()


class EndlessLoop(Server):
    def __init__(self) -> None:
        super().__init__()
        self.limiter = ErrorRateLimiter(10**9)


class CompletesShortDatagrams(Server):
    """Reads into a buffer that it never clears."""

    buffer = bytes(14)

    def respond(self, datagram: bytes) -> Response | None:
        if len(datagram) > 14 or not datagram.startswith(V0.signature):
            return super().respond(datagram)
        self.buffer = datagram + self.buffer[len(datagram) :]
        return super().respond(self.buffer)


class AnswersShortDatagramsWithTheLastAnswer(Server):
    last = Response(0, Status.DONE)

    def respond(self, datagram: bytes) -> Response | None:
        if 2 <= len(datagram) < 14 and datagram.startswith(V0.signature):
            return self.last
        response = super().respond(datagram)
        self.last = response or self.last
        return response


class LeaksTheLastNumberInErrors(Server):
    last = bytes(8)

    def encode(self, response: Response) -> bytes:
        if response.status is Status.DONE:
            self.last = response.result
        return response.encode()[:6] + self.last


class AnswersTheIdentifierZero(Server):
    def encode(self, response: Response) -> bytes:
        return Response(0, response.status, response.result).encode()


class AnswersErrorsWithoutTheIdentifier(Server):
    def encode(self, response: Response) -> bytes:
        good = response.status is Status.DONE
        return Response(
            (good and response.identifier) or 0, response.status, response.result
        ).encode()


class LittleEndian(Server):
    def encode(self, response: Response) -> bytes:
        return response.encode()[:6] + response.result[::-1]


class AnswersForeignSignatures(Server):
    def respond(self, datagram: bytes) -> Response | None:
        return super().respond(V0.signature + datagram[2:])


class LooksAtTheTokenBeforeTheVersion(Server):
    def respond(self, datagram: bytes) -> Response | None:
        if len(datagram) == 14 and datagram[5:13] != TOKEN.octets:
            return super().respond(datagram[:2] + V0.header[2:] + datagram[3:])
        return super().respond(datagram)


class LooksAtTheCommandBeforeTheToken(Server):
    def respond(self, datagram: bytes) -> Response | None:
        if len(datagram) == 14 and datagram.startswith(V0.header) and datagram[13] > 5:
            return super().respond(datagram[:5] + TOKEN.octets + datagram[13:])
        return super().respond(datagram)


class SaysDoneInsteadOfTheState(Server):
    """Answers every switch with zeros, which means on."""

    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        if response and datagram[13:] in (b"\4", b"\5"):
            return Response(response.identifier, response.status)
        return response


class TakesOnForOff(Server):
    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        if response and datagram[13:] in (b"\3", b"\4", b"\5"):
            return Response(
                response.identifier, response.status, (1 - response.result[7]).to_bytes(8)
            )
        return response


class ForgetsTheSwitch(Server):
    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        self.application.enabled = True
        return response


class CountsDown(Server):
    def __init__(self) -> None:
        super().__init__()
        self.left = count(10**6, -1)

    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        if response and response.status is Status.DONE and datagram[13:] == b"\2":
            return Response(response.identifier, response.status, next(self.left).to_bytes(8))
        return response


class HasMoreConnectionsOpenThanEver(Server):
    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        if response and response.status is Status.DONE and datagram[13:] == b"\1":
            return Response(response.identifier, response.status, (10**6).to_bytes(8))
        return response


class ComparesHalfTheToken(Server):
    def respond(self, datagram: bytes) -> Response | None:
        if datagram[5:9] == TOKEN.octets[:4]:
            return super().respond(datagram[:5] + TOKEN.octets + datagram[13:])
        return super().respond(datagram)


class AnswersEverythingTwice(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        return 2 * super().__call__(datagram)


class IgnoresTheVersion(Server):
    def respond(self, datagram: bytes) -> Response | None:
        known = datagram.startswith(V0.signature) and len(datagram) == 14
        return super().respond(V0.header + datagram[3:] if known else datagram)


class CutsLongDatagrams(Server):
    def respond(self, datagram: bytes) -> Response | None:
        return super().respond(datagram[:14])


class SendsNoErrors(Server):
    def respond(self, datagram: bytes) -> Response | None:
        response = super().respond(datagram)
        return response if response and response.status is Status.DONE else None


FOREIGN = "a foreign signature gets no response, whatever follows"
NO_SIGNATURE = "a datagram without a complete signature gets no response"
SHORT = "a short datagram is rejected with status 04 and is not completed from an earlier one"
LONG = "a long datagram is rejected with status 04"
LONGEST = "a datagram of 1,400 bytes is rejected with status 04"
LOOP = "the server's own responses, sent back to it, do not loop"
FAULTS = "the first error in the specified order is reported"
SWITCH = "the transforms are switched and read back"
IDENTIFIER = "the RID is echoed, whatever its value"
ERROR_IDENTIFIER = "the RID is echoed in error responses"
PARALLEL = "simultaneous requests are all answered"
PARALLEL_LATER = "valid requests are answered after the error limit is used up"
WHOLE = "an error response carries no number"
VERSION = "a wrong version is rejected with status 02"
TOKEN_FAULT = "a wrong token is rejected with status 01"
NUMBERS = "numbers have the dialect's byte order and width"
GROWING = "counters never decrease"
ORDERED = "active connections do not exceed total connections"
ONCE = "a request gets exactly one response"
ONCE_ERROR = "an error response is sent once"


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        (Server, set()),
        (EndlessLoop, {LOOP}),
        (CompletesShortDatagrams, {SHORT, FAULTS, ERROR_IDENTIFIER}),
        (AnswersShortDatagramsWithTheLastAnswer, {SHORT, FAULTS, ERROR_IDENTIFIER}),
        (LeaksTheLastNumberInErrors, {WHOLE}),
        (
            AnswersTheIdentifierZero,
            {IDENTIFIER, ERROR_IDENTIFIER, PARALLEL, PARALLEL_LATER},
        ),
        (AnswersErrorsWithoutTheIdentifier, {ERROR_IDENTIFIER}),
        (LittleEndian, {NUMBERS}),
        (AnswersForeignSignatures, {FOREIGN, NO_SIGNATURE}),
        (LooksAtTheTokenBeforeTheVersion, {FAULTS}),
        (LooksAtTheCommandBeforeTheToken, {FAULTS}),
        (SaysDoneInsteadOfTheState, {SWITCH}),
        (TakesOnForOff, {SWITCH}),
        (ForgetsTheSwitch, {SWITCH}),
        (CountsDown, {GROWING}),
        (HasMoreConnectionsOpenThanEver, {ORDERED}),
        (ComparesHalfTheToken, {TOKEN_FAULT}),
        (AnswersEverythingTwice, {ONCE, ONCE_ERROR}),
        (IgnoresTheVersion, {VERSION, FAULTS}),
        (CutsLongDatagrams, {LONG, LONGEST, FAULTS}),
    ],
)
async def test_a_broken_server_fails_the_right_case(
    broken: Callable[[], Server], caught: set[str]
) -> None:
    async with udp_server(broken()) as port:
        results = await check(port)

    assert not_passed(results) == caught


async def test_a_response_with_a_write_code_is_not_echoed() -> None:
    received: list[bytes] = []

    class SendsACodeInErrors(Server):
        """Its errors end with 06, which disables the transforms of group-4."""

        def __call__(self, datagram: bytes) -> list[bytes]:
            received.append(datagram)
            return super().__call__(datagram)

        def encode(self, response: Response) -> bytes:
            failed = response.status is not Status.DONE
            return response.encode()[:13] + (b"\6" if failed else response.result[-1:])

    async with udp_server(SendsACodeInErrors()) as port:
        results = await check(port, write=False)

    assert WHOLE in not_passed(results)
    assert not [datagram for datagram in received if datagram[13:14] in (b"\4", b"\5", b"\6")]


async def test_errors_that_are_never_sent_have_the_verdict_no_response() -> None:
    async with udp_server(SendsNoErrors()) as port:
        results = await check(port, pause=0.01)

    missing = {f.case.name for f in results if f.verdict is Verdict.NO_RESPONSE}
    assert {TOKEN_FAULT, VERSION, SHORT, LONG, LOOP} <= missing
    assert not [result for result in results if result.verdict is Verdict.FAILED]


class DiesOfShortDatagrams(Server):
    """Stops answering, for ever or, with `lives`, until a supervisor has restarted it."""

    def __init__(self, missed: int) -> None:
        super().__init__()
        self.missed = missed
        self.left = 0

    def __call__(self, datagram: bytes) -> list[bytes]:
        if datagram.startswith(V0.header) and len(datagram) < 5:
            self.left = self.missed
        self.left -= 1
        return [] if self.left >= 0 else super().__call__(datagram)


async def test_a_server_that_crashes_fails_the_case_and_skips_the_rest() -> None:
    async with udp_server(DiesOfShortDatagrams(10**9)) as port:
        results = await check(port, timeout=1)

    verdicts = [result.verdict for result in results]
    killer = verdicts.index(Verdict.FAILED)
    assert results[killer].case.name == SHORT
    assert results[killer].failures[0].text == "the server stopped responding"
    assert set(verdicts[:killer]) == {Verdict.PASSED}
    assert set(verdicts[killer + 1 :]) == {Verdict.NO_RESPONSE}


async def test_a_check_continues_after_the_server_restarts() -> None:
    async with udp_server(DiesOfShortDatagrams(7)) as port:
        results = await check(port, timeout=1)

    assert SHORT in not_passed(results)
    assert LONG not in not_passed(results)


async def test_a_closed_port_ends_the_check_immediately() -> None:
    async with udp_server(Server()) as port:
        pass
    results = await check(port, timeout=60)

    assert {result.verdict for result in results[1:]} == {Verdict.NO_RESPONSE}


async def test_responses_in_another_order_are_accepted() -> None:
    """Delays every response until the next datagram arrives."""
    server = Server()
    held: list[tuple[bytes, Source]] = []

    def answer(datagram: bytes, source: Source) -> list[tuple[bytes, Source]]:
        held.extend((reply, source) for reply in server(datagram))
        if datagram[3:5] == bytes(2) or len(held) > 4:
            answered, held[:] = held[::-1], []
            return answered
        return []

    async with udp_socket(answer) as opened:
        results = await check(opened.getsockname()[1])

    assert not_passed(results) == set()
