"""Full disk: a file system of 4 MiB in a mount namespace of the server."""

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.reference_server.server import Server, running
from tests.support.processes import eventually
from tests.support.real import require

NO_ROOM = b"452 4.3.1 Insufficient system storage"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    maildir = tmp_path / "mail"
    maildir.mkdir()
    users = () if os.geteuid() == 0 else ("--map-root-user",)
    mount = f"mount -t tmpfs -o size=4m none {maildir}"
    inside = (require("unshare"), *users, "--mount", "sh", "-c")
    attempt = subprocess.run([*inside, mount], capture_output=True, text=True, check=False)
    if attempt.returncode:
        refused = pytest.fail if os.environ.get("SMTPSTATUS_REQUIRE_REAL") == "1" else pytest.skip
        refused(f"no namespace with a file system to be had here: {attempt.stderr}")
    with running(tmp_path, front=(*inside, f'{mount} && exec "$@"', "sh")) as server:
        yield replace(server, maildir=Path(f"/proc/{server.process.pid}/root{maildir}"))


def send(server: Server, *mails: tuple[str, bytes]) -> list[tuple[str, bytes]]:
    """Sends messages, given by parameters and content; returns the final reply to each, with its command."""
    final_replies = []
    with socket.create_connection(("127.0.0.1", server.smtp), 10) as connection:
        replies = connection.makefile("rb")

        def ask(octets: bytes) -> bytes:
            connection.sendall(octets)
            while (line := replies.readline().rstrip())[3:4] == b"-":
                pass
            return line

        ask(b"")
        ask(b"EHLO me\r\n")
        for parameters, content in mails:
            command, reply = "MAIL", ask(f"MAIL FROM:<a@x>{parameters}\r\n".encode())
            if reply.startswith(b"250"):
                ask(b"RCPT TO:<bob@example.com>\r\n")
                ask(b"DATA\r\n")
                command, reply = "DATA", ask(content + b".\r\n")
            final_replies.append((command, reply[: len(NO_ROOM)]))
    return final_replies


def test_a_message_larger_than_the_free_space_is_452_at_mail(server: Server) -> None:
    content = b"x" * 998 + b"\r\n"

    large, small = send(
        server, (" SIZE=3000000", content * 3000), (" SIZE=1000000", content * 1000)
    )

    assert large == ("MAIL", NO_ROOM)
    assert 'command="MAIL FROM:<a@x> SIZE=3000000" reply="452 4.3.1 ' in server.log.read_text()
    assert small[1].startswith(b"250 2.0.0 Ok: stored")
    [stored] = server.stored("bob")
    assert len(stored) > 999_000


def test_mail_is_452_when_hardly_any_space_is_free(
    server: Server,
) -> None:
    (server.maildir / "other").write_bytes(bytes(3_500_000))

    # The server measures the free space once a second, and never in its event loop.
    eventually(lambda: send(server, ("", b"small\r\n")) == [("MAIL", NO_ROOM)], seconds=5)


def test_a_full_disk_rejects_messages_and_keeps_nothing_of_them(
    server: Server,
) -> None:
    unannounced = ("", (b"x" * 998 + b"\r\n") * 1500)

    replies = send(server, *[unannounced] * 3, ("", b"small\r\n"), unannounced)

    assert replies[2] == replies[4] == ("DATA", NO_ROOM)
    assert [reply[:3] for _, reply in replies] == [b"250", b"250", b"452", b"250", b"452"]
    assert sorted(len(message) // 1_000_000 for message in server.stored("bob")) == [0, 1, 1]
    assert server.leftovers() == []
