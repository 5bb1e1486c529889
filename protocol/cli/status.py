"""The exit statuses of the `smtpstatus` command."""

DONE, REFUSED, USAGE, NO_RESPONSE = 0, 1, 2, 3
"""REFUSED is also the status of a failed check, a malformed datagram and an unknown dialect."""
