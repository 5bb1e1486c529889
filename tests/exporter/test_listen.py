import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.http import listen
from exporter.http.listen import ListenError, notify, open_sockets


@contextmanager
def listening(*addresses: str) -> Iterator[list[socket.socket]]:
    sockets = open_sockets(addresses, systemd=False, environ={})
    try:
        yield sockets
    finally:
        for opened in sockets:
            opened.close()


def reaches(opened: socket.socket, host: str) -> bool:
    try:
        with socket.create_connection((host, opened.getsockname()[1]), timeout=5):
            return True
    except OSError:
        return False


def test_a_port_without_a_host_listens_on_every_address_of_both_families() -> None:
    with listening(":0") as [opened]:
        assert reaches(opened, "127.0.0.1")
        assert reaches(opened, "::1") == socket.has_dualstack_ipv6()


def test_an_address_listens_only_on_that_address() -> None:
    with listening("127.0.0.1:0") as [opened]:
        assert reaches(opened, "127.0.0.1")
        assert not reaches(opened, "127.0.0.2")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_written_in_brackets() -> None:
    with listening("[::1]:0") as [opened]:
        assert reaches(opened, "::1")
        assert not reaches(opened, "127.0.0.1")


def test_a_response_in_two_writes_does_not_wait_for_an_acknowledgement() -> None:
    """asyncio disables Nagle's algorithm only if the socket's protocol number is TCP."""
    with listening("127.0.0.1:0", ":0") as sockets:
        assert [opened.proto for opened in sockets] == [socket.IPPROTO_TCP] * len(sockets)


def test_a_name_is_listened_on_at_each_of_its_addresses() -> None:
    with listening("localhost:0") as sockets:
        assert "127.0.0.1" in {opened.getsockname()[0] for opened in sockets}
        assert all(reaches(opened, opened.getsockname()[0]) for opened in sockets)


@pytest.mark.parametrize(
    "missing", [set(), {socket.AF_INET6}, {socket.AF_INET, socket.AF_INET6}], ids=len
)
def test_addresses_of_a_name_that_the_host_lacks_are_left_out(
    missing: set[socket.AddressFamily], monkeypatch: pytest.MonkeyPatch
) -> None:
    def addresses(*_: object, **__: object) -> list[object]:
        return [
            (family, socket.SOCK_STREAM, 6, "", (host, 0))
            for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
        ]

    def bound(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
        if family in missing:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return socket.socket(family)

    monkeypatch.setattr(socket, "getaddrinfo", addresses)
    monkeypatch.setattr(listen, "_bound", bound)
    if len(missing) == 2:
        with pytest.raises(ListenError, match="no such address on this host"):
            open_sockets(["both.example:0"], systemd=False, environ={})
        return
    sockets = open_sockets(["both.example:0"], systemd=False, environ={})
    assert {one.family for one in sockets} == {socket.AF_INET, socket.AF_INET6} - missing
    for one in sockets:
        one.close()


def test_several_addresses_are_all_listened_on(tmp_path: Path) -> None:
    with listening("127.0.0.1:0", f"unix:{tmp_path}/x.sock", "127.0.0.2:0") as sockets:
        families = [opened.family for opened in sockets]

    assert families == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET]


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_port_in_use_is_named_with_the_remedy(address: str) -> None:
    with listening(f"{address}:0") as [taken]:
        where = f"{address}:{taken.getsockname()[1]}"

        with pytest.raises(ListenError) as caught:
            open_sockets([where], systemd=False, environ={})

    assert str(caught.value) == (
        f"--web.listen-address {where}: port already in use:"
        " stop the other program, or choose another port"
    )


def test_one_invalid_address_closes_all_sockets() -> None:
    with listening("127.0.0.1:0") as [opened]:
        free = opened.getsockname()[1]

    with pytest.raises(ListenError, match=r"192\.0\.2\.1"):
        open_sockets([f"127.0.0.1:{free}", "192.0.2.1:0"], systemd=False, environ={})

    with listening(f"127.0.0.1:{free}"):
        pass


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("17030", "expected host:port"),
        ("::1:17030", "in brackets"),
        ("192.0.2.1:0", "no such address on this host"),
        ("no-such-host.invalid:0", "cannot resolve the name"),
        ("unix:relative.sock", "absolute path"),
        ("unix:/no/such/directory/x.sock", "no such directory"),
        ("unix:/tmp/" + "x" * 200, "AF_UNIX path too long"),
    ],
)
def test_an_impossible_address_is_rejected_in_one_line(address: str, remedy: str) -> None:
    with pytest.raises(ListenError, match=remedy) as caught:
        open_sockets([address], systemd=False, environ={})

    assert str(caught.value).startswith(f"--web.listen-address {address}: ")
    assert "\n" not in str(caught.value)


