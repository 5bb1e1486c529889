"""Stores messages in Maildirs; when it returns, data and names are on stable storage, for all recipients or none.

Group commit: one worker takes all messages that are waiting and stores them as a batch: write each to tmp, fsync each
and link it into every `new`, then fsync every `new` once. A failed fsync is never repeated, since a second one may
succeed with the data lost.

One thread stores batch after batch. Four threads with a message each stored a fifth less of 1 KiB with 10 sessions, at
twice the CPU: they waited for the interpreter, and for one another's commits of the journal.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reference_server.destination import Message
from reference_server.mailboxes import Mailboxes
from reference_server.maildir import MaildirMessage, sync_directory, unique_names
from reference_server.reply import Reply
from reference_server.spool import Spool
from reference_server.threads import started_pool
from reference_server.trace import return_path

logger = logging.getLogger(__name__)

BATCH_MESSAGES = 100
"""Messages in a batch, at most: each has a file open."""

_BATCH_OCTETS = 16 * 1024 * 1024
"""A batch that has as many gets no more messages: its first one waits for its last."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message in the queue; `stored` is done with its batch, and cancelled if its session does not wait any more."""

    message: MaildirMessage
    octets: int
    stored: asyncio.Future[None]


class Maildirs:
    """One Maildir per user under `root`. Must be created in a running event loop; `aclose` ends the worker.

    `hard_links` is whether the file system has them (`maildir.has_hard_links`).
    """

    def __init__(
        self,
        root: Path,
        hostname: str,
        *,
        hard_links: bool = True,
        mailboxes: Mailboxes | None = None,
    ) -> None:
        self.root = root
        self._mailboxes = mailboxes or Mailboxes()
        self._hard_links = hard_links
        self._names = unique_names(hostname)
        self._created: set[str] = set()
        self._writer = started_pool(1, "delivery")
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._worker = asyncio.create_task(self._work(), name="delivery")

    async def deliver(self, message: Message) -> tuple[Reply, ...]:
        """Store the message for every recipient, once for each user. Raises `OSError`; then no user has it."""
        directories = map(self._mailboxes.directory, message.envelope.recipients)
        users = list(dict.fromkeys(filter(None, directories)))
        head = return_path(message.envelope.sender) + message.received
        await self.store(users, head, message.spool)
        reply = Reply(250, "2.0.0", f"Ok: stored as {message.identifier}")
        return (reply,) * len(message.envelope.recipients)

    def stop(self) -> None:
        """Changes nothing: a message that is being stored takes milliseconds."""

    async def store(self, users: Sequence[str], head: bytes, spool: Spool) -> None:
        """Store `head` and the spool's content for every user. Raises `OSError`; then no user has the message."""
        maildirs = [f"{self.root}/{user}" for user in users]
        message = MaildirMessage(
            maildirs, next(self._names), head, spool, hard_links=self._hard_links
        )
        stored = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(message, spool.size, stored))
        await stored
        if message.error:
            raise message.error

    async def aclose(self) -> None:
        """Store what is queued, then end the worker and its thread."""
        await self._queue.join()
        self._worker.cancel()
        self._writer.shutdown()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._next_batch()
            messages = [waiting.message for waiting in batch if not waiting.stored.cancelled()]
            try:
                await loop.run_in_executor(self._writer, self._store, messages)
            except Exception as error:
                logger.exception("Storing a batch failed")
                for message in messages:
                    message.fail(error)
            for waiting in batch:
                if not waiting.stored.done():
                    waiting.stored.set_result(None)
                self._queue.task_done()

    async def _next_batch(self) -> list[_Waiting]:
        batch = [await self._queue.get()]
        octets = batch[0].octets
        while not self._queue.empty() and len(batch) < BATCH_MESSAGES and octets < _BATCH_OCTETS:
            batch.append(self._queue.get_nowait())
            octets += batch[-1].octets
        return batch

    def _store(self, messages: Sequence[MaildirMessage]) -> None:
        self._pass(messages)
        if lost := [one for one in messages if isinstance(one.error, FileNotFoundError)]:
            # A Maildir was removed meanwhile: make it again, and try once more.
            for message in lost:
                self._created.difference_update(message.maildirs)
                message.error = None
            self._pass(lost)

    def _pass(self, messages: Sequence[MaildirMessage]) -> None:
        for message in messages:
            message.attempt(lambda: self._create(message.maildirs))  # noqa: B023  called immediately
            message.attempt(message.write)
        for message in messages:
            message.attempt(message.publish)
        for new in {new for message in messages for new in message.directories}:
            try:
                sync_directory(new)
            except OSError as error:
                for message in messages:
                    if new in message.directories:
                        message.fail(error)

    def _create(self, maildirs: Sequence[str]) -> None:
        missing = [maildir for maildir in maildirs if maildir not in self._created]
        for maildir in missing:
            for directory in (maildir, f"{maildir}/tmp", f"{maildir}/new", f"{maildir}/cur"):
                Path(directory).mkdir(mode=0o700, exist_ok=True)
            # Also where they existed: an earlier process may have ended between making and syncing them.
            sync_directory(maildir)
        if missing:
            sync_directory(str(self.root))
            self._created.update(missing)
