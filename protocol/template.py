"""Pre-encoded requests to a server: a query adds only an identifier to each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from protocol.dialect import Dialect
from protocol.message import Request
from protocol.token import Token
from protocol.vocabulary import Command


class TemplateEntry(NamedTuple):
    """Command, and the bytes of its request before and after the identifier."""

    command: Command
    before: bytes
    after: bytes

    def __repr__(self) -> str:
        """Without the bytes: the token is in them."""
        return f"TemplateEntry({self.command!r})"


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """The requests for some commands, with the token of the servers that they are for."""

    dialect: Dialect
    entries: tuple[TemplateEntry, ...] = field(repr=False)

    @classmethod
    def of(cls, token: Token, dialect: Dialect, commands: Sequence[Command]) -> Self:
        place = dialect.request_identifier
        entries = []
        for command in commands:
            code = dialect.operations[command].code
            request = Request(0, token.octets, code).encode(dialect)
            entries.append(TemplateEntry(command, request[: place.offset], request[place.end :]))
        return cls(dialect, tuple(entries))
