"""SMTPStatus version 0 and its dialects: bytes and values, asking and answering. Standard library only.

dialect    the vocabulary, and where each word stands on the wire
message    requests and responses as values and as bytes
token      the secret that a request carries
address    host:port, and the numbers behind it
errors     everything that is raised, drawn as a tree
server     respond(), and serve() over UDP
reads      a batch of good requests answered at once
roundtrip  how long an answer takes, learned from those that came
question   what is asked, as bytes
inquiry    one target asked some commands: no socket, no clock
exchange   any number of inquiries carried to their end
sockets    the UDP sockets under them
batch      many datagrams in one system call
bulk       sockets that send and receive so
turns      long work in turns with everybody else's
client     connect() to one server
line       single servers, many of them at the same time
fleet      read_all() of ten thousand
randomness for very many draws

describe   a datagram explained byte by byte
duration   `700ms`, `2s`, `1m30s`
command    what the `smtpstatus` command does, with readout, watch and identify
conformance  what a server must do, and whether one does it
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.address import HostPort, resolve
    from protocol.client import Connection, Peer, Reading, connect
    from protocol.dialect import Command, Dialect, Field, Operation, Status
    from protocol.dialects import DIALECTS, V0
    from protocol.errors import (
        BadRequest,
        BadResponse,
        Contradicted,
        DatagramError,
        DialectError,
        Disbelieved,
        Discard,
        ForeignDatagram,
        NoAnswer,
        NoReading,
        OtherDialect,
        Reason,
        Refused,
        SMTPStatusError,
        TokenError,
        UnknownName,
        Unreachable,
    )
    from protocol.exchange import Event, Trace
    from protocol.fleet import read_all
    from protocol.inquiry import Cost
    from protocol.line import Line
    from protocol.message import Request, Response, Value
    from protocol.reads import Answer
    from protocol.server import Endpoint, Ration, respond, serve
    from protocol.token import Token

else:

    def __getattr__(name: str) -> object:
        """Import a public name's module when it is first used: a command that asks nobody does without asyncio."""
        if name in __all__:
            for module in _MODULES:
                if hasattr(found := import_module(f"protocol.{module}"), name):
                    return globals().setdefault(name, getattr(found, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"

_MODULES = (
    "dialect",
    "dialects",
    "errors",
    "message",
    "token",
    "address",
    "inquiry",
    "exchange",
    "client",
    "reads",
    "server",
    "fleet",
    "line",
)
"""Where the public names are, those that start fastest first."""

__all__ = [
    "DIALECTS",
    "V0",
    "Answer",
    "BadRequest",
    "BadResponse",
    "Command",
    "Connection",
    "Contradicted",
    "Cost",
    "DatagramError",
    "Dialect",
    "DialectError",
    "Disbelieved",
    "Discard",
    "Endpoint",
    "Event",
    "Field",
    "ForeignDatagram",
    "HostPort",
    "Line",
    "NoAnswer",
    "NoReading",
    "Operation",
    "OtherDialect",
    "Peer",
    "Ration",
    "Reading",
    "Reason",
    "Refused",
    "Request",
    "Response",
    "SMTPStatusError",
    "Status",
    "Token",
    "TokenError",
    "Trace",
    "UnknownName",
    "Unreachable",
    "Value",
    "connect",
    "read_all",
    "resolve",
    "respond",
    "serve",
]
