"""Reports never contain the token, whatever the server sends."""

import asyncio
from collections.abc import Callable
from itertools import chain
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.conformance.datagrams import unsafe_codes
from protocol.conformance.report import Report, Writer
from protocol.conformance.runner import Runner
from protocol.conformance.table import cases
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.masking import Mask
from protocol.message import Request
from protocol.token import Token
from tests.support.udp import udp_server

TOKEN = Token(b"s3cr\xe9tpA")
MASK = Mask(TOKEN, V0)
dialects = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())


def token(dialect: Dialect) -> Token:
    return Token(TOKEN.octets[: dialect.token_length])


async def reports(
    answer: Callable[[bytes], list[bytes]], dialect: Dialect = V0
) -> tuple[Report, str]:
    """Checks a server that sends what `answer` returns; returns the report in every format."""
    mine = token(dialect)
    async with udp_server(answer) as port:
        runner = Runner(("127.0.0.1", port), mine, dialect, 1, pause=0, grace=0.001)
        found = await asyncio.to_thread(lambda: tuple(runner.run(cases(dialect, mine))))
    report = Report("host", dialect, mine, found, 1.0)
    texts = [Writer(mine, dialect).as_text(one) for one in found]
    return report, "\n".join([*texts, str(report.as_json()), report.as_junit()])


def leaks(text: str, octets: bytes) -> list[str]:
    """The runs of three bytes of the token, in either direction and any notation, that are in `text`."""
    found = []
    for whole in (octets, octets[::-1]):
        for start in range(len(whole) - 2):
            run = whole[start : start + 3]
            found += [
                form for form in (run.hex(), run.decode("latin-1"), repr(run)) if form in text
            ]
        found += [
            str(number)
            for number in (int.from_bytes(whole), int.from_bytes(whole, "little"))
            if str(number) in text
        ]
    return found


def good(datagram: bytes) -> bytes:
    """A "done" response to any datagram."""
    return datagram[:5].ljust(5, b"\0") + bytes(9)


@pytest.mark.parametrize(
    "answer",
    [
        lambda datagram: [datagram],
        lambda datagram: [datagram[:-1]],
        lambda datagram: [datagram[:7]],
        lambda datagram: [b"x" + datagram],
        lambda datagram: [datagram[::-1]],
        lambda datagram: [good(datagram)[:6] + TOKEN.octets],
        lambda datagram: [good(datagram)[:6] + TOKEN.octets[::-1]],
        lambda datagram: [good(datagram)[:9] + TOKEN.octets[:5]],
        lambda datagram: [datagram + TOKEN.octets * 9],
        lambda datagram: [good(datagram), datagram],
        lambda datagram: [good(datagram)],
    ],
    ids=[
        "echo",
        "echo without its last byte",
        "beginning of the request",
        "echo behind a byte",
        "echo backwards",
        "token as the result",
        "token as the result in the other byte order",
        "half of the token as the result",
        "token many times in a long datagram",
        "good answer and an echo",
        "done to everything",
    ],
)
async def test_no_report_shows_the_token(answer: Callable[[bytes], list[bytes]]) -> None:
    report, text = await reports(answer)

    assert not report.passed
    assert leaks(text, TOKEN.octets) == []


async def test_the_one_byte_token_of_a_server_that_echoes_is_masked() -> None:
    dialect = DIALECTS["group-6"]
    report, text = await reports(lambda datagram: [datagram, datagram.ljust(12, b"\0")], dialect)

    assert not report.passed
    for line in text.splitlines():
        for word in line.split():
            if word.startswith("feff0000"):
                assert word[12:14] != TOKEN.octets[:1].hex(), line


def test_runs_of_the_token_that_overlap_are_masked_to_their_ends() -> None:
    mask = Mask(Token(b"aaaaabcd"), V0)

    assert mask.received(b"xxxxxxxxxxxxxxx" + b"aaaa" + b"y") == "78" * 15 + "****" * 2 + "79"
    assert mask.received(b"xxxxxxxxxxxxxxx" + b"abcdcba" + b"y") == ("78" * 15 + "**" * 7 + "79")
    assert mask.received(b"xxxxxxxxxxxxxxx" + b"bcd") == "78" * 15 + "**" * 3


