"""Encoding and decoding of any bytes; test_vectors.py runs the vectors of docs/protocol.md in both directions."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.dialect import Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.errors import BadRequest, BadResponse, DatagramError, DiscardReason, ForeignDatagram
from protocol.message import Request, Response, Value, column, result
from protocol.port import Undelivered
from protocol.template import RequestTemplate
from protocol.token import Token
from protocol.vocabulary import Command, Status

dialects = st.sampled_from(list(DIALECTS.values()))


@given(st.binary(max_size=64), dialects)
def test_decoding_any_bytes_raises_only_protocol_errors(datagram: bytes, dialect: Dialect) -> None:
    for decode in (Request.decode, Response.decode):
        with contextlib.suppress(DatagramError):
            decode(datagram, dialect)


@given(st.data(), dialects)
def test_a_request_round_trips_through_its_encoding(data: st.DataObject, dialect: Dialect) -> None:
    request = Request(
        data.draw(st.integers(0, 0xFFFF)),
        data.draw(st.binary(min_size=dialect.token_length, max_size=dialect.token_length)),
        data.draw(st.integers(0, 255)),
    )

    assert Request.decode(request.encode(dialect), dialect) == request


@given(st.data(), dialects)
def test_a_response_round_trips_through_its_encoding(
    data: st.DataObject, dialect: Dialect
) -> None:
    command = data.draw(st.sampled_from(dialect.reads))
    operation = dialect.operations[command]
    assert operation.value is not None
    value: int = data.draw(
        st.booleans() if operation.flag else st.integers(0, 2 ** (8 * operation.value.size) - 1)
    )
    if command is Command.ACTIVE_CONNECTIONS and operation.signed:
        value %= 2 ** (8 * operation.value.size - 1)
    response = Response(0x1234, Status.DONE, result(command, value, dialect))

    decoded = Response.decode(response.encode(dialect), dialect)

    assert decoded == response
    assert decoded.value(command, dialect) == value


@pytest.mark.parametrize("size", [size for size in range(65) if size != 14])
def test_a_request_of_a_wrong_size_is_answered_with_its_identifier_if_present(
    size: int,
) -> None:
    datagram = (bytes.fromhex("cffe00 1234") + bytes(60))[:size]

    if size < 2:
        with pytest.raises(ForeignDatagram):
            Request.decode(datagram)
        return
    with pytest.raises(BadRequest) as caught:
        Request.decode(datagram)

    assert caught.value.status is Status.INVALID_REQUEST
    assert caught.value.identifier == (0x1234 if size >= 5 else 0)


def test_a_wrong_size_is_reported_before_a_wrong_version() -> None:
    with pytest.raises(BadRequest) as caught:
        Request.decode(bytes.fromhex("cffe07 1234"))

    assert caught.value.status is Status.INVALID_REQUEST


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        ("cffe00 1234 00 00000000000000", DiscardReason.SIZE),
        ("cffe00 1234 00 0000000000000000 00", DiscardReason.SIZE),
        ("cffd00 1234 00 0000000000000000", DiscardReason.SIGNATURE),
        ("cffe01 1234 00 0000000000000000", DiscardReason.VERSION),
        ("cffe00 1234 06 0000000000000000", DiscardReason.STATUS),
    ],
)
def test_a_response_is_rejected_for_the_first_invalid_field(
    datagram: str, reason: DiscardReason
) -> None:
    with pytest.raises(BadResponse) as caught:
        Response.decode(bytes.fromhex(datagram))

    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("octets", "expected"),
    [("0000000000000000", True), ("0000000000000001", False), ("0100000000000000", False)],
)
def test_on_is_encoded_as_zero_and_off_as_one(octets: str, expected: bool) -> None:
    response = Response(1, Status.DONE, bytes.fromhex(octets))

    assert response.value(Command.TRANSFORMS) is expected


@pytest.mark.parametrize("octets", ["0000000000000002", "0100000000000001", "ffffffffffffffff"])
def test_a_flag_that_is_neither_on_nor_off_is_rejected(octets: str) -> None:
    with pytest.raises(BadResponse) as caught:
        Response(1, Status.DONE, bytes.fromhex(octets)).value(Command.TRANSFORMS)

    assert caught.value.reason is DiscardReason.RESULT


def test_an_error_never_carries_a_number() -> None:
    datagram = Response(0x1234, Status.INVALID_COMMAND, b"\xff" * 8).encode()

    assert datagram == bytes.fromhex("cffe00 1234 03 0000000000000000")


def test_numbers_are_unsigned_and_in_network_order_to_the_last_bit() -> None:
    biggest = Response(1, Status.DONE, b"\xff" * 8)

    assert biggest.value(Command.TRANSFERRED_BYTES, V0) == 2**64 - 1


def test_a_signed_counter_continues_past_its_largest_value() -> None:
    dialect = DIALECTS["group-6"]
    response = Response(1, Status.DONE, bytes.fromhex("01000080"))

    assert response.value(Command.TRANSFERRED_BYTES, dialect) == 2**31 + 1


def test_a_negative_gauge_is_decoded_as_is() -> None:
    response = Response(1, Status.DONE, bytes.fromhex("ffffffff"))

    assert response.value(Command.ACTIVE_CONNECTIONS, DIALECTS["group-6"]) == -1


RESULTS = st.one_of(
    st.none(),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 3).map(lambda number: number.to_bytes(8)),
    st.integers(0, 3).map(lambda number: number.to_bytes(8, "little")),
)


@st.composite
def operations(draw: st.DrawFn) -> tuple[Dialect, Command]:
    command = draw(st.sampled_from(V0.reads + DIALECTS["group-6"].reads))
    size = draw(st.sampled_from([1, 2, 4, 8]))
    place = Field(V0.result.offset + draw(st.integers(0, 8 - size)), size)
    operation = Operation(0, place, signed=draw(st.booleans()), flag=draw(st.booleans()))
    dialect = draw(st.sampled_from([V0, replace(V0, byte_order="little")]))
    return replace(dialect, operations={command: operation}, off=(1, 2)), command


@given(operations(), st.lists(RESULTS, max_size=6))
def test_a_column_has_the_value_of_each_response_or_none(
    operation: tuple[Dialect, Command], results: list[bytes | None]
) -> None:
    dialect, command = operation
    expected: list[Value | None] = [None] * len(results)
    for index, octets in enumerate(results):
        with contextlib.suppress(BadResponse):
            if octets is not None:
                expected[index] = Response(1, Status.DONE, octets).value(command, dialect)

    found = list(column(results, command, dialect))

    assert [(type(one), one) for one in found] == [(type(one), one) for one in expected]


def test_the_token_is_not_in_a_requests_text_form() -> None:
    template = RequestTemplate.of(Token(b"secretpa"), V0, V0.reads)
    undelivered = Undelivered(b"secretpa", ("127.0.0.1", 7030), OSError())

    for value in (Request(1, b"secretpa", 0), template, template.entries[0], undelivered):
        assert "secretpa" not in repr(value)
