"""Selects the service that a client is offered; relaying only for permitted clients."""

from collections.abc import Callable

from reference_server.config import Config
from reference_server.destination import Destination
from reference_server.event import Envelope
from reference_server.mailboxes import Mailboxes
from reference_server.recipients import local_recipients, relayed_recipients
from reference_server.relay.forwarder import Forwarder
from reference_server.relay.live import LiveTransaction
from reference_server.service import Service


def services(
    config: Config, has_room: Callable[[int], bool], destination: Destination, *, lmtp: bool
) -> Callable[[str], Service]:
    """Returns a function from a client's address, "" on a Unix socket, to what it is offered."""
    route = config.route
    if not isinstance(destination, Forwarder):
        mailboxes = Mailboxes(route.users, route.catch_all)
        local = local_recipients(frozenset(config.domains), mailboxes)

        def stored(client: str) -> Service:
            xforward = lmtp and route.may_relay(client)
            return Service(config.hostname, local, has_room, lmtp=lmtp, xforward=xforward)

        return stored

    def forwarded(client: str) -> Service:
        def live(envelope: Envelope) -> LiveTransaction:
            return destination.open(envelope, client)

        may_relay = route.may_relay(client)
        return Service(
            hostname=config.hostname,
            refusal=relayed_recipients(may_relay),
            has_room=has_room,
            lmtp=lmtp,
            # LMTP has a reply per recipient after the content; SMTP has to know before.
            live=None if lmtp else live,
            xforward=may_relay,
        )

    return forwarded
