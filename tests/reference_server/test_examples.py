"""Transforms of examples/, run by the server."""

import os
import re
import time
from pathlib import Path

from tests.reference_server.inside import ENVELOPE, client, mail_server
from tests.support.processes import Process, eventually

OURS = re.compile(rb"\AReturn-Path: .*\nReceived: .*\n(?:\t.*\n)+")
EXAMPLES = Path(__file__).parents[2] / "examples"


async def stored(tmp_path: Path, program: str, content: bytes) -> tuple[bytes, list[bytes]]:
    """Reply to a message, and the stored messages without the server's headers."""
    async with mail_server(tmp_path, f"{EXAMPLES}/{program}") as inside:
        async with client(inside.port) as c:
            await c.send(ENVELOPE + content.replace(b"\n", b"\r\n") + b".\r\nQUIT\r\n")
            replies = await c.rest()
        return replies.splitlines()[-2], [OURS.sub(b"", mail) for mail in inside.stored()]


async def test_the_footer_is_appended_to_the_message(tmp_path: Path) -> None:
    _, [mail] = await stored(tmp_path, "footer.sh Sent by us", b"Subject: hi\n\nhello\n")

    assert mail == b"Subject: hi\n\nhello\n-- \nSent by us\n"


async def test_the_stamp_is_the_last_header_and_contains_the_sender(tmp_path: Path) -> None:
    _, [mail] = await stored(tmp_path, "stamp.awk", b"Subject: hi\n\nhello\n\nbye\n")

    subject, stamp, *rest = mail.split(b"\n")
    assert subject == b"Subject: hi"
    assert stamp.startswith(b"X-Stamped: ")
    assert stamp.endswith(b" from 127.0.0.1, sender <a@x.org>")
    assert rest == [b"", b"hello", b"", b"bye", b""]


async def test_the_redactor_hides_only_card_numbers(tmp_path: Path) -> None:
    content = b"Subject: pay\n\n4111 1111 1111 1111 and 5500-0000-0000-0004, call 4111111111111112.\xff\n"

    _, [mail] = await stored(tmp_path, "redact.py", content)

    assert mail == b"Subject: pay\n\n**** 1111 and **** 0004, call 4111111111111112.\xff\n"


async def test_the_redactor_rejects_confidential_messages_with_a_reason(tmp_path: Path) -> None:
    reply, mails = await stored(tmp_path, "redact.py", b"Sensitivity: Company-Confidential\n\nx\n")

    assert reply == b"554 5.7.1 confidential mail does not leave this way"
    assert mails == []


def test_expire_deletes_old_messages_and_ends_on_sigterm(tmp_path: Path) -> None:
    now = time.time()
    for name, age_s in (
        ("new/old", 3600),
        ("cur/old", 3600),
        ("new/recent", 0),
        ("tmp/old", 3600),
    ):
        file = tmp_path / "user" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.utime(file, (now - age_s, now - age_s))

    process = Process(str(EXAMPLES / "expire.sh"), str(tmp_path), "30")
    eventually(lambda: not (tmp_path / "user/new/old").exists())
    assert process.end() == 0

    left = {
        str(path.relative_to(tmp_path / "user")) for path in tmp_path.rglob("*") if path.is_file()
    }
    assert left == {"new/recent", "tmp/old"}
