"""Addresses beyond the targets: which may be asked, and with which token.

It is the resolved address that must lie in a listed network, and the datagrams go to that very address: nothing is
looked up twice, so no name can lure a token elsewhere.
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence

from exporter.configuration.config import ProbeNetwork, token
from exporter.configuration.secret import Secret
from protocol.address import Address, HostPort
from protocol.client import Peer
from protocol.dialect import Dialect
from protocol.errors import TokenError
from protocol.resolver import Resolver
from protocol.token import Token

logger = logging.getLogger(__name__)

_REMEMBERED = 1024
"""Addresses whose round-trip estimates are kept: those probed last."""


class Denied(Exception):
    """An address that is neither a target's nor in a network that may be probed."""


class ProbePolicy:
    """The networks of `probe:`, each with its own token; the first that fits counts."""

    def __init__(self, rules: Sequence[ProbeNetwork], resolver: Resolver) -> None:
        self._resolver = resolver
        self._rules = [(rule, token(rule.secret, rule.dialect)) for rule in rules]
        self._peers: OrderedDict[tuple[Address, ...], Peer] = OrderedDict()

    async def peer(self, where: HostPort, timeout: float) -> Peer:
        """The server at an address, bound to those of its numeric addresses that may be asked.

        Raises `Denied`, or `UnknownName`.
        """
        if not self._rules:
            raise Denied(f"{where} is not a target, and no other address may be probed")
        addresses = await self._resolver.resolve(where, timeout, probe=True)
        for rule, secret in self._rules:
            if inside := tuple(address for address in addresses if rule.allows(*address[:2])):
                return self._bound(where, inside, secret, rule.dialect)
        raise Denied(f"{where} is not a target, and probe: does not allow its address and port")

    def renew(self) -> None:
        """Take up the present texts of the secrets."""
        self._rules = [
            (rule, renewed(old, rule.secret, rule.dialect)) for rule, old in self._rules
        ]
        self._peers.clear()

    def _bound(
        self, where: HostPort, addresses: tuple[Address, ...], secret: Token, dialect: Dialect
    ) -> Peer:
        peer = self._peers.pop(addresses, None) or Peer(where, secret, dialect)
        peer.numeric = addresses
        self._peers[addresses] = peer
        if len(self._peers) > _REMEMBERED:
            self._peers.popitem(last=False)
        return peer


def renewed(old: Token, secret: Secret, dialect: Dialect) -> Token:
    """The token of a secret's present text; one that does not fit is told in the log, and the old one stays."""
    try:
        return token(secret, dialect)
    except TokenError as error:
        extra = {"origin": secret.origin, "err": error}
        logger.warning("New token does not fit the dialect; keeping the previous one", extra=extra)
        return old
