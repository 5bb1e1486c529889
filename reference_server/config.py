"""Flags and their environment twins as one value; the flag wins. Raises `ConfigError`: one line with the remedy."""

import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from smtpstatus.dialect_file import find, known_dialects
from smtpstatus.duration import format_duration, parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.flags import Flag, Flags, Given, Parser, at, one_of, positive
from smtpstatus.log import LogFormat


@dataclass(frozen=True, slots=True)
class Config:
    smtp: HostPort | None
    """None where all mail goes to a next hop, and only LMTP is offered."""
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
        Flag(
            "smtp.listen-address",
            "127.0.0.1:2525",
            "HOST:PORT",
            "address that accepts SMTP; :2525 is every address of both families",
        ),
        Flag(
            "smtp.hostname",
            "",
            "NAME",
            "name in the greeting and in Received headers (default: this host's name)",
        ),
        Flag(
            "smtp.max-message-bytes",
            str(_SESSION.message_size),
            "N",
            "size limit of a message; larger ones are rejected with 552",
        ),
        Flag(
            "smtp.max-recipients",
            str(_SESSION.recipients),
            "N",
            "recipients of a message; more are rejected with 452",
        ),
        Flag(
            "smtp.max-errors",
            str(_SESSION.errors),
            "N",
            "errors of a client since its last accepted message; then 421",
        ),
        Flag(
            "smtp.max-connections",
            str(_LIMITS.connections),
            "N",
            "simultaneous connections; more are rejected with 421",
        ),
        Flag(
            "smtp.max-connections-per-address",
            str(_LIMITS.connections_per_address),
            "N",
            "simultaneous connections from one IPv4 address or IPv6 /64",
        ),
        Flag(
            "smtp.idle-timeout",
            format_duration(_LIMITS.idle),
            "DURATION",
            "limit of the time between two inputs of a client",
        ),
        Flag(
            "smtp.message-timeout",
            format_duration(_LIMITS.message),
            "DURATION",
            "time limit from DATA to the final dot",
        ),
        Flag(
            "smtp.session-timeout",
            format_duration(_LIMITS.session),
            "DURATION",
            "time limit of a session",
        ),
        Flag(
            "status.listen-address",
            "127.0.0.1:7030",
            "HOST:PORT",
            "UDP address that answers SMTPStatus requests",
        ),
        *ROUTE_FLAGS,
        Flag("dialect", "v0", "NAME", f"of SMTPStatus: {', '.join(DIALECTS)}"),
        Flag("dialect-file", "", "FILE", "YAML file with further dialects under dialects:"),
        Flag("token", "", "TOKEN", "8 characters, or hex: and 16 digits; also SMTPSTATUS_TOKEN"),
        Flag("token-file", "", "FILE", "a file with the token"),
        Flag("maildir", "mail", "DIR", "directory of the Maildirs, one for each user"),
        Flag(
            "domain",
            "",
            "NAME",
            "domain whose mail is accepted; repeatable (default: localhost and --smtp.hostname)",
            r"[,\s]+",
        ),
        Flag(
            "transform",
            "",
            "'PROGRAM ARGS'",
            "program that rewrites every message, stdin to stdout; repeatable, in order",
            r"\n",
        ),
        Flag("transforms", "on", "on|off", "whether transforms are on at the start"),
        Flag(
            "transform.timeout",
            format_duration(_BOUNDS.seconds),
            "DURATION",
            "time limit of one program",
        ),
        Flag(
            "transform.total-timeout",
            format_duration(_BOUNDS.chain_seconds),
            "DURATION",
            "time limit of all programs and the wait for a slot",
        ),
        Flag(
            "transform.slots",
            "",
            "N",
            "messages transformed simultaneously (default: twice the processors)",
        ),
        Flag(
            "transform.max-output-bytes",
            "",
            "N",
            "output limit of one program (default: --smtp.max-message-bytes)",
        ),
        Flag(
            "transform.max-open-files",
            str(_BOUNDS.open_files),
            "N",
            "limit of open files of one process",
        ),
        Flag("transform.max-memory-bytes", str(_BOUNDS.memory), "N", "data memory of one program"),
        Flag(
            "transform.max-processes",
            str(_BOUNDS.processes),
            "N",
            "process limit of the server's user, for programs that start others",
        ),
        Flag("log.level", "info", "LEVEL", "debug, info, warn or error"),
        Flag("log.format", "logfmt", "FORMAT", "logfmt or json"),
    ),
    "An SMTP and LMTP server that stores mail in Maildirs, or forwards it, and answers SMTPStatus.",
    "In a variable, several domains are separated by commas or spaces, several transforms by newlines.",
)


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Raises `ConfigError`; --help and --version end the process as argparse does."""
    given = FLAGS.parse(argv, environment)
    dialects = known_dialects(given.text("dialect-file")[0])
    dialect = given.one("dialect", partial(find, dialects=dialects))
    path = environment.get("PATH", os.defpath)
    message_size = given.one("smtp.max-message-bytes", positive)
    route = parse_route(given)
    smtp = not route.next_hop or given.is_set("smtp.listen-address")
    hostname = given.one("smtp.hostname", _hostname)
    return Config(
        smtp=given.one("smtp.listen-address", HostPort.parse) if smtp else None,
        status=given.one("status.listen-address", HostPort.parse),
        token=_token(given, dialect, environment),
        dialect=dialect,
        maildir=given.one("maildir", _directory),
        hostname=hostname,
        domains=given.each("domain", domain) or tuple(dict.fromkeys(("localhost", hostname))),
        programs=_programs(given, path),
        transforms_enabled=given.one("transforms", one_of("on", "off")) == "on",
        slots=given.one("transform.slots", _or(2 * (os.cpu_count() or 1))),
        bounds=Bounds(
            seconds=given.one("transform.timeout", parse_duration),
            chain_seconds=given.one("transform.total-timeout", parse_duration),
            output=given.one("transform.max-output-bytes", _or(message_size)),
            open_files=given.one("transform.max-open-files", positive),
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


def _directory(text: str) -> Path:
    if not text:  # to Path, that is the current directory
        raise ValueError("it is empty: name a directory")
    return Path(text).absolute()


def domain(text: str) -> str:
    if not is_domain(text):
        raise ValueError(f"{text!r} is not a domain: write it like example.com")
    return text.lower()


def _or(default: int) -> Callable[[str], int]:
    """Reads a number above zero; an empty text is the default."""
    return lambda text: positive(text) if text else default


def _hostname(text: str) -> str:
    """The name as given, or this host's as it knows it itself, without asking DNS."""
    if not text:
        name = socket.gethostname()
        return name if is_domain(name) and name.isascii() else "localhost"
    if not (is_domain(text) and text.isascii()):
        raise ValueError(f"invalid host name {text!r}: expected a domain name in ASCII")
    return text
