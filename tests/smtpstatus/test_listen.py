"""Listening sockets of the servers."""

import errno
import socket

import pytest

from smtpstatus.listen import bound_socket

KINDS = [socket.SOCK_STREAM, socket.SOCK_DGRAM]


def reachable(bound: socket.socket, host: str) -> bool:
    """Whether a client that connects to `host` reaches the socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, bound.type) as client:
        client.settimeout(2)
        try:
            client.connect((host, bound.getsockname()[1]))
            client.send(b"x")
            client.send(b"x")  # an ICMP error for the first datagram is reported here
        except OSError:
            return False
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("host", "v4", "v6"),
    [
        ("", True, True),
        ("::", False, True),
        ("0.0.0.0", True, False),
        ("127.0.0.1", True, False),
        ("::1", False, True),
    ],
)
def test_a_listening_socket_accepts_the_address_families_of_its_host(
    host: str, v4: bool, v6: bool, kind: socket.SocketKind
) -> None:
    with bound_socket(host, 0, kind) as bound:
        if kind == socket.SOCK_STREAM:
            bound.listen()

        assert (reachable(bound, "127.0.0.1"), reachable(bound, "::1")) == (v4, v6)


def test_every_address_is_ipv4_where_ipv6_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Socket(socket.socket):
        def bind(self, address: object) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "socket", Socket)

    with bound_socket("", 0, socket.SOCK_DGRAM) as bound:
        assert bound.getsockname()[0] == "0.0.0.0"


def test_an_address_in_use_is_an_error() -> None:
    with (
        bound_socket("127.0.0.1", 0, socket.SOCK_DGRAM) as bound,
        pytest.raises(OSError, match="in use"),
    ):
        bound_socket("127.0.0.1", bound.getsockname()[1], socket.SOCK_DGRAM)
