"""Steps of the wall clock at the mail server: time limits, names of messages, and the limit of error responses."""

import re
import smtplib
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.dialects import V0
from protocol.message import Request, Response
from protocol.vocabulary import Command, Status
from tests.soak.conftest import Scale
from tests.support.clock import SLACK_S, STEPS, WallClock, closes_after
from tests.support.processes import mail_server, running

pytestmark = pytest.mark.soak


def send(port: int, text: str = "hello") -> str:
    """Sends a message; returns the reply to it, or to its recipient if that is rejected."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        client.mail("a@example.org")
        code, reply = client.rcpt("b@example.org")
        if code == 250:
            code, reply = client.data(f"Subject: x\r\n\r\n{text}\r\n")
        return f"{code} {reply.decode()}"


@pytest.mark.parametrize("step", [86_400, -86_400])
def test_idle_smtp_sessions_end_after_the_same_time(
    tmp_path: Path, clock: WallClock, step: int
) -> None:
    with (
        mail_server(
            tmp_path / "mail", "--smtp.idle-timeout=2s", environment=clock.environment
        ) as mail,
        socket.create_connection(("127.0.0.1", mail.smtp), timeout=20) as opened,
    ):
        assert opened.recv(4096).startswith(b"220 ")
        clock.step(step)
        opened.sendall(b"NOOP\r\n")
        assert opened.recv(4096).startswith(b"250 ")
        seconds, received = closes_after(opened)

    assert (received[:9], 1.5 < seconds < 2 + SLACK_S) == (b"421 4.4.2", True)


@pytest.mark.parametrize("step", [86_400, -86_400])
def test_time_limits_of_transforms_are_kept(tmp_path: Path, clock: WallClock, step: int) -> None:
    flags = ("--transform=sh -c 'sleep 1; cat'", "--transform=sleep 60", "--transform.timeout=3s")
    for used, code, least_s in ((flags[:1], "250 ", 1), (flags[1:], "451 ", 2.5)):
        clock.step(0)
        with mail_server(tmp_path / "mail", *used, environment=clock.environment) as mail:
            seconds, reply = sent_during_a_step(mail.smtp, clock, step, "hello")

        assert (reply[:4], least_s < seconds < 3 + SLACK_S) == (code, True)


@pytest.mark.parametrize("step", [86_400, -86_400])
def test_the_time_limit_of_the_next_hop_is_kept(clock: WallClock, step: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        running(
            "smtpstatus-server",
            "--smtp.listen-address=127.0.0.1:0",
            "--status.listen-address=127.0.0.1:0",
            f"--next-hop=smtp://127.0.0.1:{silent.getsockname()[1]}",
            "--next-hop.timeout=2s",
            SMTPSTATUS_TOKEN="secretpa",
            **clock.environment,
        ) as process,
    ):
        port = int(process.says(r"ready: smtp 127\.0\.0\.1:(\d+)")[1])
        seconds, reply = sent_during_a_step(port, clock, step, "hello")

    assert (reply[:4], 1.5 < seconds < 2 + SLACK_S) == ("451 ", True)


def sent_during_a_step(port: int, clock: WallClock, step: int, text: str) -> tuple[float, str]:
    """Sends a message, and steps the clock after 0.5 s; returns the seconds until the reply, and that."""
    stepping = threading.Timer(0.5, clock.step, [step])
    stepping.start()
    began = time.monotonic()
    reply = send(port, text)
    stepping.join()
    return time.monotonic() - began, reply


def test_every_message_is_stored_once_under_its_own_name_while_the_clock_repeats(
    tmp_path: Path, clock: WallClock, scale: Scale
) -> None:
    with mail_server(tmp_path / "mail", environment=clock.environment) as mail:
        replies: list[str] = []
        for _ in range(scale(full=12, short=2)):
            for frozen in ("2024-05-06 12:00:00", "2024-05-05 12:00:00", "+0"):
                clock.set(frozen)
                for _ in range(4):
                    replies.append(send(mail.smtp, f"message {len(replies)}"))
        stored = mail.mails("b")

    assert {reply[:3] for reply in replies} == {"250"}
    assert len(set(replies)) == len(replies)
    numbers = [int(found[1]) for text in stored if (found := re.search(rb"message (\d+)", text))]
    assert sorted(numbers) == list(range(len(replies)))
    assert not [path for path in (tmp_path / "mail").rglob("tmp/*") if path.is_file()]


def test_the_limit_of_error_responses_does_not_depend_on_the_wall_clock(
    tmp_path: Path, clock: WallClock
) -> None:
    code = V0.operations[Command.CONNECTIONS].code
    with (
        mail_server(tmp_path / "mail", environment=clock.environment) as mail,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
    ):
        ours.connect(("127.0.0.1", mail.status))
        ours.settimeout(1)
        answered, began = 0, time.monotonic()
        for step in STEPS:
            clock.step(step)
            for identifier in range(50):
                ours.send(Request(identifier, b"wrongpas", code).encode())
            with suppress(TimeoutError):
                while True:
                    assert Response.decode(ours.recv(64)).status is Status.AUTHENTICATION_FAILED
                    answered += 1
            ours.settimeout(20)
            ours.send(Request(7, b"secretpa", code).encode())
            assert Response.decode(ours.recv(64)).status is Status.DONE
            ours.settimeout(1)

    assert 40 <= answered <= 40 + (time.monotonic() - began)
