"""Session whose recipients are answered by the destination: the state machine, split everywhere."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from reference_server.address import Address
from reference_server.event import (
    Closed,
    Complete,
    Envelope,
    Event,
    RecipientOffered,
    TransactionEnded,
)
from reference_server.limits import SessionLimits
from reference_server.recipients import relayed_recipients
from reference_server.relay.live import LiveTransaction
from reference_server.reply import UNAVAILABLE, Reply
from reference_server.service import Service
from reference_server.session import Session

OK, NO = Reply(250, "2.1.5", "Ok"), Reply(550, "5.1.1", "User unknown")


def never(envelope: Envelope) -> LiveTransaction:
    raise AssertionError("the state machine does not resolve recipients itself")


SERVICE = Service("mail.example", relayed_recipients(True), lambda octets: True, live=never)
BOB, EVE = Address("bob", "example.com"), Address("eve", "example.com")
TALK = (
    b"EHLO me\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<eve@example.com>\r\nRCPT TO:<bob@example.com>\r\n"
    b"DATA\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nRSET\r\nQUIT\r\n"
)


class Talk:
    """Session in which every recipient except eve exists."""

    def __init__(self) -> None:
        self.session = Session(SERVICE, SessionLimits())
        self.events: list[Event] = []
        self.session.open()

    def receive(self, piece: bytes) -> None:
        self.session.receive(piece)
        while self.session.pending:
            self._handle(self.session.advance())

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            self.events.append(event)
            match event:
                case RecipientOffered(envelope):
                    verdict = NO if envelope.recipients == (EVE,) else OK
                    self._handle(self.session.answer_recipient(verdict))
                case Complete():
                    self._handle(self.session.answer((OK,)))


def talk(*pieces: bytes) -> tuple[bytes, list[str]]:
    """Replies of the session, and names of its events without `Content`, which arrives in pieces."""
    done = Talk()
    for piece in pieces:
        done.receive(piece)
    names = [type(event).__name__ for event in done.events]
    return done.session.take_replies(), [name for name in names if name != "Content"]


def test_each_recipient_waits_for_the_destination() -> None:
    replies, events = talk(TALK)

    assert [reply[:9] for reply in replies.decode().splitlines() if reply[3] == " "] == [
        "220 mail.",
        "250 HELP",
        "250 2.1.0",
        "550 5.1.1",
        "250 2.1.5",
        "354 End d",
        "250 2.1.5",
        "250 2.1.0",
        "250 2.1.5",
        "250 2.0.0",
        "221 2.0.0",
    ]
    assert [name for name in events if name != "Rejected"] == [
        "RecipientOffered",
        "RecipientOffered",
        "Started",
        "Complete",
        "TransactionEnded",
        "RecipientOffered",
        "TransactionEnded",
        "Closed",
    ]


def test_every_split_has_the_same_outcome() -> None:
    expected = talk(TALK)
    for cut in range(1, len(TALK)):
        assert talk(TALK[:cut], TALK[cut:]) == expected


def test_commands_are_queued_while_the_destination_decides() -> None:
    session = Session(SERVICE, SessionLimits())
    session.receive(TALK)
    [offered] = session.advance()

    assert isinstance(offered, RecipientOffered)
    assert offered.envelope == Envelope(Address("a", "x.org"), (EVE,), "me", "ESMTP")
    assert session.waiting
    assert not session.pending
    assert session.advance() == []


def test_a_reply_that_comes_after_the_end_of_the_session_is_ignored() -> None:
    session = Session(SERVICE, SessionLimits())
    session.receive(TALK)
    session.advance()
    session.close(UNAVAILABLE)
    session.take_replies()

    assert session.answer_recipient(OK) == []
    assert session.take_replies() == b""


@given(st.lists(st.sampled_from(TALK.splitlines(keepends=True))))
def test_any_order_of_commands_ends_every_offer(lines: list[bytes]) -> None:
    done = Talk()
    for line in lines:
        done.receive(line)
    done.receive(b"\r\n.\r\nRSET\r\n")

    offers = [
        event
        for event in done.events
        if isinstance(event, RecipientOffered | TransactionEnded | Closed)
    ]
    for first, second in itertools.pairwise(offers):
        assert isinstance(first, RecipientOffered) or not isinstance(second, TransactionEnded)
    assert not offers or not isinstance(offers[-1], RecipientOffered)
