"""Log lines about the outcome of each message."""

import logging
from pathlib import Path

import pytest

from reference_server.address import Address
from reference_server.event import Envelope
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.maillog import log_message, message_fields
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply
from reference_server.spool import Spool
from smtpstatus.log import Formatter
from tests.reference_server.inside import ENVELOPE, client, mail_server, until

CONTENT = b"Subject: hi\r\nMessage-ID: <1@x.org>\r\n\r\nhello\r\n.\r\n"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """The records about mail, as fields."""
    wanted = (
        "client",
        "helo",
        "sender",
        "recipients",
        "size",
        "message_id",
        "transforms",
        "reply",
        "command",
        "err",
    )
    found = []
    for record in caplog.records:
        if record.name.startswith("reference_server"):
            assert "\n" not in Formatter("logfmt").format(record)
            fields = {name: str(value) for name, value in vars(record).items() if name in wanted}
            found.append({"level": record.levelname, "msg": record.getMessage(), **fields})
    return found


async def test_a_stored_message_is_one_line_with_envelope_size_transforms_and_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with mail_server(tmp_path, "cat") as inside, client(inside.port) as c:
        await c.send(ENVELOPE + CONTENT + b"QUIT\r\n")
        reply = (await c.rest()).splitlines()[-2].decode()

    [line] = lines(caplog)
    assert line == {
        "level": "INFO",
        "msg": "Message accepted",
        "client": "127.0.0.1",
        "helo": "me.example",
        "sender": "a@x.org",
        "recipients": "bob@example.com",
        "size": str(len(CONTENT) - len(b".\r\n") - CONTENT.count(b"\r\n") + 1),
        "message_id": "<1@x.org>",
        "transforms": "cat",
        "reply": reply,
    }
    [record] = [record for record in caplog.records if record.name.startswith("reference_server")]
    assert 0 < vars(record)["duration"] < 60
    assert vars(record)["id"] in reply


@pytest.mark.parametrize(
    ("codes", "level", "msg"),
    [
        ((250,), "INFO", "Message accepted"),
        ((299, 599), "INFO", "Message accepted"),
        ((400,), "WARNING", "Message deferred"),
        ((499, 550), "WARNING", "Message deferred"),
        ((500,), "WARNING", "Message rejected"),
        ((599,), "WARNING", "Message rejected"),
    ],
)
def test_the_outcome_is_that_of_the_best_reply(
    codes: tuple[int, ...], level: str, msg: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    log_message({}, [Reply(code, "", "text") for code in codes])

    [line] = lines(caplog)
    assert (line["level"], line["msg"]) == (level, msg)


@pytest.mark.parametrize(
    ("program", "level", "msg", "reply", "err"),
    [
        ("sh -c 'cat; exit 75'", "WARNING", "Message deferred", "451 4.3.0", "sh ended with 75"),
        (
            "sh -c 'cat; echo no >&2; exit 65'",
            "WARNING",
            "Message rejected",
            "554 5.6.0 no",
            "sh ended with 65: no",
        ),
    ],
)
async def test_a_message_that_a_transform_rejects_is_one_line_with_the_reason(
    program: str,
    level: str,
    msg: str,
    reply: str,
    err: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mail_server(tmp_path, program) as inside, client(inside.port) as c:
        await c.send(ENVELOPE + CONTENT + b"QUIT\r\n")
        await c.rest()

    [line] = lines(caplog)
    assert (line["level"], line["msg"], line["sender"]) == (level, msg, "a@x.org")
    assert line["reply"].startswith(reply)
    assert line["err"].startswith(err)


async def test_a_rejected_command_is_one_line_with_the_command_and_the_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with mail_server(tmp_path) as inside, client(inside.port) as c:
        await c.send(
            b"FOO \xff\x1b[2J\r\nEHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<bob@elsewhere.example>\r\nQUIT\r\n"
        )
        await c.rest()

    unknown, relayed = lines(caplog)
    assert unknown == {
        "level": "INFO",
        "msg": "Command rejected",
        "client": "127.0.0.1",
        "command": "FOO \ufffd\x1b[2J",
        "reply": "500 5.5.2 Error: command is not valid UTF-8",
    }
    assert relayed == {
        "level": "INFO",
        "msg": "Command rejected",
        "client": "127.0.0.1",
        "helo": "me",
        "sender": "<>",
        "command": "RCPT TO:<bob@elsewhere.example>",
        "reply": "550 5.7.1 Relay access denied",
    }


async def test_a_message_that_is_too_large_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = SessionLimits(message_size=100)
    async with mail_server(tmp_path, session_limits=limits) as inside, client(inside.port) as c:
        await c.send(ENVELOPE + b"x" * 200 + b"\r\n.\r\nQUIT\r\n")
        await c.rest()

    [line] = lines(caplog)
    assert (line["msg"], line["recipients"]) == ("Message rejected", "bob@example.com")
    assert line["reply"].startswith("552 5.3.4")


@pytest.mark.parametrize("how", ["reset", "timeout"])
async def test_a_message_without_its_final_dot_is_one_line(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    limits = ServerLimits(idle=0.1) if how == "timeout" else ServerLimits()
    async with mail_server(tmp_path, limits=limits) as inside:
        async with client(inside.port) as c:
            await c.send(ENVELOPE + b"Message-ID: <1@x.org>\r\n")
            await until(lambda: inside.status.received_bytes == c.sent)
            if how == "reset":
                c.reset()
            await until(lambda: "Message aborted" in caplog.text)

    [line] = [line for line in lines(caplog) if line["msg"].startswith("Message aborted")]
    assert (line["sender"], line["recipients"]) == ("a@x.org", "bob@example.com")


def fields(tmp_path: Path, content: bytes, *recipients: str) -> dict[str, object]:
    spool = Spool(tmp_path)
    for start in range(0, len(content), 10):
        spool.append(content[start : start + 10])
    to = tuple(Address(name, "x") for name in recipients)
    envelope = Envelope(None, to, "me", "SMTP", original_client=OriginalClient(addr="192.0.2.1"))
    return message_fields(envelope, "127.0.0.1", spool, "")


@pytest.mark.parametrize(
    ("content", "message_id"),
    [
        (b"message-id:<a@b>\n\n", "<a@b>"),
        (b"X: 1\nMessage-ID:\n <a@b>\nY: 2\n\n", "<a@b>"),
        (b"X-Message-ID: <a@b>\n\n", ""),
        (b"Subject: hi\n\nMessage-ID: <a@b>\n", ""),
        (b"Message-ID: " + b"a" * 300 + b"\n\n", "a" * 250),
        (b"", ""),
    ],
)
def test_the_logged_message_id_is_that_of_the_header(
    content: bytes, message_id: str, tmp_path: Path
) -> None:
    assert fields(tmp_path, content, "bob")["message_id"] == message_id


def test_many_recipients_are_listed_up_to_fifty(tmp_path: Path) -> None:
    found = fields(tmp_path, b"", *(f"u{number}" for number in range(60)))

    assert str(found["recipients"]).endswith("u49@x,and 10 more")
    assert found["original_client"] == "192.0.2.1"
    assert "id" not in found
