"""What is asked, as bytes: the same of every server that has a token and a dialect in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from protocol.dialect import Dialect, Operation
from protocol.message import Request, good_beginning
from protocol.token import Token
from protocol.vocabulary import Command


class TemplateEntry(NamedTuple):
    """A command, and the bytes of its request before and behind the identifier."""

    command: Command
    operation: Operation
    before: bytes
    behind: bytes


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """What is asked of every server that has a token and a dialect in common."""

    dialect: Dialect
    asked: tuple[TemplateEntry, ...]
    before: bytes
    behind: bytes
    """What every good answer has around its identifier, at its beginning; empty where that cannot be said."""
    beginning: slice
    """Where that stands."""

    @classmethod
    def of(cls, token: Token, dialect: Dialect, commands: Sequence[Command]) -> Self:
        place = dialect.request_identifier
        asked = []
        for command in commands:
            operation = dialect.operations[command]
            request = Request(0, token.octets, operation.code).encode(dialect)
            before, behind = request[: place.offset], request[place.end :]
            asked.append(TemplateEntry(command, operation, before, behind))
        if good := good_beginning(dialect):
            return cls(dialect, tuple(asked), *good, slice(dialect.status.end))
        return cls(dialect, tuple(asked), b"", b"", slice(0))


class Wording:
    """RequestTemplate that were asked before, to be asked again."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], tuple[Dialect, RequestTemplate]] = {}

    def reads(self, token: Token, dialect: Dialect) -> RequestTemplate:
        """All that the dialect declares as a read."""
        key = token.octets, id(dialect)
        if key not in self._known:
            # The dialect is kept too, so that no other one takes its place in the key.
            self._known[key] = dialect, RequestTemplate.of(token, dialect, dialect.reads)
        return self._known[key][1]