@given(st.text(alphabet=st.characters(exclude_characters="0123456789")))
def test_any_address_raises_only_a_listen_error(address: str) -> None:
    with pytest.raises(ListenError):
        open_sockets([address], systemd=False, environ={})


def test_a_unix_socket_is_accessible_to_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with listening(f"unix:{path}"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))
        mode = path.stat().st_mode & 0o777

    assert mode == 0o660


def test_a_socket_file_left_by_a_dead_program_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with listening(f"unix:{path}"):
        pass
    assert path.is_socket()

    with listening(f"unix:{path}"), socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(path))


def test_a_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with listening(f"unix:{path}"):
        with pytest.raises(ListenError, match="another program listens there"):
            open_sockets([f"unix:{path}"], systemd=False, environ={})
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(path))


def test_a_socket_of_a_busy_listener_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with ExitStack() as opened:
        busy = opened.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        caller = opened.enter_context(socket.socket(socket.AF_UNIX))
        caller.connect(str(path))
        another = opened.enter_context(socket.socket(socket.AF_UNIX))
        another.setblocking(False)
        with pytest.raises(BlockingIOError):
            another.connect(str(path))

        with pytest.raises(ListenError, match="another program listens there"):
            open_sockets([f"unix:{path}"], systemd=False, environ={})


def test_a_file_that_is_not_a_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("keep me")

    with pytest.raises(ListenError, match="is not a socket"):
        open_sockets([f"unix:{path}"], systemd=False, environ={})

    assert path.read_text() == "keep me"


PASS_SOCKETS = """
import os, sys
count = int(sys.argv[1])
for index in range(count):
    os.dup2(int(sys.argv[2 + index]), 3 + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(count)
from exporter.http import listen
from exporter.http.listen import ListenError, open_sockets
try:
    for opened in open_sockets([], systemd=True, environ=os.environ):
        print(repr(opened.getsockname()), opened.get_inheritable())
except ListenError as error:
    print(error)
"""


def systemd_passes(*sockets: socket.socket) -> str:
    """Output of a program that receives these sockets as from systemd."""
    # Away from the descriptors that they must have.
    high = [os.dup2(opened.fileno(), 100 + index) for index, opened in enumerate(sockets)]
    try:
        return subprocess.run(
            [sys.executable, "-c", PASS_SOCKETS, str(len(high)), *map(str, high)],
            pass_fds=high,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        ).stdout
    finally:
        for descriptor in high:
            os.close(descriptor)


def test_sockets_passed_by_systemd_are_used(tmp_path: Path) -> None:
    with listening("127.0.0.1:0", f"unix:{tmp_path}/x.sock") as sockets:
        expected = "".join(f"{opened.getsockname()!r} False\n" for opened in sockets)

        assert expected == systemd_passes(*sockets)


def test_a_passed_socket_that_does_not_listen_is_rejected() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        output = systemd_passes(udp)

    assert output == (
        "--web.systemd-socket: descriptor 3: not a listening stream socket:"
        " the .socket unit takes ListenStream=\n"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "one", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_a_missing_systemd_socket_is_reported_with_the_remedy(environ: dict[str, str]) -> None:
    with pytest.raises(ListenError, match=r"start the \.socket unit"):
        open_sockets([":0"], systemd=True, environ=environ)


@pytest.mark.parametrize("abstract", [False, True])
def test_the_state_is_sent_to_systemd(tmp_path: Path, abstract: bool) -> None:
    name = f"@smtpstatus-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5)

        notify("READY=1", {"NOTIFY_SOCKET": name})

        assert systemd.recv(1024) == b"READY=1"


def test_a_reload_notification_has_a_monotonic_time(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)

        began = time.monotonic()
        notify("RELOADING=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        ended = time.monotonic()

        state, _, stamp = systemd.recv(1024).decode().partition("\n")

    assert state == "RELOADING=1"
    at_us = int(stamp.removeprefix("MONOTONIC_USEC="))
    assert int(began * 1e6) - 1 <= at_us <= ended * 1e6


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_systemd_nothing_happens(environ: dict[str, str]) -> None:
    notify("READY=1", environ)
