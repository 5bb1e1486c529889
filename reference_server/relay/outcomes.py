"""The server's reply for each recipient of one message, as the replies come in."""

from collections import deque

from reference_server.reply import Reply


class Outcomes:
    """Recipients by position: not replied to yet, accepted by RCPT, or settled with a reply."""

    def __init__(self, recipients: int) -> None:
        self._replies: list[Reply | None] = [None] * recipients
        self._accepted: deque[int] = deque()
        self._asked = 0

    def add(self) -> None:
        """Adds a recipient that RCPT will be sent for."""
        self._replies.append(None)

    @property
    def accepted(self) -> int:
        """How many recipients RCPT was accepted for and that are not settled."""
        return len(self._accepted)

    @property
    def all_asked(self) -> bool:
        """Whether every RCPT has its reply."""
        return self._asked == len(self._replies)

    @property
    def settled(self) -> bool:
        """Whether every recipient has a reply."""
        return None not in self._replies

    def record_rcpt(self, reply: Reply) -> None:
        """Records the reply to the next RCPT. A recipient that is settled already keeps its reply."""
        position, self._asked = self._asked, self._asked + 1
        if self._replies[position] is not None:
            return
        if reply.code >= 400:
            self._replies[position] = reply
        else:
            self._accepted.append(position)

    def settle_next(self, reply: Reply) -> None:
        """Settles the first accepted recipient: LMTP replies for one after the other."""
        self._replies[self._accepted.popleft()] = reply

    def settle_all(self, reply: Reply) -> None:
        """Settles every recipient that is not."""
        self._replies = list(self.replies(reply))
        self._accepted.clear()

    def replies(self, otherwise: Reply) -> tuple[Reply, ...]:
        """Returns the reply for each recipient, `otherwise` for those that are not settled."""
        return tuple(reply or otherwise for reply in self._replies)
