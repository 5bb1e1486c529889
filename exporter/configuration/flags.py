"""The flags of `smtpstatus-exporter`; each has a variable: SMTPSTATUS_EXPORTER_WEB_LISTEN_ADDRESS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from smtpstatus.duration import parse_duration
from smtpstatus.flags import Flag, Flags, Parser, natural, one_of
from smtpstatus.log import LEVELS, LogFormat

FLAGS = Flags(
    "smtpstatus-exporter",
    "SMTPSTATUS_EXPORTER",
    (
        Flag("config.file", "", "PATH", "a YAML file, or a directory of them; repeatable", ","),
        Flag("config.check", "", "", "validate the configuration and exit"),
        Flag("config.check-syntax", "", "", "as --config.check, without reading any secret"),
        Flag(
            "web.listen-address", ":17030", "ADDRESS", "[host]:port or unix:/path; repeatable", ","
        ),
        Flag("web.systemd-socket", "", "", "listen on the sockets that systemd passes"),
        Flag("web.config.file", "", "PATH", "file with TLS and basic authentication settings"),
        Flag(
            "web.max-requests", "40", "N", "maximum number of concurrent scrapes; 0 for no limit"
        ),
        Flag("timeout-offset", "500ms", "DURATION", "subtracted from the scraper's timeout"),
        Flag(
            "healthcheck", "", "", "ask the exporter with these flags for /-/healthy; exit 0 or 1"
        ),
        Flag("log.level", "info", "|".join(LEVELS), "minimum log level"),
        Flag("log.format", "logfmt", "logfmt|json", "log format"),
    ),
    "Prometheus exporter for mail servers that answer SMTPStatus.",
    "Without --config.file, one target is configured by SMTPSTATUS_TARGET=host:port and"
    " SMTPSTATUS_TOKEN or SMTPSTATUS_TOKEN_FILE. In a variable, several values are separated by"
    " commas.",
)


@dataclass(frozen=True, slots=True)
class Options:
    """The flags' values; `timeout_offset` is in seconds."""

    config_files: tuple[Path, ...]
    config_check: bool
    check_syntax: bool
    listen_addresses: tuple[str, ...]
    systemd_socket: bool
    web_config_file: Path | None
    max_requests: int
    timeout_offset: float
    healthcheck: bool
    log_level: str
    log_format: LogFormat


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises `ConfigError`; --help and --version print and exit."""
    given = FLAGS.parse(arguments, environ)
    web_config_file, _ = given.text("web.config.file")
    return Options(
        config_files=given.each("config.file", Path),
        config_check=given.switch("config.check"),
        check_syntax=given.switch("config.check-syntax"),
        listen_addresses=given.each("web.listen-address", str),
        systemd_socket=given.switch("web.systemd-socket"),
        web_config_file=Path(web_config_file) if web_config_file else None,
        max_requests=given.one("web.max-requests", natural),
        timeout_offset=given.one("timeout-offset", _offset),
        healthcheck=given.switch("healthcheck"),
        log_level=given.one("log.level", one_of(*LEVELS)),
        log_format=cast("LogFormat", given.one("log.format", one_of("logfmt", "json"))),
    )


def parser() -> Parser:
    """The parser, for the man page and shell completion."""
    return FLAGS.parser()


def _offset(text: str) -> float:
    return 0.0 if text in ("0", "0s") else parse_duration(text)
