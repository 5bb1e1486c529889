"""Conformance check of servers that differ from their dialect in one entry of the table (docs/dialects.md)."""

import asyncio
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from protocol.conformance.runner import Result, Runner, Verdict
from protocol.conformance.table import cases
from protocol.dialect import NOWHERE, Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.message import Response, Value
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import FLAGS, WRITES, Command, Status
from tests.support.udp import udp_server

GROUP_4, GROUP_6, GROUP_11 = DIALECTS["group-4"], DIALECTS["group-6"], DIALECTS["group-11"]


def changed(dialect: Dialect, **changes: Any) -> Dialect:
    given = {f.name: getattr(dialect, f.name) for f in fields(dialect) if f.init}
    return Dialect(**(given | changes))


def values(dialect: Dialect, place: Field | None, *, flags: bool = False, **more: Any) -> Dialect:
    """The dialect with another field for its numbers or its flags."""
    operations = {
        command: replace(operation, value=place, **more)
        if operation.value and operation.flag is flags
        else operation
        for command, operation in dialect.operations.items()
    }
    return changed(dialect, operations=operations)


def recoded(dialect: Dialect, *pair: Command) -> Dialect:
    """The dialect with the codes of two commands exchanged."""
    first, second = (dialect.operations[command] for command in pair)
    swapped = {
        pair[0]: replace(first, code=second.code),
        pair[1]: replace(second, code=first.code),
    }
    return changed(dialect, operations={**dialect.operations, **swapped})


PADDED = changed(
    V0,
    name="padded",
    request_length=20,
    request_identifier=Field(4, 2),
    authentication=Field(8, 8),
    command=Field(18, 1),
    response_length=24,
    response_identifier=Field(4, 2),
    status=Field(8, 1),
    result=Field(16, 8),
    off=(1,),
    operations={
        command: replace(operation, value=Field(16, 8))
        for command, operation in V0.operations.items()
    },
)
SILENT = changed(V0, name="silent", silent_errors=True)
ZEROED = changed(V0, name="zeroed", zeroed_errors=True)
FIXED = changed(V0, name="fixed", identifier_echo="never", fixed_identifier=7)
GOOD_ONLY = changed(V0, name="good", identifier_echo="good")
BARE = changed(
    V0,
    name="bare",
    signature=b"",
    request_identifier=NOWHERE,
    response_identifier=NOWHERE,
    identifier_echo="never",
)
WIDE = changed(
    V0,
    name="wide",
    response_length=22,
    result=Field(6, 16),
    off=(1,),
    operations={
        Command.CONNECTIONS: Operation(0, Field(6, 8)),
        Command.TRANSFERRED_BYTES: Operation(2, Field(14, 8)),
        Command.TRANSFORMS: Operation(3, Field(6, 1), flag=True),
    },
)
FEW_STATUSES = changed(V0, name="few", statuses={0: Status.DONE, 1: Status.AUTHENTICATION_FAILED})
OWN = (PADDED, FEW_STATUSES, SILENT, ZEROED, FIXED, GOOD_ONLY, BARE, WIDE)


class Application:
    """Counters that grow, and a switch."""

    def __init__(self) -> None:
        self.enabled = True
        self.asked = 2
        self.step = 1

    def answer(self, command: Command) -> Value:
        if command in WRITES:
            self.enabled = command in (Command.ENABLE_TRANSFORMS, Command.ENABLE_VERBOSE)
        self.asked += self.step * command.endswith("_total")
        if command in FLAGS | WRITES:
            return self.enabled
        return 1 if command is Command.ACTIVE_CONNECTIONS else self.asked


