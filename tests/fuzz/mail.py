"""Fuzz targets for SMTP and LMTP commands, and for the replies of a next hop."""

from reference_server.address import Address
from reference_server.event import Complete, Started
from reference_server.limits import SessionLimits
from reference_server.relay.content import Measure
from reference_server.relay.events import ContentWanted
from reference_server.relay.next_hop import Protocol
from reference_server.relay.session import ClientSession
from reference_server.relay.transaction import Transaction
from reference_server.reply import Reply
from reference_server.service import Service
from reference_server.session import Session

LIMITS = SessionLimits(message_size=1000, recipients=3, errors=5, command_line=200, text_line=80)
SERVICE = Service("mail.example", lambda _: None, lambda _: True)
STORED = Reply(250, "2.0.0", "Ok: stored")
MESSAGE = Transaction(
    Address("a", "x.org"), (Address("bob", "example.com"), Address("eve", "x.org")), Measure(8)
)


def examine_session(data: bytes) -> None:
    """Fails if a session raises, sends an incomplete reply, or works without end."""
    session = Session(SERVICE, LIMITS)
    session.open()
    replies = bytearray(session.take_replies())
    session.receive(data)
    recipients = 0
    for _ in range(len(data) + 2):
        if not session.pending:
            break
        for event in session.advance():
            if isinstance(event, Started):
                recipients = len(event.envelope.recipients)
            elif isinstance(event, Complete):
                session.answer([STORED] * recipients)
        replies += session.take_replies()
    assert not session.pending
    assert all(line[:3].isdigit() for line in replies.split(b"\r\n")[:-1])
    assert replies.endswith(b"\r\n")


def examine_next_hop(data: bytes) -> None:
    """Fails if a client session raises, or sends content that was not asked for."""
    for protocol in Protocol:
        session = ClientSession("filter.example", protocol)
        sent = False
        for start in range(0, len(data), 7):
            for event in session.receive(data[start : start + 7]):
                if isinstance(event, ContentWanted):
                    session.send_content(b"Subject: x\n\n.\n")
                    session.finish_content()
            if session.idle and not sent:
                session.send(MESSAGE)
                sent = True
            assert sent or b"Subject" not in session.take_commands()
        session.quit()
