"""The argument parser of the `smtpstatus` command. It imports no subcommand: `options.command` names the module."""

import argparse

from smtpstatus.duration import parse_duration
from smtpstatus.version import __version__

_EPILOG = (
    "Exit status: 0 done; 1 the server refused, or a check failed; 2 wrong usage; 3 no response. "
    "The environment variables SMTPSTATUS_TOKEN and SMTPSTATUS_DIALECT are the defaults of --token and --dialect."
)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command; the parsed namespace has the subcommand's name in `command`."""
    main = argparse.ArgumentParser(
        prog="smtpstatus",
        description="Read, watch, switch and check SMTPStatus servers.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    main.add_argument("--version", action="version", version=f"smtpstatus {__version__}")
    main.set_defaults(
        token=None, token_file=None, dialect=None, dialect_file=None, timeout=2.0, json=False
    )
    _add_common(main)
    subparsers = main.add_subparsers(metavar="COMMAND", required=True)
    _add_get(_subcommand(subparsers, "get", "read the counters of servers"))
    _add_watch(_subcommand(subparsers, "watch", "read a server's counters repeatedly"))
    _add_transforms(
        _subcommand(subparsers, "transforms", "read the state of the transforms, or set it")
    )
    _add_check(_subcommand(subparsers, "check", "check whether a server conforms to the protocol"))
    _add_target(_subcommand(subparsers, "identify", "find the dialect that a server speaks"))
    _add_decode(_subcommand(subparsers, "decode", "explain a datagram byte by byte"))
    return main


def _subcommand(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    added = subparsers.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    added.set_defaults(command=name)
    _add_common(added)
    return added


def _add_common(added: argparse.ArgumentParser) -> None:
    """The options of every subcommand, before its name or after it; the defaults are the main parser's."""
    group = added.add_argument_group("options of every command")
    absent = argparse.SUPPRESS
    group.add_argument(
        "--token",
        default=absent,
        help="token as text, or hex: and hex digits; other users can read it in the process list",
    )
    group.add_argument(
        "--token-file", default=absent, metavar="FILE", help="file that contains the token"
    )
    group.add_argument(
        "--dialect", default=absent, metavar="NAME", help="dialect of the server (default: v0)"
    )
    group.add_argument(
        "--dialect-file",
        default=absent,
        metavar="FILE",
        help="YAML file with further dialects under dialects:",
    )
    group.add_argument(
        "--timeout",
        type=_duration,
        default=absent,
        metavar="DURATION",
        help="maximum time to wait for responses (default: 2s)",
    )
    group.add_argument("--json", action="store_true", default=absent, help="print JSON")


def _add_target(added: argparse.ArgumentParser) -> None:
    added.add_argument("target", metavar="HOST[:PORT]")


def _add_get(added: argparse.ArgumentParser) -> None:
    added.add_argument("targets", metavar="HOST[:PORT]", nargs="*")
    added.add_argument(
        "-f",
        "--file",
        metavar="FILE",
        help="read further servers from FILE, one per line; - is standard input",
    )
    added.add_argument(
        "--format",
        choices=["text", "json", "prometheus"],
        help="output format; prometheus is for the textfile collector (default: text)",
    )


def _add_watch(added: argparse.ArgumentParser) -> None:
    _add_target(added)
    added.add_argument(
        "--interval",
        type=_duration,
        default=1.0,
        metavar="DURATION",
        help="time between two readings (default: 1s)",
    )
    added.add_argument(
        "--count", type=_count, metavar="N", help="exit after N readings (default: no limit)"
    )


def _add_transforms(added: argparse.ArgumentParser) -> None:
    _add_target(added)
    added.add_argument("state", choices=["on", "off"], nargs="?")


def _add_check(added: argparse.ArgumentParser) -> None:
    _add_target(added)
    added.add_argument(
        "--write",
        action="store_true",
        help="also switch the transforms, and restore their state",
    )
    added.add_argument("--junit", metavar="FILE", help="write a JUnit XML report to FILE")


def _add_decode(added: argparse.ArgumentParser) -> None:
    added.add_argument("hex", metavar="HEX", nargs="+")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"invalid count {text!r}: expected 1 or more")
    return int(text)
