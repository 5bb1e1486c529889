"""What a server must do, as a table of cases (docs/protocol.md).

The table is made for a dialect and a token and holds nothing but values; protocol/conformance/runner.py sends it.
No case sends a command that writes, unless it is asked for. The order is that in which a good server passes soonest:
first what is always answered, then errors, which a server rations, and last the loop, which uses that ration up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random, SystemRandom

from protocol.conformance.case import Case, Expectation, Mode, Requirement, Step
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.message import Request
from protocol.token import Token
from protocol.vocabulary import COUNTERS, FLAGS, Command, Status

_LONGEST = 1400
_SIZES = (*range(65), _LONGEST)
_PARALLEL = 32
_IDENTIFIER = b"\x12\x34\x56\x78\x9a\xbc\xde\xf0"


def cases(
    dialect: Dialect, token: Token, *, write: bool = False, random: Random | None = None
) -> tuple[Case, ...]:
    """The table for one dialect; `write` adds the commands that switch the transforms.

    `random` draws the wrong tokens: by default the system's generator.
    """
    table = _Table(dialect, token, random or SystemRandom())
    found = [*table.reads(), *table.silences(), *table.switches(write), *table.errors()]
    return tuple(case for case in found if case.steps)


def unsafe_codes(dialect: Dialect) -> frozenset[int]:
    """The codes that any known dialect has, except those that `dialect` reads with: one may write somewhere."""
    known = {code for one in (dialect, *DIALECTS.values()) for code in one.codes}
    return frozenset(known - {dialect.operations[command].code for command in dialect.reads})


class _Table:
    def __init__(self, dialect: Dialect, token: Token, random: Random) -> None:
        self.dialect = dialect
        self.token = token.octets
        size = dialect.request_identifier.size
        self.identifier = int.from_bytes(_IDENTIFIER[:size])
        self.largest = 256**size - 1
        self.random = random
        self.wrong = self.wrong_token()
        self.unknown_codes = self.free_codes()
        self.good = self.request()

    def request(
        self,
        command: Command = Command.CONNECTIONS,
        *,
        code: int | None = None,
        identifier: int | None = None,
        token: bytes | None = None,
        version: int | None = None,
    ) -> bytes:
        datagram = bytearray(
            Request(
                self.identifier if identifier is None else identifier,
                self.token if token is None else token,
                self.dialect.operations[command].code if code is None else code,
            ).encode(self.dialect)
        )
        if version is not None:
            datagram[len(self.dialect.signature)] = version
        return bytes(datagram)

    def done(
        self, command: Command, identifier: int | None = None, value: bool | None = None
    ) -> Expectation:
        return Expectation(
            frozenset({Status.DONE}), identifier=identifier, command=command, value=value
        )

    def error(self, status: Status) -> Expectation:
        """An error by name, or whatever an error can be where the dialect has no such status."""
        known = status in self.dialect.status_codes
        statuses = {status} if known else self.dialect.status_codes.keys() - {Status.DONE}
        silent = not known or self.dialect.silent_errors
        return Expectation(frozenset(statuses), silence=silent)

    def read(self, command: Command, identifier: int | None = None) -> Step:
        return Step(self.request(command, identifier=identifier), self.done(command, identifier))

    def reads(self) -> Iterator[Case]:
        dialect = self.dialect
        for command in dialect.reads:
            name = f"{command.value.replace('_', ' ')} can be read"
            yield Case(name, "3.2", (self.read(command),))
        numbers = [command for command in dialect.reads if command not in FLAGS]
        order = {"big": "network", "little": "little-endian"}[dialect.byte_order]
        yield Case(
            f"numbers are in {order} byte order",
            "4.2",
            tuple(map(self.read, numbers)),
            rule=Requirement.SENSIBLE,
        )
        if Command.ACTIVE_CONNECTIONS in numbers:
            pair = (Command.ACTIVE_CONNECTIONS, Command.CONNECTIONS)
            name = "no more connections are open than there have been"
            yield Case(name, "7", tuple(map(self.read, pair)), rule=Requirement.ORDERED)
        counters = [command for command in numbers if command in COUNTERS]
        yield Case(
            "counters only grow",
            "7",
            tuple(map(self.read, 3 * counters)),
            rule=Requirement.GROWING,
        )
        yield Case(
            "a request gets one answer", "5.3", (self.read(Command.CONNECTIONS),), once=True
        )
        if dialect.identifier_echo != "never":
            edges = sorted(
                {0, 1, 255, 256, self.largest // 2, self.largest // 2 + 1, self.largest}
            )
            steps = tuple(self.read(Command.CONNECTIONS, identifier=rid) for rid in edges)
            yield Case("the RID comes back, whatever it is", "3.1", steps)
            yield self.parallel("requests at once are all answered, in any order", "2")

    def parallel(self, name: str, clause: str) -> Case:
        reads = self.dialect.reads
        many = min(_PARALLEL, self.largest)
        steps = tuple(
            self.read(reads[number % len(reads)], identifier=number) for number in range(many)
        )
        return Case(name, clause, steps, Mode.AT_ONCE)

    def silences(self) -> Iterator[Case]:
        signature = self.dialect.signature
        width = len(signature)
        foreign = {
            bytes([signature[0] ^ 1]) + signature[1:],
            signature[:-1] + bytes([signature[-1] ^ 0x80]),
            signature[::-1],
            bytes(width),
            b"\xff" * width,
        } - {signature}
        faults = {Status.INVALID_SIGNATURE} & self.dialect.status_codes.keys()
        silence = Expectation(frozenset(faults), silence=True)
        others = [wrong + self.good[width:] for wrong in sorted(foreign)]
        worse = [(others[0] + b"\0")[:size] for size in (width + 1, 9, len(others[0]) + 1)]
        worse += [others[0][:width] + self.request(version=7, token=self.wrong)[width:]]
        steps = [Step(sent, silence) for sent in others + worse]
        yield Case("a foreign signature is not answered, whatever follows", "5.1", tuple(steps))
        steps = [Step(self.good[:size], silence) for size in range(width)]
        yield Case("a datagram without a whole signature is not answered", "5.1", tuple(steps))

    def wrong_token(self) -> bytes:
        """Random bytes, none of them the token's at that place, nor the code of a command in any dialect."""
        allowed = set(range(128, 256)) - set(self.dialect.codes) - unsafe_codes(self.dialect)
        return bytes(self.random.choice(sorted(allowed - {octet})) for octet in self.token)

    def switches(self, write: bool) -> Iterator[Case]:
        dialect = self.dialect
        if not (write and dialect.can_switch):
            return
        steps = []
        for state in (False, True, True, False, False):
            # Where a server may have nothing to switch on, it says so, and stays off.
            lacks = state and Status.NO_TRANSFORM_PROGRAM in dialect.status_codes
            command = Command.ENABLE_TRANSFORMS if state else Command.DISABLE_TRANSFORMS
            flag = dialect.operations[command].flag and not lacks
            right = {Status.DONE, Status.NO_TRANSFORM_PROGRAM} if lacks else {Status.DONE}
            written = Expectation(frozenset(right), command=command, value=state if flag else None)
            steps.append(Step(self.request(command), written))
            read = self.done(Command.TRANSFORMS, value=None if lacks else state)
            steps.append(Step(self.request(Command.TRANSFORMS), read))
        yield Case("the transforms are switched and read back", "6.5", tuple(steps), writes=True)

    def errors(self) -> Iterator[Case]:
        yield Case("a wrong token is told", "3.3", tuple(self.wrong_tokens()))
        versions = [v for v in (1, 7, 255) if v != self.dialect.version]
        told = self.error(Status.INVALID_VERSION)
        yield Case(
            "a wrong version is told",
            "4.1",
            tuple(Step(self.request(version=version), told) for version in versions),
        )
        told = self.error(Status.INVALID_COMMAND)
        codes = " ".join(f"{code:02x}" for code in self.unknown_codes)
        yield Case(
            f"the unknown commands {codes} are rejected",
            "4.1",
            tuple(Step(self.request(code=code), told) for code in self.unknown_codes),
        )
        yield Case("the first fault in the order is told", "5.2", tuple(self.orders()))
        yield Case("an error gets one answer", "5.3", (self.auth_failure(),), once=True)
        yield from self.built_whole()
        yield from self.sizes()
        if self.dialect.identifier_echo == "always" and not self.dialect.zeroed_errors:
            yield Case("the RID comes back in errors", "3.1", tuple(self.error_identifiers()))
        yield Case("its own answers sent back die out", "6.1", (self.auth_failure(),), Mode.ECHOED)
        if self.dialect.identifier_echo != "never":
            yield self.parallel("requests are answered also to who has had his errors", "6.1")

    def auth_failure(self) -> Step:
        wrong = self.request(token=self.wrong)
        return Step(wrong, self.error(Status.AUTHENTICATION_FAILED))

    def wrong_tokens(self) -> Iterator[Step]:
        """Unrelated tokens, zeros, and tokens of which one half is right."""
        half = len(self.token) // 2
        tokens = [self.wrong, self.wrong_token(), self.wrong_token(), bytes(len(self.token))]
        if half:
            tokens += [
                self.token[:half] + self.wrong[half:],
                self.wrong[:half] + self.token[half:],
            ]
        for wrong in dict.fromkeys(tokens):
            if wrong != self.token:
                told = self.error(Status.AUTHENTICATION_FAILED)
                yield Step(self.request(token=wrong), told)

    def free_codes(self) -> list[int]:
        """Codes of the upper half that no dialect knows: the first, one in the middle, and the last."""
        known = unsafe_codes(self.dialect) | self.dialect.codes.keys()
        free = [code for code in range(128, 256) if code not in known]
        return [free[0], free[len(free) // 2], free[-1]]

    def orders(self) -> Iterator[Step]:
        unknown = self.unknown_codes[0]
        size = self.error(Status.INVALID_REQUEST)
        version = self.error(Status.INVALID_VERSION)
        authentication = self.error(Status.AUTHENTICATION_FAILED)
        yield Step(self.request(version=7)[:-1], size)
        yield Step(self.request(version=7, token=self.wrong, code=unknown) + b"\0", size)
        yield Step(self.request(version=7, token=self.wrong), version)
        yield Step(self.request(version=7, code=unknown), version)
        yield Step(self.request(token=self.wrong, code=unknown), authentication)

    def error_identifiers(self) -> Iterator[Step]:
        largest = self.largest
        unknown = self.unknown_codes[0]
        whole = self.good
        yield self.echo(self.request(token=self.wrong, identifier=largest), largest)
        yield self.echo(self.request(version=7, identifier=largest - 1), largest - 1)
        yield self.echo(self.request(code=unknown, identifier=1), 1)
        for size in (self.dialect.request_identifier.end, len(whole) - 1, len(whole) + 1):
            yield self.echo((whole + b"\0")[:size], self.identifier)
        yield self.echo(whole[: self.dialect.request_identifier.end - 1], 0)

    def echo(self, sent: bytes, identifier: int) -> Step:
        """Any error will do, if it has the RID."""
        return Step(sent, replace(self.any_error(sent), identifier=identifier))

    def any_error(self, sent: bytes) -> Expectation:
        """Also "done", where a server does not see the fault: that is another case's."""
        sized = len(sent) == self.dialect.request_length
        told = sized or Status.INVALID_REQUEST in self.dialect.status_codes
        return Expectation(frozenset(Status), silence=self.dialect.silent_errors or not told)

    def built_whole(self) -> Iterator[Case]:
        """Where answers have padding they are a structure in memory, and their errors may hold anything."""
        dialect = self.dialect
        size = len(dialect.header) + dialect.response_identifier.size + 1 + dialect.result.size
        if size == dialect.response_length:
            unknown = self.unknown_codes[0]
            faulty = [
                self.request(token=self.wrong),
                self.request(version=7),
                self.request(code=unknown),
                self.good[:-1],
            ]
            read = self.read(Command.TRANSFERRED_BYTES)
            steps = [
                step
                for sent in faulty
                for step in (read, Step(sent, replace(self.any_error(sent), blank=True)))
            ]
            yield Case("an error carries no number", "6.2", tuple(steps))

    def sizes(self) -> Iterator[Case]:
        whole = self.good
        told = self.error(Status.INVALID_REQUEST)
        groups: Sequence[tuple[str, list[int]]] = (
            (
                "a short datagram is told, and not completed from the one before",
                [size for size in _SIZES if len(self.dialect.signature) <= size < len(whole)],
            ),
            (
                "a long datagram is told",
                [size for size in _SIZES if len(whole) < size < _LONGEST],
            ),
            (f"a datagram of {_LONGEST:,} bytes is told", [_LONGEST]),
        )
        for name, sizes in groups:
            steps = (Step(whole.ljust(size, b"\0")[:size], told) for size in sizes)
            yield Case(name, "4.1", tuple(steps))
