"""Policy for probes of addresses other than the targets': allowed networks, ports and tokens.

The resolved address and the port must be allowed, and the datagrams go to that very address: no name is resolved twice,
so DNS cannot redirect a token to another host.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence

from exporter.configuration.config import ProbeNetwork, token
from exporter.configuration.secret import Secret
from exporter.secret_files import SecretFiles
from protocol.address import Address, HostPort
from protocol.client import Peer
from protocol.dialect import Dialect
from protocol.errors import TokenError
from protocol.resolver import Resolver
from protocol.token import Token

logger = logging.getLogger(__name__)

_MAX_PEERS = 1024
"""Maximum number of recently probed servers whose round-trip estimates are kept."""


class Denied(Exception):
    """The address is not a target's, and may not be probed."""


class ProbePolicy:
    """The entries of `probe:`, each with its own token; the first that allows an address is used."""

    def __init__(
        self, rules: Sequence[ProbeNetwork], resolver: Resolver, files: SecretFiles
    ) -> None:
        self._resolver = resolver
        self._files = files
        self._rules = rules
        self._tokens = [token(rule.secret, rule.dialect) for rule in rules]
        self._peers: OrderedDict[tuple[int, tuple[Address, ...]], Peer] = OrderedDict()
        """Peers by the index of the entry and their addresses."""

    async def peer(self, where: HostPort, timeout: float) -> Peer:
        """The server at an address, bound to those of its numeric addresses that may be probed.

        Raises `Denied`, or `UnknownName`.
        """
        if not self._rules:
            raise Denied(f"{where} is not a target, and no other address may be probed")
        if not any(rule.allows_port(where.port) for rule in self._rules):
            raise _denied(where)  # without a look-up
        addresses = await self._resolver.resolve(where, timeout, probe=True)
        for number, rule in enumerate(self._rules):
            if allowed := tuple(found for found in addresses if rule.allows(*found[:2])):
                if rule.secret.can_change:
                    await self._files.refresh((rule.secret,))
                return self._bound(where, number, allowed)
        raise _denied(where)

    def renew(self, secret: Secret) -> None:
        """Uses the new text of a secret for the networks that have it."""
        for number, rule in enumerate(self._rules):
            if rule.secret is secret:
                self._tokens[number] = renewed(self._tokens[number], secret, rule.dialect)
        for (number, _), peer in self._peers.items():
            peer.token = self._tokens[number]

    def _bound(self, where: HostPort, number: int, addresses: tuple[Address, ...]) -> Peer:
        key, dialect = (number, addresses), self._rules[number].dialect
        peer = self._peers.pop(key, None) or Peer(where, self._tokens[number], dialect)
        peer.numeric = addresses
        self._peers[key] = peer
        if len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)
        return peer


def _denied(where: HostPort) -> Denied:
    return Denied(f"{where} is not a target, and probe: does not allow its address and port")


def renewed(old: Token, secret: Secret, dialect: Dialect) -> Token:
    """The token of a secret's new text, or `old` if the dialect cannot carry it, which is logged."""
    try:
        return token(secret, dialect)
    except TokenError as error:
        logger.warning(
            "New token does not fit the dialect; keeping the previous one",
            extra={"origin": secret.origin, "err": error},
        )
        return old
