"""What `smtpstatus get`, `watch`, `transforms`, `check`, `decode` and `identify` do, given their options.

Each returns an exit status: 0 done, 1 the server said no or a check failed, 2 wrong usage, 3 no answer.
What is wrong with the options raises `ValueError`, with the remedy in its text.
What a command needs is imported when it runs: telling the version or reading a datagram takes no asyncio.
"""

import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from protocol.address import Address
    from protocol.client import Connection, Peer, Reading
    from protocol.dialect import Dialect
    from protocol.errors import NoReading
    from protocol.multiplexer import Event, Trace
    from protocol.token import Token

Answer = TypeVar("Answer")

DONE, REFUSED, USAGE, NO_ANSWER = 0, 1, 2, 3


def get(options: Namespace) -> int:
    from protocol.cli.output import as_json, as_table

    peer = _peer(options)
    reading = _ask(options, peer, lambda connection, by: connection.read(deadline=by))
    if options.json:
        _print_json(as_json(options.target, peer.dialect, reading))
    elif not reading.error:
        print(as_table(options.target, peer.dialect, reading))
    return _outcome(options, reading.error)


def transforms(options: Namespace) -> int:
    from protocol.vocabulary import Command

    peer = _peer(options)
    if not peer.dialect.can_switch:
        raise ValueError(f"servers of dialect {peer.dialect.name} have no transforms")

    async def read_and_switch(connection: "Connection", by: float) -> "Reading":
        """Nothing is written to a server that does not answer the read: it may speak another dialect."""
        reading = await connection.ask(Command.TRANSFORMS, deadline=by)
        if options.state is None or reading.error:
            return reading
        return await connection.set_transforms(options.state == "on", deadline=by)

    reading = _ask(options, peer, read_and_switch)
    state = None if reading.error else bool(reading[Command.TRANSFORMS])
    if options.json:
        failure = {"error": str(reading.error)} if reading.error else {}
        _print_json({"target": options.target, "enabled": state, **failure})
    elif state is not None:
        print(f"transforms {'on' if state else 'off'}")
    return _outcome(options, reading.error)


def watch(options: Namespace) -> int:
    import asyncio

    from protocol.cli.watch import follow

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


def check(options: Namespace) -> int:
    import signal
    from pathlib import Path
    from time import monotonic

    from protocol.conformance.masking import Mask
    from protocol.conformance.report import Report, as_text
    from protocol.conformance.runner import Runner
    from protocol.conformance.table import cases
    from protocol.vocabulary import Command

    heard: list[Address] = []

    def hear(event: "Event") -> None:
        if event.kind == "believed":
            heard.append(event.address)

    peer = _peer(options)
    greeting = _ask(
        options,
        peer,
        lambda connection, by: connection.ask(Command.CONNECTIONS, deadline=by),
        hear,
    )
    if greeting.error:
        return _outcome(options, greeting.error)
    if options.write:
        # A checker that is ended puts the switch back as one that is interrupted does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    start = monotonic()
    examination = Runner(
        heard[-1], peer.token, peer.dialect, options.timeout, lambda case: _progress(case.name)
    )
    mask = Mask(peer.token, peer.dialect)
    findings = []
    for finding in examination.run(cases(peer.dialect, peer.token, write=options.write)):
        _progress(None)
        findings.append(finding)
        if not options.json:
            print(as_text(finding, mask), flush=True)
    seconds = monotonic() - start
    report = Report(options.target, peer.dialect, peer.token, tuple(findings), seconds)
    if options.json:
        _print_json(report.as_json())
    else:
        print(f"\n{report.summary()}")
    if options.junit:
        Path(options.junit).write_text(report.as_junit(), encoding="utf-8")
    return DONE if report.passed else REFUSED


def _progress(waiting_for: str | None) -> None:
    """Tell on a terminal why it takes a while; None takes the line back."""
    if sys.stderr.isatty():
        text = f"waiting for the ration of errors: {waiting_for}" if waiting_for else ""
        print(f"\r\x1b[K{text[:79]}", end="", file=sys.stderr, flush=True)


def decode(options: Namespace) -> int:
    from protocol.describe import as_json, as_text, describe

    digits = "".join(options.hex).translate(dict.fromkeys(map(ord, " :\n\t")))
    try:
        datagram = bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise ValueError("the datagram is not hexadecimal: two digits for each byte") from None
    descriptions = describe(datagram, [_dialect(options)] if options.dialect else ())
    if options.json:
        _print_json(as_json(datagram, descriptions))
    else:
        print("\n\n".join(map(as_text, descriptions)))
    return REFUSED if descriptions[0].faults else DONE


def identify(options: Namespace) -> int:
    import asyncio

    from protocol.cli.identify import as_json, as_text, probe

    probes = asyncio.run(probe(options.target, options.timeout))
    found = any(one.fits for one in probes)
    if options.json:
        _print_json(as_json(options.target, probes))
    else:
        print(as_text(probes), file=sys.stdout if found else sys.stderr)
    if found:
        return DONE
    return REFUSED if any(one.foreign for one in probes) else NO_ANSWER


def _ask(
    options: Namespace,
    peer: "Peer",
    question: Callable[["Connection", float], Awaitable[Answer]],
    trace: "Trace | None" = None,
) -> Answer:
    """Ask one question of one server, with the deadline that the user gave."""
    import asyncio

    from protocol.client import connect

    async def ask() -> Answer:
        async with connect(peer, trace) as connection:
            return await question(connection, asyncio.get_running_loop().time() + options.timeout)

    return asyncio.run(ask())


def _peer(options: Namespace) -> "Peer":
    from protocol.address import HostPort
    from protocol.client import Peer

    dialect = _dialect(options)
    where = HostPort.parse(options.target, dialect.default_port)
    if not where.host or not where.port:
        raise ValueError(f"{options.target!r} names no server: it takes HOST or HOST:PORT")
    return Peer(where, _token(options, dialect), dialect)


def _dialect(options: Namespace) -> "Dialect":
    from protocol.dialects import DIALECTS

    name = options.dialect or "v0"
    if name not in DIALECTS:
        raise ValueError(f"dialect {name!r} is not known; these are: {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _token(options: Namespace, dialect: "Dialect") -> "Token":
    from pathlib import Path

    from protocol.token import Token

    if options.token is not None and options.token_file is not None:
        raise ValueError("--token and --token-file exclude each other")
    if options.token_file is not None:
        return Token.read(Path(options.token_file), dialect.token_length)
    text = options.environment_token if options.token is None else options.token
    if text is None:
        raise ValueError("no token: give --token-file or --token, or set SMTPSTATUS_TOKEN")
    return Token.parse(text, dialect.token_length)


def _outcome(options: Namespace, error: "NoReading | None") -> int:
    if error:
        print(f"smtpstatus: {options.target}: {error}", file=sys.stderr)
    return _status(error)


def _status(error: "NoReading | None") -> int:
    from protocol.errors import ReadbackMismatch, Refused

    if error is None:
        return DONE
    return REFUSED if isinstance(error, Refused | ReadbackMismatch) else NO_ANSWER


def _print_json(document: dict[str, object]) -> None:
    import json

    print(json.dumps(document))
