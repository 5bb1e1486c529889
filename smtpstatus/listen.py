"""Sockets bound to a local address, TCP and UDP alike."""

import errno
import socket

_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors for an IPv6 address on a system without IPv6."""


def bound_socket(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Returns a socket bound to `host`, a name or an address; an empty host is every address, IPv6 and IPv4.

    `::` is every IPv6 address and no other. For a name with several addresses the first is bound. Raises `OSError`.
    """
    if not host and socket.has_dualstack_ipv6():
        try:
            return _bound(socket.AF_INET6, kind, ("::", port), dual_stack=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    (family, _, _, _, address), *_ = socket.getaddrinfo(
        host or "0.0.0.0", port, type=kind, flags=socket.AI_PASSIVE
    )
    return _bound(family, kind, address, dual_stack=False)


def _bound(
    family: int, kind: socket.SocketKind, address: tuple[object, ...], *, dual_stack: bool
) -> socket.socket:
    opened = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened
