"""Processes stopped for minutes (SIGSTOP, `docker pause`, a suspended machine) and continued."""

import signal
import smtplib
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.soak.conftest import Scale
from tests.support.filter import filter_server, send
from tests.support.gauge import usage
from tests.support.processes import Process, eventually, exporter, mail_server, running

pytestmark = pytest.mark.soak


def stopped(process: Process, seconds: float) -> None:
    """Stops a process for some seconds."""
    process.send(signal.SIGSTOP)
    time.sleep(seconds)  # the duration of the stop is what is tested
    process.send(signal.SIGCONT)


def lines(opened: socket.socket, *sent: str) -> Sequence[str]:
    """Sends commands, one after the other's reply, and returns the replies."""
    replies = []
    for command in sent:
        opened.sendall(command.encode() + b"\r\n")
        replies.append(opened.recv(4096).decode())
    return replies


def test_sessions_of_a_stopped_server_end_only_if_their_clients_were_silent(
    tmp_path: Path, scale: Scale
) -> None:
    """One client is silent, one sends a command and one the rest of its message while the server is stopped."""
    with mail_server(tmp_path / "mail", "--smtp.idle-timeout=3s") as server:
        silent, active, sending = (
            socket.create_connection(("127.0.0.1", server.smtp), timeout=20) for _ in range(3)
        )
        with silent, active, sending:
            for opened in (silent, active, sending):
                assert opened.recv(4096).startswith(b"220 ")
            lines(
                sending, "HELO x", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA"
            )
            sending.sendall(b"Subject: x\r\n\r\nhello\r\n")
            stopping = threading.Thread(
                target=stopped, args=(server.process, scale(full=120, short=5))
            )
            stopping.start()
            eventually(lambda: state(server.process) == "T")
            active.sendall(b"NOOP\r\n")
            sending.sendall(b".\r\n")
            stopping.join()

            assert active.recv(4096).startswith(b"250 ")
            assert sending.recv(4096).startswith(b"250 ")
            assert silent.recv(4096).startswith(b"421 4.4.2")
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=20) as client:
            assert client.sendmail("a@example.org", ["b@example.org"], "Subject: y\r\n\r\n") == {}
        assert len(server.mails("b")) == 2


def test_a_reply_of_the_next_hop_to_a_stopped_filter_reaches_the_client(tmp_path: Path) -> None:
    """Otherwise the client would send a message again that the hop has stored."""
    with (
        mail_server(tmp_path / "hop", "--transform=sh -c 'sleep 2; cat'") as hop,
        filter_server(
            "--smtp.listen-address=127.0.0.1:0",
            f"--next-hop=smtp://127.0.0.1:{hop.smtp}",
            "--next-hop.timeout=5s",
        ) as filtering,
        ThreadPoolExecutor(1) as pool,
    ):
        port = int(filtering.process.says(r"smtp 127\.0\.0\.1:(\d+)")[1])
        idle = usage(hop.process.pid).children
        sending = pool.submit(send, port, "Subject: x\n\nhello\n", "b@example.org")
        eventually(lambda: usage(hop.process.pid).children > idle)
        stopped(filtering.process, 8)
        sending.result()  # raises if the message was not accepted

        assert len(hop.mails("b")) == 1


def state(process: Process) -> str:
    """The state of a process, such as T for stopped: proc(5)."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]


def test_readings_and_connections_go_on_after_the_exporter_was_stopped(
    tmp_path: Path, scale: Scale
) -> None:
    with mail_server(tmp_path / "mail") as server:
        configuration = tmp_path / "exporter.yml"
        configuration.write_text(
            "targets:\n"
            f"  - {{name: address, address: '127.0.0.1:{server.status}', token: secretpa}}\n"
            f"  - {{name: name, address: 'localhost:{server.status}', token: secretpa}}\n"
        )
        with running(
            "smtpstatus-exporter",
            "--web.listen-address=127.0.0.1:0",
            "--web.idle-timeout=3s",
            f"--config.file={configuration}",
        ) as process:
            port = int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])
            get = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
            for _ in range(scale(full=2, short=1)):
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=20) as idle,
                    socket.create_connection(("127.0.0.1", port), timeout=20) as waiting,
                ):
                    idle.sendall(get)
                    assert page(idle).count("smtpstatus_up{") == 2
                    stopping = threading.Thread(
                        target=stopped, args=(process, scale(full=60, short=5))
                    )
                    stopping.start()
                    eventually(lambda: state(process) == "T")
                    for opened in (idle, waiting):
                        opened.sendall(get)
                    stopping.join()
                    for opened in (idle, waiting):
                        found = page(opened)
                        for name in ("address", "name"):
                            assert f'smtpstatus_up{{target="{name}"}} 1' in found, found
            assert "Target is down" not in process.output
            assert "Traceback" not in process.output


def page(opened: socket.socket) -> str:
    """One response of a connection, which has a Content-Length or ends with the last chunk."""
    received = b""
    while not complete(received):
        octets = opened.recv(65536)
        assert octets, received
        received += octets
    return received.decode()


def complete(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    for field in head.lower().split(b"\r\n"):
        if field.startswith(b"content-length:"):
            return bool(end) and len(body) >= int(field.partition(b":")[2])
    return body.endswith(b"0\r\n\r\n")


def test_traffic_is_not_caught_up_on_after_the_generator_was_stopped(
    tmp_path: Path, scale: Scale
) -> None:
    with (
        mail_server(tmp_path / "mail") as server,
        exporter(SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}", SMTPSTATUS_TOKEN="secretpa"),
        running(
            "smtpstatus-traffic", f"127.0.0.1:{server.smtp}", "--rate=10", "--domain=example.org"
        ) as traffic,
    ):

        def count() -> int:
            return len({path.name for path in server.maildir.glob("*/new/*")})

        eventually(lambda: count() > 5)
        seconds = scale(full=40, short=20)
        stopped(traffic, seconds)
        before = count()
        eventually(lambda: count() > before + 5)
        time.sleep(3)
        assert count() - before < 0.9 * 10 * seconds
