"""`smtpstatus check`: checks whether a server conforms to the protocol."""

import signal
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TextIO

from protocol.address import Address
from protocol.cli.client import ask, peer_of, report
from protocol.cli.options import dialect_of, print_json
from protocol.cli.status import DONE, REFUSED
from protocol.client import Peer
from protocol.conformance.case import Case
from protocol.conformance.report import Report, Writer
from protocol.conformance.runner import Result, Runner
from protocol.conformance.table import cases


def run(options: Namespace) -> int:
    """Returns the exit status. The JUnit file is opened first: a path that cannot be written fails at the start."""
    peer = peer_of(options, options.target, dialect_of(options))
    with _opened(options.junit) as junit:
        start = monotonic()
        greeting = ask(options, peer, peer.dialect.reads[0])
        results: Sequence[Result] = ()
        if greeting.server and not greeting.error:
            results = _results(options, peer, greeting.server)
        error = str(greeting.error) if greeting.error else None
        seconds = monotonic() - start
        outcome = Report(options.target, peer.dialect, peer.token, tuple(results), seconds, error)
        if junit:
            junit.write(outcome.as_junit())
    if options.json:
        print_json(outcome.as_json())
    elif not greeting.error:
        print(f"\n{outcome.summary()}")
    if greeting.error:
        return report(options.target, greeting.error)
    return DONE if outcome.passed else REFUSED


def _results(options: Namespace, peer: Peer, address: Address) -> list[Result]:
    """Run every case, and print each result unless --json collects them."""
    if options.write:
        # SIGTERM restores the transforms as an interrupt does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    writer = Writer(peer.token, peer.dialect)
    runner = Runner(address, peer.token, peer.dialect, options.timeout, _show_waiting)
    results = []
    for result in runner.run(cases(peer.dialect, peer.token, write=options.write)):
        _progress("")
        results.append(result)
        if not options.json:
            print(writer.as_text(result), flush=True)
    return results


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
    else:
        with Path(path).open("w", encoding="utf-8") as file:
            yield file


def _show_waiting(case: Case) -> None:
    _progress(f"waiting for the server's error rate limit: {case.name}")


def _progress(text: str) -> None:
    """Replace the last line of standard error, if that is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:79]}", end="", file=sys.stderr, flush=True)
