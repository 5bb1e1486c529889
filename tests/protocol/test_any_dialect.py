"""Properties of every dialect that a table can describe."""

import asyncio
import re
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.address import HostPort
from protocol.client import Peer, Reading, connect
from protocol.conformance.case import Case, Mode, violation
from protocol.conformance.datagrams import unsafe_codes
from protocol.conformance.table import cases
from protocol.describe import as_text, describe
from protocol.dialect import Dialect
from protocol.message import Response, Value
from protocol.reader import Reader
from protocol.server import respond, serve
from protocol.token import Token
from protocol.vocabulary import FLAGS, WRITES, Command, Status
from tests.protocol.dialect_strategy import dialects


def token(dialect: Dialect) -> Token:
    return Token(b"\xe3\xc2\x91\xbb\xd1\x99\x87\xee"[: dialect.token_length])


class Server:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.state = {"TRANSFORMS": True, "VERBOSE": False}

    def answer(self, command: Command) -> Value:
        switch = command.name.rpartition("_")[2]
        if command in WRITES:
            self.state[switch] = command.name.startswith("ENABLE")
        return self.state[switch] if command in FLAGS | WRITES else 3

    def __call__(self, datagram: bytes) -> bytes | None:
        response = respond(datagram, token(self.dialect), self.answer, self.dialect)
        if response is None:
            return None
        silent = self.dialect.silent_errors or response.status not in self.dialect.status_codes
        if response.status is not Status.DONE and silent:
            return None
        return response.encode(self.dialect)


@settings(max_examples=50)
@given(dialects(), st.integers(0, 2**32))
def test_a_server_of_any_dialect_conforms_and_sends_the_expected_bytes(
    dialect: Dialect, seed: int
) -> None:
    server = Server(dialect)
    for case in cases(dialect, token(dialect), write=True, random=Random(seed)):
        read = []
        for step in case.steps:
            received = server(step.sent)
            if received is None:
                assert step.expected.silence, case.name
                continue
            assert step.expected.fault(received, dialect) is None, case.name
            assert re.fullmatch(step.expected.pattern(dialect), received.hex()), case.name
            response = Response.decode(received, dialect)
            command = step.expected.command
            value = response.value(command, dialect) if command else None
            read += [(command, value)] if command and value is not None else []
        if case.mode is Mode.SEQUENTIAL:
            assert violation(case.requirement, read, dialect) is None, case.name


def written(table: tuple[Case, ...], dialect: Dialect) -> set[int]:
    sent = {step.sent[dialect.command.span] for case in table for step in case.steps}
    return {code[0] for code in sent if code}


@settings(max_examples=50)
@given(dialects(), st.integers(0, 2**32))
def test_no_case_sends_a_code_that_writes_in_any_dialect(dialect: Dialect, seed: int) -> None:
    table = cases(dialect, token(dialect), random=Random(seed))

    assert not written(table, dialect) & unsafe_codes(dialect)


@settings(max_examples=50)
@given(dialects(), st.binary(max_size=70))
def test_any_datagram_can_be_described_in_any_dialect(dialect: Dialect, datagram: bytes) -> None:
    for one in describe(datagram, [dialect]):
        assert b"".join(part.octets for part in one.parts) == datagram
        assert as_text(one)


@settings(max_examples=50)
@given(dialects())
def test_a_response_of_any_dialect_is_described_without_faults(dialect: Dialect) -> None:
    server = Server(dialect)
    for case in cases(dialect, token(dialect), random=Random(1)):
        received = server(case.steps[0].sent)
        if received is None:
            continue
        (response, *_) = [d for d in describe(received, [dialect]) if d.kind == "response"]
        assert response.faults == []


@settings(max_examples=30)
@given(dialects())
def test_a_server_of_any_dialect_is_read_over_udp(dialect: Dialect) -> None:
    async def read() -> tuple[Reading, Reading]:
        server = Server(dialect)
        async with serve("127.0.0.1", 0, token(dialect), server.answer, dialect) as endpoint:
            peer = Peer(HostPort("127.0.0.1", endpoint.port), token(dialect), dialect)
            async with connect(peer) as connection:
                alone = await connection.read(timeout=5)
            reader = Reader()
            (together,) = await reader.read_all([peer], timeout=5)
            reader.close()
        return alone, together

    server = Server(dialect)
    for reading in asyncio.run(read()):
        assert reading.error is None
        assert reading.values == {command: server.answer(command) for command in dialect.reads}
