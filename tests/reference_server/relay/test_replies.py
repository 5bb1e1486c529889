"""Parser of SMTP replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.relay.replies import InvalidReply, ReplyParser
from reference_server.reply import Reply
from tests.reference_server.relay.pieces import cuts

REPLIES = {
    b"220 mail.example ESMTP\r\n": Reply(220, "", "mail.example ESMTP"),
    b"250 2.1.0 Ok\r\n": Reply(250, "2.1.0", "Ok"),
    b"250 4.1.0 another class is text\r\n": Reply(250, "", "4.1.0 another class is text"),
    b"550 5.1.1\r\n": Reply(550, "5.1.1", ""),
    b"250\r\n": Reply(250, "", ""),
    b"250 \r\n": Reply(250, "", ""),
    b"250 bare line feed\n": Reply(250, "", "bare line feed"),
    b"250-mail.example\r\n250-SIZE 10\r\n250 HELP\r\n": Reply(
        250, "", "mail.example\nSIZE 10\nHELP"
    ),
    b"550-5.1.1 first\r\n550 5.1.1 second\r\n": Reply(550, "5.1.1", "first\nsecond"),
    b"550 gr\xc3\xbc\x00\x1b\xdf\r\n": Reply(550, "", "gr?????"),
}


@pytest.mark.parametrize(("octets", "expected"), REPLIES.items())
def test_a_reply_is_parsed_the_same_however_it_is_split(octets: bytes, expected: Reply) -> None:
    for pieces in cuts(octets):
        parser = ReplyParser()
        assert [reply for piece in pieces for reply in parser.receive(piece)] == [expected]


def test_replies_received_together_are_separated() -> None:
    assert ReplyParser().receive(b"250 2.1.0 a\r\n550 b\r\n354 c\r\n25") == [
        Reply(250, "2.1.0", "a"),
        Reply(550, "", "b"),
        Reply(354, "", "c"),
    ]


INVALID = (
    b"hello\r\n",
    b"\r\n",
    b"150 too low\r\n",
    b"650 too high\r\n",
    b"25 short\r\n",
    b"250_mark\r\n",
    b"250-first\r\n550 another code\r\n",
    b"250-line\r\n" * 200,
    b"250 " + b"x" * 5000,
    b"250 " + b"x" * 5000 + b"\r\n",
)


@pytest.mark.parametrize("octets", INVALID)
def test_bytes_that_are_not_a_reply_raise_invalid_reply(octets: bytes) -> None:
    with pytest.raises(InvalidReply):
        ReplyParser().receive(octets)


def test_a_reply_has_at_most_128_lines_of_4096_octets() -> None:
    line = b"250 " + b"x" * 4091 + b"\r"
    assert [reply.code for reply in ReplyParser().receive(b"250-x\r\n" * 127 + line + b"\n")] == [
        250
    ]

    for octets in (b"250-x\r\n" * 129, b"250 x" + line[4:] + b"\n", b"250 x" + line[4:]):
        with pytest.raises(InvalidReply):
            ReplyParser().receive(octets)
    assert ReplyParser().receive(line) == []


@pytest.mark.parametrize("octet", [31, 32, 126, 127])
def test_text_outside_printable_ascii_is_a_question_mark(octet: int) -> None:
    (reply,) = ReplyParser().receive(b"250 a%cb\r\n" % octet)

    assert reply.text == f"a{chr(octet) if 32 <= octet <= 126 else '?'}b"


@given(st.binary())
def test_arbitrary_bytes_give_replies_or_invalid_reply(octets: bytes) -> None:
    try:
        replies = ReplyParser().receive(octets)
    except InvalidReply:
        return
    for reply in replies:
        assert all(line.isprintable() for line in reply.text.split("\n"))