class Server:
    """Server of one dialect that loops for a while and adds the bytes of `pollute`."""

    def __init__(self, dialect: Dialect, token: Token) -> None:
        self.dialect = dialect
        self.token = token
        self.application = Application()
        self.errors_left = 150

    def __call__(self, datagram: bytes) -> list[bytes]:
        response = respond(datagram, self.token, self.application.answer, self.dialect)
        if response is None:
            return []
        if response.status is not Status.DONE:
            self.errors_left -= 1
            known = response.status in self.dialect.status_codes
            if self.dialect.silent_errors or not known or self.errors_left < 0:
                return []
        return [self.encode(response)]

    def encode(self, response: Response) -> bytes:
        return response.encode(self.dialect)


class LeavesTheLastResult(Server):
    """Fills the number of errors with the last one sent, and padding with arbitrary bytes."""

    last = b""

    def encode(self, response: Response) -> bytes:
        datagram = bytearray(response.encode(self.dialect))
        place = self.dialect.result
        if response.status is Status.DONE:
            self.last = response.result
        datagram[place.span] = self.last
        return pollute(datagram, self.dialect)


class HasRubbishInItsPadding(Server):
    def encode(self, response: Response) -> bytes:
        return pollute(bytearray(response.encode(self.dialect)), self.dialect)


def pollute(datagram: bytearray, dialect: Dialect) -> bytes:
    used = set(range(len(dialect.header)))
    for place in (dialect.response_identifier, dialect.status, dialect.result):
        used |= set(range(place.offset, place.end))
    for position in set(range(dialect.response_length)) - used:
        datagram[position] = 0xA4
    return bytes(datagram)


async def check(server: Server, dialect: Dialect) -> list[Result]:
    async with udp_server(server) as port:
        runner = Runner(("127.0.0.1", port), server.token, dialect, 0.3, pause=0.01, grace=0.001)
        table = cases(dialect, server.token, write=True)
        return await asyncio.to_thread(lambda: list(runner.run(table)))


def failed(results: list[Result]) -> set[str]:
    return {result.case.name for result in results if result.verdict is not Verdict.PASSED}


def token(dialect: Dialect) -> Token:
    return Token(b"\xe3\xc2\x91\xbb\xd1\x99\x87\xee"[: dialect.token_length])


def named(dialect: Dialect) -> str:
    return dialect.name


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), *OWN], ids=named)
async def test_a_server_of_the_dialect_passes(dialect: Dialect) -> None:
    assert failed(await check(Server(dialect, token(dialect)), dialect)) == set()


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), *OWN], ids=named)
def test_a_good_response_has_the_expected_bytes(dialect: Dialect) -> None:
    server = Server(dialect, token(dialect))
    for case in cases(dialect, server.token, write=True):
        for step in case.steps:
            pattern = step.expected.pattern(dialect)
            server.errors_left = 1
            found = server(step.sent)
            assert found or step.expected.silence, (case.name, step)
            if found and step.expected.statuses:
                assert re.fullmatch(pattern, found[0].hex()), (case.name, step)
            assert pattern == "no datagram" or len(pattern) == 2 * dialect.response_length


@pytest.mark.parametrize("dialect", [PADDED, GROUP_6], ids=named)
async def test_padding_with_any_content_passes(dialect: Dialect) -> None:
    assert failed(await check(HasRubbishInItsPadding(dialect, token(dialect)), dialect)) == set()


@pytest.mark.parametrize("dialect", [V0, PADDED, GROUP_4, GROUP_6, GROUP_11, WIDE], ids=named)
async def test_the_last_number_in_an_error_is_found_with_and_without_padding(
    dialect: Dialect,
) -> None:
    found = failed(await check(LeavesTheLastResult(dialect, token(dialect)), dialect))

    assert "an error response carries no number" in found


