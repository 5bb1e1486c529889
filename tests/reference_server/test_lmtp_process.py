"""The server as a process with LMTP: Python's LMTP client, a Unix socket, users, and relay permission."""

import signal
import smtplib
from pathlib import Path

import pytest

from tests.support.filter import TOKEN, filter_server
from tests.support.processes import running

LETTER = b"Subject: hi\r\n\r\nhello\r\n"


def test_lmtp_and_smtp_store_for_users_and_the_socket_is_removed_at_the_end(
    tmp_path: Path,
) -> None:
    path, mail = tmp_path / "lmtp", tmp_path / "mail"
    flags = (
        f"--lmtp.listen-address=unix:{path}",
        "--smtp.listen-address=127.0.0.1:0",
        f"--maildir={mail}",
        "--domain=example.com",
        "--user=ann",
        "--user=bob",
    )
    with filter_server(*flags) as server:
        with smtplib.LMTP(str(path)) as client:
            refused = client.sendmail(
                "a@x.org", ["bob@example.com", "eve@example.com", "ann@elsewhere.example"], LETTER
            )
            assert {name: reply[0] for name, reply in refused.items()} == {
                "eve@example.com": 550,
                "ann@elsewhere.example": 550,
            }
        smtp = int(server.process.says(r"smtp 127\.0\.0\.1:(\d+), lmtp unix:")[1])
        with smtplib.SMTP("127.0.0.1", smtp) as client:
            client.sendmail("a@x.org", ["ann@example.com"], LETTER)
        server.process.send(signal.SIGTERM)
        assert server.process.wait() == 0

    [bob] = (mail / "bob/new").iterdir()
    assert bob.read_bytes().startswith(b"Return-Path: <a@x.org>\nReceived: from ")
    assert b" (local)\n" in bob.read_bytes()
    assert len(list((mail / "ann/new").iterdir())) == 1
    assert not path.exists()


def test_a_client_outside_relay_from_may_not_forward(tmp_path: Path) -> None:
    flags = (
        "--lmtp.listen-address=127.0.0.1:0",
        "--next-hop=smtp://127.0.0.1:9",
        f"--spool={tmp_path / 'spool'}",
        "--relay-from=192.0.2.0/24",
    )
    with filter_server(*flags) as server:
        lmtp = int(server.process.says(r"ready: lmtp 127\.0\.0\.1:(\d+), status")[1])
        with smtplib.LMTP("127.0.0.1", lmtp) as client:
            client.ehlo()
            assert "xforward" not in client.esmtp_features
            client.mail("a@x.org")
            assert client.rcpt("bob@example.com")[0] == 550
            assert client.rcpt("postmaster")[0] == 550


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--next-hop=smtp://127.0.0.1:9",),
            "--next-hop: requires --lmtp.listen-address or --smtp.listen-address",
        ),
        (("--lmtp.listen-address=unix:/proc/lmtp",), "--lmtp.listen-address: cannot listen on"),
        (
            (
                "--lmtp.listen-address=127.0.0.1:0",
                "--next-hop=smtp://127.0.0.1:9",
                "--spool=/proc/x",
            ),
            "--spool: cannot write to /proc/x",
        ),
    ],
)
def test_an_impossible_setting_fails_the_start_with_one_line(
    flags: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    places = ("--smtp.listen-address=127.0.0.1:0", f"--maildir={tmp_path / 'mail'}")
    own = () if any("next-hop" in flag for flag in flags) else places
    with running(
        "smtpstatus-server",
        "--status.listen-address=127.0.0.1:0",
        *own,
        *flags,
        SMTPSTATUS_TOKEN=TOKEN,
    ) as process:
        assert process.wait() == 2
        errors = [line for line in process.lines if not line.startswith("time=")]
        assert len(errors) == 1, process.output
        assert message in errors[0]
