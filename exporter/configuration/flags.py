"""The command's flags, each with a variable: --web.listen-address is SMTPSTATUS_EXPORTER_WEB_LISTEN_ADDRESS too."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from smtpstatus.document import ConfigError
from smtpstatus.duration import parse_duration
from smtpstatus.log import LEVELS, LogFormat
from smtpstatus.version import __version__

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag's name without its dashes, its value as it is written when nobody gives one, and its help."""

    name: str
    default: str
    metavar: str
    help: str

    @property
    def variable(self) -> str:
        return f"SMTPSTATUS_EXPORTER_{self.name.upper().replace('.', '_').replace('-', '_')}"


FLAGS = (
    Flag("config.file", "", "PATH", "a YAML file, or a directory of them; repeatable"),
    Flag("config.check", "false", "", "read the configuration, say whether it is good, and exit"),
    Flag("web.listen-address", ":17030", "ADDRESS", "[host]:port or unix:/path; repeatable"),
    Flag("web.systemd-socket", "false", "", "listen on the sockets that systemd passes"),
    Flag("web.config.file", "", "PATH", "TLS and basic authentication"),
    Flag("web.max-requests", "40", "N", "scrapes under way at once; 0 for any number"),
    Flag("timeout-offset", "500ms", "DURATION", "taken off the scraper's own timeout"),
    Flag("log.level", "info", "|".join(LEVELS), "the least that is logged"),
    Flag("log.format", "logfmt", "logfmt|json", "how it is logged"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was told; `timeout_offset` is in seconds."""

    config_files: tuple[Path, ...]
    config_check: bool
    listen_addresses: tuple[str, ...]
    systemd_socket: bool
    web_config_file: Path | None
    max_requests: int
    timeout_offset: float
    log_level: str
    log_format: LogFormat


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help tells the flags")


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Flags win over variables. Raises `ConfigError`; `--help` and `--version` print and exit."""
    given = vars(parser().parse_args(arguments))
    told = {flag.name: _told(flag, given[flag.name], environ) for flag in FLAGS}

    def one(name: str, read: Callable[[str], T]) -> T:
        try:
            return read(told[name][-1])
        except ValueError as error:
            raise ConfigError(f"--{name}: {error}") from None

    web_config_file = one("web.config.file", str)
    return Options(
        config_files=tuple(Path(path) for path in told["config.file"] if path),
        config_check=one("config.check", _boolean),
        listen_addresses=tuple(told["web.listen-address"]),
        systemd_socket=one("web.systemd-socket", _boolean),
        web_config_file=Path(web_config_file) if web_config_file else None,
        max_requests=one("web.max-requests", _count),
        timeout_offset=one("timeout-offset", _offset),
        log_level=one("log.level", _one_of(LEVELS)),
        log_format=cast("LogFormat", one("log.format", _one_of(("logfmt", "json")))),
    )


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="smtpstatus-exporter",
        description="Prometheus exporter for mail servers that answer SMTPStatus.",
        epilog="Without --config.file there is one target: SMTPSTATUS_TARGET=host:port, with SMTPSTATUS_TOKEN or"
        " SMTPSTATUS_TOKEN_FILE. In a variable, several values are separated by commas.",
        allow_abbrev=False,
    )
    name = f"%(prog)s {__version__}"
    parser.add_argument("--version", action="version", version=name)
    for flag in FLAGS:
        told = f"{flag.help} [{flag.variable}]"
        if flag.default == "false":
            parser.add_argument(
                f"--{flag.name}", dest=flag.name, action="append_const", const="true", help=told
            )
        else:
            shown = f"{told} (default {flag.default})" if flag.default else told
            parser.add_argument(
                f"--{flag.name}",
                dest=flag.name,
                action="append",
                metavar=flag.metavar,
                help=shown,
            )
    return parser


def _told(flag: Flag, given: list[str] | None, environ: Mapping[str, str]) -> list[str]:
    if given:
        return given
    if variable := environ.get(flag.variable):
        return [part.strip() for part in variable.split(",")]
    return [flag.default]


def _boolean(text: str) -> bool:
    return _one_of(("true", "false"))(text) == "true"


def _offset(text: str) -> float:
    return 0.0 if text in ("0", "0s") else parse_duration(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number: it takes 0 or more")
    return int(text)


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return read
