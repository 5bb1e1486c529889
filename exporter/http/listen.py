"""The listening sockets of the HTTP server, and its notifications to systemd.

They are opened here because uvicorn listens on only one address.
"""

import contextlib
import errno
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from protocol.address import HostPort

logger = logging.getLogger(__name__)

_BACKLOG = 1024
_FIRST_PASSED = 3
"""systemd passes its sockets from this descriptor on (sd_listen_fds(3))."""

_REMEDIES = {
    errno.EADDRINUSE: "port already in use: stop the other program, or choose another port",
    errno.EACCES: "permission denied: a port below 1024 requires CAP_NET_BIND_SERVICE, a socket a writable directory",
    errno.EADDRNOTAVAIL: "no such address on this host: `ip address` lists them",
    errno.ENOENT: "no such directory: create it, or choose another",
}


class ListenError(Exception):
    """Error of a listening address: one line with the address and the remedy."""


def open_sockets(
    addresses: Sequence[str], *, systemd: bool, environ: Mapping[str, str]
) -> list[socket.socket]:
    """Listening sockets for `:17030` (every interface, IPv4 and IPv6), `host:port` and `unix:/path`.

    A name is listened on at each of its addresses. Port 0 is any free port. With `systemd` the sockets that
    systemd passes are used instead. Raises `ListenError`, after closing all sockets.
    """
    if systemd:
        return _passed(environ)
    with contextlib.ExitStack() as opened:
        sockets = [
            opened.enter_context(found) for address in addresses for found in _open(address)
        ]
        opened.pop_all()
    return sockets


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Notifies systemd: `READY=1`, `RELOADING=1` or `STOPPING=1` (sd_notify(3)); without systemd, does nothing."""
    path = environ.get("NOTIFY_SOCKET")
    if not path:
        return
    if state == "RELOADING=1":
        # Type=notify-reload matches the notice to its request by this time.
        state += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notice:
            notice.sendto(state.encode(), address)
    except OSError as error:
        logger.warning("Cannot notify systemd", extra={"state": state, "err": error})


def _open(address: str) -> Iterator[socket.socket]:
    try:
        if address.startswith("unix:"):
            yield _unix(Path(address.removeprefix("unix:")))
            return
        where = HostPort.parse(address)
        yield from _everywhere(where.port) if not where.host else _named(where)
    except (OSError, ValueError) as error:
        raise ListenError(f"--web.listen-address {address}: {_remedy(error)}") from None


def _remedy(error: OSError | ValueError) -> str:
    if isinstance(error, socket.gaierror):
        return f"cannot resolve the name ({error.strerror}): correct it, or use a numeric address"
    if isinstance(error, OSError) and error.errno is not None:
        return _REMEDIES.get(error.errno, error.strerror or str(error))
    return str(error)


def _everywhere(port: int) -> Iterator[socket.socket]:
    if socket.has_dualstack_ipv6():
        try:
            yield _bound(socket.AF_INET6, ("::", port), dual_stack=True)
            return
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
    yield _bound(socket.AF_INET, ("0.0.0.0", port))


def _named(where: HostPort) -> Iterator[socket.socket]:
    found = socket.getaddrinfo(
        where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    places = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    missing: OSError | None = None
    opened = 0
    for family, address in places:
        try:
            listening = _bound(family, address)
        except OSError as error:
            # `localhost` names ::1 also where IPv6 is switched off.
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            missing = error
            continue
        opened += 1
        yield listening
    if missing is not None and not opened:
        raise missing


def _bound(family: int, address: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY; without, an answer in two pieces waits 40 ms for an ACK.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _unix(path: Path) -> socket.socket:
    if not path.is_absolute():
        raise ValueError(
            "a Unix socket takes an absolute path: unix:/run/smtpstatus/exporter.sock"
        )
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(os.fspath(path))
        # No client can connect before listen(), so the mode is never wider than this.
        path.chmod(0o660)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket file without a listener; any other file is kept, and is an error."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ValueError("a file of that name exists and is not a socket: move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)  # a busy listener must not be waited for
        try:
            caller.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise ValueError("another program listens there: stop it, or choose another path")


def _passed(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets of LISTEN_FDS, if LISTEN_PID says that they are for this process."""
    count = environ.get("LISTEN_FDS", "")
    meant = environ.get("LISTEN_PID", "") == str(os.getpid())
    if not (meant and count.isascii() and count.isdigit() and int(count)):
        raise ListenError(
            "--web.systemd-socket: no socket passed by systemd: start the .socket unit"
        )
    return [_adopted(_FIRST_PASSED + index) for index in range(int(count))]


def _adopted(descriptor: int) -> socket.socket:
    try:
        listening = socket.socket(fileno=descriptor)
        if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError("not a listening stream socket: the .socket unit takes ListenStream=")
    except (OSError, ValueError) as error:
        raise ListenError(f"--web.systemd-socket: descriptor {descriptor}: {error}") from None
    listening.set_inheritable(False)
    return listening
