"""The exporter's process: the event loop, the web server, signals, and the notices to systemd."""

import asyncio
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import uvicorn
import uvloop

from exporter.app import create_app
from exporter.configuration.config import Config
from exporter.configuration.flags import Options
from exporter.http.limits import ConnectionLimits
from exporter.http.listen import notify, open_sockets
from exporter.http.server import Server
from exporter.http.web_file import WebFile
from exporter.routes.context import HttpOptions
from exporter.service import Service
from protocol.address import HostPort
from smtpstatus.errors import ConfigError
from smtpstatus.version import __version__

logger = logging.getLogger("exporter")

_SPARE_CONNECTIONS = 256
"""Connections beyond those whose requests work or wait: idle ones, and those that send a request."""

_TLS_CONNECTIONS = 128
"""Beyond one per target, by default: TLS takes up to 300 KB for each."""


def serve(
    options: Options,
    environ: Mapping[str, str],
    load: Callable[[], Config],
    loaded: Config,
    web: WebFile | None,
    hangups: Sequence[int],
) -> None:
    """Runs the exporter until SIGTERM or SIGINT, first with the configuration `loaded`.

    `hangups` has the SIGHUPs received before. Raises `ConfigError` and `ListenError`.
    """
    _raise_descriptor_limit()
    service = Service(load, options.external_url, loaded=loaded)
    # A fleet's configuration stays in memory: the collector need not look through it during scrapes. The objects of
    # a scrape are in no cycle: with the default thresholds, ten thousand simultaneous readings made the collector walk
    # all of them twice in every scrape, for a tenth of its CPU and pauses of 70 ms.
    gc.freeze()
    # A small fleet has no such scrapes, and what requests leave in cycles must not pile up.
    gc.set_threshold(max(20_000, 40 * len(service.installed.config.targets)), 20, 100)
    uvloop.run(_run(options, environ, service, web, hangups))


def connection_limit(options: HttpOptions, targets: int, descriptors: int, *, tls: bool) -> int:
    """Maximum number of connections with this many targets and open files."""
    limit = options.most_waiting(targets) + options.max_requests + _SPARE_CONNECTIONS
    if tls and options.max_waiting is None:
        limit = min(limit, _TLS_CONNECTIONS + targets)
    return min(limit, descriptors // 2)


def _sources(options: Options) -> list[str]:
    return [str(path) for path in options.config_files] or ["the environment"]


def _raise_descriptor_limit() -> None:
    """Raises the soft limit to the hard one: each connection takes a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(
    options: Options,
    environ: Mapping[str, str],
    service: Service,
    web: WebFile | None,
    hangups: Sequence[int],
) -> None:
    def stopping() -> None:
        service.ready = False
        logger.info("Stopping")
        notify("STOPPING=1", environ)

    http_options = HttpOptions(
        max_requests=options.max_requests,
        max_waiting=options.max_waiting,
        timeout_offset_s=options.timeout_offset,
        external_url=options.external_url,
        route_prefix=options.route_prefix,
        trusted_proxies=options.trusted_proxies,
        sources=_sources(options),
    )
    app = create_app(service, http_options, web)
    tls = web.context if web and web.known.context else None
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def most_connections() -> int:
        targets = len(service.installed.config.targets)
        return connection_limit(http_options, targets, descriptors, tls=tls is not None)

    limits = ConnectionLimits(most_connections, options.idle_timeout)
    sockets = open_sockets(
        options.listen_addresses, systemd=options.systemd_socket, environ=environ
    )
    settings = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(_reload(service, environ))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    logger.info(
        "Starting smtpstatus-exporter",
        extra={
            "version": __version__,
            "config": ",".join(_sources(options)),
            "targets": len(service.installed.config.targets),
            "tls": tls is not None,
        },
    )
    for listening in sockets:
        logger.info("Listening", extra={"address": _address(listening)})
    service.ready = True
    notify("READY=1", environ)
    if hangups:  # unknown whether it has changed since it was loaded
        reload()
    try:
        await Server(settings, limits, tls, stopping).serve(sockets)
    finally:
        service.reader.close()


async def _reload(service: Service, environ: Mapping[str, str]) -> None:
    notify("RELOADING=1", environ)
    with suppress(ConfigError):  # logged, and counted in the metrics
        await service.reload()
    notify("READY=1", environ)


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    return f"unix:{name}" if isinstance(name, str) else str(HostPort(*name[:2]))
