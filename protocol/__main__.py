"""The `smtpstatus` command: ask, watch, switch, check and find servers, and read datagrams (docs/smtpstatus.md).

What a command needs is imported when it runs: telling the version or reading a datagram takes no asyncio.
"""

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from protocol import __version__
from protocol.duration import parse_duration

if TYPE_CHECKING:
    from protocol.client import Connection, Peer
    from protocol.dialect import Dialect
    from protocol.errors import NoReading
    from protocol.token import Token

_Answer = TypeVar("_Answer")

DONE, REFUSED, USAGE, NO_ANSWER = 0, 1, 2, 3
"""Exit statuses: done; the server said no, or a check failed; wrong usage; no answer."""

INTERRUPTED, BROKEN_PIPE = 130, 141
"""What a shell reports for a program that a signal ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            # The reader has gone; what is still buffered must not fail again when the interpreter flushes it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        print(f"smtpstatus: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def get(options: argparse.Namespace) -> int:
    from protocol.readout import as_json, as_table

    peer = _peer(options)
    reading = _ask(options, peer, lambda connection, by: connection.read(deadline=by))
    if options.json:
        print(json.dumps(as_json(options.target, peer.dialect, reading)))
    elif not reading.error:
        print(as_table(options.target, peer.dialect, reading))
    return _outcome(options, reading.error)


def transforms(options: argparse.Namespace) -> int:
    from protocol.dialect import Command

    peer = _peer(options)
    if not peer.dialect.can_switch:
        raise ValueError(f"servers of dialect {peer.dialect.name} have no transforms")
    if options.state is None:
        reading = _ask(
            options, peer, lambda connection, by: connection.ask(Command.TRANSFORMS, deadline=by)
        )
    else:
        enabled = options.state == "on"
        reading = _ask(
            options, peer, lambda connection, by: connection.set_transforms(enabled, deadline=by)
        )
    if not reading.error:
        state = bool(reading[Command.TRANSFORMS])
        answer = {"target": options.target, "enabled": state}
        print(json.dumps(answer) if options.json else f"transforms {'on' if state else 'off'}")
    elif options.json:
        print(json.dumps({"target": options.target, "enabled": None, "error": str(reading.error)}))
    return _outcome(options, reading.error)


def watch(options: argparse.Namespace) -> int:
    import asyncio

    from protocol.watch import follow

    peer = _peer(options)
    try:
        last = asyncio.run(
            follow(
                options.target,
                peer,
                interval=options.interval,
                timeout=min(options.timeout, options.interval),
                count=options.count,
                form="json" if options.json else "screen" if sys.stdout.isatty() else "lines",
            )
        )
    except KeyboardInterrupt:
        return DONE  # the way to end a watch
    return _status(last.error)


def check(options: argparse.Namespace) -> int:
    from time import monotonic

    from protocol.conformance import cases
    from protocol.dialect import Command
    from protocol.examination import Examination
    from protocol.report import Report, as_text

    peer = _peer(options)
    greeting = _ask(
        options, peer, lambda connection, by: connection.ask(Command.CONNECTIONS, deadline=by)
    )
    if greeting.error:
        return _outcome(options, greeting.error)
    address, *_ = _ask(options, peer, lambda connection, by: peer.addresses(by))
    start = monotonic()
    examination = Examination(
        address, peer.token, peer.dialect, options.timeout, lambda case: _progress(case.name)
    )
    findings = []
    for finding in examination.run(cases(peer.dialect, peer.token, write=options.write)):
        _progress(None)
        findings.append(finding)
        if not options.json:
            print(as_text(finding, peer.dialect, peer.token), flush=True)
    seconds = monotonic() - start
    report = Report(options.target, peer.dialect, peer.token, tuple(findings), seconds)
    print(json.dumps(report.as_json()) if options.json else f"\n{report.summary()}")
    if options.junit:
        Path(options.junit).write_text(report.as_junit(), encoding="utf-8")
    return DONE if report.passed else REFUSED


def _progress(waiting_for: str | None) -> None:
    """Tell on a terminal why it takes a while; None takes the line back."""
    if sys.stderr.isatty():
        text = f"waiting for the ration of errors: {waiting_for}" if waiting_for else ""
        print(f"\r\x1b[K{text[:79]}", end="", file=sys.stderr, flush=True)


def decode(options: argparse.Namespace) -> int:
    from protocol.describe import as_json, as_text, describe

    digits = "".join(options.hex).translate(dict.fromkeys(map(ord, " :\n\t")))
    try:
        datagram = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise ValueError("the datagram is not hexadecimal: two digits for each byte") from None
    descriptions = describe(datagram, [_dialect(options)] if options.dialect else ())
    if options.json:
        print(json.dumps(as_json(datagram, descriptions)))
    else:
        print("\n\n".join(map(as_text, descriptions)))
    return REFUSED if descriptions[0].faults else DONE


def identify(options: argparse.Namespace) -> int:
    import asyncio

    from protocol.identify import as_json, as_text, probe

    probes = asyncio.run(probe(options.target, options.timeout))
    print(json.dumps(as_json(options.target, probes)) if options.json else as_text(probes))
    if any(one.fits for one in probes):
        return DONE
    return REFUSED if any(one.foreign for one in probes) else NO_ANSWER


def _ask(
    options: argparse.Namespace,
    peer: "Peer",
    question: Callable[["Connection", float], Awaitable[_Answer]],
) -> _Answer:
    """Ask one question of one server, with the deadline that the user gave."""
    import asyncio

    from protocol.client import connect

    async def ask() -> _Answer:
        async with connect(peer) as connection:
            return await question(connection, asyncio.get_running_loop().time() + options.timeout)

    return asyncio.run(ask())


def _peer(options: argparse.Namespace) -> "Peer":
    from protocol.address import HostPort
    from protocol.client import Peer

    dialect = _dialect(options)
    where = HostPort.parse(options.target, dialect.default_port)
    return Peer(where, _token(options, dialect), dialect)


def _dialect(options: argparse.Namespace) -> "Dialect":
    from protocol.dialects import DIALECTS

    name = options.dialect or "v0"
    if name not in DIALECTS:
        raise ValueError(f"dialect {name!r} is not known; these are: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _token(options: argparse.Namespace, dialect: "Dialect") -> "Token":
    from protocol.token import Token

    if options.token is not None and options.token_file is not None:
        raise ValueError("--token and --token-file exclude each other")
    if options.token_file is not None:
        return Token.read(Path(options.token_file), dialect.token_length)
    text = options.token if options.token is not None else os.environ.get("SMTPSTATUS_TOKEN")
    if text is None:
        raise ValueError("no token: give --token-file or --token, or set SMTPSTATUS_TOKEN")
    return Token.parse(text, dialect.token_length)


def _outcome(options: argparse.Namespace, error: "NoReading | None") -> int:
    if error:
        print(f"smtpstatus: {options.target}: {error}", file=sys.stderr)
    return _status(error)


def _status(error: "NoReading | None") -> int:
    from protocol.errors import Contradicted, Refused

    if error is None:
        return DONE
    return REFUSED if isinstance(error, Refused | Contradicted) else NO_ANSWER


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smtpstatus",
        description="Ask, watch, switch and check SMTPStatus servers.",
        epilog="exit status: 0 done, 1 the server said no or a check failed, 2 wrong usage, 3 no answer",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"smtpstatus {__version__}")
    parser.set_defaults(token=None, token_file=None, json=False, timeout=2.0, dialect=None)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        run: Callable[[argparse.Namespace], int], text: str, *, asks: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(
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
    command(get, "read a server's counters")
    watching = command(watch, "read a server's counters again and again")
    watching.add_argument("--interval", type=_duration, default=1.0, help="default: 1s")
    watching.add_argument("--count", type=_count, metavar="N", help="end after N readings")
    switching = command(transforms, "read the state of the transforms, or switch them on or off")
    switching.add_argument("state", choices=["on", "off"], nargs="?")
    checking = command(check, "check whether a server keeps the protocol")
    checking.add_argument(
        "--write", action="store_true", help="also try the switch, and put it back as it was"
    )
    checking.add_argument("--junit", metavar="FILE", help="write a JUnit XML report")
    decoding = command(decode, "explain a datagram byte by byte", asks=False)
    decoding.add_argument("hex", metavar="HEX", nargs="+")
    command(identify, "find the dialect that a server speaks, without a token")
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
