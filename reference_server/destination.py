"""Destinations of messages after their transforms: one interface for Maildirs and a next hop."""

from dataclasses import dataclass
from typing import Protocol

from reference_server.event import Envelope
from reference_server.relay.live import LiveTransaction
from reference_server.reply import Reply
from reference_server.spool import Spool


@dataclass(frozen=True, slots=True)
class Message:
    """A message to deliver: its content in `spool`, after the header `received`, which has LF for line ends.

    `client` is the numeric address that sent it, `identifier` the server's name for it in replies and in the log.
    """

    envelope: Envelope
    client: str
    identifier: str
    received: bytes
    spool: Spool
    live: LiveTransaction | None = None
    """What has accepted the recipients already, where the next hop decided on each."""


class DeliveryFailed(Exception):
    """No recipient got the message; `reply` is for the client, the exception's text for the log."""

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply


class Destination(Protocol):
    """Delivers messages."""

    async def deliver(self, message: Message) -> tuple[Reply, ...]:
        """Deliver a message; returns a reply for each recipient of the envelope, in that order.

        A 2yz reply means that the message is safe for this recipient: on stable storage here or accepted by the next
        hop. The spool stays the caller's. Raises `DeliveryFailed` or `OSError` where no recipient got it.
        """
        ...

    def stop(self) -> None:
        """Give up what may take long; it is replied to with 451. `deliver` still returns or raises."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and close; nothing is delivered afterwards."""
        ...
