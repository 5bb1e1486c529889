"""YAML values that know their file, line and key, so that every error names its place.

A reader asks each value for the type that it needs. A value of another type raises `ConfigError`: one line, with the
remedy.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import yaml

from smtpstatus.composer import ComposeError, compose
from smtpstatus.duration import parse_duration
from smtpstatus.errors import ConfigError
from smtpstatus.file import read_text

T = TypeVar("T")
D = TypeVar("D")

_MAX_BYTES = 64 << 20
"""Bytes of one file: 10,000 targets take less than 2 MiB."""

_WORD = re.compile(r"[\w.-]+")
_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", re.ASCII)
"""Not YAML 1.1's other forms: 010 is eight there, and 1:30 is ninety."""
_TYPES = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
    "tag:yaml.org,2002:seq": "a list",
    "tag:yaml.org,2002:map": "a mapping",
}


class Value(NamedTuple):
    """A node of a YAML file, with its file and its key from the root: `targets[2].name`."""

    node: yaml.Node
    file: str
    key: str = ""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.node.start_mark.line + 1}"

    def refuse(self, problem: str) -> NoReturn:
        where = f"{self.place}: {self.key}" if self.key else self.place
        raise ConfigError(f"{where}: {problem}")

    def _expect(self, expected: str) -> NoReturn:
        self.refuse(f"expected {expected}, got {_TYPES.get(self.node.tag, 'a string')}")

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            self._expect("a string")
        if self.node.tag in _TYPES:
            self.refuse(f"expected a string, got {_TYPES[self.node.tag]}: quote it")
        return str(self.node.value)

    @property
    def is_unset(self) -> bool:
        """Whether this is nothing or an empty string, which Go's programs take for a key that is not there."""
        return isinstance(self.node, yaml.ScalarNode) and (
            self.node.tag == "tag:yaml.org,2002:null" or self.node.value == ""
        )

    def scalar(self) -> str:
        """A string, or a number or another scalar as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            self._expect("a string")
        return str(self.node.value)

    def seconds(self, low: float, high: float) -> float:
        """A duration as Prometheus writes it: 700ms, 2s, 1m30s; a bare number is in seconds."""
        if not isinstance(self.node, yaml.ScalarNode):
            self._expect("a duration such as 700ms or 2s")
        try:
            seconds = parse_duration(self.node.value)
        except ValueError as error:
            self.refuse(str(error))
        if not low <= seconds <= high:
            self.refuse(f"expected a duration from {low:g} s to {high:g} s")
        return seconds

    def integer(self, low: int, high: int) -> int:
        """A whole number, in decimal or as 0xff."""
        expected = f"a whole number from {low} to {high}"
        if not isinstance(self.node, yaml.ScalarNode):
            self._expect(expected)
        if self.node.tag != "tag:yaml.org,2002:int":
            self.refuse(f"expected {expected}")
        text = self.node.value
        if not _INTEGER.fullmatch(text):
            self.refuse(
                f"expected {expected}, in decimal or as 0x1f: {text[:40]} is read differently by different parsers"
            )
        number = int(text, 16 if text.startswith("0x") else 10) if len(text) <= 40 else high + 1
        if not low <= number <= high:
            self.refuse(f"expected {expected}, got {text[:40]}")
        return number

    def boolean(self) -> bool:
        if not (
            isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:bool"
        ):
            self.refuse("expected true or false")
        return bool(yaml.SafeLoader("").construct_yaml_bool(self.node))

    def parsed(self, parse: Callable[[str], T]) -> T:
        """Returns the text parsed by `parse`; its `ValueError` is reported with this place."""
        try:
            return parse(self.text())
        except ValueError as error:
            self.refuse(str(error))

    def items(self) -> "list[Value]":
        if not isinstance(self.node, yaml.SequenceNode):
            self._expect("a list")
        return [
            Value(node, self.file, f"{self.key}[{index}]")
            for index, node in enumerate(self.node.value)
        ]

    def entries(self) -> "Mapping[str, Value]":
        """A mapping with keys of the user's choice."""
        if not isinstance(self.node, yaml.MappingNode):
            self._expect("a mapping")
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            name = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                Value(key_node, self.file, self.key).refuse("expected a plain word as key")
            if name in found:
                Value(key_node, self.file, self.key).refuse("duplicate key")
            # Any other text may be a value: without its space, "token:secret" is a key.
            shown = name if _WORD.fullmatch(name) else "…"
            found[name] = Value(node, self.file, f"{self.key}.{shown}" if self.key else shown)
        return found

    def keys(self, known: Collection[str], needed: Collection[str] = ()) -> "Mapping[str, Value]":
        """A mapping with keys out of `known`, all of `needed` among them.

        An unknown key is reported by its line and not repeated: it may be a secret in the place of a key.
        """
        found = self.entries()
        for name in found:
            if name not in known:
                self._at_key(name).refuse(f"unknown key: {_remedy(name, known)}")
        for name in needed:
            if name not in found:
                self.refuse(f"missing key {name}")
        return found

    def _at_key(self, name: str) -> "Value":
        node = next(node for node, _ in self.node.value if node.value == name)
        return Value(node, self.file, self.key)


def optional(
    keys: Mapping[str, Value], name: str, read: Callable[[Value], T], default: D
) -> T | D:
    """Returns the key `name` read by `read`, or `default` if it is absent."""
    return read(keys[name]) if name in keys else default


def _remedy(name: str, known: Collection[str]) -> str:
    if ":" in name:
        return "write a space after the colon"
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and the YAML files in directories, sorted. Hidden ones belong to editors and volumes.

    Raises `ConfigError`.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        try:
            inside = sorted(
                file
                for file in path.iterdir()
                if file.suffix in (".yml", ".yaml") and not file.name.startswith(".")
            )
        except OSError as error:
            raise ConfigError(f"{path}: cannot list the directory: {error.strerror}") from None
        if not inside:
            raise ConfigError(f"{path}: no *.yml or *.yaml file in this directory")
        found += inside
    return found


def read(path: Path) -> Value | None:
    """The root of a YAML file, or None if it is empty. Raises `ConfigError`."""
    try:
        text = read_text(path, _MAX_BYTES)
    except ValueError as error:
        raise ConfigError(f"{path}: cannot read the file: {error}") from None
    try:
        root = compose(text)
    except ComposeError as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        # The pure parser repeats names that it does not know; they may be parts of a secret.
        problem = _QUOTED.sub("'…'", str(error.problem))
        raise ConfigError(f"{path}{line}: invalid YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigError(f"{path}: invalid YAML: it has a character that YAML forbids") from None
    return Value(root, str(path)) if root else None
