"""All tests for a server, as a table of cases (docs/protocol.md).

The table is made for a dialect and a token, and contains only values; protocol/conformance/runner.py sends it.
No case sends a command that writes, unless that is requested. The order is that in which a good server passes soonest:
requests that are always answered, then errors, whose responses a server limits, and last the loop, which uses up that
limit.
"""

from collections.abc import Iterator, Sequence
from random import Random, SystemRandom

from protocol.conformance.case import Case, Mode, Requirement, Step
from protocol.conformance.datagrams import Datagrams
from protocol.conformance.expectation import Expectation
from protocol.dialect import Dialect
from protocol.token import Token
from protocol.vocabulary import COUNTERS, FLAGS, Command, Status

_LONGEST_BYTES = 1400
_SIZES = (*range(65), _LONGEST_BYTES)
_CONCURRENT_REQUESTS = 32


def cases(
    dialect: Dialect, token: Token, *, write: bool = False, random: Random | None = None
) -> tuple[Case, ...]:
    """The table for one dialect; `write` adds the commands that switch the transforms.

    `random` draws the wrong tokens; the default is the system's generator.
    """
    datagrams = Datagrams(dialect, token, random or SystemRandom())
    table = [*_reads(datagrams), *_foreign(datagrams)]
    if write and dialect.can_switch:
        table.append(_switch(datagrams))
    table += _errors(datagrams)
    return tuple(case for case in table if case.steps)


