"""The `smtpstatus-exporter` command: a check of the configuration, a health check, or the server."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence

from exporter import healthcheck
from exporter.configuration import config, flags
from exporter.configuration.config import Config
from exporter.http.listen import ListenError
from exporter.http.web_file import WebFile
from smtpstatus import log
from smtpstatus.defect import as_config_error
from smtpstatus.dialects import summary
from smtpstatus.errors import ConfigError


def main() -> None:
    # uvicorn raises the signal that ended it once more when it is done: exit with status 0 then.
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
        if unhealthy := healthcheck.failure(options, environ):
            print(f"smtpstatus-exporter: {unhealthy}", file=sys.stderr)
            sys.exit(1)
        return
    if "PROMETHEUS_MULTIPROC_DIR" in environ:
        raise ConfigError("PROMETHEUS_MULTIPROC_DIR is set, but this is one process: unset it")
    hangups: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: hangups.append(number))
    web: WebFile | None = None

    def load() -> Config:
        try:
            loaded = config.load(
                options.config_files, environ, read_secrets=not options.check_syntax
            )
            if web:
                web.reload()
        except Exception as error:
            raise as_config_error(error) from None
        return loaded

    if options.check_syntax:
        print(f"configuration syntax OK: {_count(load())}")
        return
    log.configure(options.log_level, options.log_format, sys.stderr)
    loaded = load()
    if options.web_config_file:
        web = WebFile(options.web_config_file, environ)
    if options.config_check:
        print(f"configuration OK: {_count(loaded)}")
        for dialect in loaded.dialects:
            print(f"dialect {dialect.name}: {summary(dialect)}")
        return
    # FastAPI and uvicorn take half a second of CPU to import, which neither a health check nor an error needs.
    from exporter.server import serve

    serve(options, environ, load, loaded, web, hangups)


def _count(loaded: Config) -> str:
    count = len(loaded.targets)
    return f"{count} target{'' if count == 1 else 's'}"


if __name__ == "__main__":
    main()
