"""Flags and their environment twins as one value; the flag wins. Raises `ConfigError`: one line with the remedy."""

import argparse
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from protocol.address import HostPort
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.errors import TokenError
from protocol.token import Token
from reference_server.address import is_domain
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.transform import Bounds, Program
from smtpstatus.duration import format_duration, parse_duration
from smtpstatus.log import LogFormat
from smtpstatus.version import __version__

T = TypeVar("T")

_PREFIX = "SMTPSTATUS_SERVER_"


class ConfigError(Exception):
    """Names the flag or variable, and what would fit."""


@dataclass(frozen=True, slots=True)
class Config:
    smtp: HostPort
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
    log_level: str
    log_format: LogFormat


_SESSION, _LIMITS, _BOUNDS = SessionLimits(), ServerLimits(), Bounds()

_FLAGS: Mapping[str, tuple[str, str, str]] = {
    "--smtp.listen-address": ("HOST:PORT", "127.0.0.1:2525", "where mail comes in"),
    "--smtp.max-message-bytes": ("N", str(_SESSION.message_size), "larger messages are refused"),
    "--smtp.max-recipients": ("N", str(_SESSION.recipients), "of one message"),
    "--smtp.max-errors": ("N", str(_SESSION.errors), "of one session; then it is ended"),
    "--smtp.max-connections": ("N", str(_LIMITS.connections), "at once; more get 421"),
    "--smtp.max-connections-per-address": (
        "N",
        str(_LIMITS.connections_per_address),
        "at once from one address",
    ),
    "--smtp.idle-timeout": (
        "DURATION",
        format_duration(_LIMITS.idle),
        "longest silence of a client",
    ),
    "--smtp.message-timeout": (
        "DURATION",
        format_duration(_LIMITS.message),
        "from DATA to the final dot",
    ),
    "--smtp.session-timeout": (
        "DURATION",
        format_duration(_LIMITS.session),
        "from the greeting to the end",
    ),
    "--status.listen-address": ("HOST:PORT", "127.0.0.1:7030", "where SMTPStatus answers (UDP)"),
    "--dialect": ("NAME", "v0", f"of SMTPStatus: {', '.join(DIALECTS)}"),
    "--token": ("TOKEN", "", "8 characters, or hex: and 16 digits; also SMTPSTATUS_TOKEN"),
    "--token-file": ("FILE", "", "a file with the token"),
    "--maildir": ("DIR", "mail", "one Maildir per user is made in it"),
    "--domain": (
        "NAME",
        "",
        "mail for it is taken; repeatable (default: localhost and this host's name)",
    ),
    "--transform": (
        "'PROGRAM ARGS'",
        "",
        "changes every message, stdin to stdout; repeatable, in order",
    ),
    "--transforms": ("on|off", "on", "the state of the switch at the start"),
    "--transform.timeout": ("DURATION", format_duration(_BOUNDS.seconds), "of one program"),
    "--transform.total-timeout": (
        "DURATION",
        format_duration(_BOUNDS.chain_seconds),
        "of all programs and the wait for a free slot",
    ),
    "--transform.slots": ("N", str(2 * (os.cpu_count() or 1)), "messages transformed at once"),
    "--transform.max-memory-bytes": ("N", str(_BOUNDS.memory), "of one program"),
    "--transform.max-processes": (
        "N",
        str(_BOUNDS.processes),
        "of this server's user, when a program starts another",
    ),
    "--log.level": ("LEVEL", "info", "debug, info, warn or error"),
    "--log.format": ("FORMAT", "logfmt", "logfmt or json"),
}
"""Every flag: what it takes, its default, its help."""

_REPEATABLE = frozenset({"--domain", "--transform"})


