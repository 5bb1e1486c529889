"""The `smtpstatus` command: arguments and environment into options, and outcomes into an exit status.

What the commands do is in protocol/cli/subcommands.py; how people use them, in docs/smtpstatus.md.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from protocol.cli import subcommands as commands
from smtpstatus.duration import parse_duration
from smtpstatus.version import __version__

_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""What a shell reports for a program that a signal ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. Where stdout is closed or cannot be written to, it is 2."""
    options = parser().parse_args(arguments)
    if sys.stdout is None:
        print("smtpstatus: stdout is closed: send it somewhere, or to /dev/null", file=sys.stderr)
        return commands.USAGE
    options.environment_token = os.environ.get("SMTPSTATUS_TOKEN")
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_unwritable()
        return _BROKEN_PIPE
    except (ValueError, OSError) as error:
        _discard_unwritable()
        print(f"smtpstatus: {error}", file=sys.stderr)
        return commands.USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _discard_unwritable() -> None:
    """What stdout does not take must not fail again when the interpreter flushes it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smtpstatus",
        description="Ask, watch, switch and check SMTPStatus servers.",
        epilog="exit status: 0 done, 1 the server said no or a check failed, 2 wrong usage, 3 no answer",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"smtpstatus {__version__}")
    parser.set_defaults(token=None, token_file=None, json=False, timeout=2.0, dialect=None)
    added_to = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        run: Callable[[argparse.Namespace], int], text: str, *, asks: bool = True
    ) -> argparse.ArgumentParser:
        added = added_to.add_parser(
            run.__name__,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
        )
        added.set_defaults(run=run)
        if asks:
            added.add_argument("target", metavar="HOST[:PORT]")
        _add_options(added)
        return added

    _add_options(parser)
    command(commands.get, "read a server's counters")
    watching = command(commands.watch, "read a server's counters again and again")
    watching.add_argument("--interval", type=_duration, default=1.0, help="default: 1s")
    watching.add_argument("--count", type=_count, metavar="N", help="end after N readings")
    switching = command(
        commands.transforms, "read the state of the transforms, or switch them on or off"
    )
    switching.add_argument("state", choices=["on", "off"], nargs="?")
    checking = command(commands.check, "check whether a server keeps the protocol")
    checking.add_argument(
        "--write", action="store_true", help="also try the switch, and put it back as it was"
    )
    checking.add_argument("--junit", metavar="FILE", help="write a JUnit XML report")
    decoding = command(commands.decode, "explain a datagram byte by byte", asks=False)
    decoding.add_argument("hex", metavar="HEX", nargs="+")
    command(commands.identify, "find the dialect that a server speaks, without a token")
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command, before its name or behind it; the defaults are the main parser's."""
    group = parser.add_argument_group("options of every command")
    absent = argparse.SUPPRESS
    group.add_argument(
        "--token", default=absent, help="text, or hex: and digits; other users can see it in ps"
    )
    group.add_argument(
        "--token-file", default=absent, metavar="FILE", help="a file with the token"
    )
    group.add_argument("--dialect", default=absent, metavar="NAME", help="default: v0")
    group.add_argument(
        "--timeout",
        type=_duration,
        default=absent,
        metavar="DURATION",
        help="how long to wait for answers, default: 2s",
    )
    group.add_argument("--json", action="store_true", default=absent, help="answer in JSON")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no count: it takes 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
