"""LMTP in the session's state machine (RFC 2033), and XFORWARD."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.address import Address
from reference_server.event import Complete, Envelope, Event, Started
from reference_server.limits import SessionLimits
from reference_server.recipients import local_recipients
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply
from reference_server.service import Service
from reference_server.session import Session

LIMITS = SessionLimits(message_size=1000, recipients=3, errors=5, command_line=200, text_line=80)
SERVICE = Service(
    "mail.example",
    local_recipients(frozenset({"example.com"})),
    lambda octets: True,
    lmtp=True,
    xforward=True,
)
BOB, EVE = Address("bob", "example.com"), Address("eve", "example.com")
STORED = Reply(250, "2.0.0", "Ok")
FULL = Reply(452, "4.2.2", "Mailbox full")


def talk(
    *lines: str, verdicts: tuple[Reply, ...] = (), service: Service = SERVICE, cut: int = 0
) -> tuple[list[str], list[Event]]:
    """The reply lines and the events; `verdicts` are the replies to the content, by recipient."""
    session = Session(service, LIMITS)
    session.open()
    octets = "".join(f"{line}\r\n" for line in lines).encode()
    pieces = [octets[:cut], octets[cut:]]
    events: list[Event] = []
    for piece in filter(None, pieces):
        session.receive(piece)
        while session.pending or session.waiting:
            if session.waiting:
                events += session.answer(verdicts or _stored(events))
            else:
                events += session.advance()
    return session.take_replies().decode().splitlines(), events


def _stored(events: list[Event]) -> tuple[Reply, ...]:
    *_, envelope = [event.envelope for event in events if isinstance(event, Started)]
    return (STORED,) * len(envelope.recipients)


MESSAGE = ("Subject: hi", "", "hello", ".")
TO_BOTH = (
    "LHLO me.example",
    "MAIL FROM:<a@x.org>",
    "RCPT TO:<bob@example.com>",
    "RCPT TO:<eve@example.com>",
    "DATA",
)


def test_lhlo_states_the_extensions_and_smtp_greetings_are_not_commands() -> None:
    replies, _ = talk("EHLO me", "HELO me", "LHLO me")

    assert replies[0] == "220 mail.example LMTP smtpstatus"
    assert replies[1:3] == ["500 5.5.2 Error: command not recognized"] * 2
    assert replies[3] == "250-mail.example"
    assert "250-PIPELINING" in replies
    assert "250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE" in replies


def test_lhlo_is_not_a_command_of_smtp() -> None:
    smtp = Service("mail.example", SERVICE.refusal, SERVICE.has_room)

    assert talk("LHLO me", service=smtp)[0][1].startswith("500 ")


def test_mail_before_lhlo_is_rejected() -> None:
    assert talk("MAIL FROM:<>")[0][1] == "503 5.5.1 Error: send LHLO first"


def test_each_recipient_gets_its_own_reply_in_order() -> None:
    replies, events = talk(*TO_BOTH, *MESSAGE, "NOOP", verdicts=(STORED, FULL))

    assert replies[-3:] == ["250 2.0.0 Ok", "452 4.2.2 Mailbox full", "250 2.0.0 Ok"]
    [envelope] = [event.envelope for event in events if isinstance(event, Started)]
    assert envelope == Envelope(Address("a", "x.org"), (BOB, EVE), "me.example", "LMTP")


def test_a_repeated_recipient_gets_a_reply_for_each_rcpt() -> None:
    lines = (*TO_BOTH[:3], "RCPT TO:<unknown@x.org>", TO_BOTH[3], TO_BOTH[2], "DATA", *MESSAGE)

    replies, events = talk(*lines, verdicts=(STORED, FULL))

    assert replies[-3:] == ["250 2.0.0 Ok", "452 4.2.2 Mailbox full", "250 2.0.0 Ok"]
    [envelope] = [event.envelope for event in events if isinstance(event, Started)]
    assert envelope.recipients == (BOB, EVE)


def test_invalid_content_is_rejected_once_per_recipient() -> None:
    replies, events = talk(*TO_BOTH, "x" * 100, ".", "NOOP")

    assert [reply[:3] for reply in replies[-3:]] == ["550", "550", "250"]
    assert not any(isinstance(event, Complete) for event in events)


def test_data_without_recipients_is_rejected() -> None:
    assert talk(*TO_BOTH[:2], "DATA")[0][-1].startswith("554 5.5.1")


def test_utf8_addresses_are_utf8lmtp() -> None:
    lines = ("LHLO me", "MAIL FROM:<grüße@x.org> SMTPUTF8", *TO_BOTH[2:], *MESSAGE)

    [envelope] = [
        event.envelope
        for event in talk(*lines, verdicts=(STORED, STORED))[1]
        if isinstance(event, Started)
    ]

    assert envelope.protocol == "UTF8LMTP"
    assert envelope.smtputf8


def test_xforward_gives_the_original_client_for_one_message() -> None:
    xforward = ("XFORWARD ADDR=192.0.2.7 NAME=[UNAVAILABLE]", "XFORWARD HELO=client.example")
    lines = (TO_BOTH[0], *xforward, *TO_BOTH[1:], *MESSAGE, *TO_BOTH[1:], *MESSAGE)

    _, events = talk(*lines, verdicts=(STORED, STORED))

    first, second = [event.envelope for event in events if isinstance(event, Started)]
    assert first.original_client == OriginalClient(addr="192.0.2.7", helo="client.example")
    assert second.original_client is None


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (("XFORWARD COLOR=red",), "501"),
        (("XFORWARD",), "501"),
        (("XFORWARD ADDR=1+00",), "501"),
        ((*TO_BOTH[:2], "XFORWARD ADDR=192.0.2.7"), "503"),
        (("LHLO me", "XFORWARD ADDR=192.0.2.7"), "250"),
    ],
)
def test_xforward_parameters_are_validated(lines: tuple[str, ...], reply: str) -> None:
    assert talk(*lines)[0][-1][:3] == reply


def test_xforward_is_not_a_command_for_clients_without_permission() -> None:
    service = Service("mail.example", SERVICE.refusal, SERVICE.has_room, lmtp=True)

    replies, _ = talk("LHLO me", "XFORWARD ADDR=192.0.2.7", service=service)

    assert replies[-1].startswith("500 ")
    assert not any("XFORWARD" in reply for reply in replies)


def test_every_split_of_a_session_has_the_same_outcome() -> None:
    lines = (*TO_BOTH, *MESSAGE, *TO_BOTH[1:], *MESSAGE, "QUIT")
    expected = talk(*lines, verdicts=(STORED, FULL))
    for cut in range(1, len("".join(f"{line}\r\n" for line in lines))):
        replies, events = talk(*lines, verdicts=(STORED, FULL), cut=cut)
        assert replies == expected[0]
        assert len([e for e in events if isinstance(e, Complete)]) == 2


@given(
    st.lists(
        st.sampled_from([*TO_BOTH, *MESSAGE, "RSET", "XFORWARD ADDR=1.2.3.4", "RCPT TO:<x@y>"])
    )
)
def test_any_order_of_commands_receives_replies(lines: list[str]) -> None:
    talk(*TO_BOTH, *lines)
    talk(*TO_BOTH[:4], *lines)


def test_help_names_the_commands() -> None:
    assert "LHLO" in talk("HELP")[0][-1]
