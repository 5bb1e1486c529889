"""The headers that the server adds to a message (RFC 5321 4.4), with LF for line ends."""

from email.utils import formatdate

from reference_server.address import Address
from reference_server.event import Envelope


def received_header(
    envelope: Envelope, client: str, hostname: str, identifier: str, now: float
) -> bytes:
    """The Received header; `client` is a numeric address or "" on a Unix socket, `now` seconds since the epoch.

    Nothing here can begin a header of the client's: addresses and names hold no control characters.
    """
    literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]" if client else "local"
    recipients = envelope.recipients
    only = f"\n\tfor <{recipients[0]}>" if len(recipients) == 1 else ""
    return (
        f"Received: from {envelope.helo} ({literal})\n"
        f"\tby {hostname} (smtpstatus) with {envelope.protocol} id {identifier}{only};\n"
        f"\t{formatdate(now, localtime=True)}\n"
    ).encode()


def return_path(sender: Address | None) -> bytes:
    """The header that a final delivery adds; None is the null sender."""
    return f"Return-Path: <{sender or ''}>\n".encode()
