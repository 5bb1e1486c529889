"""The client against real mail servers: Postfix, Exim, OpenSMTPD and Dovecot."""

import pwd
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from protocol.address import HostPort
from reference_server.address import Address
from reference_server.relay.content import Measure, Measurer
from reference_server.relay.events import Finished
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.relay.pool import ConnectionPool
from reference_server.relay.transaction import Transaction
from tests.support import mta
from tests.support.processes import eventually, free_port

BOB, EVE = Address("bob", "example.org"), Address("eve", "example.org")
STRANGER = Address("kim", "elsewhere.example")
BODY = "\n\n.\n..\n.Grüße\n".encode() + b"x" * 900 + b"\n"
CONTENT = b"Subject: dots" + BODY

EXIM = """\
local_interfaces = <; 127.0.0.1.{port}
acl_smtp_rcpt = recipients
begin acl
recipients:
  accept domains = example.org
  deny message = no such domain
begin routers
store:
  driver = accept
  local_parts = bob : eve
  transport = store
begin transports
store:
  driver = appendfile
  directory = {home}/mail/$local_part_data
  maildir_format
  user = Debian-exim
begin retry
* * F,1h,1s
"""
OPENSMTPD = """\
table users {{ "@" = "nobody" }}
listen on 127.0.0.1 port {port} hostname mx.example.org
action "store" maildir "{home}/mail/%{{rcpt.user:raw}}" virtual <users>
match from any for domain "example.org" action "store"
"""
DOVECOT = """\
protocols = lmtp
ssl = no
default_internal_user = dovecot
mail_location = maildir:{home}/mail/%n
first_valid_uid = 1
passdb {{
  driver = static
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%n allow_all_users=yes
}}
service lmtp {{
  unix_listener {home}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with mta.directory() as path:
        yield path


def measured(content: bytes) -> Measure:
    measurer = Measurer()
    measurer.add(content)
    return measurer.result()


async def send(hop: NextHop, *recipients: Address, content: bytes = CONTENT) -> list[int]:
    """Sends two messages over one connection; returns the codes of the second one's replies."""

    async def blocks() -> AsyncIterator[bytes]:
        yield content

    pool = ConnectionPool(hop, "filter.example", 1)
    transaction = Transaction(Address("a", "example.net"), recipients, measured(content))
    for _ in range(2):
        result = await pool.send(transaction, blocks())
        assert isinstance(result, Finished), result
    await pool.close()
    return [reply.code for reply in result.replies]


def stored(mails: list[bytes]) -> bool:
    return len(mails) == 2 and all(mail.endswith(BODY) for mail in mails)


async def test_postfix_accepts_messages(home: Path) -> None:
    with mta.postfix(home / "postfix") as postfix:
        hop = NextHop(Protocol.SMTP, HostPort("127.0.0.1", postfix.port))

        assert await send(hop, BOB, EVE) == [250, 250]
        assert stored(postfix.wait_for_mail("bob", 2))
        assert stored(postfix.wait_for_mail("eve", 2))


async def test_exim_accepts_messages_and_its_rejection_of_a_recipient_is_returned(
    home: Path,
) -> None:
    port = free_port()
    with mta.exim(home / "exim", EXIM.format(port=port, home=home / "exim"), port) as exim:
        hop = NextHop(Protocol.SMTP, HostPort("127.0.0.1", port))

        assert await send(hop, BOB, STRANGER, EVE) == [250, 550, 250]
        assert stored(exim.wait_for_mail("bob", 2))
        assert stored(exim.wait_for_mail("eve", 2))


async def test_opensmtpd_accepts_messages_and_its_rejection_of_a_recipient_is_returned(
    home: Path,
) -> None:
    port, own = free_port(), home / "opensmtpd"
    with mta.opensmtpd(own, OPENSMTPD.format(port=port, home=own), port) as opensmtpd:
        hop = NextHop(Protocol.SMTP, HostPort("127.0.0.1", port))

        assert await send(hop, BOB, STRANGER, EVE) == [250, 550, 250]
        assert stored(opensmtpd.wait_for_mail("bob", 2))
        assert stored(opensmtpd.wait_for_mail("eve", 2))


async def test_dovecot_accepts_messages_by_lmtp_over_a_unix_socket(home: Path) -> None:
    unprivileged, own = pwd.getpwnam("nobody"), home / "dovecot"
    configuration = DOVECOT.format(home=own, uid=unprivileged.pw_uid, gid=unprivileged.pw_gid)
    with mta.dovecot(own, configuration) as process:
        (own / "mail").mkdir()
        (own / "mail").chmod(0o777)
        eventually(lambda: (own / "lmtp").exists() or process.ended)
        assert not process.ended, process.output
        hop = NextHop(Protocol.LMTP, own / "lmtp")

        assert await send(hop, BOB, EVE) == [250, 250]
        mails = [path.read_bytes() for path in (own / "mail/bob/new").iterdir()]
        assert stored(mails), mails
