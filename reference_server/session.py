"""One SMTP session as a state machine: octets in, replies and events out. No I/O, no clock (RFC 5321).

`receive` accepts what arrived; `advance` processes a bounded part of it and returns what happened, and is to be called
while `pending`. `take_replies` returns what is to be sent (RFC 2920: several replies may be sent together). After
`Complete` the machine waits for `answer`; what arrives meanwhile is kept. However the octets are cut, the outcome is
the same, and no octets make it raise.
"""

from collections.abc import Sequence
from enum import Enum, auto

from reference_server.allowance import ERROR_POINTS, REJECTED_RECIPIENT_POINTS, Allowance
from reference_server.body import Body
from reference_server.command import CommandError, Line, parse_hello, parse_mail, parse_recipient
from reference_server.event import (
    Abandoned,
    Closed,
    Complete,
    Content,
    Event,
    Rejected,
    Started,
    TransactionEnded,
)
from reference_server.limits import LOGGED_OCTETS, STEP_COMMANDS, SessionLimits
from reference_server.linebuffer import LineBuffer, LineTooLong
from reference_server.relay.xforward import OriginalClient
from reference_server.reply import Reply
from reference_server.service import NEVER_SMTP, NOT_OFFERED, Service
from reference_server.transaction import Hello, Transaction


class _State(Enum):
    COMMAND = auto()
    DATA = auto()
    RECIPIENT = auto()
    """The destination decides on a recipient."""
    WAITING = auto()
    CLOSED = auto()


