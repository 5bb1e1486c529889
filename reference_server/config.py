"""Flags and their environment twins as one value; the flag wins. Raises `ConfigError`: one line with the remedy."""

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from protocol.address import HostPort
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.token import Token
from reference_server.address import is_domain
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.route import FLAGS as ROUTE_FLAGS
from reference_server.route import Route, parse_route
from reference_server.transform import Bounds, Program
from smtpstatus.duration import format_duration, parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.flags import Flag, Flags, Given, Parser, at, one_of, positive
from smtpstatus.log import LogFormat


@dataclass(frozen=True, slots=True)
class Config:
    smtp: HostPort | None
    """None where all mail goes to a next hop: then only LMTP is offered."""
    status: HostPort
    token: Token
    dialect: Dialect
    maildir: Path
    hostname: str
    domains: tuple[str, ...]
    programs: tuple[Program, ...]
    transforms_enabled: bool
    slots: int
    bounds: Bounds
    session_limits: SessionLimits
    limits: ServerLimits
    route: Route
    log_level: str
    log_format: LogFormat


_SESSION, _LIMITS, _BOUNDS = SessionLimits(), ServerLimits(), Bounds()

FLAGS = Flags(
    "smtpstatus-server",
    "SMTPSTATUS_SERVER",
    (
        Flag("smtp.listen-address", "127.0.0.1:2525", "HOST:PORT", "where mail comes in"),
        Flag(
            "smtp.max-message-bytes",
            str(_SESSION.message_size),
            "N",
            "larger messages are refused",
        ),
        Flag("smtp.max-recipients", str(_SESSION.recipients), "N", "of one message"),
        Flag("smtp.max-errors", str(_SESSION.errors), "N", "of one session; then it is ended"),
        Flag("smtp.max-connections", str(_LIMITS.connections), "N", "at once; more get 421"),
        Flag(
            "smtp.max-connections-per-address",
            str(_LIMITS.connections_per_address),
            "N",
            "at once from one address",
        ),
        Flag(
            "smtp.idle-timeout",
            format_duration(_LIMITS.idle),
            "DURATION",
            "longest silence of a client",
        ),
        Flag(
            "smtp.message-timeout",
            format_duration(_LIMITS.message),
            "DURATION",
            "from DATA to the final dot",
        ),
        Flag(
            "smtp.session-timeout",
            format_duration(_LIMITS.session),
            "DURATION",
            "from the greeting to the end",
        ),
        Flag(
            "status.listen-address",
            "127.0.0.1:7030",
            "HOST:PORT",
            "where SMTPStatus answers (UDP)",
        ),
        *ROUTE_FLAGS,
        Flag("dialect", "v0", "NAME", f"of SMTPStatus: {', '.join(DIALECTS)}"),
        Flag("token", "", "TOKEN", "8 characters, or hex: and 16 digits; also SMTPSTATUS_TOKEN"),
        Flag("token-file", "", "FILE", "a file with the token"),
        Flag("maildir", "mail", "DIR", "one Maildir per user is made in it"),
        Flag(
            "domain",
            "",
            "NAME",
            "mail for it is taken; repeatable (default: localhost and this host's name)",
            r"[,\s]+",
        ),
        Flag(
            "transform",
            "",
            "'PROGRAM ARGS'",
            "changes every message, stdin to stdout; repeatable, in order",
            r"\n",
        ),
        Flag("transforms", "on", "on|off", "the state of the switch at the start"),
        Flag("transform.timeout", format_duration(_BOUNDS.seconds), "DURATION", "of one program"),
        Flag(
            "transform.total-timeout",
            format_duration(_BOUNDS.chain_seconds),
            "DURATION",
            "of all programs and the wait for a free slot",
        ),
        Flag(
            "transform.slots", str(2 * (os.cpu_count() or 1)), "N", "messages transformed at once"
        ),
        Flag("transform.max-memory-bytes", str(_BOUNDS.memory), "N", "of one program"),
        Flag(
            "transform.max-processes",
            str(_BOUNDS.processes),
            "N",
            "of this server's user, when a program starts another",
        ),
        Flag("log.level", "info", "LEVEL", "debug, info, warn or error"),
        Flag("log.format", "logfmt", "FORMAT", "logfmt or json"),
    ),
    "An SMTP server that stores mail in Maildirs and answers SMTPStatus.",
    "In a variable, several domains are separated by commas or spaces, several transforms by newlines.",
)


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Raises `ConfigError`; --help and --version end the process as argparse does."""
    given = FLAGS.parse(argv, environment)
    dialect = given.one("dialect", _dialect)
    path = environment.get("PATH", os.defpath)
    message_size = given.one("smtp.max-message-bytes", positive)
    route = parse_route(given)
    return Config(
        smtp=None if route.next_hop else given.one("smtp.listen-address", HostPort.parse),
        status=given.one("status.listen-address", HostPort.parse),
        token=_token(given, dialect, environment),
        dialect=dialect,
        maildir=given.one("maildir", _directory),
        hostname=_hostname(),
        domains=given.each("domain", domain) or _own_domains(),
        programs=_programs(given, path),
        transforms_enabled=given.one("transforms", one_of("on", "off")) == "on",
        slots=given.one("transform.slots", positive),
        bounds=Bounds(
            seconds=given.one("transform.timeout", parse_duration),
            chain_seconds=given.one("transform.total-timeout", parse_duration),
            output=message_size,
            memory=given.one("transform.max-memory-bytes", positive),
            processes=given.one("transform.max-processes", positive),
        ),
        session_limits=SessionLimits(
            message_size=message_size,
            recipients=given.one("smtp.max-recipients", positive),
            errors=given.one("smtp.max-errors", positive),
        ),
        limits=ServerLimits(
            connections=given.one("smtp.max-connections", positive),
            connections_per_address=given.one("smtp.max-connections-per-address", positive),
            idle=given.one("smtp.idle-timeout", parse_duration),
            message=given.one("smtp.message-timeout", parse_duration),
            session=given.one("smtp.session-timeout", parse_duration),
        ),
        route=route,
        log_level=given.one("log.level", one_of("debug", "info", "warn", "warning", "error")),
        log_format=cast(LogFormat, given.one("log.format", one_of("logfmt", "json"))),
    )


def parser() -> Parser:
    """The parser, for the man page and shell completion."""
    return FLAGS.parser()


def _programs(given: Given, path: str) -> tuple[Program, ...]:
    programs = given.each("transform", lambda text: Program.parse(text, path))
    if programs and not shutil.which("prlimit", path=path):
        raise ConfigError("--transform: no program prlimit, which bounds them: install util-linux")
    return programs


def _token(given: Given, dialect: Dialect, environment: Mapping[str, str]) -> Token:
    def from_text(text: str) -> Token:
        return Token.parse(text, dialect.token_length)

    def from_file(text: str) -> Token:
        return Token.read(Path(text), dialect.token_length)

    candidates = [
        (place, read, text)
        for name, read in (("token", from_text), ("token-file", from_file))
        for text, place in [given.text(name)]
        if text
    ]
    # A flag wins over a variable, also over the other flag's.
    for place, read, text in sorted(candidates, key=lambda found: not found[0].startswith("--")):
        return at(place, read, text)
    if shared := environment.get("SMTPSTATUS_TOKEN"):
        return at("SMTPSTATUS_TOKEN", from_text, shared)
    raise ConfigError(
        "no token: set --token-file, --token or SMTPSTATUS_TOKEN to the"
        f" {dialect.token_length} characters that clients send"
    )


def _dialect(text: str) -> Dialect:
    try:
        return DIALECTS[text]
    except KeyError:
        raise ValueError(f"no dialect {text!r}: there are {', '.join(DIALECTS)}") from None


def _directory(text: str) -> Path:
    if not text:  # to Path, that is the current directory
        raise ValueError("it is empty: name a directory")
    return Path(text).absolute()


def domain(text: str) -> str:
    if not is_domain(text):
        raise ValueError(f"{text!r} is no domain: write it like example.com")
    return text.lower()


def _hostname() -> str:
    """This host's name as it knows it itself, without asking DNS."""
    name = socket.gethostname()
    return name if is_domain(name) and name.isascii() else "localhost"


def _own_domains() -> tuple[str, ...]:
    return tuple(dict.fromkeys(("localhost", _hostname())))
