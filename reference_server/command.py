"""Parses SMTP command lines. An invalid line raises `CommandError` with the reply."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reference_server.address import Address, parse_path
from reference_server.allowance import ERROR_POINTS
from reference_server.reply import Reply


class CommandError(Exception):
    """A client's mistake, what to reply, and how many points it counts (allowance.py)."""

    def __init__(self, reply: Reply, points: int = ERROR_POINTS) -> None:
        super().__init__(reply.text)
        self.reply = reply
        self.points = points


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Controls and line separators. Format characters such as ZWJ are part of words in some scripts (RFC 5892 A.1)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A verb in capitals, and what follows the space after it. Neither has control characters or line separators."""

    verb: str
    argument: str

    @classmethod
    def decode(cls, octets: bytes) -> "Line":
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            raise CommandError(Reply(500, "5.5.2", "Error: command is not valid UTF-8")) from None
        if _CONTROL.search(text):
            raise CommandError(Reply(500, "5.5.2", "Error: control character in command"))
        verb, _, argument = text.partition(" ")
        return cls(verb.upper(), argument.strip(" "))

    def require_no_argument(self) -> None:
        if self.argument:
            raise CommandError(Reply(501, "5.5.4", f"Syntax: {self.verb}"))


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL FROM: the sender, None for the null sender, and the parameters."""

    sender: Address | None
    size: int
    smtputf8: bool


_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")


def parse_hello(line: Line) -> str:
    """Parses the client's name: not verified (RFC 5321 4.1.4), but safe in a header."""
    name = line.argument
    if not re.fullmatch(r"[!#-'*+./0-9:=?A-Z[\]^_`a-z{|}~-]{1,255}", name):
        raise CommandError(Reply(501, "5.5.4", f"Syntax: {line.verb} hostname"))
    return name


def parse_mail(argument: str) -> Mail:
    """Parses the argument of MAIL (RFC 5321 4.1.1.2, RFC 1870, RFC 6152, RFC 6531)."""
    address, rest = _path("FROM:", argument)
    parameters = _parameters(rest, {"SIZE", "BODY", "SMTPUTF8"})
    size = parameters.get("SIZE", "0")
    if not re.fullmatch(r"[0-9]{1,20}", size):
        raise CommandError(Reply(501, "5.5.4", "Bad message size syntax"))
    if parameters.get("BODY", "7BIT").upper() not in ("7BIT", "8BITMIME"):
        raise CommandError(Reply(501, "5.5.4", "Syntax: BODY=7BIT or BODY=8BITMIME"))
    if parameters.get("SMTPUTF8"):
        raise CommandError(Reply(501, "5.5.4", "Syntax: SMTPUTF8 takes no value"))
    mail = Mail(address, int(size), "SMTPUTF8" in parameters)
    _check_ascii(address, mail.smtputf8)
    return mail


def parse_recipient(argument: str, smtputf8: bool) -> Address:
    """Parses the argument of RCPT (RFC 5321 4.1.1.3)."""
    address, rest = _path("TO:", argument)
    if address is None:
        raise CommandError(Reply(501, "5.1.3", "Bad recipient address syntax"))
    _parameters(rest, set())
    _check_ascii(address, smtputf8)
    return address


def _path(keyword: str, argument: str) -> tuple[Address | None, str]:
    command = "MAIL" if keyword == "FROM:" else "RCPT"
    if argument[: len(keyword)].upper() != keyword:
        raise CommandError(Reply(501, "5.5.4", f"Syntax: {command} {keyword}<address>"))
    try:
        # A space after the colon is wrong, harmless, and common.
        address, rest = parse_path(argument[len(keyword) :].lstrip(" "))
    except ValueError:
        if command == "MAIL":
            raise CommandError(Reply(501, "5.1.7", "Bad sender address syntax")) from None
        raise CommandError(Reply(501, "5.1.3", "Bad recipient address syntax")) from None
    if rest and not rest.startswith(" "):
        raise CommandError(Reply(501, "5.5.4", "Syntax error in parameters"))
    return address, rest


def _parameters(text: str, known: set[str]) -> Mapping[str, str]:
    parameters: dict[str, str] = {}
    for word in filter(None, text.split(" ")):
        found = _PARAMETER.fullmatch(word)
        if not found:
            raise CommandError(Reply(501, "5.5.4", "Syntax error in parameters"))
        name = found[1].upper()
        if name not in known:
            raise CommandError(Reply(555, "5.5.4", f"Unsupported option: {name[:40]}"))
        if name in parameters:
            raise CommandError(Reply(501, "5.5.4", f"Duplicate option: {name}"))
        parameters[name] = found[2] or ""
    return parameters


def _check_ascii(address: Address | None, smtputf8: bool) -> None:
    if address and not smtputf8 and not str(address).isascii():
        # RFC 6531 3.5
        raise CommandError(Reply(553, "5.6.7", "Non-ASCII address requires SMTPUTF8"))
