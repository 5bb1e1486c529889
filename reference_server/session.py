"""One SMTP session as a state machine: octets in, replies and events out. No I/O, no clock (RFC 5321).

`receive` accepts what arrived; `advance` processes a bounded part of it and returns what happened, and is to be called
while `pending`. `take_replies` returns what is to be sent (RFC 2920: several replies may be sent together). After
`Complete` the machine waits for `answer`; what arrives meanwhile is kept. However the octets are cut, the outcome is
the same, and no octets make it raise.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final

from reference_server.address import Address
from reference_server.body import Body
from reference_server.command import CommandError, Line, parse_hello, parse_mail, parse_recipient
from reference_server.event import Abandoned, Closed, Complete, Content, Event, Started
from reference_server.limits import SessionLimits
from reference_server.linebuffer import LineBuffer, LineTooLong
from reference_server.reply import FULL, Reply, too_large
from reference_server.transaction import Hello, Transaction

_STEP_COMMANDS: Final = 16
"""Commands processed in one step: a millisecond at most."""


class _State(Enum):
    COMMAND = auto()
    DATA = auto()
    WAITING = auto()
    CLOSED = auto()


_NOT_OFFERED: Final = frozenset(
    {"ATRN", "AUTH", "BURL", "ETRN", "EXPN", "SAML", "SEND", "SOML", "STARTTLS", "TURN"}
)
_NEVER_SMTP: Final = frozenset(
    # BDAT's octets follow at once and would be read as commands; the others are a browser's.
    {"BDAT", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
)
_OK: Final = "2.0.0"
_COMMANDS: Final = "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"


class Session:
    """One client, from the greeting to the end.

    `accepts` decides which recipients are accepted here, `has_room` whether a message of so many octets fits.
    """

    def __init__(
        self,
        hostname: str,
        accepts: Callable[[Address], bool],
        has_room: Callable[[int], bool],
        limits: SessionLimits,
    ) -> None:
        self._hostname = hostname
        self._accepts = accepts
        self._has_room = has_room
        self._limits = limits
        self._state = _State.COMMAND
        self._input = LineBuffer(limits.command_line)
        self._out = bytearray()
        self._events: list[Event] = []
        self._commands = 0
        self._errors = 0
        self._hello: Hello | None = None
        self._transaction: Transaction | None = None
        self._body = Body(0, 0)
        self._farewell: Reply | None = None

    def open(self) -> None:
        """Greet the client."""
        self._reply(Reply(220, "", f"{self._hostname} ESMTP smtpstatus"))

    @property
    def waiting(self) -> bool:
        """Whether a message waits for its `answer`."""
        return self._state is _State.WAITING

    @property
    def buffered(self) -> int:
        """How many octets have arrived and are not yet processed."""
        return len(self._input)

    @property
    def pending(self) -> bool:
        """Whether `advance` has something to process."""
        if self._state is _State.COMMAND:
            return self._farewell is not None or self._input.has_line
        return self._state is _State.DATA and bool(self._input)

    def take_replies(self) -> bytes:
        """What is to be sent now; it is handed out once."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def receive(self, octets: bytes) -> None:
        """Accept octets from the client; `advance` processes them."""
        if self._state is not _State.CLOSED:
            self._input.append(octets)

    def advance(self) -> list[Event]:
        """Process some commands, or a piece of a message."""
        for _ in range(_STEP_COMMANDS):
            if self._state is _State.COMMAND and self._farewell:
                return self.close(self._farewell)
            if self._state is not _State.COMMAND or not self._read_command():
                break
        if self._state is _State.DATA and self._input:
            self._read_content()
        return self._take_events()

    def answer(self, replies: Sequence[Reply]) -> list[Event]:
        """What became of the message for each recipient; `advance` goes on with what arrived meanwhile.

        SMTP has one reply for all recipients, so they have to be equal.
        """
        self._reply(replies[0])
        if replies[0].code == 250:
            self._commands = 0
        self._transaction = None
        self._state = _State.COMMAND
        return self._take_events()

    def close(self, reply: Reply) -> list[Event]:
        """End the session for the server's own reasons."""
        if self._state is not _State.CLOSED:
            self._reply(reply)
            self._close()
        return self._take_events()

    def finish(self, reply: Reply) -> list[Event]:
        """End the session before its next command: now, or when the message that is under way was answered."""
        self._farewell = reply
        return self.close(reply) if self._state is _State.COMMAND else []

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _read_command(self) -> bool:
        """Process a command line; returns whether one was complete."""
        too_long = False
        try:
            # Scripts end commands with a bare LF; outside a message there is nothing to smuggle with it.
            line = self._input.take_line()
        except LineTooLong:
            line, too_long = b"", True
        if line is None:
            return False
        self._commands += 1
        try:
            if self._commands > self._limits.commands:
                raise CommandError(
                    Reply(421, "4.7.0", "Error: too many commands without a message")
                )
            if too_long:
                raise CommandError(Reply(500, "5.5.2", "Error: line too long"))
            self._obey(Line.decode(line.removesuffix(b"\n").removesuffix(b"\r")))
        except CommandError as error:
            self._refuse(error.reply)
        return True

    def _read_content(self) -> None:
        content, rest = self._body.decode(self._input.take_all())
        if content and not self._body.fault:
            self._events.append(Content(content))
        if rest is None:
            return
        self._input.append(rest)
        if reply := self._body.fault:
            self._reply(reply)
            self._events.append(Abandoned())
            self._transaction = None
            self._state = _State.COMMAND
        else:
            self._events.append(Complete())
            self._state = _State.WAITING

    def _reply(self, reply: Reply) -> None:
        self._out += reply.encode()

    def _ok(self, status: str = _OK) -> None:
        self._reply(Reply(250, status, "Ok"))

    def _refuse(self, reply: Reply) -> None:
        self._reply(reply)
        if reply.code == 421:
            self._close()
        if reply.code < 500:
            return
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._reply(Reply(421, "4.7.0", "Error: too many errors"))
            self._close()

    def _close(self) -> None:
        self._state = _State.CLOSED
        self._input.clear()
        self._events.append(Closed())

    def _obey(self, line: Line) -> None:
        match line.verb:
            case "EHLO" | "HELO":
                self._greet(line)
            case "MAIL":
                self._mail(line.argument)
            case "RCPT":
                self._recipient(line.argument)
            case "DATA":
                self._data(line)
            case "RSET":
                _require_no_argument(line)
                self._transaction = None
                self._ok()
            case "NOOP":
                self._ok()
            case "QUIT":
                _require_no_argument(line)
                self._reply(Reply(221, _OK, "Bye"))
                self._close()
            case "VRFY":
                if not line.argument:
                    raise CommandError(Reply(501, "5.5.4", "Syntax: VRFY address"))
                text = "Cannot VRFY user, but will accept message and attempt delivery"
                self._reply(Reply(252, "2.5.2", text))
            case "HELP":
                self._reply(Reply(214, _OK, f"Commands: {_COMMANDS}"))
            case verb if verb in _NEVER_SMTP:
                self._reply(Reply(502, "5.5.1", "Error: command not implemented"))
                self._close()
            case verb if verb in _NOT_OFFERED:
                raise CommandError(Reply(502, "5.5.1", "Error: command not implemented"))
            case _:
                raise CommandError(Reply(500, "5.5.2", "Error: command not recognized"))

    def _greet(self, line: Line) -> None:
        self._hello = Hello(parse_hello(line), line.verb == "EHLO")
        self._transaction = None
        offers = (
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "HELP",
        )
        offered = offers if self._hello.extended else ()
        self._reply(Reply(250, "", "\n".join((self._hostname, *offered))))

    def _mail(self, argument: str) -> None:
        if not self._hello:
            raise CommandError(Reply(503, "5.5.1", "Error: send HELO/EHLO first"))
        if self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: nested MAIL command"))
        mail = parse_mail(argument)
        if mail.size > self._limits.message_size:
            raise CommandError(too_large(self._limits.message_size))
        if not self._has_room(mail.size):
            raise CommandError(FULL)  # RFC 1870 6.1: before the client sends it all
        self._transaction = Transaction(mail.sender, mail.smtputf8)
        self._ok("2.1.0")

    def _recipient(self, argument: str) -> None:
        if not self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: need MAIL command"))
        recipient = parse_recipient(argument, self._transaction.smtputf8)
        if not self._accepts(recipient):
            raise CommandError(Reply(550, "5.7.1", "Relay access denied"))
        recipients = self._transaction.recipients
        if recipient not in recipients and len(recipients) >= self._limits.recipients:
            raise CommandError(Reply(452, "4.5.3", "Error: too many recipients"))
        recipients[recipient] = None
        self._ok("2.1.5")

    def _data(self, line: Line) -> None:
        _require_no_argument(line)
        if not self._hello or not self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: need MAIL command"))
        if not self._transaction.recipients:
            raise CommandError(Reply(554, "5.5.1", "Error: no valid recipients"))
        self._reply(Reply(354, "", "End data with <CR><LF>.<CR><LF>"))
        self._events.append(Started(self._transaction.envelope(self._hello)))
        self._body = Body(self._limits.message_size, self._limits.text_line)
        self._state = _State.DATA


def _require_no_argument(line: Line) -> None:
    if line.argument:
        raise CommandError(Reply(501, "5.5.4", f"Syntax: {line.verb}"))
