"""The client side of one SMTP or LMTP session as a state machine (RFC 5321, RFC 2033).

Bytes in, commands and events out; no I/O and no clock. `receive` takes the server's bytes, however
they are cut, and returns what happened; `take_commands` returns what is to be sent. Where the server
offers PIPELINING, a message's commands up to DATA go out together (RFC 2920); otherwise each waits
for the reply to the one before. No bytes make it raise.
"""

from collections import deque
from enum import Enum, auto

from reference_server.address import Address
from reference_server.relay.content import ContentEncoder
from reference_server.relay.events import (
    NEXT_HOP_UNAVAILABLE,
    ClientEvent,
    ContentWanted,
    Finished,
    Lost,
    Ready,
    RecipientReplied,
)
from reference_server.relay.extensions import Extensions
from reference_server.relay.next_hop import Protocol
from reference_server.relay.outcomes import Outcomes
from reference_server.relay.replies import InvalidReply, ReplyParser
from reference_server.relay.transaction import Transaction, rcpt
from reference_server.reply import Reply


class _Step(Enum):
    """What a reply answers."""

    GREETING = auto()
    HELLO = auto()
    RSET = auto()
    XFORWARD = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    CONTENT = auto()
    EMPTY_CONTENT = auto()
    """The content that ends DATA after 354 where every recipient was refused."""
    QUIT = auto()


