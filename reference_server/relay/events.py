"""Events of a client session, as values."""

from dataclasses import dataclass

from reference_server.relay.extensions import Extensions
from reference_server.reply import Reply

NEXT_HOP_UNAVAILABLE = Reply(451, "4.4.1", "Next hop unavailable, try again later")


@dataclass(frozen=True, slots=True)
class Ready:
    """The server has greeted and replied to EHLO or LHLO: messages can be sent."""

    extensions: Extensions


@dataclass(frozen=True, slots=True)
class RecipientReplied:
    """The server's reply to RCPT, where recipients are added one by one."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class ContentWanted:
    """The server accepts a recipient and waits for the content."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The server's reply for each recipient, in their order. The next message can be sent."""

    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """The session has ended. During a message `replies` has the reply for each recipient, otherwise nothing."""

    reason: str
    replies: tuple[Reply, ...] = ()
    content_sent: bool = False
    """Whether the final dot was sent: the message may have been delivered (RFC 1047)."""


ClientEvent = Ready | RecipientReplied | ContentWanted | Finished | Lost
