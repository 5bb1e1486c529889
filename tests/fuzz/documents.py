"""Fuzz targets for YAML: the exporter's configuration, dialect tables, and the web configuration."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.configuration.config import load
from exporter.http.web_config import WebConfig
from smtpstatus.dialects import read_file
from smtpstatus.errors import ConfigError

_FOLDER = TemporaryDirectory(prefix="smtpstatus-fuzz-")
_FILE = Path(_FOLDER.name) / "fuzz.yml"


def examine_configuration(data: bytes) -> None:
    """Fails if a reader raises anything but a `ConfigError` of one line."""
    _FILE.write_bytes(data)
    _reads_or_refuses(lambda: load([_FILE], {}))
    _reads_or_refuses(lambda: read_file(_FILE))


def examine_web_file(data: bytes) -> None:
    """Fails if the reader raises anything but a `ConfigError` of one line."""
    _FILE.write_bytes(data)
    _reads_or_refuses(lambda: WebConfig.load(_FILE))


def _reads_or_refuses(read: Callable[[], object]) -> None:
    message = ""
    try:
        read()
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message