class ClientSession:
    """One session, from the greeting to QUIT. `hostname` is the client's own, for EHLO or LHLO."""

    def __init__(self, hostname: str, protocol: Protocol) -> None:
        self._hello = f"{'LHLO' if protocol is Protocol.LMTP else 'EHLO'} {hostname}"
        self._protocol = protocol
        self._parser = ReplyParser()
        self.extensions = Extensions()
        """What the server offers, after `Ready`."""
        self._out = bytearray()
        self._unsent: deque[tuple[_Step, str]] = deque()
        self._awaited: deque[_Step] = deque([_Step.GREETING])
        self._outcomes: Outcomes | None = None
        self._encoder: ContentEncoder | None = None
        self._content_sent = False
        self._reset_first = False
        self._incomplete = False
        """Whether more recipients may be added."""
        self._events: list[ClientEvent] = []
        self._closed = False
        self._end = ""
        """Why the session has ended."""

    @property
    def idle(self) -> bool:
        """Whether a message can be sent now."""
        return not (self._closed or self._outcomes or self._unsent or self._awaited)

    @property
    def lost(self) -> Lost | None:
        """`Lost`, where the session has ended, also for a caller that has not looked at the event."""
        if not self._closed:
            return None
        replies = self._outcomes.replies(NEXT_HOP_UNAVAILABLE) if self._outcomes else ()
        return Lost(self._end, replies, self._content_sent)

    def take_commands(self) -> bytes:
        """Returns the bytes to be sent now, once."""
        octets = bytes(self._out)
        self._out.clear()
        return octets

    def receive(self, octets: bytes) -> list[ClientEvent]:
        """Processes bytes from the server."""
        if self._closed:
            return []
        try:
            for reply in self._parser.receive(octets):
                if not self._closed:
                    self._process(reply)
        except InvalidReply as error:
            self._lose(str(error))
        return self._take_events()

    def send(self, transaction: Transaction) -> list[ClientEvent]:
        """Starts a message; the session is idle. A message that the server cannot take is finished immediately."""
        if not self.idle:
            raise RuntimeError("a message was sent on a session that is not idle")
        self._outcomes = Outcomes(len(transaction.recipients))
        if refusal := transaction.refusal(self.extensions):
            self._outcomes.settle_all(refusal)
            self._finish_if_settled()
            return self._take_events()
        self._queue_mail(transaction)
        self._unsent.extend((_Step.RCPT, rcpt(to)) for to in transaction.recipients)
        self._unsent.append((_Step.DATA, "DATA"))
        self._pump()
        return []

    def open_transaction(self, transaction: Transaction) -> None:
        """Starts a message without recipients and content: `add_recipient` and `request_content` follow.

        Each recipient is answered by `RecipientReplied`. Where the server refuses MAIL, `Finished` comes instead.
        """
        if not self.idle:
            raise RuntimeError("a message was started on a session that is not idle")
        self._outcomes = Outcomes(0)
        self._incomplete = True
        self._queue_mail(transaction)

    def add_recipient(self, recipient: Address) -> None:
        """Asks the server for a recipient of the open transaction."""
        if self._outcomes:
            self._outcomes.add()
            self._unsent.append((_Step.RCPT, rcpt(recipient)))
            self._pump()

    def request_content(self, transaction: Transaction) -> list[ClientEvent]:
        """Sends DATA for the open transaction, of which a recipient was accepted; now its content is known."""
        if self._outcomes:
            self._incomplete = False
            if refusal := transaction.refusal(self.extensions):
                self._outcomes.settle_all(refusal)
                self._finish_if_settled()
            else:
                self._unsent.append((_Step.DATA, "DATA"))
                self._pump()
        return self._take_events()

    def abandon(self) -> None:
        """Gives up the open transaction; the next message is preceded by RSET."""
        if self._incomplete and not self._awaited:
            self._outcomes, self._incomplete = None, False
            self._unsent.clear()

    def _queue_mail(self, transaction: Transaction) -> None:
        if self._reset_first:
            self._unsent.append((_Step.RSET, "RSET"))
            self._reset_first = False
        for command in transaction.xforward(self.extensions):
            self._unsent.append((_Step.XFORWARD, command))
        self._unsent.append((_Step.MAIL, transaction.mail(self.extensions)))

    def send_content(self, octets: bytes) -> None:
        """Sends a piece of the content, which has LF or CRLF line ends. Raises `InvalidContent` on a bare CR."""
        if self._encoder:
            self._out += self._encoder.encode(octets)

    def finish_content(self) -> None:
        """Ends the content with the final dot. Raises `InvalidContent`; then the connection has to be cut."""
        if self._encoder and self._outcomes:
            self._out += self._encoder.finish()
            self._encoder = None
            self._content_sent = True
            replies = self._outcomes.accepted if self._protocol is Protocol.LMTP else 1
            self._awaited.extend([_Step.CONTENT] * replies)

    def quit(self) -> None:
        """Ends an idle session; `Lost` follows the reply or the end of the connection."""
        if self.idle:
            self._unsent.append((_Step.QUIT, "QUIT"))
            self._pump()

    def lose(self, reason: str) -> list[ClientEvent]:
        """Ends the session without a reply: the server has closed the connection, or it is to be cut."""
        if not self._closed:
            self._lose(reason)
        return self._take_events()

    def _take_events(self) -> list[ClientEvent]:
        events, self._events = self._events, []
        return events

    def _lose(self, reason: str) -> None:
        self._closed, self._end = True, reason
        if self.lost:
            self._events.append(self.lost)

    def _pump(self) -> None:
        """Sends the next commands: all with PIPELINING, otherwise one at a time."""
        while self._unsent and (self.extensions.pipelining or not self._awaited):
            step, command = self._unsent.popleft()
            self._awaited.append(step)
            self._out += command.encode() + b"\r\n"

    def _process(self, reply: Reply) -> None:
        if reply.code == 421 or not self._awaited:
            self._process_unexpected(reply)
            return
        step, outcomes = self._awaited.popleft(), self._outcomes
        if outcomes is None or step is _Step.RSET:
            self._process_session(step, reply)
        elif step not in (_Step.XFORWARD, _Step.EMPTY_CONTENT):
            # A server that refuses XFORWARD still takes the message, and Postfix's client sends it.
            self._process_message(step, reply, outcomes)
        if not self._closed:
            self._pump()
            self._finish_if_settled()

    def _process_unexpected(self, reply: Reply) -> None:
        """The session ends: 421, a reply to content before its end, or bytes that nothing has asked for."""
        if self._encoder and self._outcomes and reply.code >= 400 and reply.code != 421:
            self._outcomes.settle_all(reply)
        self._lose(f"server replied {_shown(reply)}")

    def _process_session(self, step: _Step, reply: Reply) -> None:
        if step is _Step.QUIT or reply.code >= 300:
            self._lose(f"server replied {_shown(reply)} to {step.name}")
        elif step is _Step.GREETING:
            self._unsent.append((_Step.HELLO, self._hello))
        elif step is _Step.HELLO:
            self.extensions = Extensions.parse(reply.text)
            self._events.append(Ready(self.extensions))

    def _process_message(self, step: _Step, reply: Reply, outcomes: Outcomes) -> None:
        if reply.code < 400 and (reply.code >= 300) != (step is _Step.DATA):
            self._lose(f"server replied {_shown(reply)} to {step.name}")
        elif step is _Step.RCPT:
            outcomes.record_rcpt(reply)
            if self._incomplete:
                self._events.append(RecipientReplied(reply))
            elif outcomes.all_asked and not outcomes.accepted:
                self._unsent.clear()
        elif step is _Step.CONTENT:
            self._reset_first = False
            if self._protocol is Protocol.LMTP:
                outcomes.settle_next(reply)
            else:
                outcomes.settle_all(reply)
        elif reply.code >= 400:
            self._incomplete = False
            self._unsent.clear()
            outcomes.settle_all(reply)
        elif step is _Step.MAIL:
            self._reset_first = True
        else:
            self._start_content(outcomes)

    def _start_content(self, outcomes: Outcomes) -> None:
        """Processes 354."""
        if outcomes.accepted:
            self._encoder = ContentEncoder()
            self._events.append(ContentWanted())
        elif self._protocol is Protocol.LMTP:
            # RFC 2033 4.2: it must refuse DATA. What it replies to a dot is not defined.
            self._lose("server accepted DATA without recipients")
        else:
            self._out += b".\r\n"
            self._awaited.append(_Step.EMPTY_CONTENT)

    def _finish_if_settled(self) -> None:
        busy = self._incomplete or self._awaited or self._unsent
        if self._outcomes and self._outcomes.settled and not busy:
            self._events.append(Finished(self._outcomes.replies(NEXT_HOP_UNAVAILABLE)))
            self._outcomes = None
            self._content_sent = False


def _shown(reply: Reply) -> str:
    words = (str(reply.code), reply.status, *reply.text.split("\n"))
    return " ".join(filter(None, words))[:200]
