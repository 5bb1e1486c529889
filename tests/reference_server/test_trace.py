"""Trace headers of a message, byte for byte."""

import re
import time

import pytest

from reference_server.address import Address
from reference_server.event import Envelope
from reference_server.trace import received_header, return_path

BOB, EVE = Address("bob", "example.com"), Address("eve", "example.com")
DATE = r"\t\w{3}, 0[12] Jan 2026 \d\d:00:00 [+-]\d{4}\n"


def lines(envelope: Envelope, client: str = "192.0.2.1") -> str:
    """Text before the date."""
    headers = received_header(envelope, client, "mail.example", "1F", 1767268800).decode()
    date = re.search(DATE + r"\Z", headers)
    assert date, headers
    return headers[: date.start()]


def test_received_names_client_server_and_recipient() -> None:
    envelope = Envelope(Address("a", "x.org"), (BOB,), "me.example", "ESMTP")

    assert lines(envelope) == (
        "Received: from me.example ([192.0.2.1])\n"
        "\tby mail.example (smtpstatus) with ESMTP id 1F\n"
        "\tfor <bob@example.com>;\n"
    )


def test_received_has_the_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XST-5:30")
    time.tzset()
    try:
        header = received_header(Envelope(None, (BOB,), "me", "SMTP"), "", "mail", "1F", 0.0)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert header.endswith(b";\n\tThu, 01 Jan 1970 05:30:00 +0530\n")


def test_return_path_of_the_null_sender_is_empty() -> None:
    assert return_path(Address("a", "x.org")) == b"Return-Path: <a@x.org>\n"
    assert return_path(None) == b"Return-Path: <>\n"


def test_received_does_not_reveal_several_recipients() -> None:
    header = lines(Envelope(None, (BOB, EVE), "me", "SMTP"))

    assert header.endswith("with SMTP id 1F;\n")
    assert "example.com" not in header


@pytest.mark.parametrize(
    ("client", "literal"), [("192.0.2.1", "[192.0.2.1]"), ("2001:db8::1", "[IPv6:2001:db8::1]")]
)
def test_the_trace_header_has_the_clients_address(client: str, literal: str) -> None:
    assert f"from me ({literal})\n" in lines(Envelope(None, (BOB,), "me", "SMTP"), client)
