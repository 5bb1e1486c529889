"""What becomes of a message after its final dot: through the programs, into the Maildirs, and only then 250.

From here on nothing depends on the client: one that is gone, or has closed its sending half, still has its mail stored.
"""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Sequence

from reference_server.delivery import Maildirs
from reference_server.event import Envelope
from reference_server.reply import FAILED, FULL, Reply
from reference_server.spool import Spool
from reference_server.status import ServerStatus
from reference_server.threads import started_pool
from reference_server.trace import trace_headers
from reference_server.transform import Program, TransformChain, TransformFailed

logger = logging.getLogger(__name__)

_RESERVE = 1024 * 1024
"""Octets that stay free for names, directories and the small messages that are under way."""


class Pipeline:
    """The way of every message. `slots` is how many are transformed at once; the others wait their turn."""

    def __init__(
        self,
        hostname: str,
        status: ServerStatus,
        maildirs: Maildirs,
        programs: Sequence[Program],
        chain: TransformChain,
        slots: int,
    ) -> None:
        self.maildirs = maildirs
        self._hostname = hostname
        self._status = status
        self._programs = tuple(programs)
        self._chain = chain
        self._slots = started_pool(slots, "transform") if programs else None

    def has_room(self, octets: int) -> bool:
        """Whether the disk has room for a message of this size: a hint, since room is taken only when it is stored."""
        try:
            disk = os.statvfs(self.maildirs.root)
        except OSError:
            return True  # storing it will tell what is wrong
        free = disk.f_bavail * disk.f_frsize
        # Twice: a large message stays in its spool until it has been copied into the Maildir.
        if 2 * octets + _RESERVE <= free:
            return True
        logger.error("No space for a message", extra={"size": octets, "free": free})
        return False

    async def accept(
        self, spool: Spool, envelope: Envelope, client: str, identifier: str
    ) -> Reply:
        """Transform and store; the spool is closed. The reply is 250 only if the message is durable for everybody."""
        # Read once: the message sees one state of the switch, the one when it ended.
        programs = self._programs if self._status.transforms_enabled else ()
        about = {"id": identifier, "client": client, "size": spool.size}
        about |= {"recipients": len(envelope.recipients), "transforms": len(programs)}
        try:
            if programs:
                spool = await self._transform(spool, programs, envelope, client, identifier)
            head = trace_headers(envelope, client, self._hostname, identifier, time.time())
            users = list(dict.fromkeys(to.directory for to in envelope.recipients))
            await self.maildirs.deliver(users, head, spool)
        except TransformFailed as failure:
            logger.warning("Message not transformed", extra=about | {"err": failure})
            return failure.reply
        except OSError as error:
            logger.error("Message not stored", extra=about | {"err": error})
            return FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else FAILED
        except Exception:
            logger.exception("Message failed", extra=about)
            return FAILED
        finally:
            spool.close()
        self._status.mails += 1
        logger.info("Message stored", extra=about)
        return Reply(250, "2.0.0", f"stored as {identifier}")

    async def _transform(
        self,
        spool: Spool,
        programs: Sequence[Program],
        envelope: Envelope,
        client: str,
        identifier: str,
    ) -> Spool:
        variables = {
            "SENDER": str(envelope.sender or ""),
            "RECIPIENTS": "\n".join(map(str, envelope.recipients)),
            "CLIENT_ADDRESS": client,
            "CLIENT_HELO": envelope.helo,
            "MESSAGE_ID": identifier,
        }
        return await asyncio.get_running_loop().run_in_executor(
            self._slots, self._chain.run, programs, spool, variables, self._chain.deadline()
        )

    def stop(self) -> None:
        """Kill the programs that run; their messages are answered 451."""
        self._chain.stop()

    async def aclose(self) -> None:
        """When no message is under way any more."""
        if self._slots:
            self._slots.shutdown()
        self._chain.close()
        await self.maildirs.aclose()
