"""The headers that the server puts in front of a message (RFC 5321 4.4), with LF for line ends."""

from email.utils import formatdate

from reference_server.event import Envelope


def trace_headers(
    envelope: Envelope, client: str, hostname: str, identifier: str, now: float
) -> bytes:
    """Return-Path and Received; `client` is a numeric address, `now` seconds since the epoch.

    Nothing here can begin a header of the client's: addresses and names hold no control characters.
    """
    literal = f"[IPv6:{client}]" if ":" in client else f"[{client}]"
    recipients = envelope.recipients
    only = f"\n\tfor <{recipients[0]}>" if len(recipients) == 1 else ""
    return (
        f"Return-Path: <{envelope.sender or ''}>\n"
        f"Received: from {envelope.helo} ({literal})\n"
        f"\tby {hostname} (smtpstatus) with {envelope.protocol} id {identifier}{only};\n"
        f"\t{formatdate(now, localtime=True)}\n"
    ).encode()
