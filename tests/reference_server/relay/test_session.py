"""Client state machine without sockets: commands and outcomes for every reply, split everywhere."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.address import Address
from reference_server.relay.content import InvalidContent, Measure
from reference_server.relay.events import (
    NEXT_HOP_UNAVAILABLE,
    ClientEvent,
    ContentWanted,
    Finished,
    Lost,
    Ready,
    RecipientReplied,
)
from reference_server.relay.next_hop import Protocol
from reference_server.relay.session import ClientSession
from reference_server.relay.transaction import Transaction
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply
from tests.reference_server.relay.pieces import cuts

HELLO = b"220 hop.example ESMTP\r\n250-hop.example\r\n250-PIPELINING\r\n250 SIZE 1000\r\n"
PLAIN_HELLO = b"220 hop.example\r\n250 hop.example\r\n"
OK = b"250 2.0.0 Ok\r\n"
GO = b"354 End data\r\n"
BOB, EVE, KIM = (Address(name, "example.com") for name in ("bob", "eve", "kim"))
MESSAGE = Transaction(Address("a", "x.org"), (BOB,), Measure(10))
TWO = Transaction(Address("a", "x.org"), (BOB, EVE), Measure(10))
CONTENT = b"Subject: x\n\n.hello\n"
SENT = b"Subject: x\r\n\r\n..hello\r\n.\r\n"


@dataclass
class Talk:
    """Result of a session: the commands sent, and the events."""

    sent: list[bytes] = field(default_factory=list)
    events: list[ClientEvent] = field(default_factory=list)

    @property
    def octets(self) -> bytes:
        return b"".join(self.sent)

    @property
    def outcome(self) -> ClientEvent:
        return self.events[-1]


def talk(
    pieces: Iterable[bytes],
    *transactions: Transaction,
    protocol: Protocol = Protocol.SMTP,
    quits: bool = False,
) -> Talk:
    """Sends the messages one after the other to a server with these replies."""
    session = ClientSession("me.example", protocol)
    result, waiting = Talk(), list(transactions)

    def take(events: Sequence[ClientEvent]) -> None:
        result.events += events
        if octets := session.take_commands():
            result.sent.append(octets)
        for event in events:
            if isinstance(event, ContentWanted):
                session.send_content(CONTENT)
                session.finish_content()
                result.sent.append(session.take_commands())
        if session.idle and waiting:
            take(session.send(waiting.pop(0)))
        elif session.idle and quits:
            session.quit()
            result.sent.append(session.take_commands())

    for piece in pieces:
        take(session.receive(piece))
    return result


def finished(*replies: bytes, hello: bytes = HELLO, message: Transaction = MESSAGE) -> Finished:
    """Outcome of a message after these replies to its commands."""
    outcome = talk([hello, *replies], message).outcome
    assert isinstance(outcome, Finished)
    return outcome


def codes(outcome: ClientEvent) -> list[int]:
    assert isinstance(outcome, Finished | Lost)
    return [reply.code for reply in outcome.replies]


def test_a_message_is_sent_in_one_group_with_pipelining() -> None:
    done = talk([HELLO, OK * 2 + GO, OK], MESSAGE)

    assert done.sent == [
        b"EHLO me.example\r\n",
        b"MAIL FROM:<a@x.org> SIZE=10\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n",
        SENT,
    ]
    assert done.outcome == Finished((Reply(250, "2.0.0", "Ok"),))


def test_each_command_waits_for_its_reply_without_pipelining() -> None:
    done = talk([b"220 x\r\n", b"250 x\r\n", OK, OK, GO, OK], MESSAGE)

    assert done.sent == [
        b"EHLO me.example\r\n",
        b"MAIL FROM:<a@x.org>\r\n",
        b"RCPT TO:<bob@example.com>\r\n",
        b"DATA\r\n",
        SENT,
    ]


def test_lmtp_sends_lhlo_and_has_a_reply_per_accepted_recipient() -> None:
    message = Transaction(None, (BOB, EVE, KIM), Measure(10))
    replies = [HELLO, OK, OK, b"550 5.1.1 no eve\r\n", OK, GO, OK, b"452 4.2.2 full\r\n"]

    done = talk(replies, message, protocol=Protocol.LMTP)

    assert done.octets.startswith(b"LHLO me.example\r\nMAIL FROM:<> ")
    assert done.outcome == Finished(
        (
            Reply(250, "2.0.0", "Ok"),
            Reply(550, "5.1.1", "no eve"),
            Reply(452, "4.2.2", "full"),
        )
    )


def test_mail_has_the_parameters_that_the_server_offers() -> None:
    hello = b"220 x\r\n250-x\r\n250-SIZE\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
    utf8 = Transaction(Address("grüße", "x.org"), (BOB,), Measure(7, True, True), smtputf8=True)

    assert b"MAIL FROM:<a@x.org> SIZE=10 BODY=7BIT\r\n" in talk([hello], MESSAGE).octets
    assert "MAIL FROM:<grüße@x.org> SIZE=7 BODY=8BITMIME SMTPUTF8\r\n".encode() in (
        talk([hello], utf8).octets
    )


def test_xforward_has_the_offered_attributes_and_its_rejection_is_ignored() -> None:
    hello = b"220 x\r\n250-x\r\n250-PIPELINING\r\n250 XFORWARD ADDR HELO\r\n"
    message = Transaction(None, (BOB,), Measure(), client=OriginalClient(addr="192.0.2.7"))

    done = talk([hello, b"503 no\r\n", OK, OK, OK, GO, OK], message)

    assert b"XFORWARD ADDR=192.0.2.7\r\nXFORWARD HELO=[UNAVAILABLE]\r\nMAIL" in done.octets
    assert codes(done.outcome) == [250]


def test_a_rejected_sender_is_the_outcome_for_every_recipient() -> None:
    refused = b"451 4.7.1 greylisted\r\n"

    assert finished(refused, b"503 x\r\n" * 3, message=TWO).replies == (
        Reply(451, "4.7.1", "greylisted"),
        Reply(451, "4.7.1", "greylisted"),
    )
    assert codes(finished(refused, hello=PLAIN_HELLO, message=TWO)) == [451, 451]


@pytest.mark.parametrize("hello", [HELLO, PLAIN_HELLO], ids=["pipelined", "plain"])
def test_a_rejected_recipient_does_not_affect_the_others(hello: bytes) -> None:
    assert codes(finished(OK, b"550 no\r\n", OK, GO, OK, hello=hello, message=TWO)) == [550, 250]


@pytest.mark.parametrize(
    ("hello", "replies", "data"),
    [(HELLO, [b"554 none\r\n"], True), (PLAIN_HELLO, [], False)],
    ids=["pipelined", "plain"],
)
def test_without_accepted_recipients_no_content_is_sent(
    hello: bytes, replies: list[bytes], data: bool
) -> None:
    done = talk([hello, OK, b"550 no\r\n", b"450 later\r\n", *replies], TWO)

    assert b"Subject" not in done.octets
    assert done.outcome == Finished((Reply(550, "", "no"), Reply(450, "", "later")))
    assert (b"DATA" in done.octets) == data


def test_data_accepted_without_recipients_is_ended_with_a_dot_and_the_reply_is_ignored() -> None:
    done = talk([HELLO, OK, b"550 no\r\n", GO, OK], MESSAGE)

    assert done.octets.endswith(b"DATA\r\n.\r\n")
    assert codes(done.outcome) == [550]


def test_a_session_ends_if_an_lmtp_server_accepts_data_without_recipients() -> None:
    done = talk([HELLO, OK, b"550 no\r\n", GO], MESSAGE, protocol=Protocol.LMTP)

    assert done.outcome == Lost("server accepted DATA without recipients", (Reply(550, "", "no"),))


def test_a_rejection_of_data_is_the_outcome_of_the_accepted_recipients() -> None:
    assert codes(finished(OK, b"550 no\r\n", OK, b"451 4.3.0 no\r\n", message=TWO)) == [550, 451]


def test_the_next_message_is_preceded_by_rset_after_an_abandoned_one() -> None:
    kept = talk([HELLO, OK, OK, GO, OK, OK], MESSAGE, MESSAGE)
    left = talk([HELLO, OK, b"550 no\r\n", b"554 no\r\n", OK, OK, OK, GO, OK], MESSAGE, MESSAGE)

    assert b"RSET" not in kept.octets
    assert left.octets.count(b"RSET\r\nMAIL") == 1
    assert codes(left.outcome) == [250]


def test_a_message_that_the_server_does_not_support_is_rejected_locally() -> None:
    eight_bits = Transaction(None, (BOB,), Measure(10, eight_bit=True))
    utf8 = Transaction(None, (Address("grüße", "x.org"),), Measure(10), smtputf8=True)
    large = Transaction(None, (BOB,), Measure(1001))

    for message, expected in (
        (eight_bits, (554, "5.6.3")),
        (utf8, (554, "5.6.7")),
        (large, (552, "5.3.4")),
    ):
        done = talk([HELLO, OK, OK, GO, OK], message, MESSAGE)
        refused = done.events[1]
        assert isinstance(refused, Finished)
        assert [(reply.code, reply.status) for reply in refused.replies] == [expected]
        assert codes(done.outcome) == [250]


def test_smtputf8_is_not_required_for_ascii_messages() -> None:
    message = Transaction(Address("a", "x.org"), (BOB,), Measure(10), smtputf8=True)

    done = talk([HELLO, OK, OK, GO, OK], message)

    assert codes(done.outcome) == [250]
    assert b"SMTPUTF8" not in done.octets


def test_quit_is_sent_and_its_reply_ends_the_session() -> None:
    done = talk([HELLO, b"221 2.0.0 Bye\r\n"], quits=True)

    assert done.octets.endswith(b"QUIT\r\n")
    assert done.outcome == Lost("server replied 221 2.0.0 Bye to QUIT")


UNUSABLE = {
    "greeting": [b"554 no\r\n"],
    "greeting 421": [b"421 busy\r\n"],
    "hello": [b"220 x\r\n502 what\r\n"],
    "idle": [HELLO, b"421 4.4.2 timeout\r\n"],
    "unasked": [HELLO, b"250 surprise\r\n"],
    "no reply": [b"HTTP/1.1 400 Bad Request\r\n"],
}


@pytest.mark.parametrize("pieces", UNUSABLE.values(), ids=UNUSABLE)
def test_a_session_ends_with_an_unusable_server(pieces: list[bytes]) -> None:
    outcome = talk(pieces).outcome

    assert isinstance(outcome, Lost)
    assert outcome.reason
    assert outcome.replies == ()


LEFT = {
    "421 to MAIL": ([b"421 4.3.2 closing\r\n"], [451, 451], False),
    "354 to MAIL": ([GO], [451, 451], False),
    "250 to DATA": ([OK, OK, OK, OK], [451, 451], False),
    "354 to RCPT": ([OK, GO], [451, 451], False),
    "421 to RCPT": ([OK, b"550 no\r\n", b"421 closing\r\n"], [550, 451], False),
    "no reply": ([OK, OK, OK, b"go on\r\n"], [451, 451], False),
    "421 to content": ([OK, OK, OK, GO, b"421 closing\r\n"], [451, 451], True),
    "354 to content": ([OK, OK, OK, GO, GO], [451, 451], True),
}


@pytest.mark.parametrize(("replies", "expected", "sent"), LEFT.values(), ids=LEFT)
def test_a_session_that_ends_during_a_message_has_an_outcome_for_each_recipient(
    replies: list[bytes], expected: list[int], sent: bool
) -> None:
    outcome = talk([HELLO, *replies], TWO).outcome

    assert isinstance(outcome, Lost)
    assert codes(outcome) == expected
    assert outcome.content_sent == sent


def test_a_connection_closed_during_a_message_reports_whether_content_was_sent() -> None:
    for replies, sent in ((b"", False), (OK, False), (OK * 2 + GO, True)):
        session = ClientSession("me.example", Protocol.SMTP)
        session.receive(b"220 x\r\n")
        session.receive(b"250-x\r\n250 PIPELINING\r\n")
        session.send(MESSAGE)
        if any(isinstance(event, ContentWanted) for event in session.receive(replies)):
            session.send_content(CONTENT)
            session.finish_content()

        assert session.lose("closed") == [Lost("closed", (NEXT_HOP_UNAVAILABLE,), sent)]
        assert session.lose("again") == []
        assert session.receive(OK) == []


def test_lmtp_recipients_answered_before_the_end_keep_their_replies() -> None:
    outcome = talk([HELLO, OK * 3 + GO, OK, b"421 x\r\n"], TWO, protocol=Protocol.LMTP).outcome

    assert isinstance(outcome, Lost)
    assert codes(outcome) == [250, 451]
    assert outcome.content_sent


def test_an_early_rejection_of_content_is_the_outcome_and_ends_the_session() -> None:
    session = ClientSession("me.example", Protocol.SMTP)
    session.receive(HELLO)
    session.send(MESSAGE)
    session.receive(OK * 2 + GO)
    session.send_content(b"Subject: x\n")

    assert session.receive(b"552 5.3.4 too big\r\n") == [
        Lost("server replied 552 5.3.4 too big", (Reply(552, "5.3.4", "too big"),))
    ]


def test_a_bare_cr_in_content_raises_invalid_content() -> None:
    session = ClientSession("me.example", Protocol.SMTP)
    session.receive(HELLO)
    session.send(MESSAGE)
    session.receive(OK * 2 + GO)

    with pytest.raises(InvalidContent):
        session.send_content(b"a\rb\n")


def test_a_second_message_on_a_busy_session_is_a_programming_error() -> None:
    session = ClientSession("me.example", Protocol.SMTP)

    with pytest.raises(RuntimeError):
        session.send(MESSAGE)


def greeted(protocol: Protocol = Protocol.SMTP) -> ClientSession:
    session = ClientSession("me.example", protocol)
    session.receive(HELLO)
    assert session.idle
    session.take_commands()
    return session


def replied(code: int, status: str, text: str) -> list[ClientEvent]:
    return [RecipientReplied(Reply(code, status, text))]


def test_recipients_are_added_one_by_one_and_only_the_accepted_get_the_content() -> None:
    session = greeted()
    session.open_transaction(MESSAGE)
    session.add_recipient(BOB)
    assert session.take_commands() == (
        b"MAIL FROM:<a@x.org> SIZE=10\r\nRCPT TO:<bob@example.com>\r\n"
    )
    assert session.receive(OK * 2) == replied(250, "2.0.0", "Ok")
    session.add_recipient(EVE)
    assert session.take_commands() == b"RCPT TO:<eve@example.com>\r\n"
    assert session.receive(b"550 5.1.1 no eve\r\n") == replied(550, "5.1.1", "no eve")
    assert not session.idle

    assert session.request_content(MESSAGE) == []
    assert session.take_commands() == b"DATA\r\n"
    assert session.receive(GO) == [ContentWanted()]
    session.send_content(CONTENT)
    session.finish_content()
    assert session.take_commands() == SENT
    assert session.receive(OK) == [
        Finished((Reply(250, "2.0.0", "Ok"), Reply(550, "5.1.1", "no eve")))
    ]
    assert session.idle


def test_a_refused_sender_ends_a_message_whose_recipients_are_added() -> None:
    session = greeted()
    session.open_transaction(MESSAGE)
    session.add_recipient(BOB)
    session.take_commands()

    assert session.receive(b"451 4.3.0 later\r\n503 5.5.1 no\r\n") == [
        Finished((Reply(451, "4.3.0", "later"),))
    ]
    assert session.idle


def test_an_abandoned_message_whose_recipients_were_added_is_reset_before_the_next() -> None:
    session = greeted()
    session.open_transaction(MESSAGE)
    session.add_recipient(BOB)
    session.receive(OK)
    idle = []
    for reply in (b"", OK):  # the first leaves a reply to be awaited
        session.receive(reply)
        session.abandon()
        idle.append(session.idle)
    assert idle == [False, True]

    session.take_commands()
    session.send(MESSAGE)
    assert session.take_commands().startswith(b"RSET\r\nMAIL")


def test_a_message_that_grew_too_large_is_refused_before_its_content() -> None:
    session = greeted()
    session.open_transaction(replace(MESSAGE, measure=None))
    session.add_recipient(BOB)
    session.receive(OK * 2)
    session.take_commands()

    (refused,) = session.request_content(replace(MESSAGE, measure=Measure(1001)))
    assert codes(refused) == [552]
    assert session.take_commands() == b""
    assert session.idle


@pytest.mark.parametrize("then", [b"", OK])
def test_421_ends_the_session_whatever_it_answers(then: bytes) -> None:
    session = greeted()
    session.send(MESSAGE)

    assert session.receive(b"421 4.3.2 bye\r\n" + then) == [
        Lost("server replied 421 4.3.2 bye", (NEXT_HOP_UNAVAILABLE,))
    ]
    assert session.receive(OK) == []


@pytest.mark.parametrize("reply", [b"250 2.0.0 Ok", b"354 go", b"450 4.0.0 no", b"550 5.0.0 no"])
def test_a_reply_that_nothing_asked_for_ends_the_session(reply: bytes) -> None:
    assert greeted().receive(reply + b"\r\n") == [Lost(f"server replied {reply.decode()}")]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"250 2.0.0 Ok", NEXT_HOP_UNAVAILABLE),
        (b"400 4.0.0 no", Reply(400, "4.0.0", "no")),
        (b"421 4.3.2 bye", NEXT_HOP_UNAVAILABLE),
        (b"550 5.0.0 no", Reply(550, "5.0.0", "no")),
    ],
)
def test_a_rejection_before_the_end_of_the_content_is_its_outcome(
    reply: bytes, outcome: Reply
) -> None:
    session = greeted()
    session.send(MESSAGE)
    session.receive(OK * 2 + GO)
    session.send_content(CONTENT)

    assert session.receive(reply + b"\r\n") == [
        Lost(f"server replied {reply.decode()}", (outcome,))
    ]


REFUSALS = (OK, b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", b"450 later\r\n")


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("hello", [HELLO, PLAIN_HELLO], ids=["pipelined", "plain"])
def test_every_split_of_every_reply_has_the_same_outcome(hello: bytes, protocol: Protocol) -> None:
    lmtp = protocol is Protocol.LMTP
    for mail, first, second in itertools.product(REFUSALS, repeat=3):
        replies = hello + mail
        pipelined, accepted = hello == HELLO, [first, second].count(OK)
        if mail == OK:
            replies += first + second
        elif pipelined:
            replies, accepted = replies + b"503 no\r\n" * 2, 0
        if accepted and mail == OK:
            replies += GO + OK * (accepted if lmtp else 1)
        elif pipelined:
            replies += b"503 5.5.1 no\r\n"
        expected = talk(_lines(replies), TWO, protocol=protocol)
        assert isinstance(expected.outcome, Finished)
        assert codes(expected.outcome) == (
            [int(first[:3]), int(second[:3])] if mail == OK else [int(mail[:3])] * 2
        )
        for pieces in cuts(replies):
            # A server sends nothing unprompted, so a piece ends at the latest with a group of replies.
            done = talk(_asked(pieces), TWO, protocol=protocol)
            assert (done.octets, done.outcome) == (expected.octets, expected.outcome)


def _lines(octets: bytes) -> list[bytes]:
    return octets.splitlines(keepends=True)


def _asked(pieces: list[bytes]) -> Iterable[bytes]:
    """The pieces, split additionally after each line."""
    return itertools.chain.from_iterable(map(_lines, pieces))


@given(st.lists(st.sampled_from([OK, GO, *REFUSALS, HELLO, b"421 x\r\n", b"250-", b"\r\n"])))
def test_any_order_of_replies_ends_every_recipient_once(replies: list[bytes]) -> None:
    for protocol in Protocol:
        outcomes = [
            event
            for event in talk(replies, TWO, MESSAGE, protocol=protocol).events
            if isinstance(event, Finished) or (isinstance(event, Lost) and event.replies)
        ]
        assert [len(outcome.replies) for outcome in outcomes] in ([], [2], [2, 1])


@given(st.lists(st.binary()))
def test_a_client_session_raises_for_no_bytes(pieces: list[bytes]) -> None:
    talk([HELLO, *pieces], TWO)


def test_ready_states_what_the_server_offers() -> None:
    [ready] = talk([HELLO]).events

    assert isinstance(ready, Ready)
    assert ready.extensions.size_limit == 1000
