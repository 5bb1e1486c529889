"""The `smtpstatus-server` command: SMTP and SMTPStatus in one event loop, until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from protocol.address import HostPort
from protocol.server import serve
from reference_server.admission import Admission
from reference_server.config import Config, parse
from reference_server.context import ServerContext
from reference_server.delivery import Maildirs
from reference_server.descriptors import TooFewDescriptors, free_descriptors, within
from reference_server.destination import Destination
from reference_server.guard import Guard
from reference_server.listen_address import UnixAddress
from reference_server.listener import Listener
from reference_server.mailboxes import Mailboxes
from reference_server.maildir import clear_stale, has_hard_links, make_root
from reference_server.offering import services
from reference_server.pipeline import Pipeline
from reference_server.relay.forwarder import Forwarder
from reference_server.scheduler import Scheduler
from reference_server.spool import unnamed_file
from reference_server.status import ServerStatus
from reference_server.threads import TooFewThreads, started_pool
from reference_server.transform import TransformChain
from smtpstatus import log
from smtpstatus.errors import ConfigError
from smtpstatus.listen import bound_socket
from smtpstatus.version import __version__

logger = logging.getLogger("reference_server")

_GRACE = 1.0
"""Seconds that messages in progress have when the server ends; all of the end takes less than two."""

_BACKLOG = 1024
"""Connections that wait in the kernel to be accepted."""

_THREADS = 4
"""Threads for calls that may block: spools, free space, name resolution."""


def main() -> None:
    try:
        config = parse(sys.argv[1:], os.environ)
        _configure_logging(config)
        asyncio.run(_run(_within_descriptors(config)))
    except (ConfigError, TooFewDescriptors, TooFewThreads) as error:
        print(f"smtpstatus-server: {error}", file=sys.stderr)
        sys.exit(2)


async def _run(config: Config) -> None:
    asyncio.get_running_loop().set_default_executor(started_pool(_THREADS, "disk"))
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    # A closed terminal or a reload must not interrupt mail.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _log_hangup)
    status = ServerStatus(transforms_enabled=config.transforms_enabled)
    destination = await _destination(config)
    spool = _spool(config)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    chain = TransformChain(config.bounds, kept, spool, Guard() if config.programs else None)
    pipeline = Pipeline(
        config.hostname, status, destination, spool, config.programs, chain, config.slots
    )
    context = ServerContext(
        service=services(config, pipeline.has_room, destination, lmtp=False),
        status=status,
        pipeline=pipeline,
        admission=Admission(config.limits),
        scheduler=Scheduler(),
        session_limits=config.session_limits,
        limits=config.limits,
    )
    listener = Listener(config.limits.sockets)
    lmtp = replace(context, service=services(config, pipeline.has_room, destination, lmtp=True))
    async with AsyncExitStack() as stack:
        sockets = []
        if config.smtp:
            sockets.append(("smtp", *_listening("--smtp.listen-address", config.smtp), context))
        if config.route.lmtp:
            sockets.append(("lmtp", *_listening("--lmtp.listen-address", config.route.lmtp), lmtp))
        if isinstance(config.route.lmtp, UnixAddress):
            stack.callback(config.route.lmtp.remove)
        with _naming("--status.listen-address", f"cannot listen on {config.status}"):
            where = config.status
            endpoint = await stack.enter_async_context(
                serve(where.host, where.port, config.token, status.answer, config.dialect)
            )
        for _, listening, _, offered in sockets:
            listener.listen(listening, offered)
        addresses = [f"{name} {address}" for name, _, address, _ in sockets]
        addresses.append(f"status {replace(config.status, port=endpoint.port)}")
        _announce(f"smtpstatus-server ready: {', '.join(addresses)}")
        _log_start(config)
        await stopped.wait()
        await listener.stop(_GRACE)
        await pipeline.aclose()


def _log_hangup() -> None:
    logger.info("SIGHUP ignored: restart the server to change its settings")


def _configure_logging(config: Config) -> None:
    try:
        log.configure(config.log_level, config.log_format, sys.stderr)
    except RuntimeError:
        raise TooFewThreads from None


def _log_start(config: Config) -> None:
    logger.info(
        "Starting smtpstatus-server",
        extra={
            "version": __version__,
            "dialect": config.dialect.name,
            "hostname": config.hostname,
            "domains": ",".join(config.domains),
            "destination": config.route.next_hop or config.maildir,
            "transforms": ",".join(program.name for program in config.programs),
            "transforms_enabled": config.transforms_enabled,
        },
    )
    if config.token.is_weak:
        logger.warning("Weak token, which can be guessed: use hex: and 16 random hex digits")
    if config.programs and os.geteuid() == 0:
        logger.warning("Transforms run as root: start the server as a user of its own")


def _within_descriptors(config: Config) -> Config:
    """Returns the configuration with no more sessions than the limit of open files allows."""
    slots = config.slots if config.programs else 0
    hops = config.route.hop_connections if config.route.next_hop else 0
    limits = within(free_descriptors() - hops, config.limits, slots)
    if limits.connections < config.limits.connections:
        fields = {"connections": limits.connections, "instead_of": config.limits.connections}
        logger.warning("Open file limit (ulimit -n) allows fewer sessions", extra=fields)
    return replace(config, limits=limits)


async def _destination(config: Config) -> Destination:
    route = config.route
    if route.next_hop:
        return Forwarder(
            route.next_hop, config.hostname, route.hop_connections, route.hop_timeout_s
        )
    return await _maildirs(config)


def _spool(config: Config) -> Path:
    """The directory for large messages; without a next hop, that of the Maildirs."""
    directory = config.route.spool or (Path("/tmp") if config.route.next_hop else config.maildir)
    with _naming("--spool", f"cannot write to {directory}"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        unnamed_file(directory).close()
    return directory


async def _maildirs(config: Config) -> Maildirs:
    with _naming("--maildir", f"cannot write to {config.maildir}"):
        make_root(config.maildir)
    with _naming("--maildir", f"cannot store files durably in {config.maildir}"):
        hard_links = has_hard_links(config.maildir)
    if not hard_links:
        logger.warning("No hard links in --maildir: each recipient's copy is written separately")
    if removed := await asyncio.to_thread(clear_stale, config.maildir):
        logger.info("Stale files removed", extra={"files": removed})
    mailboxes = Mailboxes(config.route.users, config.route.catch_all)
    return Maildirs(config.maildir, config.hostname, hard_links=hard_links, mailboxes=mailboxes)


def _listening(flag: str, where: HostPort | UnixAddress) -> tuple[socket.socket, str]:
    """A listening socket and its address, with the real port where 0 was given."""
    with _naming(flag, f"cannot listen on {where}"):
        if isinstance(where, UnixAddress):
            return where.bind(), str(where)
        listening = bound_socket(where.host, where.port, socket.SOCK_STREAM)
        listening.listen(_BACKLOG)
    return listening, str(replace(where, port=listening.getsockname()[1]))


def _announce(line: str) -> None:
    try:
        with _naming("stdout", "cannot be written to"):
            print(line, flush=True)
    except ConfigError:
        # What is still buffered must not fail again when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


@contextmanager
def _naming(place: str, what: str) -> Iterator[None]:
    """Converts `OSError` to a `ConfigError` that names the flag, or stdout."""
    try:
        yield
    except OSError as error:
        # The library adds to some texts; a host without an address has a negative number and its own text.
        problem = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(f"{place}: {what}: {problem}; choose another") from None


if __name__ == "__main__":
    main()
