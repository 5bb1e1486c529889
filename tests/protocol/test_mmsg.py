"""recvmmsg and sendmmsg over real sockets."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import HostPort, numeric
from protocol.mmsg import MessageBatch, host_of, pack_sockaddr, unpack_sockaddr

FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(params=FAMILIES, ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family: socket.AddressFamily = request.param
    with ExitStack() as stack:
        two = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2)]
        for one in two:
            one.bind((FAMILIES[family], 0))
        yield two[0], two[1]


def datagrams(batch: MessageBatch, count: int) -> list[bytes]:
    starts = range(0, count * batch.size, batch.size)
    return [
        bytes(batch.octets[start : start + length])
        for start, length in zip(starts, batch.lengths[:count].tolist(), strict=True)
    ]


def test_a_batch_arrives_in_order_with_its_source_address(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    outbox, inbox = MessageBatch(here.family, 8, 3), MessageBatch(here.family, 8, 4)
    outbox.octets[:] = b"".join(b"%03d" % number for number in range(8))
    outbox.sockaddrs[:] = pack_sockaddr(there.getsockname()) * 8

    assert outbox.send(here, 2, 5) == 5

    assert inbox.receive(there) == 5
    assert datagrams(inbox, 5) == [b"002", b"003", b"004", b"005", b"006"]
    name = bytes(inbox.sockaddrs[: inbox.sockaddr_size])
    assert unpack_sockaddr(name) == here.getsockname()


def test_a_datagram_that_is_too_long_fills_its_buffer_and_no_other(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    for text in (b"a", b"bcdefgh", b"", b"i"):
        here.sendto(text, there.getsockname())
    inbox = MessageBatch(here.family, 4, 4)

    assert inbox.receive(there) == 4
    assert datagrams(inbox, 4) == [b"a", b"bcde", b"", b"i"]


def test_buffers_that_the_kernel_writes_to_cannot_be_resized() -> None:
    batch = MessageBatch(socket.AF_INET, 4, 4)

    for memory in (batch.octets, batch.sockaddrs):
        with pytest.raises(BufferError):
            memory += bytes(1000)


def test_receiving_from_an_empty_socket_raises_blocking_io_error(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(BlockingIOError):
        MessageBatch(pair[0].family, 4, 4).receive(pair[0])


def test_an_unreachable_address_ends_the_batch_and_is_reported(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    good = pack_sockaddr(there.getsockname())
    outbox = MessageBatch(here.family, 3, 1)
    nowhere = pack_sockaddr((there.getsockname()[0], 0, *there.getsockname()[2:]))
    outbox.sockaddrs[:] = good + nowhere + good

    assert outbox.send(here, 0, 3) == 1
    with pytest.raises(OSError, match="Invalid argument") as caught:
        outbox.send(here, 1, 2)
    assert caught.value.errno == errno.EINVAL
    assert outbox.send(here, 2, 1) == 1


def test_a_response_is_sent_from_the_address_that_the_request_was_sent_to() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        server.bind(("0.0.0.0", 0))
        client.settimeout(5)
        port = server.getsockname()[1]
        inbox, outbox = (
            MessageBatch(socket.AF_INET, 4, 8, 64),
            MessageBatch(socket.AF_INET, 4, 2, 64),
        )
        for last in (7, 8):  # twice: the buffer for ancillary data is reset
            client.sendto(b"hello", (f"127.0.0.{last}", port))
            assert inbox.receive(server) == 1
            outbox.sockaddrs[:], outbox.controls[:] = inbox.sockaddrs, inbox.controls
            outbox.control_lengths[:] = inbox.control_lengths
            outbox.send(server, 0, 1)

            assert client.recvfrom(10)[1] == (f"127.0.0.{last}", port)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_an_ipv4_address_round_trips(host: object, port: int) -> None:
    assert unpack_sockaddr(pack_sockaddr((str(host), port))) == (str(host), port)
    assert host_of(pack_sockaddr((str(host), port))) == str(host)


@given(st.ip_addresses(v=6), st.integers(0, 65535), st.integers(0, (1 << 20) - 1))
def test_an_ipv6_address_round_trips(host: object, port: int, flow: int) -> None:
    text = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, str(host)))

    assert unpack_sockaddr(pack_sockaddr((text, port, flow, 0))) == (text, port, flow, 0)
    assert host_of(pack_sockaddr((text, port, flow, 0))) == text


def test_an_ipv6_address_keeps_its_zone() -> None:
    (address,) = numeric(HostPort("fe80::1%lo", 7030))

    assert address[3:] == (socket.if_nametoindex("lo"),)
    assert unpack_sockaddr(pack_sockaddr(address)) == address


def test_an_address_is_directly_followed_by_its_datagram_in_a_joint_buffer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    for text in (b"abc", b"defgh"):
        here.sendto(text, there.getsockname())
    inbox = MessageBatch(here.family, 4, 4, together=True)

    assert inbox.receive(there) == 2
    sender = pack_sockaddr(here.getsockname())
    assert bytes(inbox.octets[: 2 * (len(sender) + 4)]) == sender + b"abc\0" + sender + b"defg"
    assert inbox.lengths[:2].tolist() == [3, 4]


def test_every_member_of_an_address_is_packed() -> None:
    for address in (("192.0.2.1", 7030), ("2001:db8::1", 7030, 0x12345, 7)):
        assert unpack_sockaddr(pack_sockaddr(address)) == address
        assert host_of(pack_sockaddr(address)) == address[0]
