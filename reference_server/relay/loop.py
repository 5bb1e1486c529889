"""Mail loops, detected by the number of Received fields (RFC 5321 6.3)."""

import re
from collections.abc import Iterable

from reference_server.reply import Reply

RECEIVED_LIMIT = 50
"""Postfix' hopcount_limit; RFC 5321 6.3 recommends at least 100 or less than that where loops are costly."""

LOOP = Reply(554, "5.4.6", "Too many hops")

_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"^\r?\n", re.MULTILINE)

_HEADER_BYTES = 1024 * 1024
"""Octets of a header section that are looked at; servers accept less."""


def received_fields(blocks: Iterable[bytes]) -> int:
    """Returns how many Received fields the header section has; `blocks` is read no further than it reaches."""
    header = b""
    for block in blocks:
        header += block
        end = _END.search(header)
        if end or len(header) > _HEADER_BYTES:
            header = header[: end.start()] if end else header
            break
    return len(_RECEIVED.findall(header))
