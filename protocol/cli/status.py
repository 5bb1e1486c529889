"""The exit statuses of the `smtpstatus` command."""

DONE, REFUSED, USAGE, NO_RESPONSE = 0, 1, 2, 3
"""REFUSED also stands for a failed check, a malformed datagram and an unknown dialect."""
