"""What each client is offered, by the configuration: never a relay for clients that may not use it."""

from collections.abc import Callable

from reference_server.config import Config
from reference_server.mailboxes import Mailboxes
from reference_server.recipients import local_recipients, relayed_recipients
from reference_server.service import Service


def services(
    config: Config, has_room: Callable[[int], bool], *, lmtp: bool
) -> Callable[[str], Service]:
    """Returns a function from a client's address, "" on a Unix socket, to what it is offered."""
    route = config.route
    local = local_recipients(frozenset(config.domains), Mailboxes(route.users, route.catch_all))

    def service(client: str) -> Service:
        may_relay = route.may_relay(client)
        return Service(
            hostname=config.hostname,
            refusal=relayed_recipients(may_relay) if route.next_hop else local,
            has_room=has_room,
            lmtp=lmtp,
            xforward=lmtp and may_relay,
        )

    return service