class Loops(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        self.errors_left = 1
        return super().__call__(datagram)


class CompletesShortDatagrams(Server):
    """Reads into a buffer that it never clears."""

    buffer = b""

    def __call__(self, datagram: bytes) -> list[bytes]:
        if datagram.startswith(self.dialect.signature):
            self.buffer = datagram + self.buffer[len(datagram) :]
            datagram = self.buffer[: max(len(datagram), self.dialect.request_length)]
        return super().__call__(datagram)


class RepeatsItsLastResponse(Server):
    """Sends its buffer again where it cannot read a request."""

    last: list[bytes]

    def __call__(self, datagram: bytes) -> list[bytes]:
        short = len(datagram) < self.dialect.request_length
        if not short or not datagram.startswith(self.dialect.signature):
            self.last = super().__call__(datagram) or self.last
        return self.last if short else super().__call__(datagram)


class CutsLongDatagrams(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        return super().__call__(datagram[: self.dialect.request_length])


class IgnoresTheSignature(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        signature = self.dialect.signature
        return super().__call__(signature + datagram[len(signature) :])


class IgnoresTheVersion(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        header = self.dialect.header
        if datagram.startswith(self.dialect.signature) and len(datagram) > len(header):
            datagram = header + datagram[len(header) :]
        return super().__call__(datagram)


class IgnoresTheToken(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        place = self.dialect.authentication
        if len(datagram) == self.dialect.request_length:
            datagram = datagram[: place.offset] + self.token.octets + datagram[place.end :]
        return super().__call__(datagram)


class AnswersTwice(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        return 2 * super().__call__(datagram)


class RepeatsTheRequest(Server):
    def __call__(self, datagram: bytes) -> list[bytes]:
        return [datagram] if super().__call__(datagram) else []


class CountsDown(Server):
    def __init__(self, dialect: Dialect, token: Token) -> None:
        super().__init__(dialect, token)
        self.application.asked = 1000
        self.application.step = -1


BROKEN: list[tuple[type[Server], str]] = [
    (CompletesShortDatagrams, "a short datagram"),
    (RepeatsItsLastResponse, "a short datagram"),
    (CutsLongDatagrams, "a long datagram"),
    (IgnoresTheSignature, "a foreign signature"),
    (IgnoresTheVersion, "a wrong version"),
    (IgnoresTheToken, "a wrong token"),
    (AnswersTwice, "a request gets exactly one response"),
    (RepeatsTheRequest, "connections can be read"),
    (CountsDown, "counters never decrease"),
]


@pytest.mark.parametrize("dialect", [PADDED, GROUP_4, GROUP_6, GROUP_11], ids=named)
@pytest.mark.parametrize(
    ("broken", "title"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN]
)
async def test_a_broken_server_is_found_in_every_dialect(
    broken: type[Server], title: str, dialect: Dialect
) -> None:
    found = failed(await check(broken(dialect, token(dialect)), dialect))

    assert any(name.startswith(title) for name in found), found


@pytest.mark.parametrize("dialect", [V0, GROUP_4, GROUP_11], ids=named)
async def test_a_server_that_loops_on_its_own_responses_is_found(dialect: Dialect) -> None:
    found = failed(await check(Loops(dialect, token(dialect)), dialect))

    assert found == {"the server's own responses, sent back to it, do not loop"}


SWAPPED_STATUSES = {0: 0, 1: 1, 2: 3, 3: 2, 4: 4, 5: 5}

DIFFERENCES: list[tuple[str, Dialect, Dialect]] = [
    ("byte order", V0, changed(V0, byte_order="little")),
    ("byte order", GROUP_11, changed(GROUP_11, byte_order="big")),
    ("byte order", PADDED, changed(PADDED, byte_order="little")),
    ("byte order", GROUP_6, changed(GROUP_6, byte_order="big")),
    ("narrower numbers", V0, values(V0, Field(6, 4))),
    ("wider numbers", GROUP_4, values(GROUP_4, Field(6, 8))),
    ("numbers elsewhere", GROUP_4, values(GROUP_4, Field(10, 4))),
    ("numbers elsewhere", V0, values(V0, Field(8, 4))),
    ("flag elsewhere", GROUP_4, values(GROUP_4, Field(9, 1), flags=True)),
    ("on and off exchanged", V0, changed(V0, on=1, off=(0,))),
    ("on and off exchanged", PADDED, changed(PADDED, on=1, off=(0,))),
    ("another number for off", PADDED, changed(PADDED, off=(2,))),
    ("state not in the answer", V0, changed(V0, operations={
        **V0.operations,
        Command.ENABLE_TRANSFORMS: Operation(4, None, flag=True),
        Command.DISABLE_TRANSFORMS: Operation(5, None, flag=True),
    })),
    ("statuses exchanged", V0, changed(V0, statuses={
        SWAPPED_STATUSES[code]: status for code, status in V0.statuses.items()
    })),
    ("statuses exchanged", GROUP_11, changed(GROUP_11, statuses=V0.statuses)),
    ("a status less", V0, changed(V0, statuses={
        code: status for code, status in V0.statuses.items() if code != 2
    })),
    ("silent errors", V0, SILENT),
    ("errors where none are expected", SILENT, V0),
    ("zeroed errors", V0, ZEROED),
    ("errors with a header", ZEROED, V0),
    ("RID in good responses only", V0, GOOD_ONLY),
    ("fixed RID", V0, FIXED),
    ("another fixed RID", FIXED, changed(FIXED, fixed_identifier=8)),
    ("version", V0, changed(V0, version=1)),
    ("signature", V0, changed(V0, signature=b"\xff\xfe")),
    ("commands exchanged", V0, recoded(V0, Command.ACTIVE_CONNECTIONS, Command.CONNECTIONS)),
    ("switch exchanged", V0, recoded(V0, Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS)),
    ("request length", PADDED, changed(PADDED, request_length=21)),
    ("response length", V0, changed(V0, response_length=15)),
    ("request RID elsewhere", PADDED, changed(PADDED, request_identifier=Field(6, 2))),
    ("response RID elsewhere", PADDED, changed(PADDED, response_identifier=Field(6, 2))),
    ("token elsewhere", PADDED, changed(PADDED, authentication=Field(9, 8))),
    ("command elsewhere", PADDED, changed(PADDED, command=Field(19, 1))),
    ("status elsewhere", PADDED, changed(PADDED, status=Field(9, 1))),
    ("result elsewhere", PADDED, changed(PADDED, result=Field(15, 8), operations={
        command: replace(operation, value=Field(15, 8))
        for command, operation in PADDED.operations.items()
    })),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "server"),
    [(dialect, server) for _, dialect, server in DIFFERENCES],
    ids=[f"{dialect.name}: {text}" for text, dialect, _ in DIFFERENCES],
)
async def test_a_server_with_another_table_is_found(dialect: Dialect, server: Dialect) -> None:
    assert failed(await check(Server(server, token(dialect)), dialect)) != set()


@pytest.mark.parametrize("real", DIALECTS.values(), ids=named)
@pytest.mark.parametrize("assumed", DIALECTS.values(), ids=named)
async def test_a_server_of_another_dialect_fails(real: Dialect, assumed: Dialect) -> None:
    if real is not assumed:
        assert failed(await check(Server(real, token(assumed)), assumed)) != set()


async def test_a_wider_number_is_named_as_the_likely_cause() -> None:
    wider = values(GROUP_4, Field(6, 8))
    results = await check(Server(wider, token(wider)), GROUP_4)

    texts = {failure.text for result in results for failure in result.failures}
    assert any("the server's values are probably wider than the dialect's" in t for t in texts)


async def test_a_narrower_number_and_the_wrong_byte_order_are_named() -> None:
    for server, cause in (
        (values(V0, Field(6, 4)), "narrower than the dialect's 8 bytes"),
        (changed(V0, byte_order="little"), "byte order of the dialect is probably wrong"),
    ):
        results = await check(Server(server, token(V0)), V0)
        texts = {failure.text for result in results for failure in result.failures}
        assert any(cause in text for text in texts)


async def test_silent_errors_are_stated_in_the_titles() -> None:
    names = {case.name for case in cases(SILENT, token(SILENT))}

    assert "a wrong token gets no response" in names
    assert "a wrong version gets no response" in names
    assert not any("rejected" in name for name in names)
