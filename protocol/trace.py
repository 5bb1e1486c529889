"""Datagrams sent and received, as events for debugging; the token is masked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from protocol.address import Address
from protocol.dialect import Dialect
from protocol.errors import DiscardReason
from protocol.masking import Mask
from protocol.token import Token

Kind = Literal["sent", "accepted", "discarded", "unreachable"]


@dataclass(frozen=True, slots=True)
class Event:
    """One datagram: `at` in seconds of the monotonic clock, and the reason if it was discarded or not delivered."""

    at: float
    kind: Kind
    address: Address
    datagram: bytes
    reason: DiscardReason | str | None = None


Trace = Callable[[Event], None]


def masked(trace: Trace, token: Token, dialect: Dialect) -> Trace:
    """Masks the token: at AUTH in what is sent, and every part of it in what arrives, as a server may send it back."""
    mask = Mask(token, dialect)

    def traced(event: Event) -> None:
        datagram = mask.starred(event.datagram, is_request=event.kind == "sent")
        trace(replace(event, datagram=datagram))

    return traced