def parse(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """Raises `ConfigError`; --help and --version end the process as argparse does."""
    given = _Given(argv, environment)
    dialect = given.read("--dialect", _dialect)
    path = environment.get("PATH", os.defpath)
    message_size = given.read("--smtp.max-message-bytes", positive)
    return Config(
        smtp=given.read("--smtp.listen-address", HostPort.parse),
        status=given.read("--status.listen-address", HostPort.parse),
        token=_token(given, dialect, environment),
        dialect=dialect,
        maildir=given.read("--maildir", _directory),
        hostname=_hostname(),
        domains=given.read_each("--domain", r"[,\s]+", domain) or _own_domains(),
        programs=_programs(given, path),
        transforms_enabled=given.read("--transforms", _one_of("on", "off")) == "on",
        slots=given.read("--transform.slots", positive),
        bounds=Bounds(
            seconds=given.read("--transform.timeout", parse_duration),
            chain_seconds=given.read("--transform.total-timeout", parse_duration),
            output=message_size,
            memory=given.read("--transform.max-memory-bytes", positive),
            processes=given.read("--transform.max-processes", positive),
        ),
        session_limits=SessionLimits(
            message_size=message_size,
            recipients=given.read("--smtp.max-recipients", positive),
            errors=given.read("--smtp.max-errors", positive),
        ),
        limits=ServerLimits(
            connections=given.read("--smtp.max-connections", positive),
            connections_per_address=given.read("--smtp.max-connections-per-address", positive),
            idle=given.read("--smtp.idle-timeout", parse_duration),
            message=given.read("--smtp.message-timeout", parse_duration),
            session=given.read("--smtp.session-timeout", parse_duration),
        ),
        log_level=given.read("--log.level", _one_of("debug", "info", "warn", "warning", "error")),
        log_format=cast(LogFormat, given.read("--log.format", _one_of("logfmt", "json"))),
    )


class Parser(argparse.ArgumentParser):
    """argparse, with its errors as ours: one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; --help shows what there is")


class _Given:
    """What stands on the command line, then in the environment, then in `_FLAGS`."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._flags = vars(parser().parse_args(argv))
        self._environment = environment

    def text(self, flag: str) -> tuple[str, str]:
        """A flag's text, and the name of the place that it comes from."""
        if self._flags[flag] is not None:
            return self._flags[flag], flag
        variable = _variable(flag)
        if self._environment.get(variable):
            return self._environment[variable], variable
        return _FLAGS[flag][1], flag

    def read(self, flag: str, read: Callable[[str], T]) -> T:
        text, place = self.text(flag)
        return at(place, read, text)

    def read_each(self, flag: str, separator: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """A repeatable flag; its variable holds several, with a separator between."""
        place, texts = flag, self._flags[flag]
        if texts is None:
            place = _variable(flag)
            texts = [
                word for word in re.split(separator, self._environment.get(place, "")) if word
            ]
        return tuple(at(place, read, text) for text in texts)


def parser() -> Parser:
    parser = Parser(
        "smtpstatus-server",
        description="An SMTP server that stores mail in Maildirs and answers SMTPStatus.",
        epilog=f"Every flag has a twin in the environment: --log.level is {_variable('--log.level')}.",
        allow_abbrev=False,
    )
    for flag, (metavar, default, text) in _FLAGS.items():
        parser.add_argument(
            flag,
            dest=flag,
            metavar=metavar,
            action="append" if flag in _REPEATABLE else "store",
            help=f"{text} (default: {default})" if default else text,
        )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _variable(flag: str) -> str:
    return _PREFIX + re.sub(r"[.-]", "_", flag.removeprefix("--")).upper()


def at(place: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except (ValueError, TokenError) as error:
        raise ConfigError(f"{place}: {error}") from None


def _programs(given: _Given, path: str) -> tuple[Program, ...]:
    programs = given.read_each("--transform", r"\n", lambda text: Program.parse(text, path))
    if programs and not shutil.which("prlimit", path=path):
        raise ConfigError("--transform: no program prlimit, which bounds them: install util-linux")
    return programs


def _token(given: _Given, dialect: Dialect, environment: Mapping[str, str]) -> Token:
    def from_text(text: str) -> Token:
        return Token.parse(text, dialect.token_length)

    def from_file(text: str) -> Token:
        return Token.read(Path(text), dialect.token_length)

    candidates = [
        (place, read, text)
        for flag, read in (("--token", from_text), ("--token-file", from_file))
        for text, place in [given.text(flag)]
        if text
    ]
    # A flag wins over a variable, also over the other flag's.
    for place, read, text in sorted(candidates, key=lambda found: found[0] not in _FLAGS):
        return at(place, read, text)
    if shared := environment.get("SMTPSTATUS_TOKEN"):
        return at("SMTPSTATUS_TOKEN", from_text, shared)
    raise ConfigError(
        "no token is given: set --token, --token-file or SMTPSTATUS_TOKEN to"
        f" {dialect.token_length} characters that clients know"
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


def positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not int(text):
        raise ValueError(f"{text!r} is no whole number above 0")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} does not fit: it is one of {', '.join(words)}")
        return text

    return read
