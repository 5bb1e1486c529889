"""Mail from real clients through the installed server: every message and every byte is counted."""

import json
import smtplib
import subprocess
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.support.processes import COMMANDS, MailServer, eventually, exporter, mail_server
from tests.support.real import require
from tests.support.relay import Count, counting

FIVE_MEGABYTES = 5 * 1024 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    with mail_server(tmp_path / "mail") as started:
        yield started


@pytest.fixture
def relay(server: MailServer) -> Iterator[Count]:
    with counting(server.smtp) as count:
        yield count


def counters(server: MailServer) -> dict[str, int]:
    """Output of `smtpstatus get --json`."""
    answer = subprocess.run(
        [COMMANDS / "smtpstatus", "get", f"127.0.0.1:{server.status}", "--json"],
        env={"SMTPSTATUS_TOKEN": "secretpa", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(answer.stdout)
    return found


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text


def mail(body: str = "hello\n", subject: str = "A test") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "sender@example.org"
    message["To"] = "user@example.org"
    message["Subject"] = subject
    message.set_content(body)
    return message


def assert_all_is_counted(server: MailServer, relay: Count) -> None:
    eventually(lambda: counters(server)["active_connections"] == 0)
    found = counters(server)

    assert found["connections_total"] == relay.connections
    assert eventually(lambda: found["transferred_bytes_total"] == relay.carried, seconds=5)


def test_a_fresh_server_counts_from_zero(server: MailServer) -> None:
    found = counters(server)

    assert found["connections_total"] == 0
    assert found["active_connections"] == 0
    assert found["transferred_bytes_total"] == 0


def test_a_message_is_stored_unchanged_and_its_bytes_are_counted(
    server: MailServer, relay: Count
) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.send_message(mail("dots:\n.\n..\n.leading\nend\n"))

    (stored,) = server.mails("user")
    assert b"dots:\r\n.\r\n..\r\n.leading\r\nend\r\n" in stored.replace(b"\n", b"\r\n").replace(
        b"\r\r\n", b"\r\n"
    )
    assert_all_is_counted(server, relay)


def test_several_recipients_receive_a_copy_each(server: MailServer, relay: Count) -> None:
    users = [f"user{number}" for number in range(20)]

    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.send_message(mail(), to_addrs=[f"{user}@example.org" for user in users])

    assert [len(server.mails(user)) for user in users] == [1] * 20
    assert_all_is_counted(server, relay)


def test_a_message_of_five_megabytes_arrives_unchanged(server: MailServer, relay: Count) -> None:
    body = ("x" * 76 + "\r\n") * (FIVE_MEGABYTES // 78)

    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.sendmail(
            "sender@example.org", ["user@example.org"], f"Subject: big\r\n\r\n{body}".encode()
        )

    (stored,) = server.mails("user")
    assert stored.count(b"x" * 76) == FIVE_MEGABYTES // 78
    assert_all_is_counted(server, relay)


def test_rejected_aborted_and_pipelined_sessions_are_counted(
    server: MailServer, relay: Count
) -> None:
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.ehlo()
        assert client.mail("sender@example.org")[0] == 250
        assert client.rcpt("user@elsewhere.example")[0] == 550
        client.close()  # without QUIT
    with smtplib.SMTP("127.0.0.1", relay.port) as client:
        client.ehlo()
        client.send("NOOP\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 250, 354]
        client.send("Subject: never finished\r\n\r\nhalf a li")
        client.close()

    assert_all_is_counted(server, relay)
    assert server.mails("b") == []


def test_swaks_sends_an_attachment_eight_bit_text_and_several_recipients(
    server: MailServer, relay: Count, tmp_path: Path
) -> None:
    attachment = tmp_path / "attached.bin"
    attachment.write_bytes(bytes(range(256)) * 400)
    swaks = [
        require("swaks"),
        *("--server", f"127.0.0.1:{relay.port}"),
        *("--from", "sender@example.org"),
        *("--to", "one@example.org,two@example.org"),
        *("--body", "grüße: ñandú\n.\n.dot\n"),
        *("--attach", f"@{attachment}"),
        "--hide-all",
    ]

    sent = subprocess.run(swaks, capture_output=True, text=True, check=False)

    assert (sent.returncode, sent.stderr) == (0, "")
    for user in ("one", "two"):
        (stored,) = server.mails(user)
        assert "grüße: ñandú".encode() in stored
        assert b"attached.bin" in stored
    assert_all_is_counted(server, relay)


def test_a_hundred_connections_are_counted_as_a_hundred(server: MailServer, relay: Count) -> None:
    clients = [smtplib.SMTP("127.0.0.1", relay.port) for _ in range(30)]
    busy = counters(server)
    for client in clients:
        client.quit()
    for _ in range(70):
        smtplib.SMTP("127.0.0.1", relay.port).close()

    assert (busy["connections_total"], busy["active_connections"]) == (30, 30)
    assert relay.connections == 100
    assert_all_is_counted(server, relay)


def test_a_mail_can_be_followed_from_the_client_to_the_metrics(server: MailServer) -> None:
    with exporter(
        SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}", SMTPSTATUS_TOKEN="secretpa"
    ) as url:
        before = fetch(f"{url}/metrics")
        with counting(server.smtp) as relay:
            with smtplib.SMTP("127.0.0.1", relay.port) as client:
                client.send_message(mail())
            eventually(lambda: counters(server)["active_connections"] == 0)
        after = fetch(f"{url}/metrics")

    label = f'{{target="127.0.0.1:{server.status}"}}'
    assert f"smtpstatus_connections_total{label} 0.0\n" in before
    assert f"smtpstatus_connections_total{label} 1.0\n" in after
    assert f"smtpstatus_transferred_bytes_total{label} {float(relay.carried)}\n" in after
