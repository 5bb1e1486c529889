"""One SMTP session as a state machine: bytes in, replies and events out. No I/O, no clock (RFC 5321).

`receive` takes what came and returns what happened; `take_replies` hands over what is to be sent, all replies
of a batch in one piece (RFC 2920). After `Complete` the machine waits: the caller says what became of the
message with `answer`, and bytes that come meanwhile are kept. However the bytes are cut, the outcome is the same,
and no bytes make it raise.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from reference_server.address import Address
from reference_server.body import Body
from reference_server.command import CommandError, Line, parse_hello, parse_mail, parse_recipient
from reference_server.event import Abandoned, Closed, Complete, Content, Envelope, Event, Started
from reference_server.limits import SessionLimits
from reference_server.reply import FULL, Reply, too_large


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


class Session:
    """One client, from the greeting to the end. It asks who is taken here, and whether so many octets find room."""

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
        self._buffer = b""
        self._at = 0
        self._skipping = False
        self._commands = 0
        self._out = bytearray()
        self._errors = 0
        self._helo = ""
        self._extended = False
        self._body = Body(0, 0)
        self._events: list[Event] = []
        self._farewell: Reply | None = None
        self._reset()

    def open(self) -> None:
        """Greet the client."""
        self._reply(Reply(220, "", f"{self._hostname} ESMTP smtpstatus"))

    @property
    def waiting(self) -> bool:
        """Whether a message waits for its `answer`."""
        return self._state is _State.WAITING

    @property
    def buffered(self) -> int:
        """How many octets wait for the `answer`."""
        return len(self._buffer) - self._at

    def take_replies(self) -> bytes:
        """What is to be sent now; it is handed out once."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def receive(self, octets: bytes) -> list[Event]:
        """Bytes from the client."""
        self._buffer = self._buffer[self._at :] + octets
        self._at = 0
        return self._advance()

    def answer(self, reply: Reply) -> list[Event]:
        """What became of the message; the session goes on with what came meanwhile."""
        self._reply(reply)
        if reply.code == 250:
            self._commands = 0
        self._reset()
        self._state = _State.COMMAND
        return self._advance()

    def close(self, reply: Reply) -> list[Event]:
        """End the session for the server's own reasons."""
        if self._state is not _State.CLOSED:
            self._reply(reply)
            self._close()
        return self._take_events()

    def finish(self, reply: Reply) -> list[Event]:
        """End the session before its next command: now, or when the message that is under way was answered."""
        self._farewell = reply
        return self._advance()

    def _advance(self) -> list[Event]:
        progress = True
        while progress:
            if self._state is _State.COMMAND and self._farewell:
                return self.close(self._farewell)
            if self._state is _State.COMMAND:
                progress = self._read_command()
            elif self._state is _State.DATA:
                progress = self._read_content()
            else:
                progress = False
        return self._take_events()

    def _take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _read_command(self) -> bool:
        limit = self._limits.command_line
        # Scripts end commands with a bare LF; outside a message there is nothing to smuggle with it.
        end = self._buffer.find(b"\n", self._at) + 1
        if not end:
            if self._skipping or self.buffered >= limit:
                self._skipping = True
                self._at = len(self._buffer)
            return False
        line, too_long = self._buffer[self._at : end], self._skipping or end - self._at > limit
        self._at, self._skipping = end, False
        self._commands += 1
        try:
            if self._commands > self._limits.commands:
                raise CommandError(Reply(421, "4.7.0", "too many commands without a message"))
            if too_long:
                raise CommandError(Reply(500, "5.5.2", f"the line is longer than {limit} octets"))
            self._obey(Line.decode(line[:-2] if line.endswith(b"\r\n") else line[:-1]))
        except CommandError as error:
            self._refuse(error.reply)
        return True

    def _read_content(self) -> bool:
        if not self.buffered:
            return False
        content, rest = self._body.decode(self._buffer[self._at :])
        self._buffer, self._at = rest or b"", 0
        if content and not self._body.fault:
            self._events.append(Content(content))
        if rest is None:
            return False
        if reply := self._body.fault:
            self._reply(reply)
            self._events.append(Abandoned())
            self._reset()
            self._state = _State.COMMAND
        else:
            self._events.append(Complete())
            self._state = _State.WAITING
        return True

    def _reply(self, reply: Reply) -> None:
        self._out += reply.encode()

    def _ok(self, text: str, status: str = _OK) -> None:
        self._reply(Reply(250, status, text))

    def _refuse(self, reply: Reply) -> None:
        self._reply(reply)
        if reply.code == 421:
            self._close()
        if reply.code < 500:
            return
        self._errors += 1
        if self._errors >= self._limits.errors:
            self._reply(Reply(421, "4.7.0", "too many errors"))
            self._close()

    def _close(self) -> None:
        self._state = _State.CLOSED
        self._buffer, self._at = b"", 0
        self._events.append(Closed())

    def _reset(self) -> None:
        self._mail_given = False
        self._sender: Address | None = None
        self._recipients: dict[Address, None] = {}
        self._smtputf8 = False

    def _obey(self, line: Line) -> None:
        match line.verb:
            case "EHLO" | "HELO":
                self._hello(line)
            case "MAIL":
                self._mail(line.argument)
            case "RCPT":
                self._recipient(line.argument)
            case "DATA":
                self._data(line.argument)
            case "RSET":
                self._take_nothing(line)
                self._reset()
                self._ok("forgotten")
            case "NOOP":
                self._ok("ok")
            case "QUIT":
                self._take_nothing(line)
                self._reply(Reply(221, _OK, "good-bye"))
                self._close()
            case "VRFY":
                if not line.argument:
                    raise CommandError(Reply(501, "5.5.4", "write VRFY and an address"))
                self._reply(Reply(252, "2.5.2", "send it a mail to find out"))
            case "HELP":
                self._reply(Reply(214, _OK, "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT"))
            case verb if verb in _NEVER_SMTP:
                self._reply(Reply(502, "5.5.1", "this is not offered here, good-bye"))
                self._close()
            case verb if verb in _NOT_OFFERED:
                raise CommandError(Reply(502, "5.5.1", "this is not offered here"))
            case _:
                raise CommandError(Reply(500, "5.5.2", "no such command"))

    @staticmethod
    def _take_nothing(line: Line) -> None:
        if line.argument:
            raise CommandError(Reply(501, "5.5.4", f"{line.verb} takes no argument"))

    def _hello(self, line: Line) -> None:
        name = parse_hello(line)
        self._reset()
        self._helo = name
        self._extended = line.verb == "EHLO"
        offers = (
            "PIPELINING",
            f"SIZE {self._limits.message_size}",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
            "HELP",
        )
        self._reply(
            Reply(250, "", "\n".join((self._hostname, *(offers if self._extended else ()))))
        )

    def _mail(self, argument: str) -> None:
        if not self._helo:
            raise CommandError(Reply(503, "5.5.1", "say EHLO first"))
        if self._mail_given:
            raise CommandError(Reply(503, "5.5.1", "a mail is under way: RSET ends it"))
        mail = parse_mail(argument)
        if mail.size > self._limits.message_size:
            raise CommandError(too_large(self._limits.message_size))
        if not self._has_room(mail.size):
            raise CommandError(FULL)  # RFC 1870 6.1: before the client sends it all
        self._mail_given = True
        self._sender = mail.sender
        self._smtputf8 = mail.smtputf8
        self._ok("sender ok", "2.1.0")

    def _recipient(self, argument: str) -> None:
        if not self._mail_given:
            raise CommandError(Reply(503, "5.5.1", "say MAIL first"))
        recipient = parse_recipient(argument, self._smtputf8)
        if not self._accepts(recipient):
            raise CommandError(Reply(550, "5.7.1", "mail for this domain is not taken here"))
        if recipient not in self._recipients and (
            len(self._recipients) >= self._limits.recipients
        ):
            raise CommandError(
                Reply(452, "4.5.3", f"{self._limits.recipients} recipients are the limit")
            )
        self._recipients[recipient] = None
        self._ok("recipient ok", "2.1.5")

    def _data(self, argument: str) -> None:
        if argument:
            raise CommandError(Reply(501, "5.5.4", "DATA takes no argument"))
        if not self._mail_given:
            raise CommandError(Reply(503, "5.5.1", "say MAIL first"))
        if not self._recipients:
            raise CommandError(Reply(554, "5.5.1", "no valid recipients"))
        protocol = "ESMTP" if self._extended else "SMTP"
        if self._smtputf8:
            protocol = "UTF8SMTP"
        self._reply(Reply(354, "", "go on; end with a dot on a line of its own"))
        self._events.append(
            Started(Envelope(self._sender, tuple(self._recipients), self._helo, protocol))
        )
        self._body = Body(self._limits.message_size, self._limits.text_line)
        self._state = _State.DATA
