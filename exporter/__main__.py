"""The `smtpstatus-exporter` command: flags and environment → configuration → application → web server."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn
import uvloop

from exporter import healthcheck
from exporter.app import create_app
from exporter.configuration import config, flags
from exporter.configuration.config import Config
from exporter.configuration.flags import Options
from exporter.http.connection import Connection
from exporter.http.limits import ConnectionLimits
from exporter.http.listen import ListenError, notify, open_sockets
from exporter.http.web_config import WebFile
from exporter.routes.context import HttpOptions
from exporter.service import Service, refusal
from protocol.address import HostPort
from smtpstatus import log
from smtpstatus.dialects import summary
from smtpstatus.errors import ConfigError

logger = logging.getLogger("exporter")

_SPARE_CONNECTIONS = 256
"""Connections beyond those whose requests work or wait: idle ones, and those that send a request."""

_FAREWELL = 0.5
"""Seconds in which /-/ready says 503 and everything else is still answered: who balances load looks away."""


class _Server(uvicorn.Server):
    """uvicorn, which tells when it begins to shut down, and then takes its leave."""

    def __init__(self, settings: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(settings)
        self._stopping = stopping
        self._leaving = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._leaving:  # asked twice, it does not wait
            super().handle_exit(sig, frame)
            return
        self._leaving = True
        self._stopping()
        farewell = threading.Timer(_FAREWELL, super().handle_exit, (sig, frame))
        farewell.daemon = True
        farewell.start()


def main() -> None:
    # uvicorn raises the signal that ended it once more when it is done: then the end is a clean one.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    try:
        _start(sys.argv[1:], os.environ)
    except (ConfigError, ListenError) as error:
        print(f"smtpstatus-exporter: {error}", file=sys.stderr)
        sys.exit(2)


def _start(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    options = flags.parse(arguments, environ)
    if options.healthcheck:
        if unhealthy := healthcheck.failure(options):
            print(f"smtpstatus-exporter: {unhealthy}", file=sys.stderr)
            sys.exit(1)
        return
    if "PROMETHEUS_MULTIPROC_DIR" in environ:
        raise ConfigError("PROMETHEUS_MULTIPROC_DIR is set, but this is one process: unset it")
    if options.check_syntax:
        loaded = config.load(options.config_files, environ, read_secrets=False)
        print(f"configuration syntax OK: {_count(loaded)}")
        return
    web = WebFile(options.web_config_file) if options.web_config_file else None

    def load() -> Config:
        try:
            loaded = config.load(options.config_files, environ)
            if web:
                web.reload()
        except Exception as error:
            raise refusal(error) from None
        return loaded

    if options.config_check:
        loaded = load()
        print(f"configuration OK: {_count(loaded)}")
        for dialect in loaded.dialects:
            print(f"dialect {dialect.name}: {summary(dialect)}")
        return
    log.configure(options.log_level, options.log_format, sys.stderr)
    _raise_descriptor_limit()
    service = Service(load, options.external_url)
    # A fleet's configuration is there to stay: the collector need not look through it while scrapes run.
    # And what a scrape makes is in no cycle: by the default thresholds ten thousand readings at once had the collector
    # walk all of them twice in every scrape, for a tenth of its CPU and pauses of 70 ms.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    uvloop.run(_run(options, environ, service, web))


def _count(loaded: Config) -> str:
    count = len(loaded.targets)
    return f"{count} target{'' if count == 1 else 's'}"


def _raise_descriptor_limit() -> None:
    """As far as the system lets us: each connection takes a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(
    options: Options, environ: Mapping[str, str], service: Service, web: WebFile | None
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
        sources=[str(path) for path in options.config_files] or ["the environment"],
    )
    app = create_app(service, http_options, web)
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def most_connections() -> int:
        waiting = http_options.most_waiting(len(service.installed.config.targets))
        return min(waiting + options.max_requests + _SPARE_CONNECTIONS, descriptors // 2)

    limits = ConnectionLimits(most_connections, options.idle_timeout)
    sockets = open_sockets(
        options.listen_addresses, systemd=options.systemd_socket, environ=environ
    )
    settings = uvicorn.Config(
        app,
        http=partial(Connection, limits),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    settings.load()
    settings.ssl = web.ssl_context() if web else None
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(_reload(service, environ))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    for listening in sockets:
        logger.info("Listening", extra={"address": _address(listening)})
    service.ready = True
    notify("READY=1", environ)
    try:
        await _Server(settings, stopping).serve(sockets)
    finally:
        service.reader.close()


async def _reload(service: Service, environ: Mapping[str, str]) -> None:
    notify("RELOADING=1", environ)
    with suppress(ConfigError):  # it is told in the log and in the metrics
        await service.reload()
    notify("READY=1", environ)


def _address(listening: socket.socket) -> str:
    name = listening.getsockname()
    return f"unix:{name}" if isinstance(name, str) else str(HostPort(*name[:2]))


if __name__ == "__main__":
    main()
