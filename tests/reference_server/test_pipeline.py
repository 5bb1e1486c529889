"""What a transform receives with a message, and the reply to one that fails."""

import errno

import pytest

from reference_server.address import Address
from reference_server.destination import DeliveryFailed
from reference_server.exit_status import TransformFailed
from reference_server.pipeline import _listed, _reply_to
from reference_server.reply import FAILED, FULL, Reply

BUSY = Reply(451, "4.3.2", "Error: server busy")


def test_as_many_recipients_are_listed_as_fit_into_120_000_octets() -> None:
    recipients = [Address("ü" * 40 + "x" * 10, f"{number:04}.xxx") for number in range(1201)]
    assert {len(str(recipient).encode()) for recipient in recipients} == {99}

    listed = _listed(recipients).split("\n")

    assert listed == [str(recipient) for recipient in recipients[:1200]]


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (TransformFailed(BUSY, "no slot"), BUSY),
        (DeliveryFailed(BUSY, "no connection"), BUSY),
        (OSError(errno.ENOSPC, "full"), FULL),
        (OSError(errno.EDQUOT, "full"), FULL),
        (OSError(errno.EMFILE, "too many files"), BUSY),
        (OSError(errno.ENFILE, "too many files"), BUSY),
        (OSError(errno.ENOMEM, "no memory"), BUSY),
        (OSError(errno.EAGAIN, "no process"), BUSY),
        (OSError(errno.EIO, "broken"), FAILED),
        (OSError("a timeout"), FAILED),
        (RuntimeError("defect"), FAILED),
    ],
)
def test_a_message_that_cannot_be_delivered_is_answered_by_the_error(
    error: Exception, reply: Reply
) -> None:
    assert _reply_to(error) == reply
