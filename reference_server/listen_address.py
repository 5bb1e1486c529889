"""Listening addresses for LMTP, `HOST:PORT` or `unix:/path`, and addresses of clients."""

import asyncio
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_BACKLOG = 1024

_PROBE_S = 1.0
"""Seconds to find out whether a server listens on a socket that is there already."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket, by its absolute path."""

    path: Path

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `unix:/path`. Raises `ValueError`."""
        path = text.removeprefix("unix:")
        if path == text or not path.startswith("/") or not path.isprintable():
            raise ValueError(f"invalid address {text!r}: expected HOST:PORT or unix:/path")
        if len(path.encode()) > 107:
            raise ValueError(f"invalid address {text!r}: the path is longer than 107 octets")
        return cls(Path(path))

    def __str__(self) -> str:
        return f"unix:{self.path}"

    def bind(self) -> socket.socket:
        """Returns a listening socket that every local user may connect to. Raises `OSError`.

        A socket that a server left behind is replaced, one that a server listens on is not.
        """
        self._remove_stale()
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(self.path))
            # As on the loopback address; the directory's mode may restrict it.
            self.path.chmod(0o666)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def remove(self) -> None:
        """Removes the socket's name, at the end."""
        with suppress(OSError):
            self.path.unlink()

    def _remove_stale(self) -> None:
        try:
            is_socket = stat.S_ISSOCK(self.path.lstat().st_mode)
        except FileNotFoundError:
            return
        if is_socket and not self._answers():
            self.path.unlink()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_S)
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                return False
            except (BlockingIOError, TimeoutError):  # its queue of connections is full
                return True
        return True


def client_address(transport: asyncio.BaseTransport) -> str:
    """A numeric address; "" on a Unix socket, "unknown" if the client has already disconnected."""
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        address: str = peer[0]
        return address.removeprefix("::ffff:")  # IPv4 on a socket of both families
    return "unknown" if peer is None else ""
