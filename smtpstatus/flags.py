"""Command-line flags with environment twins: `--log.level` is PREFIX_LOG_LEVEL too. The flag wins.

The exporter and the reference server declare their flags as values; this module parses them, and reads them as the
types that their configuration has. Every error is a `ConfigError` that names the flag or variable, and repeats
nothing that might be a secret.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from smtpstatus.errors import ConfigError
from smtpstatus.version import __version__

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag without its dashes, its default as text, and its help. Without a `metavar` it is a switch.

    `separator` is a regular expression for a flag that may be repeated: it divides the values in its variable.
    """

    name: str
    default: str
    metavar: str
    help: str
    separator: str = ""


class Parser(argparse.ArgumentParser):
    """argparse, with errors as `ConfigError` that repeat no unknown argument: it may be a secret."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, unknown = self.parse_known_args(args, namespace)
        for argument in unknown:
            if argument.startswith("-"):
                raise ConfigError(f"unknown flag {argument.partition('=')[0]}; see --help")
            raise ConfigError("unexpected argument: a flag's name begins with --; see --help")
        return found

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        message = re.sub("ignored explicit argument .*", "takes no value", message, flags=re.S)
        raise ConfigError(f"{message}; see --help")


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one command; `prefix` begins the names of their variables."""

    program: str
    prefix: str
    flags: Sequence[Flag]
    description: str
    epilog: str

    def variable(self, name: str) -> str:
        return f"{self.prefix}_{re.sub('[.-]', '_', name).upper()}"

    def parser(self) -> Parser:
        parser = Parser(
            self.program,
            description=self.description,
            epilog=self.epilog,
            allow_abbrev=False,
        )
        parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
        for flag in self.flags:
            text = f"{flag.help} [{self.variable(flag.name)}]"
            shown = text.replace("%", "%%")
            if flag.metavar:
                default = f" (default: {flag.default})" if flag.default else ""
                parser.add_argument(
                    f"--{flag.name}",
                    dest=flag.name,
                    action="append",
                    metavar=flag.metavar,
                    help=shown + default,
                )
            else:
                parser.add_argument(
                    f"--{flag.name}",
                    dest=flag.name,
                    action="append_const",
                    const="true",
                    help=shown,
                )
        return parser

    def parse(self, arguments: Sequence[str], environ: Mapping[str, str]) -> "Given":
        """Raises `ConfigError`; --help and --version print and exit, as argparse does."""
        given = vars(self.parser().parse_args(arguments))
        return Given(
            {flag.name: self._values(flag, given[flag.name], environ) for flag in self.flags},
            {
                flag.name
                for flag in self.flags
                if given[flag.name] is not None or environ.get(self.variable(flag.name))
            },
        )

    def _values(
        self, flag: Flag, given: list[str] | None, environ: Mapping[str, str]
    ) -> tuple[str, list[str]]:
        """Returns the sources of the values, and the values."""
        if given is not None:
            return f"--{flag.name}", given
        variable = self.variable(flag.name)
        if text := environ.get(variable):  # empty is unset, as Compose passes unset variables
            if not flag.separator:
                return variable, [text]
            parts = [part.strip() for part in re.split(flag.separator, text)]
            return variable, [part for part in parts if part]
        return f"--{flag.name}", [flag.default] if flag.default or not flag.separator else []


class Given:
    """Values of the flags from the command line and the environment."""

    def __init__(self, values: Mapping[str, tuple[str, list[str]]], set_names: Set[str]) -> None:
        self._values = values
        self._set_names = set_names

    def is_set(self, name: str) -> bool:
        """Whether the flag or its variable is given, rather than its default used."""
        return name in self._set_names

    def text(self, name: str) -> tuple[str, str]:
        """A flag's last value, and the flag or variable that it comes from."""
        place, values = self._values[name]
        return (values[-1] if values else ""), place

    def one(self, name: str, read: Callable[[str], T]) -> T:
        text, place = self.text(name)
        return at(place, read, text)

    def each(self, name: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """All values of a flag that may be repeated."""
        place, values = self._values[name]
        return tuple(at(place, read, text) for text in values)

    def switch(self, name: str) -> bool:
        return self.one(name, one_of("true", "false", "")) == "true"


def at(place: str, read: Callable[[str], T], text: str) -> T:
    """What `read` makes of a text; its `ValueError` becomes a `ConfigError` with the place."""
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from None


def positive(text: str) -> int:
    """A whole number above zero."""
    if not (number := natural(text)):
        raise ValueError(f"invalid number {text!r}: expected a whole number above 0")
    return number


def natural(text: str) -> int:
    """A whole number, zero included."""
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(f"invalid number {text[:40]!r}: expected a whole number, 0 or more")
    return int(text)


def one_of(*words: str) -> Callable[[str], str]:
    """Returns a reader that accepts only these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(word for word in words if word)}")
        return text

    return read
