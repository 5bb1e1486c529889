"""YAML with places: every value knows its file, line and key, so that whatever is wrong with it can be found.

A reader asks each value for the type that it wants; what does not fit raises `ConfigError`, one line with the remedy.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, TypeVar

import yaml

from smtpstatus.duration import parse_duration

T = TypeVar("T")

_WORD = re.compile(r"[\w.-]+")
_TYPES = {
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:bool": "true or false",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "a date",
}


class ConfigError(Exception):
    """What is wrong with the configuration: one line that names the place and the remedy, never a secret."""


@dataclass(frozen=True, slots=True)
class Value:
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

    def text(self) -> str:
        if not isinstance(self.node, yaml.ScalarNode):
            self.refuse("a text is wanted here")
        if self.node.tag in _TYPES:
            self.refuse(f"a text is wanted here, and this is {_TYPES[self.node.tag]}: quote it")
        return str(self.node.value)

    def seconds(self, low: float, high: float) -> float:
        """A duration as Prometheus writes it: 700ms, 2s, 1m30s; a bare number is in seconds."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.refuse("a duration is wanted here, as 700ms or 2s")
        try:
            seconds = parse_duration(self.node.value)
        except ValueError as error:
            self.refuse(str(error))
        if not low <= seconds <= high:
            self.refuse(f"a duration from {low:g} s to {high:g} s is wanted here")
        return seconds

    def integer(self, low: int, high: int) -> int:
        """A whole number, decimal or as 0xff."""
        wanted = f"a whole number from {low} to {high} is wanted here"
        if not (
            isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:int"
        ):
            self.refuse(wanted)
        try:
            number = int(yaml.SafeLoader("").construct_yaml_int(self.node))
        except ValueError:
            self.refuse(wanted)
        if not low <= number <= high:
            self.refuse(f"{wanted}, and this is {number}")
        return number

    def boolean(self) -> bool:
        if not (
            isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:bool"
        ):
            self.refuse("true or false is wanted here")
        return bool(yaml.SafeLoader("").construct_yaml_bool(self.node))

    def parsed(self, parse: Callable[[str], T]) -> T:
        """The text as `parse` reads it; its `ValueError` is told with this place."""
        try:
            return parse(self.text())
        except ValueError as error:
            self.refuse(str(error))

    def items(self) -> "list[Value]":
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse("a list is wanted here")
        return [
            Value(node, self.file, f"{self.key}[{index}]")
            for index, node in enumerate(self.node.value)
        ]

    def entries(self) -> "Mapping[str, Value]":
        """A mapping with keys of the user's choice."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse("keys with values are wanted here")
        found: dict[str, Value] = {}
        for key_node, node in self.node.value:
            name = str(key_node.value)
            key = Value(key_node, self.file, self.key)
            if not isinstance(key_node, yaml.ScalarNode):
                key.refuse("a key must be a plain word")
            if name in found:
                key.refuse("a key stands twice: delete one of them")
            # Whatever else stands there may be a value: "token:secret" is a key, for want of a space.
            shown = name if _WORD.fullmatch(name) else "…"
            found[name] = Value(node, self.file, f"{self.key}.{shown}" if self.key else shown)
        return found

    def keys(self, known: Collection[str], needed: Collection[str] = ()) -> "Mapping[str, Value]":
        """A mapping with keys out of `known`, `needed` among them.

        An unknown key is told by its line, and not shown: it may be a secret that took a key's place.
        """
        found = self.entries()
        for name in found:
            if name not in known:
                self._at_key(name).refuse(f"unknown key; {_remedy(name, known)}")
        for name in needed:
            if name not in found:
                self.refuse(f"the key {name} is missing")
        return found

    def _at_key(self, name: str) -> "Value":
        node = next(node for node, _ in self.node.value if node.value == name)
        return Value(node, self.file, self.key)


def _remedy(name: str, known: Collection[str]) -> str:
    if ":" in name:
        return "a colon takes a space behind it"
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def read(path: Path) -> Value | None:
    """The root of a YAML file, or None if it is empty. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the file is not UTF-8 text") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = yaml.compose(text, loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: this is not YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError):
        raise ConfigError(
            f"{path}: this is not YAML: it has characters or depths that YAML forbids"
        ) from None
    return Value(root, str(path)) if root else None
