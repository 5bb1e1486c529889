"""Fuzz targets of protocol/: datagrams, addresses, tokens and durations."""

import sys
from contextlib import suppress
from random import Random
from time import monotonic

from protocol.address import HostPort
from protocol.describe import as_text, describe
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.errors import BadResponse, DatagramError
from protocol.message import Request, Response
from protocol.query import Query
from protocol.server import respond
from protocol.template import RequestTemplate
from protocol.token import Token
from protocol.vocabulary import FLAGS
from smtpstatus.duration import parse_duration

SEEDS = [
    bytes.fromhex(digits)
    for digits in (
        "cffe0012347365637265747061 00",
        "cffe001234000000000000000003",
        "fffe00123406 0000000000000000",
        "feff00003412 6f 05",
        "feff00a434120000 02000000",
        "feca001234 00 e804000000000000",
    )
] + [b"[::1]:7030", b"mail.example:7030", b"hex:7365637265747061", b"1m30s", b"700ms"]


def examine(data: bytes) -> None:
    """Fails if a parser raises an undocumented error or accepts an invalid datagram."""
    for dialect in DIALECTS.values():
        examine_request(data, dialect)
        examine_response(data, dialect)
    for one in describe(data):
        assert b"".join(part.octets for part in one.parts) == data
        as_text(one)
    text = data.decode("utf-8", "surrogateescape")
    for parse in (HostPort.parse, Token.parse, parse_duration):
        with suppress(ValueError):
            parse(text)


def examine_request(data: bytes, dialect: Dialect) -> None:
    token = Token(b"secretpa"[: dialect.token_length])
    with suppress(DatagramError):
        request = Request.decode(data, dialect)
        assert Request.decode(request.encode(dialect), dialect) == request
    response = respond(
        data, token, lambda command: True if command in FLAGS else len(data), dialect
    )
    assert (response is not None) == data.startswith(dialect.signature)
    if response and response.status in dialect.status_codes:
        assert len(response.encode(dialect)) == dialect.response_length


def examine_response(data: bytes, dialect: Dialect) -> None:
    with suppress(BadResponse):
        response = Response.decode(data, dialect)
        for command in dialect.operations:
            with suppress(BadResponse):
                number = response.value(command, dialect)
                assert number is None or -(2**63) <= number < 2**64
    token = Token(bytes(dialect.token_length))
    template = RequestTemplate.of(token, dialect, dialect.reads)
    size = dialect.request_identifier.size
    identifiers = [number.to_bytes(size) for number in range(len(template.entries))]
    where = ("127.0.0.1", 7030)
    query = Query(template, identifiers, (where,), rto=0.25, attempts=1, deadline=1)
    query.start(0)
    reason = query.datagram(data, where, 0)
    assert reason or len(data) == dialect.response_length


def mutate(random: Random) -> bytes:
    """A seed with some bytes changed, cut off, inserted or joined with those of another seed."""
    data = bytearray(random.choice(SEEDS))
    for _ in range(random.randrange(4)):
        place = random.randrange(len(data) + 1)
        change = random.randrange(4)
        if change == 0:
            data[place:] = random.choice(SEEDS)[place:]
        elif change == 1:
            del data[place : place + random.randrange(1, 9)]
        else:
            data[place : place + change - 2] = random.randbytes(random.randrange(1, 5))
    return bytes(data)


def run(seconds: float, random: Random) -> int:
    """Examines mutations until the time is over; returns their number."""
    until = monotonic() + seconds
    count = 0
    while monotonic() < until:
        data = mutate(random)
        try:
            examine(data)
        except BaseException:
            print(f"found by {data.hex()}", file=sys.stderr)
            raise
        count += 1
    return count
