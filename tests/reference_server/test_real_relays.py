"""Postfix, Exim and OpenSMTPD as clients: the messages that they relay are accepted."""

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reference_server.server import Server, running
from tests.support import mta
from tests.support.processes import eventually, free_port

LONG = f"SRS0=Ab12=XY={'relay.' * 15}example.net=alice"
"""A local part as SRS makes it, longer than the 64 octets of RFC 5321."""

EXIM = """\
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
acl_smtp_rcpt = recipients
begin acl
recipients:
  accept
begin routers
relay:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = relay
begin transports
relay:
  driver = smtp
  hosts_avoid_tls = *
  port = {server}
begin retry
* * F,1h,1s
"""
OPENSMTPD = """\
listen on 127.0.0.1 port {port}
action "relay" relay host smtp://127.0.0.1:{server}
match from any for any action "relay"
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with mta.directory() as path:
        yield path


def postfix_relay(server: Server) -> str:
    return f"""\
relayhost = [127.0.0.1]:{server.smtp}
smtp_host_lookup = native
smtp_connection_cache_destinations = 127.0.0.1
default_destination_concurrency_limit = 1
"""


def stored(server: Server, user: str, count: int) -> None:
    eventually(lambda: len(server.stored(user)) >= count, seconds=60)
    assert len(server.stored(user)) == count


def test_postfix_relays_long_local_parts_in_both_envelopes(home: Path, tmp_path: Path) -> None:
    with (
        running(tmp_path) as server,
        mta.postfix(home / "postfix", postfix_relay(server)) as postfix,
    ):
        with smtplib.SMTP("127.0.0.1", postfix.port) as client:
            client.sendmail(
                f"{LONG}@example.net", [f"{LONG}@example.com"], "Subject: hi\n\nhello\n"
            )
        stored(server, "srs0=*", 1)

        [message] = server.stored("srs0=*")
        assert message.startswith(f"Return-Path: <{LONG}@example.net>\n".encode())


def test_postfix_relays_many_messages_with_a_rejected_recipient_each(
    home: Path, tmp_path: Path
) -> None:
    with (
        running(tmp_path) as server,
        mta.postfix(home / "postfix", postfix_relay(server)) as postfix,
    ):
        with smtplib.SMTP("127.0.0.1", postfix.port) as client:
            for number in range(50):
                to = ["bob@example.com", f"unknown{number}@elsewhere.example"]
                client.sendmail("a@example.net", to, "Subject: hi\n\nhello\n")

        stored(server, "bob", 50)
        assert "421 4.7.0" not in postfix.log.read_text()


def test_postfix_relays_internationalised_domains_and_addresses(
    home: Path, tmp_path: Path
) -> None:
    with running(tmp_path, "--domain", "bücher.example") as server:
        with (
            mta.postfix(home / "postfix", postfix_relay(server)) as postfix,
            smtplib.SMTP("127.0.0.1", postfix.port) as client,
        ):
            client.ehlo()
            for recipient in (
                "bob@bücher.example",
                "bob@xn--bcher-kva.example",
                "نامه\u200cای@bücher.example",
            ):
                client.sendmail(
                    "a@example.net", [recipient], b"Subject: hi\r\n\r\nhello\r\n", ["SMTPUTF8"]
                )

            stored(server, "bob", 2)
            stored(server, "%*", 1)


def test_postfix_on_the_same_host_relays_to_a_server_with_a_name_of_its_own(
    home: Path, tmp_path: Path
) -> None:
    with running(tmp_path, "--smtp.hostname", "store.example.org") as server:
        with mta.postfix(home / "postfix", postfix_relay(server)) as postfix:
            with smtplib.SMTP("127.0.0.1", postfix.port) as client:
                client.sendmail("a@example.net", ["bob@example.com"], "Subject: hi\n\nhello\n")
            stored(server, "bob", 1)

        [message] = server.stored("bob")
        assert b"\tby store.example.org (smtpstatus) with ESMTP" in message


def test_exim_relays_addresses_with_consecutive_dots(home: Path, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path) as server:
        with mta.exim(home / "exim", EXIM.format(port=port, server=server.smtp), port):
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail(
                    "a..b@example.net",
                    ["bob..c@example.com", f"{LONG}@example.com"],
                    "Subject: hi\n\nhello\n",
                )
            stored(server, "bob..c", 1)
            stored(server, "srs0=*", 1)


def test_opensmtpd_relays_a_message_with_230_recipients(home: Path, tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path) as server:
        with mta.opensmtpd(
            home / "opensmtpd", OPENSMTPD.format(port=port, server=server.smtp), port
        ):
            with smtplib.SMTP("127.0.0.1", port) as client:
                to = [f"user{number}@example.com" for number in range(230)]
                client.sendmail("a@example.net", to, "Subject: hi\n\nhello\n")
            eventually(lambda: len(server.stored()) == 230, seconds=60)