def _reads(datagrams: Datagrams) -> Iterator[Case]:
    dialect, read = datagrams.dialect, datagrams.read
    for command in dialect.reads:
        name = command.name.replace("_", " ").lower()
        yield Case(f"{name} can be read", "3.2", (read(command),))
    numbers = [command for command in dialect.reads if command not in FLAGS]
    yield Case(
        "numbers have the dialect's byte order and width",
        "4.2",
        tuple(map(read, numbers)),
        requirement=Requirement.PLAUSIBLE,
    )
    pair = (Command.ACTIVE_CONNECTIONS, Command.CONNECTIONS)
    if set(pair) <= set(numbers):
        yield Case(
            "active connections do not exceed total connections",
            "7",
            tuple(map(read, pair)),
            requirement=Requirement.ORDERED,
        )
    counters = [command for command in numbers if command in COUNTERS]
    yield Case(
        "counters never decrease",
        "7",
        tuple(map(read, 3 * counters)),
        requirement=Requirement.GROWING,
    )
    yield Case("a request gets exactly one response", "5.3", (read(datagrams.first),), once=True)
    if dialect.identifier_echo != "never":
        largest = datagrams.largest
        edges = sorted({0, 1, 255, min(256, largest), largest // 2, largest // 2 + 1, largest})
        steps = tuple(read(datagrams.first, identifier) for identifier in edges)
        yield Case("the RID is echoed, whatever its value", "3.1", steps)
        yield _concurrent(datagrams, "simultaneous requests are all answered", "2")


def _concurrent(datagrams: Datagrams, name: str, clause: str) -> Case:
    reads = datagrams.dialect.reads
    steps = tuple(
        datagrams.read(reads[number % len(reads)], number)
        for number in range(min(_CONCURRENT_REQUESTS, datagrams.largest))
    )
    return Case(name, clause, steps, Mode.CONCURRENT)


def _foreign(datagrams: Datagrams) -> Iterator[Case]:
    dialect, valid = datagrams.dialect, datagrams.valid
    signature, width = dialect.signature, len(dialect.signature)
    if not width:
        return
    foreign = {
        bytes([signature[0] ^ 1]) + signature[1:],
        signature[:-1] + bytes([signature[-1] ^ 0x80]),
        signature[::-1],
        bytes(width),
        b"\xff" * width,
    } - {signature}
    known = {Status.INVALID_SIGNATURE} & dialect.status_codes.keys()
    faults = frozenset() if dialect.silent_errors else frozenset(known)
    silence = Expectation(faults, silence=True)
    requests = [wrong + valid[width:] for wrong in sorted(foreign)]
    sizes = (width + 1, 9, len(valid) + 1)
    requests += [(requests[0] + b"\0")[:size] for size in sizes]
    faulty = datagrams.request(version=7, token=datagrams.wrong)
    requests.append(requests[0][:width] + faulty[width:])
    steps = tuple(Step(sent, silence) for sent in requests)
    outcome = "gets at most an error" if faults else "gets no response"
    yield Case(f"a foreign signature {outcome}, whatever follows", "5.1", steps)
    steps = tuple(Step(valid[:size], silence) for size in range(width))
    yield Case(f"a datagram without a complete signature {outcome}", "5.1", steps)


def _switch(datagrams: Datagrams) -> Case:
    dialect = datagrams.dialect
    steps = []
    for state in (False, True, True, False, False):
        # A server may report that it has no transform program to enable, and stay off.
        lacks = state and Status.NO_TRANSFORM_PROGRAM in dialect.status_codes
        command = Command.ENABLE_TRANSFORMS if state else Command.DISABLE_TRANSFORMS
        flag = dialect.operations[command].flag and dialect.operations[command].value
        right = {Status.DONE, Status.NO_TRANSFORM_PROGRAM} if lacks else {Status.DONE}
        written = Expectation(
            frozenset(right), command=command, value=state if flag and not lacks else None
        )
        steps.append(Step(datagrams.request(command), written))
        read = datagrams.done(Command.TRANSFORMS, value=None if lacks else state)
        steps.append(Step(datagrams.request(Command.TRANSFORMS), read))
    return Case("the transforms are switched and read back", "6.5", tuple(steps), writes=True)


def _errors(datagrams: Datagrams) -> Iterator[Case]:
    dialect, request = datagrams.dialect, datagrams.request
    yield _rejected(
        datagrams,
        "a wrong token",
        "3.3",
        Status.AUTHENTICATION_FAILED,
        [request(token=wrong) for wrong in datagrams.wrong_tokens()],
    )
    yield _rejected(
        datagrams,
        "a wrong version",
        "4.1",
        Status.INVALID_VERSION,
        [request(version=version) for version in (1, 7, 255) if version != dialect.version],
    )
    codes = datagrams.unknown_codes
    yield _rejected(
        datagrams,
        f"an unknown command ({', '.join(f'{code:02x}' for code in codes)})",
        "4.1",
        Status.INVALID_COMMAND,
        [request(code=code) for code in codes],
    )
    name = "the first error in the specified order is reported"
    if dialect.silent_errors:
        name = "a request with several errors gets no response"
    yield Case(name, "5.2", tuple(_several_errors(datagrams)))
    if not dialect.silent_errors:
        step = datagrams.wrong_token_step()
        yield Case("an error response is sent once", "5.3", (step,), once=True)
        yield Case("an error response carries no number", "6.2", tuple(_blank(datagrams)))
    yield from _sizes(datagrams)
    if dialect.matches_responses and not dialect.silent_errors:
        steps = tuple(_error_identifiers(datagrams))
        yield Case("the RID is echoed in error responses", "3.1", steps)
    name = "the server's own responses, sent back to it, do not loop"
    yield Case(name, "6.1", (datagrams.wrong_token_step(),), Mode.ECHO)
    if dialect.identifier_echo != "never":
        name = "valid requests are answered after the error limit is used up"
        yield _concurrent(datagrams, name, "6.1")


def _rejected(
    datagrams: Datagrams, what: str, clause: str, status: Status, requests: Sequence[bytes]
) -> Case:
    steps = tuple(datagrams.error_step(sent, status) for sent in requests)
    return Case(f"{what} {datagrams.outcome(status)}", clause, steps)


def _several_errors(datagrams: Datagrams) -> Iterator[Step]:
    request, step = datagrams.request, datagrams.error_step
    unknown, wrong = datagrams.unknown_codes[0], datagrams.wrong
    version = 8 if datagrams.dialect.version == 7 else 7
    size = request(version=version)[:-1]
    yield step(size, Status.INVALID_REQUEST)
    every = request(version=version, token=wrong, code=unknown) + b"\0"
    yield step(every, Status.INVALID_REQUEST)
    yield step(request(version=version, token=wrong), Status.INVALID_VERSION)
    yield step(request(version=version, code=unknown), Status.INVALID_VERSION)
    yield step(request(token=wrong, code=unknown), Status.AUTHENTICATION_FAILED)


def _blank(datagrams: Datagrams) -> Iterator[Step]:
    """Each error after a number that a server could leave in the response."""
    request = datagrams.request
    counters = [command for command in datagrams.dialect.reads if command in COUNTERS]
    numbers = counters or datagrams.dialect.reads
    faulty = {
        Status.AUTHENTICATION_FAILED: request(token=datagrams.wrong),
        Status.INVALID_VERSION: request(version=8 if datagrams.dialect.version == 7 else 7),
        Status.INVALID_COMMAND: request(code=datagrams.unknown_codes[0]),
        Status.INVALID_REQUEST: datagrams.valid[:-1],
    }
    for status, sent in faulty.items():
        yield from map(datagrams.read, numbers)
        yield datagrams.any_error(sent, status, blank=True)


def _error_identifiers(datagrams: Datagrams) -> Iterator[Step]:
    dialect, largest, valid = datagrams.dialect, datagrams.largest, datagrams.valid
    request, step = datagrams.request, datagrams.any_error
    wrong = request(token=datagrams.wrong, identifier=largest)
    yield step(wrong, Status.AUTHENTICATION_FAILED, identifier=largest)
    version = 8 if dialect.version == 7 else 7
    other = request(version=version, identifier=largest - 1)
    yield step(other, Status.INVALID_VERSION, identifier=largest - 1)
    unknown = request(code=datagrams.unknown_codes[0], identifier=1)
    yield step(unknown, Status.INVALID_COMMAND, identifier=1)
    end = dialect.request_identifier.end
    for size in (end, len(valid) - 1, len(valid) + 1):
        identifier = datagrams.identifier if size >= end else 0
        yield step((valid + b"\0")[:size], Status.INVALID_REQUEST, identifier=identifier)
    yield step(valid[: end - 1], Status.INVALID_REQUEST, identifier=0)


def _sizes(datagrams: Datagrams) -> Iterator[Case]:
    valid = datagrams.valid
    outcome = datagrams.outcome(Status.INVALID_REQUEST)
    width = len(datagrams.dialect.signature)
    groups = (
        (
            f"a short datagram {outcome} and is not completed from an earlier one",
            [size for size in _SIZES if width <= size < len(valid)],
        ),
        (
            f"a long datagram {outcome}",
            [size for size in _SIZES if len(valid) < size < _LONGEST_BYTES],
        ),
        (f"a datagram of {_LONGEST_BYTES:,} bytes {outcome}", [_LONGEST_BYTES]),
    )
    for name, sizes in groups:
        requests = [valid.ljust(size, b"\0")[:size] for size in sizes]
        steps = tuple(datagrams.error_step(sent, Status.INVALID_REQUEST) for sent in requests)
        yield Case(name, "4.1", steps)
