"""The `smtpstatus-exporter` command: flags and environment → configuration → application → web server."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn

from exporter import config, flags, log
from exporter.app import create_app
from exporter.document import ConfigError
from exporter.flags import Options
from exporter.service import Service
from protocol import HostPort

logger = logging.getLogger("exporter")


class _Server(uvicorn.Server):
    """uvicorn, which tells the service when it begins to shut down."""

    def __init__(self, settings: uvicorn.Config, service: Service) -> None:
        super().__init__(settings)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.ready = False
        super().handle_exit(sig, frame)


def main() -> None:
    # uvicorn raises the signal that ended it once more when it is done: then the end is a clean one.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    try:
        _start(sys.argv[1:], os.environ)
    except ConfigError as error:
        print(f"smtpstatus-exporter: {error}", file=sys.stderr)
        sys.exit(2)


def _start(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    options = flags.parse(arguments, environ)
    if "PROMETHEUS_MULTIPROC_DIR" in environ:
        raise ConfigError("PROMETHEUS_MULTIPROC_DIR is set, but this is one process: unset it")
    load = partial(config.load, options.config_files, environ)
    if options.config_check:
        print(f"the configuration is good: {len(load().targets)} targets")
        return
    log.configure(options.log_level, options.log_format, sys.stderr)
    asyncio.run(_run(options, Service(load)))


async def _run(options: Options, service: Service) -> None:
    app = create_app(
        service, max_requests=options.max_requests, timeout_offset=options.timeout_offset
    )
    sockets = _listen(options.listen_addresses)
    settings = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.ensure_future(_reload(service))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    for listening in sockets:
        logger.info("Listening", extra={"address": HostPort(*listening.getsockname()[:2])})
    service.ready = True
    await _Server(settings, service).serve(sockets)


async def _reload(service: Service) -> None:
    with suppress(ConfigError):  # it is told in the log and in the metrics
        await service.reload()


def _listen(addresses: Sequence[str]) -> list[socket.socket]:
    sockets = []
    for text in addresses:
        where = HostPort.parse(text)
        family = socket.AF_INET6 if ":" in where.host or not where.host else socket.AF_INET
        try:
            sockets.append(
                socket.create_server(
                    (where.host, where.port), family=family, dualstack_ipv6=not where.host
                )
            )
        except OSError as error:
            raise ConfigError(
                f"--web.listen-address {text}: cannot listen there: {error.strerror}"
            ) from None
    return sockets


if __name__ == "__main__":
    main()
