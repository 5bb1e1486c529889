"""Composes YAML nodes from a parser's events, with limits that PyYAML's own composer does not have.

It runs in bounded depth (libyaml's composer overflows the C stack), refuses tags, resolves merge keys, and gives only
text that can be encoded. It is the same with libyaml and with PyYAML's own parser.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NoReturn

import yaml

_MAX_DEPTH = 32
_SCALARS = 256
"""Number of scalars whose types are remembered within a file."""

_MERGE = "tag:yaml.org,2002:merge"


class ComposeError(Exception):
    """Syntax error with its line, counted from 1. The text never repeats a value."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def compose(text: str) -> yaml.Node | None:
    """Return the root of the one document in `text`, or None if it is empty.

    Raises `ComposeError`, or what PyYAML's parser raises: `yaml.YAMLError`, or `ValueError` for impossible escapes.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return _Composer(yaml.parse(text, Loader=loader)).root()


class _Composer:
    """Nodes of one text; an anchor is known when its node is complete, so no node contains itself.

    The events are untyped: types-PyYAML has other marks for them than for nodes.
    """

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, yaml.Node] = {}
        resolve: Any = yaml.SafeLoader("").resolve  # untyped in types-PyYAML
        self._resolve = lru_cache(_SCALARS)(resolve)  # most scalars of a large file are its keys

    def root(self) -> yaml.Node | None:
        root: yaml.Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    _fail(event, "expected one document, found another one after ---")
                root = self._node(next(self._events), 0)
        if root is not None and root.tag == "tag:yaml.org,2002:null":
            return None
        return root

    def _node(self, event: Any, depth: int) -> yaml.Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                _fail(event, "undefined alias: quote a value that begins with *")
            return self._anchors[event.anchor]
        if getattr(event, "tag", None) is not None:
            _fail(event, "tags are not supported: quote a value that begins with !")
        if depth == _MAX_DEPTH:
            _fail(event, f"nested more than {_MAX_DEPTH} levels deep")
        start_mark: Any = event.start_mark
        node: yaml.Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = [self._node(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
            node = yaml.SequenceNode("tag:yaml.org,2002:seq", items, start_mark)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _until(self, end: type[yaml.Event]) -> Iterator[Any]:
        while not isinstance(event := next(self._events), end):
            yield event

    def _scalar(self, event: Any) -> yaml.ScalarNode:
        try:
            event.value.encode()
        except UnicodeEncodeError:
            _fail(event, "a character that cannot be encoded in UTF-8: half of a surrogate pair")
        tag = self._resolve(yaml.ScalarNode, event.value, event.implicit)
        return yaml.ScalarNode(tag, event.value, event.start_mark)

    def _mapping(self, event: Any, depth: int) -> yaml.MappingNode:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key_event in self._until(yaml.MappingEndEvent):
            key = self._node(key_event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if key.tag == _MERGE:
                merged += _merged(key_event, value)
            else:
                pairs.append((key, value))
        if merged:
            names = {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}
            for key, value in merged:  # the mapping's own keys win, then the first merged one
                if key.value not in names:
                    names.add(key.value)
                    pairs.append((key, value))
        return yaml.MappingNode("tag:yaml.org,2002:map", pairs, event.start_mark)


def _merged(event: Any, value: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Returns the pairs of a merge key (https://yaml.org/type/merge.html)."""
    sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
    for source in sources:
        if not isinstance(source, yaml.MappingNode):
            _fail(event, "<< takes a mapping, or a list of mappings")
        for key, item in source.value:
            if not isinstance(key, yaml.ScalarNode):
                _fail(event, "<< takes mappings whose keys are plain words")
            yield key, item


def _fail(event: Any, problem: str) -> NoReturn:
    raise ComposeError(event.start_mark.line + 1, problem)
