"""The flags of `smtpstatus-exporter`; each has a variable: SMTPSTATUS_EXPORTER_WEB_LISTEN_ADDRESS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

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
            "web.max-requests",
            "40",
            "N",
            "maximum number of requests that work at the same time; 0 for no limit",
        ),
        Flag(
            "web.max-waiting",
            "",
            "N",
            "maximum number of readings that wait for servers; by default one per target, at least 1000",
        ),
        Flag("web.idle-timeout", "6m", "DURATION", "how long idle connections stay open"),
        Flag("web.external-url", "", "URL", "URL under which clients reach the exporter"),
        Flag(
            "web.route-prefix",
            "",
            "PATH",
            "prefix of all paths; by default the path of --web.external-url",
        ),
        Flag(
            "web.trusted-proxies",
            "",
            "NETWORK",
            "networks, or unix, whose X-Forwarded-For and -Proto headers are used; repeatable",
            ",",
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
    """The flags' values; `timeout_offset` and `idle_timeout` are in seconds."""

    config_files: tuple[Path, ...]
    config_check: bool
    check_syntax: bool
    listen_addresses: tuple[str, ...]
    systemd_socket: bool
    web_config_file: Path | None
    max_requests: int
    max_waiting: int | None
    idle_timeout: float
    external_url: str
    route_prefix: str
    trusted_proxies: tuple[IPv4Network | IPv6Network | None, ...]
    timeout_offset: float
    healthcheck: bool
    log_level: str
    log_format: LogFormat


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises `ConfigError`; --help and --version print and exit."""
    given = FLAGS.parse(arguments, environ)
    web_config_file, _ = given.text("web.config.file")
    external_url = given.one("web.external-url", _external_url)
    route_prefix, _ = given.text("web.route-prefix")
    return Options(
        config_files=tuple(Path(path) for path in given.each("config.file", str) if path),
        config_check=given.switch("config.check"),
        check_syntax=given.switch("config.check-syntax"),
        listen_addresses=given.each("web.listen-address", str),
        systemd_socket=given.switch("web.systemd-socket"),
        web_config_file=Path(web_config_file) if web_config_file else None,
        max_requests=given.one("web.max-requests", natural),
        max_waiting=given.one("web.max-waiting", lambda text: natural(text) if text else None),
        idle_timeout=given.one("web.idle-timeout", parse_duration),
        external_url=external_url,
        route_prefix=_prefix(route_prefix or urlsplit(external_url).path),
        trusted_proxies=given.each("web.trusted-proxies", _proxy),
        timeout_offset=given.one("timeout-offset", _offset),
        healthcheck=given.switch("healthcheck"),
        log_level=given.one("log.level", one_of(*LEVELS)),
        log_format=cast("LogFormat", given.one("log.format", one_of("logfmt", "json"))),
    )


def parser() -> Parser:
    """The parser, for the man page and shell completion."""
    return FLAGS.parser()


def _external_url(text: str) -> str:
    """Raises `ValueError` unless the text is empty or an http or https URL of a host and a path."""
    if not text:
        return ""
    url = urlsplit(text)
    odd = url.query or url.fragment or url.username or not text.isascii() or not text.isprintable()
    if url.scheme not in ("http", "https") or not url.hostname or odd or " " in text:
        raise ValueError(f"invalid URL {text!r}: expected https://host[:port][/path]")
    return text


def _prefix(text: str) -> str:
    """The path with one slash before it and none after it; `/` alone is empty."""
    path = text.strip("/")
    return f"/{path}" if path else ""


def _proxy(text: str) -> IPv4Network | IPv6Network | None:
    if text == "unix":
        return None
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}: write a network as 10.0.0.0/8, an address, or unix") from None


def _offset(text: str) -> float:
    return 0.0 if text in ("0", "0s") else parse_duration(text)
