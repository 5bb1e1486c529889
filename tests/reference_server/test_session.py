"""Session state machine: RFC 5321's cases, smuggling, and arbitrary bytes in arbitrary pieces."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.address import Address
from reference_server.event import Abandoned, Closed, Complete, Content, Envelope, Event, Started
from reference_server.limits import SessionLimits
from reference_server.recipients import local_recipients
from reference_server.reply import Reply
from reference_server.service import Service
from reference_server.session import Session

LIMITS = SessionLimits(message_size=1000, recipients=3, errors=5, command_line=200, text_line=80)
ANYTHING = Service("mail.example", lambda _: None, lambda _: True)
STORED = Reply(250, "2.0.0", "Ok: stored")
ENVELOPE = b"EHLO me.example\r\nMAIL FROM:<a@x.org>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"


@dataclass
class Talk:
    """Result of a session: replies, completed messages, and whether it was closed."""

    out: bytes = b""
    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)
    closed: bool = False
    abandoned: int = 0

    @property
    def replies(self) -> list[str]:
        return self.out.decode().splitlines()

    @property
    def codes(self) -> list[int]:
        return [int(line[:3]) for line in self.replies if line[3] == " "]


def talk(
    chunks: Iterable[bytes],
    limits: SessionLimits = LIMITS,
    verdict: Reply = STORED,
    room: int = 1_000_000,
) -> Talk:
    domains = ("example.com", "[127.0.0.1]")
    service = Service(
        "mail.example", local_recipients(frozenset(domains)), lambda octets: octets <= room
    )

    session = Session(service, limits)
    session.open()
    result = Talk(session.take_replies())
    envelope: Envelope | None = None
    content = b""

    def take(events: Sequence[Event]) -> None:
        nonlocal envelope, content
        for event in events:
            match event:
                case Started(found):
                    envelope, content = found, b""
                case Content(octets):
                    content += octets
                case Complete():
                    assert envelope
                    result.messages.append((envelope, content))
                case Abandoned():
                    result.abandoned += 1
                case Closed():
                    result.closed = True

    for chunk in chunks:
        session.receive(chunk)
        while session.pending or session.waiting:
            take(session.answer([verdict]) if session.waiting else session.advance())
        result.out += session.take_replies()
    return result


def reply_to(*lines: str) -> str:
    """Last reply to command lines after EHLO."""
    return talk([b"".join(line.encode() + b"\r\n" for line in ("EHLO me", *lines))]).replies[-1]


def test_greeting_and_ehlo_state_the_hostname_and_the_extensions() -> None:
    assert talk([b"EHLO me.example\r\n"]).replies == [
        "220 mail.example ESMTP smtpstatus",
        "250-mail.example",
        "250-PIPELINING",
        "250-SIZE 1000",
        "250-8BITMIME",
        "250-SMTPUTF8",
        "250-ENHANCEDSTATUSCODES",
        "250 HELP",
    ]


def test_helo_is_answered_with_one_line() -> None:
    assert talk([b"HELO me\r\n"]).replies[1:] == ["250 mail.example"]


def test_a_message_has_its_envelope_and_no_doubled_dots() -> None:
    sent = ENVELOPE + b"Subject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n"

    done = talk([sent])

    envelope = Envelope(
        Address("a", "x.org"), (Address("bob", "example.com"),), "me.example", "ESMTP"
    )
    assert done.messages == [(envelope, b"Subject: hi\n\n.dot\n")]
    assert done.codes == [220, 250, 250, 250, 354, 250, 221]
    assert done.closed


GOOD = {
    "null sender": ("MAIL FROM:<>", "250 2.1.0 Ok"),
    "size": ("MAIL FROM:<a@x> SIZE=1000 BODY=8BITMIME", "250 2.1.0 Ok"),
    "small letters": ("mail from:<a@x> size=10", "250 2.1.0 Ok"),
    "space behind the colon": ("MAIL FROM: <a@x>", "250 2.1.0 Ok"),
    "utf8": ("MAIL FROM:<grüße@x> SMTPUTF8", "250 2.1.0 Ok"),
    "zero width non-joiner": ("MAIL FROM:<نامه\u200cای@x> SMTPUTF8", "250 2.1.0 Ok"),
    "zero width joiner": ("MAIL FROM:<ක්\u200dෂ@x> SMTPUTF8", "250 2.1.0 Ok"),
    "no brackets": ("MAIL FROM:a@x SIZE=10", "250 2.1.0 Ok"),
    "two dots": ("MAIL FROM:<a..b@x>", "250 2.1.0 Ok"),
    "long local part": (f"MAIL FROM:<SRS0={'x' * 120}@x>", "250 2.1.0 Ok"),
    "noop": ("NOOP whatever", "250 2.0.0 Ok"),
    "rset": ("RSET", "250 2.0.0 Ok"),
    "verify": (
        "VRFY bob",
        "252 2.5.2 Cannot VRFY user, but will accept message and attempt delivery",
    ),
    "help": ("HELP", "214 2.0.0 Commands: EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"),
    "quit": ("QUIT", "221 2.0.0 Bye"),
}


@pytest.mark.parametrize(("line", "reply"), GOOD.values(), ids=GOOD)
def test_a_command_is_answered(line: str, reply: str) -> None:
    assert reply_to(line) == reply


BAD = {
    "unknown": ("FOO", "500 5.5.2"),
    "empty": ("", "500 5.5.2"),
    "control character": ("NOOP \x01", "500 5.5.2"),
    "bare cr": ("NOOP \r", "500 5.5.2"),
    "tab": ("MAIL\tFROM:<a@x>", "500 5.5.2"),
    "not offered": ("STARTTLS", "502 5.5.1"),
    "expand": ("EXPN list", "502 5.5.1"),
    "no name": ("EHLO", "501 5.5.4"),
    "a name that is none": ("HELO <script>", "501 5.5.4"),
    "data without mail": ("DATA", "503 5.5.1"),
    "recipient without mail": ("RCPT TO:<bob@example.com>", "503 5.5.1"),
    "quit with an argument": ("QUIT now", "501 5.5.4"),
    "rset with an argument": ("RSET now", "501 5.5.4"),
    "verify nothing": ("VRFY", "501 5.5.4"),
    "no from": ("MAIL TO:<a@x>", "501 5.5.4"),
    "line separator": ("MAIL FROM:<a\u2028b@x> SMTPUTF8", "500 5.5.2"),
    "c1 control": ("MAIL FROM:<a\x9bb@x> SMTPUTF8", "500 5.5.2"),
    "open bracket": ("MAIL FROM:<a@x", "501 5.1.7"),
    "behind the bracket": ("MAIL FROM:<a@x>SIZE=1", "501 5.5.4"),
    "too large": ("MAIL FROM:<a@x> SIZE=1001", "552 5.3.4"),
    "no number": ("MAIL FROM:<a@x> SIZE=big", "501 5.5.4"),
    "a body of another kind": ("MAIL FROM:<a@x> BODY=BINARYMIME", "501 5.5.4"),
    "a value for none": ("MAIL FROM:<a@x> SMTPUTF8=1", "501 5.5.4"),
    "an unknown parameter": ("MAIL FROM:<a@x> RET=HDRS", "555 5.5.4"),
    "twice": ("MAIL FROM:<a@x> SIZE=1 SIZE=1", "501 5.5.4"),
    "no parameter": ("MAIL FROM:<a@x> =", "501 5.5.4"),
    "utf8 unannounced": ("MAIL FROM:<grüße@x>", "553 5.6.7"),
}


@pytest.mark.parametrize(("line", "reply"), BAD.values(), ids=BAD)
def test_an_invalid_command_is_rejected(line: str, reply: str) -> None:
    assert reply_to(line).startswith(reply)


def test_mail_with_a_size_that_does_not_fit_is_452() -> None:
    mails = [f"MAIL FROM:<a@x> SIZE={size}".encode() for size in (501, 1001, 500)]

    done = talk([b"\r\n".join([b"EHLO me", *mails, b""])], room=500)

    assert done.replies[-3:] == [
        "452 4.3.1 Insufficient system storage",
        "552 5.3.4 Message size exceeds fixed limit of 1000 bytes",
        "250 2.1.0 Ok",
    ]


def test_replies_452_do_not_count_as_errors() -> None:
    done = talk([b"EHLO me\r\n" + b"MAIL FROM:<a@x> SIZE=9\r\n" * 9], room=8)

    assert done.codes == [220, 250] + [452] * 9


RECIPIENTS = {
    "ours": ("RCPT TO:<bob@EXAMPLE.com>", "250 2.1.5"),
    "postmaster": ("RCPT TO:<Postmaster>", "250 2.1.5"),
    "quoted": ('RCPT TO:<"../x"@example.com>', "250 2.1.5"),
    "literal": ("RCPT TO:<bob@[127.0.0.1]>", "250 2.1.5"),
    "relayed": ("RCPT TO:<bob@elsewhere.example>", "550 5.7.1"),
    "relayed by percent": ("RCPT TO:<bob%example.com@elsewhere.example>", "550 5.7.1"),
    "relayed by a route": ("RCPT TO:<@example.com:bob@elsewhere.example>", "550 5.7.1"),
    "null recipient": ("RCPT TO:<>", "501 5.1.3"),
    "no domain": ("RCPT TO:<bob>", "501 5.1.3"),
    "a parameter": ("RCPT TO:<bob@example.com> NOTIFY=NEVER", "555 5.5.4"),
    "utf8 unannounced": ("RCPT TO:<ü@example.com>", "553 5.6.7"),
}


@pytest.mark.parametrize(("line", "reply"), RECIPIENTS.values(), ids=RECIPIENTS)
def test_only_recipients_of_own_domains_are_accepted(line: str, reply: str) -> None:
    assert reply_to("MAIL FROM:<a@x>", line).startswith(reply)


def test_rejected_recipients_of_delivered_messages_do_not_end_a_session() -> None:
    refused = b"RCPT TO:<bob@elsewhere.example>\r\n"
    mail = ENVELOPE.partition(b"\r\n")[2].replace(b"DATA\r\n", refused + b"DATA\r\n") + b".\r\n"

    done = talk([b"EHLO me\r\n" + mail * 120])

    assert len(done.messages) == 120
    assert done.codes.count(550) == 120
    assert not done.closed


def test_a_delivered_message_resets_the_error_count() -> None:
    done = talk([(b"FOO\r\n" * 4 + ENVELOPE + b".\r\n") * 3 + b"FOO\r\n" * 4])

    assert len(done.messages) == 3
    assert not done.closed


def test_ten_rejected_recipients_count_as_one_error() -> None:
    refused = b"RCPT TO:<bob@elsewhere.example>\r\n"

    done = talk([b"EHLO me\r\nMAIL FROM:<a@x>\r\n" + refused * 60])

    assert done.codes.count(550) == 10 * LIMITS.errors
    assert done.codes[-1] == 421


def test_commands_out_of_order_are_rejected() -> None:
    assert talk([b"MAIL FROM:<a@x>\r\n"]).codes == [220, 503]
    assert reply_to("MAIL FROM:<a@x>", "MAIL FROM:<a@x>").startswith("503")
    assert reply_to("MAIL FROM:<a@x>", "DATA") == "554 5.5.1 Error: no valid recipients"


@pytest.mark.parametrize("between", [b"RSET\r\n", b"EHLO again\r\n"])
def test_rset_and_ehlo_end_the_transaction(between: bytes) -> None:
    done = talk([ENVELOPE.replace(b"DATA\r\n", between + b"DATA\r\n")])

    assert done.codes[-1] == 503


def test_recipients_over_the_limit_are_452_and_the_others_stay() -> None:
    recipients = [f"RCPT TO:<{name}@example.com>" for name in ("a", "b", "c", "d", "a")]

    done = talk([("\r\n".join(["EHLO me", "MAIL FROM:<>", *recipients, ""])).encode()])

    assert done.codes[3:] == [250, 250, 250, 452, 250]


def test_a_repeated_recipient_is_stored_once() -> None:
    again = b"RCPT TO:<bob@example.com>\r\nDATA\r\n"

    done = talk([ENVELOPE.replace(b"DATA\r\n", again) + b".\r\n"])

    assert [envelope.recipients for envelope, _ in done.messages] == [
        (Address("bob", "example.com"),)
    ]


REFUSED = {
    "too large": (b"x" * 60 + b"\r\n", 17, "552 5.3.4"),
    "bare cr": (b"a\rb\r\n", 1, "550 5.6.0"),
    "long line": (b"x" * 81 + b"\r\n", 1, "550 5.6.0"),
}


@pytest.mark.parametrize(("line", "times", "reply"), REFUSED.values(), ids=REFUSED)
def test_rejected_content_is_read_to_its_end_and_the_session_continues(
    line: bytes, times: int, reply: str
) -> None:
    done = talk([ENVELOPE + line * times + b".\r\n" + ENVELOPE + b"ok\r\n.\r\n"])

    assert done.replies[-6 - 6].startswith(reply)
    assert done.abandoned == 1
    assert [content for _, content in done.messages] == [b"ok\n"]


def test_too_many_errors_end_the_session() -> None:
    done = talk([b"FOO\r\n" * 10])

    assert done.codes == [220, 500, 500, 500, 500, 500, 421]
    assert done.closed


def test_too_many_commands_without_a_message_end_the_session() -> None:
    done = talk([b"NOOP\r\n" * 5], SessionLimits(commands=3))

    assert done.codes == [220, 250, 250, 250, 421]
    assert done.closed


def test_an_accepted_message_resets_the_command_count_and_the_envelope() -> None:
    mail = ENVELOPE.removeprefix(b"EHLO me.example\r\n") + b".\r\n"

    done = talk([b"EHLO me\r\n" + mail * 4 + b"DATA\r\n"], SessionLimits(commands=6))

    assert len(done.messages) == 4
    assert done.codes[-1] == 503


def test_an_overlong_command_line_is_rejected_once() -> None:
    assert talk([b"NOOP " + b"x" * 500 + b"\r\nNOOP\r\n"]).codes == [220, 500, 250]
    assert talk([b"NOOP " + b"x" * 193 + b"\r\n"]).codes == [220, 250]
    assert talk([b"NOOP " + b"x" * 194 + b"\r\n"]).codes == [220, 500]


@pytest.mark.parametrize(
    "line", [b"BDAT 10 LAST\r\n", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\n"]
)
def test_bdat_and_http_requests_close_the_connection(line: bytes) -> None:
    done = talk([line + ENVELOPE])

    assert done.codes == [220, 502]
    assert done.closed


def test_a_reply_other_than_250_is_sent_and_the_session_continues() -> None:
    done = talk([ENVELOPE + b".\r\nNOOP\r\n"], verdict=Reply(451, "4.3.0", "later"))

    assert done.replies[-2:] == ["451 4.3.0 later", "250 2.0.0 Ok"]


def test_a_failed_message_ends_its_transaction() -> None:
    again = b"MAIL FROM:<b@x.org>\r\nDATA\r\n"

    done = talk([ENVELOPE + b".\r\n" + again], verdict=Reply(451, "4.3.0", "later"))

    assert done.codes[-3:] == [451, 250, 554]


def test_finish_waits_for_the_message_in_progress_only() -> None:
    session = Session(ANYTHING, LIMITS)
    session.receive(ENVELOPE + b"text\r\n.\r\nNOOP\r\nNOOP\r\n")
    while session.pending:
        session.advance()
    session.take_replies()

    assert session.finish(Reply(421, "4.3.2", "end")) == []
    assert session.answer([STORED]) == []
    assert session.advance() == [Closed()]
    assert session.take_replies() == b"250 2.0.0 Ok: stored\r\n421 4.3.2 end\r\n"
    session.receive(b"NOOP\r\n")
    assert session.advance() == []
    assert session.take_replies() == b""


def test_a_step_processes_a_bounded_number_of_commands() -> None:
    session = Session(ANYTHING, SessionLimits())
    session.receive(b"NOOP\r\n" * 1000)

    steps = 0
    while session.pending:
        session.advance()
        assert session.take_replies().count(b"\r\n") <= 16
        steps += 1

    assert steps == 63


# Those that the public smuggling checkers try, and two more.
MALFORMED_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n .\r\n", b"\r\n. \r\n",
]  # fmt: skip


@pytest.mark.parametrize("before", [b"", b"text", b"text\r\n\r\n"], ids=repr)
@pytest.mark.parametrize("end", MALFORMED_ENDS, ids=repr)
def test_only_crlf_dot_crlf_ends_a_message(before: bytes, end: bytes) -> None:
    smuggled = (
        b"mail FROM:<evil@x.org>\r\nrcpt TO:<bob@example.com>\r\ndata\r\nevil\r\n.\r\nQUIT\r\n"
    )

    done = talk([ENVELOPE + before + end + smuggled])

    # One message of both parts or, with a bare CR, one rejection: never a second MAIL.
    assert len(done.codes) == len([220, 250, 250, 250, 354, 250, 221])
    assert [envelope.sender for envelope, _ in done.messages] in ([], [Address("a", "x.org")])
    assert len(done.messages) + done.abandoned == 1
    assert done.abandoned == (b"\r" in end.replace(b"\r\n", b""))


lines = st.sampled_from([
    b"EHLO me\r\n", b"HELO me\n", b"MAIL FROM:<a@x>\r\n", b"RCPT TO:<bob@example.com>\r\n", b"RCPT TO:<x@y>\r\n",
    b"DATA\r\n", b".\r\n", b"text\r\n", b"..\r\n", b"RSET\r\n", b"NOOP\r\n", b"\r", b"\n", b"x" * 90, b"BDAT 3\r\n",
    b"QUIT\r\n",
])  # fmt: skip
streams = st.lists(st.one_of(lines, st.binary(max_size=8)), max_size=25).map(b"".join)


@given(streams, st.lists(st.integers(0, 400), max_size=20))
def test_replies_and_messages_do_not_depend_on_the_pieces(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds)]

    assert talk(pieces) == talk([stream])


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_a_session_raises_for_no_input(chunks: list[bytes]) -> None:
    done = talk(chunks)

    assert done.codes[0] == 220
    assert set(done.codes) <= {214, 220, 221, 250, 252, 421, 500, 501, 502, 503}
