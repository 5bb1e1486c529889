"""The `smtpstatus` command: runs the chosen subcommand, and turns errors into an exit status.

The arguments are in protocol/cli/arguments.py. A subcommand is a module of protocol/cli with a `run` function, imported
only when it is chosen, so that the command starts about as fast as Python. For users: docs/smtpstatus.md.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper

from protocol.cli.arguments import parser
from protocol.cli.status import NO_RESPONSE, USAGE
from protocol.errors import Shortage

_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""Exit status that a shell reports for a program terminated by SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status. It is 2 if stdout is closed or cannot be written to."""
    options = parser().parse_args(arguments)
    if sys.stdout is None:
        print(
            "smtpstatus: stdout is closed: redirect it, for example to /dev/null", file=sys.stderr
        )
        return USAGE
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without UTF-8
    # An empty variable counts as unset.
    options.environment_token = os.environ.get("SMTPSTATUS_TOKEN") or None
    options.environment_dialect = os.environ.get("SMTPSTATUS_DIALECT") or None
    options.terminal = os.environ.get("TERM", "")
    try:
        status: int = import_module(f"protocol.cli.{options.command}").run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_unwritable()
        return _BROKEN_PIPE
    except Shortage as error:
        print(f"smtpstatus: {error}", file=sys.stderr)
        return NO_RESPONSE
    except (ValueError, OSError) as error:
        _discard_unwritable()
        print(f"smtpstatus: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _discard_unwritable() -> None:
    """Discard what stdout does not accept, so that the interpreter's own flush does not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
