"""Log lines about mail: one for each message, and one for each command that is rejected.

They have one set of fields, so that a message can be traced: `client` (numeric address, or `unix`), `helo`, `sender`,
`recipients`, and for a message also `id` (as in the reply and in Received), `message_id` (the header), `size` in
octets, `transforms`, `reply` and `duration` in seconds.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from reference_server.address import Address
from reference_server.event import Envelope, Rejected
from reference_server.reply import Reply
from reference_server.spool import Spool

logger = logging.getLogger(__name__)

_LISTED_RECIPIENTS = 50
"""Recipients in a line; of further ones it has the number."""

_MESSAGE_ID = re.compile(rb"^message-id:\s*([!-~]{1,250})", re.I | re.M)

_OUTCOMES: Mapping[int, tuple[int, str]] = {
    2: (logging.INFO, "Message accepted"),
    4: (logging.WARNING, "Message deferred"),
    5: (logging.WARNING, "Message rejected"),
}
"""Level and text by the best reply of a recipient, by its first digit."""


def message_fields(
    envelope: Envelope, client: str, spool: Spool, identifier: str
) -> dict[str, object]:
    """Returns the fields known at the end of a message; `identifier` is empty if it was not accepted."""
    fields: dict[str, object] = {
        **({"id": identifier} if identifier else {}),
        "client": client or "unix",
        "helo": envelope.helo,
        "sender": _path(envelope.sender),
        "recipients": _listed(envelope.recipients),
        "size": spool.size,
        "message_id": _message_id(spool.start),
    }
    if envelope.original_client and envelope.original_client.addr:
        fields["original_client"] = envelope.original_client.addr
    return fields


def log_message(
    fields: Mapping[str, object],
    replies: Sequence[Reply],
    transforms: Iterable[str] = (),
    duration_s: float = 0.0,
    error: Exception | None = None,
) -> None:
    """Logs the outcome of a message; `error` is the reason if it was not accepted."""
    level, text = _OUTCOMES[min(reply.code for reply in replies) // 100]
    more: dict[str, object] = {
        "transforms": ",".join(transforms),
        "reply": "; ".join(dict.fromkeys(map(str, replies))),
        "duration": round(duration_s, 6),
    }
    if error is not None:
        more["err"] = error
    if isinstance(error, OSError):
        level = logging.ERROR
    logger.log(level, text, extra={**fields, **more})


def log_aborted(fields: Mapping[str, object]) -> None:
    """Logs a message that ended without its final dot."""
    logger.info("Message aborted: the session ended before its final dot", extra=fields)


def log_rejection(rejected: Rejected, client: str) -> None:
    """Logs a rejected command."""
    fields: dict[str, object] = {"client": client or "unix"}
    if rejected.helo:
        fields["helo"] = rejected.helo
    if rejected.transaction:
        fields["sender"] = _path(rejected.sender)
    fields |= {"command": rejected.command, "reply": rejected.reply}
    level = logging.WARNING if rejected.reply.code < 500 else logging.INFO
    logger.log(level, "Command rejected", extra=fields)


def _path(sender: Address | None) -> str:
    return "<>" if sender is None else str(sender)


def _listed(recipients: Sequence[Address]) -> str:
    listed = ",".join(map(str, recipients[:_LISTED_RECIPIENTS]))
    more = len(recipients) - _LISTED_RECIPIENTS
    return f"{listed},and {more} more" if more > 0 else listed


def _message_id(start: bytes) -> str:
    found = _MESSAGE_ID.search(start.partition(b"\n\n")[0])
    return found[1].decode() if found else ""
