"""Unix sockets to listen on."""

import contextlib
import socket
from pathlib import Path

import pytest

from reference_server.listen_address import UnixAddress


def test_an_address_is_parsed_and_written() -> None:
    assert str(UnixAddress.parse("unix:/run/smtpstatus/lmtp")) == "unix:/run/smtpstatus/lmtp"


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix:lmtp", "/run/lmtp", "unix:/a\nb", "unix:/" + "x" * 107]
)
def test_an_invalid_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="invalid address"):
        UnixAddress.parse(text)


def test_a_socket_is_bound_for_every_user_and_removed(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "lmtp")
    with address.bind(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))
        assert address.path.stat().st_mode & 0o777 == 0o666
    address.remove()
    address.remove()

    assert not address.path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "lmtp")
    address.bind().close()

    with address.bind(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))


def test_the_socket_of_a_stuck_server_is_not_replaced(tmp_path: Path) -> None:
    address = UnixAddress(tmp_path / "lmtp")
    with socket.socket(socket.AF_UNIX) as stuck, contextlib.ExitStack() as clients:
        stuck.bind(str(address.path))
        stuck.listen(0)
        for _ in range(3):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(address.path))

        with pytest.raises(OSError, match="in use"):
            address.bind()


def test_a_socket_in_use_and_other_files_are_not_replaced(tmp_path: Path) -> None:
    used, file = UnixAddress(tmp_path / "lmtp"), UnixAddress(tmp_path / "file")
    file.path.write_text("keep")
    with used.bind():
        for address in (used, file):
            with pytest.raises(OSError, match="in use"):
                address.bind()

    assert file.path.read_text() == "keep"
