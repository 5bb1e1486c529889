"""Batch responder: a batch is answered byte for byte as individually, or left to the slow path."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.fastpath import BatchResponder
from protocol.message import Request, Response, Value, result
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import FLAGS, WRITES, Command, Status

dialects = st.sampled_from(list(DIALECTS.values()))


def answer(command: Command) -> Value:
    return True if command in FLAGS | WRITES else len(command) * 1000


def token(dialect: Dialect) -> Token:
    return Token(bytes(range(1, dialect.token_length + 1)))


def good(data: st.DataObject, dialect: Dialect) -> bytes:
    command = data.draw(st.sampled_from(dialect.reads))
    identifier = data.draw(st.integers(0, 0xFFFF))
    code = dialect.operations[command].code
    return Request(identifier, token(dialect).octets, code).encode(dialect)


def answers(dialect: Dialect, datagrams: list[bytes]) -> bytes | None:
    size = dialect.request_length + 1
    octets = b"".join(datagram[:size].ljust(size, b"\0") for datagram in datagrams)
    lengths = [min(len(datagram), size) for datagram in datagrams]
    room = octets + bytes(3 * size)  # a batch has room for more datagrams than were received
    return BatchResponder(token(dialect), answer, dialect, size, 50).answers(room, lengths)


def one_by_one(dialect: Dialect, datagrams: list[bytes]) -> bytes:
    responses = [respond(datagram, token(dialect), answer, dialect) for datagram in datagrams]
    return b"".join(response.encode(dialect) for response in responses if response)


@given(st.data(), dialects)
def test_valid_reads_in_a_batch_are_answered_as_individually(
    data: st.DataObject, dialect: Dialect
) -> None:
    datagrams = [good(data, dialect) for _ in range(data.draw(st.integers(1, 40)))]

    assert answers(dialect, datagrams) == one_by_one(dialect, datagrams)


@given(st.data(), dialects)
def test_a_batch_with_any_other_datagram_is_left_to_the_slow_path(
    data: st.DataObject, dialect: Dialect
) -> None:
    datagrams = [good(data, dialect) for _ in range(data.draw(st.integers(0, 5)))]
    reads = {dialect.operations[command].code for command in dialect.reads}
    code = data.draw(st.integers(0, 255).filter(lambda code: code not in reads))
    wrong = bytes(dialect.token_length)
    other = data.draw(
        st.sampled_from(
            [
                Request(1, token(dialect).octets, code).encode(dialect),
                Request(1, wrong, dialect.operations[dialect.reads[0]].code).encode(dialect),
                good(data, dialect)[:-1],
                good(data, dialect) + b"\0",
                b"\0" + good(data, dialect)[1:],
                b"",
            ]
        )
    )
    datagrams.insert(data.draw(st.integers(0, len(datagrams))), other)

    assert answers(dialect, datagrams) is None


def test_a_value_changed_by_the_slow_path_is_read_by_the_next_batch() -> None:
    values = [0]
    reads = BatchResponder(token(V0), lambda command: values[-1], V0, V0.request_length, 2)
    read, write, unknown = (Request(1, token(V0).octets, code).encode() for code in (0, 5, 9))

    for other in (unknown, write, unknown):
        values.append(len(values))

        assert reads.answers(read + other, [len(read), len(other)]) is None

        response = reads.answers(read, [len(read)])
        assert (
            response == Response(1, Status.DONE, result(Command.CONNECTIONS, values[-1])).encode()
        )


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_no_bytes_raise(datagrams: list[bytes]) -> None:
    assert answers(V0, datagrams) is None


def test_a_batch_whose_application_raises_is_left_to_the_slow_path() -> None:
    def fail(command: Command) -> Value:
        raise RuntimeError(command)

    request = Request(1, token(V0).octets, 0).encode()
    reads = BatchResponder(token(V0), fail, V0, V0.request_length, 1)

    assert reads.answers(request, [len(request)]) is None
