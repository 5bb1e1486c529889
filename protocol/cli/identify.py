"""`smtpstatus identify`: finds the dialect that a server speaks.

The same command byte reads in one dialect and writes in another, and a server may ignore the signature and the length.
So a probe is sent only if no known dialect reads a command that writes from it. Without --token it
carries a token of zeros: "authentication failed" proves a dialect as well as a value does, and no secret goes to an
unknown server.
"""

import asyncio
import sys
from argparse import Namespace
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.address import HostPort
from protocol.cli.options import dialects_of, print_json, token_of
from protocol.cli.status import DONE, NO_RESPONSE, REFUSED
from protocol.client import Peer, Reading, connect
from protocol.dialect import Dialect
from protocol.errors import InvalidResponses, Refused, TokenError
from protocol.message import Request
from protocol.plausibility import doubt
from protocol.token import Token
from protocol.vocabulary import WRITES, Command

_GRACE_S = 0.25
"""Seconds to wait for further responses of an address after its first."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to one address in one dialect."""

    where: HostPort
    dialect: Dialect
    token: Token
    command: Command


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server returned to a probe; `reading` is None if another probe was answered first."""

    probe: Probe
    reading: Reading | None

    @property
    def fits(self) -> bool:
        """Whether the response is one of the probe's dialect, be it an error, with plausible numbers."""
        if self.reading is None:
            return False
        if self.reading.error:
            return isinstance(self.reading.error, Refused)
        return doubt(self.reading.values, self.probe.dialect) is None

    @property
    def is_foreign(self) -> bool:
        """Whether responses arrived, none of them of the probe's dialect."""
        return self.reading is not None and isinstance(self.reading.error, InvalidResponses)

    @property
    def text(self) -> str:
        if self.reading is None:
            return "no response"
        return str(self.reading.error or doubt(self.reading.values, self.probe.dialect) or "done")


def run(options: Namespace) -> int:
    """Returns the exit status: 0 if a dialect was found, 1 if there are only foreign responses, 3 if there are none."""
    dialects = dialects_of(options)
    probes, unsafe = _probes(options.target, dialects.values(), _tokens(options, dialects))
    outcomes = asyncio.run(_send(probes, options.timeout))
    fitting = [outcome for outcome in outcomes if outcome.fits]
    notes = _notes(fitting, dialects.values(), unsafe, has_token=_has_token(options))
    if options.json:
        print_json(as_json(options.target, outcomes, notes))
    else:
        stream = sys.stdout if fitting else sys.stderr
        print("\n".join(_lines(outcomes)), file=stream)
        for note in notes:
            print(f"note: {note}", file=stream)
    if fitting:
        return DONE
    return REFUSED if any(outcome.is_foreign for outcome in outcomes) else NO_RESPONSE


def _has_token(options: Namespace) -> bool:
    return options.token is not None or options.token_file is not None


def _tokens(options: Namespace, dialects: Mapping[str, Dialect]) -> Mapping[str, Token]:
    """The token of the options for each dialect whose length it has. Raises `TokenError` if no dialect has it."""
    if not _has_token(options):
        return {}
    found, error = {}, None
    for dialect in dialects.values():
        try:
            found[dialect.name] = token_of(options, dialect)
        except TokenError as wrong:
            error = error or wrong
    if error and not found:
        raise error
    return found


def _probes(
    target: str, dialects: Collection[Dialect], tokens: Mapping[str, Token]
) -> tuple[list[Probe], list[Dialect]]:
    """The probes, and the dialects in which no probe is safe.

    Without a port in `target`, each default port is probed. Raises `ValueError`.
    """
    ports = sorted({dialect.default_port for dialect in dialects})
    places = dict.fromkeys(HostPort.parse(target, port) for port in ports)
    if any(not where.host or not where.port for where in places):
        raise ValueError(f"{target!r} is not a server address: write HOST or HOST:PORT")
    probes: list[Probe] = []
    unsafe = []
    for dialect in dialects:
        token = tokens.get(dialect.name, Token(bytes(dialect.token_length)))
        safe = [
            command for command in dialect.reads if _is_safe(dialect, token, command, dialects)
        ]
        if safe:
            probes += [Probe(where, dialect, token, safe[0]) for where in places]
        else:
            unsafe.append(dialect)
    return probes, unsafe