def test_the_beginning_of_a_request_that_comes_back_is_masked_in_the_place_of_the_token() -> None:
    mask = Mask(Token(b"aabbaabb"), V0)
    sent = b"\xcf\xfe\x01\x00\x01aabbaabb\x00"

    assert mask.received(sent[:7], sent) == "cffe010001****"
    assert mask.received(sent[:5] + b"aaxx", sent) == "cffe010001****7878"
    assert mask.received(sent[:5] + b"aaxx") == "cffe01000161617878"


@dialects
def test_every_reported_request_has_its_token_masked_even_a_wrong_one(dialect: Dialect) -> None:
    mask, place = Mask(token(dialect), dialect), dialect.authentication
    for case in cases(dialect, token(dialect), write=True):
        for step in case.steps:
            text = mask.sent(step.sent)
            shown = text[2 * place.offset : 2 * min(place.end, len(step.sent))]
            assert set(shown) <= {"*"}


@dialects
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_a_wrong_token_is_unrelated_to_the_right_one(dialect: Dialect, seed: int) -> None:
    mine = token(dialect)
    half = len(mine.octets) // 2
    table = cases(dialect, mine, write=True, random=Random(seed))
    sent = {step.sent for case in table for step in case.steps}
    for carried in {d[dialect.authentication.span] for d in sent if len(d) == len_of(dialect)}:
        equal = [one == other for one, other in zip(carried, mine.octets, strict=True)]
        assert equal in (
            [True] * len(equal),
            [False] * len(equal),
            [True] * half + [False] * (len(equal) - half),
            [False] * half + [True] * (len(equal) - half),
        )
        inverted = bytes(octet ^ 0xFF for octet in mine.octets)
        assert carried != inverted or len(mine.octets) == 1


def len_of(dialect: Dialect) -> int:
    return dialect.request_length


@dialects
def test_the_table_sends_no_code_that_could_write_in_any_dialect(dialect: Dialect) -> None:
    allowed = {dialect.operations[command].code for command in dialect.reads}
    unknown = []
    for case in cases(dialect, token(dialect)):
        for step in case.steps:
            if code := step.sent[dialect.command.span]:
                unknown += [] if code[0] in allowed else [code[0]]

    assert unknown
    assert not set(unknown) & unsafe_codes(dialect)
    assert min(unknown) >= 0x80


@given(st.binary(min_size=8, max_size=8).filter(lambda octets: len(set(octets)) > 3), st.data())
def test_a_response_with_a_run_of_the_token_is_masked(octets: bytes, data: st.DataObject) -> None:
    run = data.draw(st.integers(3, 8))
    start = data.draw(st.integers(0, 8 - run))
    part = octets[start : start + run]
    before = data.draw(st.binary(max_size=20))
    mask = Mask(Token(octets), V0)

    text = mask.received(before + part + b"\0")

    if all(any(part[i : i + 3]) for i in range(run - 2)):
        assert text[2 * len(before) : 2 * (len(before) + run)] == "**" * run
        assert mask.repeats_token(before + part)


@given(st.binary(max_size=80), st.binary(max_size=20))
def test_masking_keeps_the_place_of_every_byte(received: bytes, sent: bytes) -> None:
    for text in (MASK.received(received, sent), MASK.sent(received)):
        if received and len(received) <= 64:
            assert len(text) == 2 * len(received)


@pytest.mark.parametrize("length", range(6, 15))
def test_an_echoed_part_of_the_request_is_masked_to_its_last_byte(length: int) -> None:
    request = Request(0x1234, TOKEN.octets, 0).encode()
    text = MASK.received(request[:length], request)

    assert set(text[10 : 2 * min(length, 13)]) == {"*"}
    assert MASK.repeats_token(request[:length], request)


def test_unsafe_codes_are_those_of_all_dialects_except_the_dialects_own_reads() -> None:
    assert unsafe_codes(V0) == {4, 5, 6}
    assert unsafe_codes(DIALECTS["group-11"]) == {5, 6}
    assert unsafe_codes(DIALECTS["group-6"]) == {3, 4, 6}


def test_a_good_response_is_shown_unchanged() -> None:
    request = Request(0x1234, TOKEN.octets, 0).encode()
    response = bytes.fromhex("cffe001234000000000000000003")

    assert MASK.received(response, request) == response.hex()
    assert not MASK.repeats_token(response, request)
    assert list(chain(MASK.received(b"", b""))) == list("an empty datagram")
