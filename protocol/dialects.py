"""The built-in dialects: version 0 (docs/protocol.md), and the known servers that differ from it (docs/dialects.md)."""

from collections.abc import Mapping

from protocol.dialect import Dialect, Field, Operation
from protocol.vocabulary import Command, Status

_STATUSES = {
    0: Status.DONE,
    1: Status.AUTHENTICATION_FAILED,
    2: Status.INVALID_VERSION,
    3: Status.INVALID_COMMAND,
    4: Status.INVALID_REQUEST,
    5: Status.SERVER_FAILURE,
}

V0 = Dialect(
    name="v0",
    signature=b"\xcf\xfe",
    request_length=14,
    request_identifier=Field(3, 2),
    authentication=Field(5, 8),
    command=Field(13, 1),
    response_length=14,
    response_identifier=Field(3, 2),
    status=Field(5, 1),
    result=Field(6, 8),
    # Some servers write the flag in the first byte of RES: accepted as off, never written (protocol.md 4.2).
    off=(1, 1 << 56),
    operations={
        Command.CONNECTIONS: Operation(0, Field(6, 8)),
        Command.ACTIVE_CONNECTIONS: Operation(1, Field(6, 8)),
        Command.TRANSFERRED_BYTES: Operation(2, Field(6, 8)),
        Command.TRANSFORMS: Operation(3, Field(6, 8), flag=True),
        Command.ENABLE_TRANSFORMS: Operation(4, Field(6, 8), flag=True),
        Command.DISABLE_TRANSFORMS: Operation(5, Field(6, 8), flag=True),
    },
    statuses=_STATUSES,
)
"""SMTPStatus version 0 (docs/protocol.md)."""

GROUP_4 = Dialect(
    name="group-4",
    signature=b"\xff\xfe",
    request_length=14,
    request_identifier=Field(3, 2),
    authentication=Field(5, 8),
    command=Field(13, 1),
    response_length=14,
    response_identifier=Field(3, 2),
    status=Field(5, 1),
    result=Field(6, 8),
    default_port=2626,
    operations={
        Command.CONNECTIONS: Operation(0, Field(6, 4)),
        Command.ACTIVE_CONNECTIONS: Operation(1, Field(6, 4)),
        Command.SENT_BYTES: Operation(2, Field(6, 4)),  # SMTP replies only
        Command.MAILS: Operation(3, Field(6, 4)),
        Command.TRANSFORMS: Operation(4, Field(6, 1), flag=True),
        Command.ENABLE_TRANSFORMS: Operation(5, None),
        Command.DISABLE_TRANSFORMS: Operation(6, None),
    },
    statuses=_STATUSES | {6: Status.NO_TRANSFORM_PROGRAM},
)
"""Numbers of four bytes, a mail counter, and the commands from 03 on one code higher."""

GROUP_6 = Dialect(
    name="group-6",
    signature=b"\xfe\xff",
    request_length=8,
    request_identifier=Field(4, 2),
    authentication=Field(6, 1),
    command=Field(7, 1),
    response_length=12,
    response_identifier=Field(4, 2),
    status=Field(6, 1),
    result=Field(8, 4),
    byte_order="little",
    on=1,
    off=(0,),
    operations={
        Command.CONNECTIONS: Operation(0, Field(8, 4), signed=True),
        Command.ACTIVE_CONNECTIONS: Operation(1, Field(8, 4), signed=True),
        Command.TRANSFERRED_BYTES: Operation(2, Field(8, 4), signed=True),
        Command.ENABLE_VERBOSE: Operation(3, Field(8, 4), flag=True),
        Command.DISABLE_VERBOSE: Operation(4, Field(8, 4), flag=True),
        Command.VERBOSE: Operation(5, Field(8, 4), flag=True),
    },
    statuses={
        0: Status.DONE,
        1: Status.AUTHENTICATION_FAILED,
        2: Status.INVALID_VERSION,
        3: Status.INVALID_COMMAND,
        5: Status.INVALID_SIGNATURE,
    },
)
"""C structures as they are in memory: little-endian, signed, with padding of any content."""

GROUP_11 = Dialect(
    name="group-11",
    signature=b"\xfe\xca",
    request_length=14,
    request_identifier=Field(3, 2),
    authentication=Field(5, 8),
    command=Field(13, 1),
    response_length=14,
    response_identifier=Field(3, 2),
    status=Field(5, 1),
    result=Field(6, 8),
    byte_order="little",
    default_port=7374,
    operations={
        Command.CONNECTIONS: Operation(0, Field(6, 8)),
        Command.ACTIVE_CONNECTIONS: Operation(1, Field(6, 8)),
        Command.SENT_BYTES: Operation(2, Field(6, 8)),
        Command.RECEIVED_BYTES: Operation(3, Field(6, 8)),
        Command.TRANSFERRED_BYTES: Operation(4, Field(6, 8)),
    },
    statuses=_STATUSES | {2: Status.INVALID_COMMAND, 3: Status.INVALID_VERSION},
)
"""Little-endian numbers, bytes in each direction, no transforms."""

DIALECTS: Mapping[str, Dialect] = {d.name: d for d in (V0, GROUP_4, GROUP_6, GROUP_11)}
"""The built-in dialects by name."""
