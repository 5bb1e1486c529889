"""Few descriptors: what becomes of clients then, and of the log."""

import smtplib
from pathlib import Path

from tests.real import require
from tests.reference_server.server import running


def test_a_system_without_room_for_a_connection_is_told_of_once_a_second_and_asked_again(
    tmp_path: Path,
) -> None:
    failing = ("strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=accept4", "-e")
    require("strace")

    with running(tmp_path, front=(*failing, "inject=accept4:error=ENFILE:when=1")) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp) as client:
            assert client.noop()[0] == 250
        server.stop()

    [line] = server.log.read_text().splitlines()
    assert line.endswith(
        'level=error msg="cannot accept connections" error="[Errno 23] Too many open files in system"'
    )
