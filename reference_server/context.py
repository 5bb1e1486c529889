"""Context that the sessions of a server share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from reference_server.admission import Admission
from reference_server.limits import ServerLimits, SessionLimits
from reference_server.pipeline import Pipeline
from reference_server.scheduler import Scheduler
from reference_server.service import Service
from reference_server.spool import Memory
from reference_server.status import ServerStatus

READ_OCTETS = 256 * 1024
"""Octets read from a socket at a time, at most."""


@dataclass(frozen=True, slots=True)
class ServerContext:
    """`service` returns what a client is offered, by its numeric address; "" is a client on a Unix socket."""

    service: Callable[[str], Service]
    status: ServerStatus
    pipeline: Pipeline
    admission: Admission
    scheduler: Scheduler
    session_limits: SessionLimits
    limits: ServerLimits
    memory: Memory = field(default_factory=Memory)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_OCTETS)))
    """What asyncio reads into, copied before the next read: one for all, since a new one each time costs more."""
