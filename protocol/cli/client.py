"""Queries of servers as a subcommand makes them: within --timeout, with errors on standard error.

The only module of the command, with watch.py and identify.py, that uses the client's API.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from protocol.address import HostPort
from protocol.cli.options import token_of
from protocol.cli.status import DONE, NO_RESPONSE, REFUSED
from protocol.client import Connection, Peer, Reading, connect
from protocol.dialect import Dialect
from protocol.errors import NoReading, ReadbackMismatch, Refused
from protocol.reader import Reader
from protocol.vocabulary import Command

Answer = TypeVar("Answer")


def peer_of(options: Namespace, target: str, dialect: Dialect) -> Peer:
    """The server at `target`, at the dialect's default port unless it names one. Raises `ValueError`."""
    where = HostPort.parse(target, dialect.default_port)
    if not where.host or not where.port:
        raise ValueError(f"{target!r} is not a server address: write HOST or HOST:PORT")
    return Peer(where, token_of(options, dialect), dialect)


def read(options: Namespace, peers: Sequence[Peer]) -> list[Reading]:
    """Read everything that the servers' dialects declare as reads, from all servers simultaneously."""

    async def run() -> list[Reading]:
        reader = Reader()
        try:
            return list(await reader.read_all(peers, timeout=options.timeout))
        finally:
            reader.close()

    return asyncio.run(run())


def ask(options: Namespace, peer: Peer, command: Command) -> Reading:
    """Send one command that reads."""
    return _with_connection(
        peer, lambda connection: connection.ask(command, timeout=options.timeout)
    )


def set_transforms(options: Namespace, peer: Peer, enabled: bool) -> Reading:
    """Read the transforms, set them, and read them back.

    Nothing is written to a server that does not return a state: it may speak another dialect.
    """

    async def run(connection: Connection) -> Reading:
        return (await connection.set_transforms(enabled, timeout=options.timeout)).reading

    return _with_connection(peer, run)


def status_of(error: NoReading | None) -> int:
    """The exit status of a query."""
    if error is None:
        return DONE
    return REFUSED if isinstance(error, Refused | ReadbackMismatch) else NO_RESPONSE


def report(target: str, error: NoReading | None) -> int:
    """Print an error to standard error; returns the exit status."""
    if error:
        print(f"smtpstatus: {target}: {error}", file=sys.stderr)
    return status_of(error)


def _with_connection(peer: Peer, question: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    async def run() -> Answer:
        async with connect(peer) as connection:
            return await question(connection)

    return asyncio.run(run())
