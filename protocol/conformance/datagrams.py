"""The datagrams and expectations of which the test table is made, for one dialect and token."""

from random import Random

from protocol.conformance.case import Step
from protocol.conformance.expectation import Expectation
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.message import Request
from protocol.token import Token
from protocol.vocabulary import Command, Status

_IDENTIFIER = b"\x12\x34\x56\x78\x9a\xbc\xde\xf0"


def unsafe_codes(dialect: Dialect) -> frozenset[int]:
    """The codes that any known dialect has, except those that `dialect` reads with: one may write somewhere."""
    known = {code for one in (dialect, *DIALECTS.values()) for code in one.codes}
    return frozenset(known - {dialect.operations[command].code for command in dialect.reads})


class Datagrams:
    """Requests, correct and faulty. `random` draws the wrong tokens."""

    def __init__(self, dialect: Dialect, token: Token, random: Random) -> None:
        self.dialect = dialect
        self.token = token.octets
        self._random = random
        known = unsafe_codes(dialect) | dialect.codes.keys()
        self._free_codes = [code for code in range(128, 256) if code not in known]
        size = dialect.request_identifier.size
        self.identifier = int.from_bytes(_IDENTIFIER[:size])
        self.largest = 256**size - 1
        self.first = dialect.reads[0]
        self.wrong = self.wrong_token()
        self.valid = self.request()

    @property
    def unknown_codes(self) -> list[int]:
        """Codes of the upper half that no known dialect has: the first, one in the middle, and the last."""
        free = self._free_codes
        return [free[0], free[len(free) // 2], free[-1]]

    def request(
        self,
        command: Command | None = None,
        *,
        code: int | None = None,
        identifier: int | None = None,
        token: bytes | None = None,
        version: int | None = None,
    ) -> bytes:
        """A valid request of `command`, by default the dialect's first read, with the given parts replaced."""
        datagram = bytearray(
            Request(
                self.identifier if identifier is None else identifier,
                self.token if token is None else token,
                self.dialect.operations[command or self.first].code if code is None else code,
            ).encode(self.dialect)
        )
        if version is not None:
            datagram[len(self.dialect.signature)] = version
        return bytes(datagram)

    def wrong_token(self) -> bytes:
        """Random bytes; none is the token's at its place, nor the code of a command in any known dialect."""
        return bytes(
            self._random.choice([code for code in self._free_codes if code != octet])
            for octet in self.token
        )

    def wrong_tokens(self) -> list[bytes]:
        """Unrelated tokens, zeros, and tokens of which one half is right."""
        half = len(self.token) // 2
        found = [self.wrong, self.wrong_token(), self.wrong_token(), bytes(len(self.token))]
        if half:
            found.append(self.token[:half] + self.wrong[half:])
            found.append(self.wrong[:half] + self.token[half:])
        return [wrong for wrong in dict.fromkeys(found) if wrong != self.token]

    def read(self, command: Command, identifier: int | None = None) -> Step:
        """A request of a command that reads, and its good response. Only a given RID is compared."""
        return Step(self.request(command, identifier=identifier), self.done(command, identifier))

    def done(
        self, command: Command, identifier: int | None = None, value: bool | None = None
    ) -> Expectation:
        return Expectation(
            frozenset({Status.DONE}), identifier=identifier, command=command, value=value
        )

    def error(self, status: Status) -> Expectation:
        """An error by its name; any error or silence if the dialect lacks that status; silence if it sends none."""
        known = self.dialect.status_codes.keys()
        if self.dialect.silent_errors:
            return Expectation(frozenset(), silence=True)
        if status in known:
            return Expectation(frozenset({status}))
        return Expectation(frozenset(known - {Status.DONE}), silence=True)

    def error_step(self, sent: bytes, status: Status) -> Step:
        return Step(sent, self.error(status))

    def wrong_token_step(self) -> Step:
        return self.error_step(self.request(token=self.wrong), Status.AUTHENTICATION_FAILED)

    def any_error(
        self, sent: bytes, status: Status, *, identifier: int | None = None, blank: bool = False
    ) -> Step:
        """Any error, or "done" from a server that does not see the error: other cases find that.

        Silence too, if the dialect lacks the status that fits.
        """
        expected = Expectation(
            frozenset(Status),
            silence=status not in self.dialect.status_codes,
            identifier=identifier,
            blank=blank,
        )
        return Step(sent, expected)

    def outcome(self, status: Status) -> str:
        """What must happen to a request with an error, for the title of a case."""
        if self.dialect.silent_errors:
            return "gets no response"
        code = self.dialect.status_codes.get(status)
        return "is not accepted" if code is None else f"is rejected with status {code:02x}"