def _is_safe(
    dialect: Dialect, token: Token, command: Command, dialects: Iterable[Dialect]
) -> bool:
    """Whether no known dialect reads the request as a command that writes."""
    code = dialect.operations[command].code
    sent = Request(0, token.octets, code).encode(dialect)
    for other in dialects:
        writes = {other.operations[one].code for one in WRITES & other.operations.keys()}
        if writes & set(sent[other.command.span]):
            return False
    return True


async def _send(probes: Sequence[Probe], timeout: float) -> list[Outcome]:
    """Send all probes simultaneously; returns soon after every address that responds has done so."""
    tasks = {asyncio.create_task(_ask(probe, timeout)): probe for probe in probes}
    unanswered = set(tasks)
    while unanswered:
        _, unanswered = await asyncio.wait(unanswered, return_when=asyncio.FIRST_COMPLETED)
        answered = {
            tasks[task].where
            for task in tasks.keys() - unanswered
            if Outcome(tasks[task], task.result()).fits
        }
        if {tasks[task].where for task in unanswered} <= answered:
            break
    if unanswered:
        await asyncio.wait(unanswered, timeout=min(_GRACE_S, timeout))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [
        Outcome(probe, None if task.cancelled() else task.result())
        for task, probe in tasks.items()
    ]


async def _ask(probe: Probe, timeout: float) -> Reading:
    async with connect(Peer(probe.where, probe.token, probe.dialect)) as connection:
        return await connection.ask(probe.command, timeout=timeout)


def _notes(
    fitting: Sequence[Outcome],
    dialects: Iterable[Dialect],
    unsafe: Sequence[Dialect],
    *,
    has_token: bool,
) -> list[str]:
    """Sentences about dialects that the probes cannot distinguish."""
    notes = [
        f"not probed in dialect {dialect.name}: its reads are commands that write in another dialect"
        for dialect in unsafe
    ]
    if silent := [dialect.name for dialect in dialects if dialect.silent_errors]:
        if not has_token:
            notes.append(
                f"a server of {' or '.join(silent)} does not answer a wrong token: pass --token to find it"
            )
    elif not fitting and not has_token:
        notes.append("a server that does not answer a wrong token is found only with --token")
    by_address: dict[HostPort, list[str]] = {}
    for outcome in fitting:
        by_address.setdefault(outcome.probe.where, []).append(outcome.probe.dialect.name)
    for where, names in by_address.items():
        if len(names) > 1:
            remedy = "compare the values of get" if has_token else "pass --token"
            notes.append(
                f"the response of {where} is the same in {' and '.join(names)}: {remedy} to distinguish them"
            )
    return notes


def _lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Text report: the dialect of each address, or, if there is none, what each address returned."""
    if fitting := [one.probe for one in outcomes if one.fits]:
        return [f"{probe.where} speaks {probe.dialect.name}" for probe in fitting]
    texts = {one.probe.where: one.text for one in outcomes}
    texts |= {
        one.probe.where: "responds in no known dialect" for one in outcomes if one.is_foreign
    }
    return [f"{where}: {text}" for where, text in texts.items()]


def as_json(target: str, outcomes: Sequence[Outcome], notes: Sequence[str]) -> dict[str, object]:
    """JSON report: matching dialects, every probe with its outcome, and dialects that cannot be distinguished."""
    return {
        "target": target,
        "dialects": [
            {"address": str(one.probe.where), "dialect": one.probe.dialect.name}
            for one in outcomes
            if one.fits
        ],
        "probes": [
            {
                "address": str(one.probe.where),
                "dialect": one.probe.dialect.name,
                "fits": one.fits,
                "result": one.text,
            }
            for one in outcomes
        ],
        "notes": list(notes),
    }
