"""What is logged, and replied, when the next hop ends a session; test_forwarding.py forwards over sockets."""

import logging
from pathlib import Path

import pytest

from protocol.address import HostPort
from reference_server.address import Address
from reference_server.destination import DeliveryFailed, Message
from reference_server.event import Envelope
from reference_server.relay.events import NEXT_HOP_UNAVAILABLE, Lost
from reference_server.relay.forwarder import Forwarder
from reference_server.relay.next_hop import NextHop, Protocol
from reference_server.reply import Reply
from reference_server.spool import Spool

REJECTED = Reply(550, "5.1.1", "no")


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (False, "smtp://hop.example:25: server closed the connection"),
        (True, "smtp://hop.example:25: server closed the connection, after the content was sent"),
    ],
)
async def test_a_lost_session_is_logged_with_whether_the_content_was_sent(
    sent: bool, logged: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forwarder = Forwarder(NextHop(Protocol.SMTP, HostPort("hop.example", 25)), "me", 1, 1.0)
    envelope = Envelope(None, (Address("bob", "x"),), "me", "ESMTP")
    message = Message(envelope, "192.0.2.1", "1F", b"", Spool(tmp_path))

    def lost(*replies: Reply) -> Lost:
        return Lost("server closed the connection", replies, sent)

    with pytest.raises(DeliveryFailed) as caught:
        forwarder._replies(lost(NEXT_HOP_UNAVAILABLE, NEXT_HOP_UNAVAILABLE), message)
    assert (str(caught.value), caught.value.reply) == (logged, NEXT_HOP_UNAVAILABLE)

    caplog.set_level(logging.WARNING)
    replies = forwarder._replies(lost(REJECTED, NEXT_HOP_UNAVAILABLE), message)
    assert replies == (REJECTED, NEXT_HOP_UNAVAILABLE)
    (record,) = caplog.records
    assert (record.message, vars(record)["err"]) == ("Next hop failed", logged)
    await forwarder.aclose()
