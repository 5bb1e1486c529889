"""Third-party clients: swaks, curl, Postfix' smtp-source, and the standard library's smtplib."""

import asyncio
import email
import email.policy
import smtplib
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from protocol.vocabulary import Command
from tests.reference_server.server import Server, running
from tests.support.real import require


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("foreign")) as server:
        yield server


def parsed(server: Server, user: str) -> EmailMessage:
    [stored] = server.stored(user)
    return email.message_from_bytes(stored, policy=email.policy.default)


def swaks(server: Server, user: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [require("swaks"), "--server", f"127.0.0.1:{server.smtp}", "--to", f"{user}@example.com",
         "--from", "a@x.org", "--suppress-data", *flags],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


PROTOCOLS = {
    "esmtp": ("--protocol", "ESMTP"),
    "smtp": ("--protocol", "SMTP"),
    "pipelined": ("--pipeline",),
    "null": ("--from", "<>"),
}


@pytest.mark.parametrize(("user", "flags"), PROTOCOLS.items(), ids=PROTOCOLS)
def test_swaks_delivers(user: str, flags: tuple[str, ...], server: Server) -> None:
    done = swaks(server, user, *flags, "--body", "a\n.b\n..\n.")

    assert done.returncode == 0, done.stdout
    assert parsed(server, user).get_content().rstrip("\n") == "a\n.b\n..\n."


def test_swaks_attaches(server: Server, tmp_path: Path) -> None:
    attached = tmp_path / "all-octets"
    attached.write_bytes(bytes(range(256)) * 200)

    assert swaks(server, "attach", "--attach", f"@{attached}").returncode == 0
    parts = [part.get_content() for part in parsed(server, "attach").iter_attachments()]
    assert bytes(range(256)) * 200 in parts


def test_swaks_confirms_that_nothing_is_relayed(server: Server) -> None:
    done = swaks(server, "unknown", "--to", "bob@elsewhere.example")

    assert done.returncode == 24  # no recipient accepted
    assert "550 5.7.1" in done.stdout


def test_curl_delivers(server: Server, tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_bytes(b"Subject: from curl\r\n\r\n.\r\nhello\r\n")

    subprocess.run(
        [require("curl"), "-sS", f"smtp://127.0.0.1:{server.smtp}/me.example", "--mail-from", "a@x.org",
         "--mail-rcpt", "curl@example.com", "-T", str(letter)],
        check=True, timeout=20,
    )  # fmt: skip

    assert parsed(server, "curl").get_content() == ".\nhello\n"


def test_postfix_smtp_source_delivers_every_message_under_load(
    server: Server,
) -> None:
    before = asyncio.run(server.ask(Command.CONNECTIONS))
    subprocess.run(
        [require("smtp-source"), "-m", "200", "-s", "20", "-l", "2048", "-r", "2", "-N",
         "-f", "a@x.org", "-t", "load@example.com", f"inet:127.0.0.1:{server.smtp}"],
        check=True, timeout=60,
    )  # fmt: skip

    users = [path.name for path in server.maildir.glob("*load")]
    assert sum(len(server.stored(user)) for user in users) == 400
    assert asyncio.run(server.ask(Command.CONNECTIONS)) == before + 200


def test_smtplib_sends_utf8_addresses_and_eight_bits(server: Server) -> None:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "grüße@x.org", "ünï@example.com", "Grüße"
    letter.set_content("Grüße aus Köln\n", cte="8bit")
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        client.send_message(letter)

    stored = parsed(server, "%C3%BCn%C3%AF")
    assert stored.get_content() == "Grüße aus Köln\n"
    assert stored["Return-Path"] == "<grüße@x.org>"
    assert "with UTF8SMTP" in stored["Received"]


def test_smtplib_sends_five_megabytes_to_several_recipients(server: Server) -> None:
    text = "0123456789\r\n" * 430_000
    with smtplib.SMTP("127.0.0.1", server.smtp) as client:
        refused = client.sendmail(
            "a@x.org",
            ["big@example.com", "Huge@example.com", "no@elsewhere.example"],
            f"\r\n{text}",
        )

    assert list(refused) == ["no@elsewhere.example"]
    assert server.stored("big") == server.stored("huge")
    assert server.stored("big")[0].endswith(b"\n\n" + text.replace("\r\n", "\n").encode())