class Session:
    """One client, from the greeting to the end."""

    def __init__(self, service: Service, limits: SessionLimits) -> None:
        self._service = service
        self._limits = limits
        self._state = _State.COMMAND
        self._input = LineBuffer(limits.command_line)
        self._out = bytearray()
        self._events: list[Event] = []
        self._allowance = Allowance(limits)
        self._line = b""
        self._hello: Hello | None = None
        self._original_client: OriginalClient | None = None
        self._transaction: Transaction | None = None
        self._body = Body(0, 0)
        self._farewell: Reply | None = None

    def open(self) -> None:
        """Greet the client."""
        self._reply(self._service.greeting)

    @property
    def waiting(self) -> bool:
        """Whether a message waits for its `answer`, or a recipient for `answer_recipient`."""
        return self._state in (_State.WAITING, _State.RECIPIENT)

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
        """Accepts octets from the client; `advance` processes them."""
        if self._state is not _State.CLOSED:
            self._input.append(octets)

    def advance(self) -> list[Event]:
        """Processes up to 16 commands, or a piece of a message."""
        for _ in range(STEP_COMMANDS):
            if self._state is _State.COMMAND and self._farewell:
                return self.close(self._farewell)
            if self._state is not _State.COMMAND or not self._read_command():
                break
        if self._state is _State.DATA and self._input:
            self._read_content()
        return self._take_events()

    def answer(self, replies: Sequence[Reply]) -> list[Event]:
        """Replies to the message, for each recipient; `advance` continues with what arrived meanwhile."""
        self._reply_to_content(replies)
        if any(reply.code < 300 for reply in replies):
            self._allowance.renew()
        self._end_transaction()
        self._state = _State.COMMAND
        return self._take_events()

    def answer_recipient(self, reply: Reply) -> list[Event]:
        """The destination's reply to RCPT; `advance` goes on with what arrived meanwhile."""
        transaction = self._transaction
        if self._state is _State.RECIPIENT and transaction and transaction.offered:
            self._state = _State.COMMAND
            if reply.code < 300:
                transaction.add(transaction.offered)
                self._reply(reply)
            else:
                self._reject(reply, REJECTED_RECIPIENT_POINTS)
        return self._take_events()

    def close(self, reply: Reply) -> list[Event]:
        """Ends the session with a reply of the server's own."""
        if self._state is not _State.CLOSED:
            self._reply(reply)
            self._close()
        return self._take_events()

    def finish(self, reply: Reply) -> list[Event]:
        """Ends the session before its next command: now, or after the reply to the message in progress."""
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
        self._line = line
        try:
            if not self._allowance.use_command():
                text = "Error: too many commands without a message"
                raise CommandError(Reply(421, "4.7.0", text))
            if too_long:
                raise CommandError(Reply(500, "5.5.2", "Error: line too long"))
            self._obey(Line.decode(line.removesuffix(b"\n").removesuffix(b"\r")))
        except CommandError as error:
            self._reject(error.reply, error.points)
        return True

    def _read_content(self) -> None:
        content, rest = self._body.decode(self._input.take_all())
        if content and not self._body.fault:
            self._events.append(Content(content))
        if rest is None:
            return
        self._input.append(rest)
        if (reply := self._body.fault) and self._transaction:
            self._reply_to_content((reply,) * len(self._transaction.recipients))
            self._events.append(Abandoned(reply))
            self._end_transaction()
            self._state = _State.COMMAND
        else:
            self._events.append(Complete())
            self._state = _State.WAITING

    def _reply(self, reply: Reply) -> None:
        self._out += reply.encode()

    def _reply_to_content(self, replies: Sequence[Reply]) -> None:
        """One reply per recipient of the envelope comes in; SMTP sends one, LMTP one per accepted RCPT."""
        lmtp = self._transaction if self._service.lmtp else None
        for reply in lmtp.replies(replies) if lmtp else replies[:1]:
            self._reply(reply)

    def _end_transaction(self) -> None:
        if self._transaction and self._transaction.offered:
            self._events.append(TransactionEnded())
        self._transaction = self._original_client = None

    def _ok(self, status: str = "2.0.0") -> None:
        self._reply(Reply(250, status, "Ok"))

    def _reject(self, reply: Reply, points: int) -> None:
        self._reply(reply)
        command = self._line[:LOGGED_OCTETS].decode("utf-8", "replace").rstrip()
        sender = self._transaction.sender if self._transaction else None
        helo = self._hello.name if self._hello else ""
        self._events.append(Rejected(command, reply, helo, self._transaction is not None, sender))
        if reply.code == 421:
            self._close()
        elif reply.code >= 500 and not self._allowance.use_error(points):
            self._reply(Reply(421, "4.7.0", "Error: too many errors"))
            self._close()

    def _close(self) -> None:
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self._input.clear()
            self._events.append(Closed())

    def _obey(self, line: Line) -> None:
        match line.verb:
            case verb if verb in self._service.hello_verbs:
                self._greet(line)
            case "XFORWARD" if self._service.xforward:
                self._xforward(line.argument)
            case "MAIL":
                self._mail(line.argument)
            case "RCPT":
                self._recipient(line.argument)
            case "DATA":
                self._data(line)
            case "RSET":
                line.require_no_argument()
                self._end_transaction()
                self._ok()
            case "NOOP":
                self._ok()
            case "QUIT":
                line.require_no_argument()
                self._reply(Reply(221, "2.0.0", "Bye"))
                self._close()
            case "VRFY":
                self._reply(self._service.verify(line))
            case "HELP":
                self._reply(self._service.help)
            case verb if verb in NEVER_SMTP:
                self._reject(Reply(502, "5.5.1", "Error: command not implemented"), ERROR_POINTS)
                self._close()
            case verb if verb in NOT_OFFERED:
                raise CommandError(Reply(502, "5.5.1", "Error: command not implemented"))
            case _:
                raise CommandError(Reply(500, "5.5.2", "Error: command not recognized"))

    def _greet(self, line: Line) -> None:
        self._hello = Hello(parse_hello(line), line.verb)
        self._end_transaction()
        self._reply(self._service.hello(line.verb != "HELO", self._limits.message_size))

    def _xforward(self, parameters: str) -> None:
        if self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: MAIL transaction in progress"))
        self._original_client = self._service.original_client(parameters, self._original_client)
        self._ok()

    def _mail(self, argument: str) -> None:
        if not self._hello:
            raise CommandError(self._service.hello_required)
        if self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: nested MAIL command"))
        mail = parse_mail(argument)
        self._service.check_size(mail.size, self._limits.message_size)
        self._transaction = Transaction(
            self._hello, mail.sender, mail.smtputf8, self._original_client
        )
        self._ok("2.1.0")

    def _recipient(self, argument: str) -> None:
        if not self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: need MAIL command"))
        recipient = parse_recipient(argument, self._transaction.smtputf8)
        if refusal := self._service.refusal(recipient):
            raise CommandError(refusal, REJECTED_RECIPIENT_POINTS)
        recipients = self._transaction.recipients
        if recipient not in recipients and len(recipients) >= self._limits.recipients:
            raise CommandError(Reply(452, "4.5.3", "Error: too many recipients"))
        if self._service.live:
            self._events.append(self._transaction.offer(recipient))
            self._state = _State.RECIPIENT
        else:
            self._transaction.add(recipient)
            self._ok("2.1.5")

    def _data(self, line: Line) -> None:
        line.require_no_argument()
        if not self._transaction:
            raise CommandError(Reply(503, "5.5.1", "Error: need MAIL command"))
        if not self._transaction.recipients:
            raise CommandError(Reply(554, "5.5.1", "Error: no valid recipients"))
        self._reply(Reply(354, "", "End data with <CR><LF>.<CR><LF>"))
        self._events.append(Started(self._transaction.envelope()))
        self._body = Body(self._limits.message_size, self._limits.text_line)
        self._state = _State.DATA
