"""Explains a datagram byte by byte, as a request and as a response, in one dialect or in all that could fit."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from protocol.dialect import Dialect, Field, Operation
from protocol.dialects import DIALECTS, V0
from protocol.vocabulary import WRITES, Status

Kind = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes: its name, content and meaning, and what is wrong with it, if anything."""

    name: str
    offset: int
    octets: bytes
    meaning: str
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """One interpretation of a datagram. The parts cover every byte once, in order."""

    kind: Kind
    dialect: str
    parts: tuple[Part, ...]
    size_fault: str | None

    @property
    def faults(self) -> list[str]:
        """Everything wrong with the datagram in this interpretation."""
        parts = [f"{part.name}: {part.fault}" for part in self.parts if part.fault]
        return ([self.size_fault] if self.size_fault else []) + parts


def describe(
    datagram: bytes, dialects: Iterable[Dialect] = (), *, by_signature: bool = False
) -> list[Description]:
    """Every interpretation of a datagram without faults, or, if there is none, those with the fewest.

    Without `dialects` the built-in ones are tried. `by_signature` excludes those with another signature; a
    datagram with a foreign signature is then read as version 0, and one that begins with zeros may be an error
    without a header.
    """
    candidates = list(dialects)
    if by_signature or not candidates:
        known = candidates or list(DIALECTS.values())
        candidates = [one for one in known if _may_begin(datagram, one)] or [V0]
    found = [
        reading
        for dialect in candidates
        for reading in (describe_response(datagram, dialect), describe_request(datagram, dialect))
    ]
    fewest = min(len(reading.faults) for reading in found)
    return [reading for reading in found if len(reading.faults) == fewest]


def _may_begin(datagram: bytes, dialect: Dialect) -> bool:
    return datagram.startswith(dialect.signature) or _is_zeroed(datagram, dialect)


def _is_zeroed(datagram: bytes, dialect: Dialect) -> bool:
    """Whether it is an error response of a dialect whose errors have zeros as header and RID."""
    place = dialect.response_identifier
    header = datagram[: len(dialect.header)] + datagram[place.span]
    status = (
        dialect.statuses.get(datagram[dialect.status.offset])
        if datagram[dialect.status.span]
        else None
    )
    return (
        dialect.zeroed_errors
        and len(datagram) == dialect.response_length
        and not any(header)
        and status not in (None, Status.DONE)
    )


def as_json(datagram: bytes, descriptions: Iterable[Description]) -> dict[str, object]:
    return {
        "bytes": len(datagram),
        "readings": [
            {
                "kind": one.kind,
                "dialect": one.dialect,
                "faults": one.faults,
                "fields": [asdict(part) | {"octets": part.octets.hex()} for part in one.parts],
            }
            for one in descriptions
        ],
    }


def as_text(description: Description) -> str:
    """A table with one line for each part; a fault is marked at the end of its line."""
    total = sum(len(part.octets) for part in description.parts)
    size = f"{total} byte{'' if total == 1 else 's'}"
    verdict = "" if not description.faults else ", malformed"
    lines = [f"a {description.kind} of {description.dialect}, {size}{verdict}", ""]
    width = max(25, *(3 * len(part.octets) + 1 for part in description.parts))
    for part in description.parts:
        last = part.offset + max(len(part.octets), 1) - 1
        place = f"{part.offset}" if last == part.offset else f"{part.offset}-{last}"
        line = (
            f"  {place:>5}  {part.name:<8}{part.octets.hex(' '):<{width}}{part.meaning}".rstrip()
        )
        lines.append(f"{line}  <-- {part.fault}" if part.fault else line)
    if description.size_fault:
        lines += ["", f"  {description.size_fault}"]
    return "\n".join(lines)


def describe_request(datagram: bytes, dialect: Dialect) -> Description:
    code = datagram[dialect.command.offset : dialect.command.end]
    command = dialect.codes.get(code[0]) if code else None
    meant = command.value.replace("_", " ") if command else f"no command of {dialect.name}"
    meanings = {
        "AUTH": (dialect.authentication, _text(datagram[dialect.authentication.span]), None),
        "CMD": (dialect.command, meant, None if command else "invalid command"),
    }
    return _description(
        "request", datagram, dialect, dialect.request_length, dialect.request_identifier, meanings
    )


def describe_response(datagram: bytes, dialect: Dialect) -> Description:
    code = datagram[dialect.status.offset : dialect.status.end]
    status = dialect.statuses.get(code[0]) if code else None
    meant = status.value if status else f"reserved in {dialect.name}"
    result, fault = _result(datagram[dialect.result.span], status, dialect)
    meanings = {
        "STAT": (dialect.status, meant, None if status else "unknown status"),
        "RES": (dialect.result, result, fault),
    }
    return _description(
        "response",
        datagram,
        dialect,
        dialect.response_length,
        dialect.response_identifier,
        meanings,
    )


_Meanings = dict[str, tuple[Field, str, str | None]]


def _description(
    kind: Kind,
    datagram: bytes,
    dialect: Dialect,
    length: int,
    identifier: Field,
    meanings: _Meanings,
) -> Description:
    if kind == "response" and _is_zeroed(datagram, dialect):
        fields = _zeroed_header(dialect)
    else:
        fields = _header(datagram, dialect)
        number = int.from_bytes(datagram[identifier.span])
        fields["RID"] = (identifier, f"{number} (0x{number:0{2 * identifier.size}x})", None)
    fields |= meanings
    parts = tuple(_parts(datagram, length, fields))
    fits = len(datagram) == length
    fault = None if fits else f"wrong size: {len(datagram)} bytes; a {kind} has {length}"
    return Description(kind, dialect.name, parts, fault)


def _zeroed_header(dialect: Dialect) -> _Meanings:
    signature = Field(0, len(dialect.signature))
    zero = f"zero in error responses of {dialect.name}"
    return {
        "SIG": (signature, zero, None),
        "VER": (Field(signature.end, 1), zero, None),
        "RID": (dialect.response_identifier, zero, None),
    }


def _header(datagram: bytes, dialect: Dialect) -> _Meanings:
    signature = Field(0, len(dialect.signature))
    version = Field(signature.end, 1)
    foreign = datagram[signature.span] != dialect.signature
    found = datagram[version.span]
    other = bool(found) and found[0] != dialect.version
    return {
        "SIG": (
            signature,
            "foreign" if foreign else f"SMTPStatus, {dialect.name}",
            f"not {dialect.signature.hex(' ')}: a server does not answer it" if foreign else None,
        ),
        "VER": (
            version,
            f"version {found[0]}" if found else "",
            f"invalid version: {dialect.name} has version {dialect.version}" if other else None,
        ),
    }


def _parts(datagram: bytes, length: int, fields: _Meanings) -> Iterator[Part]:
    """The fields in the order of their bytes, with the padding between them and the bytes after the end."""
    position = 0
    for name, (place, meaning, fault) in sorted(
        fields.items(), key=lambda item: item[1][0].offset
    ):
        if not place.size:
            continue  # a dialect without signature or identifiers
        if padding := datagram[position : place.offset]:
            yield Part("padding", position, padding, "ignored")
        octets = datagram[place.span]
        if len(octets) == place.size:
            yield Part(name, place.offset, octets, meaning, fault)
        else:
            missing = f"{len(octets)} of {place.size} bytes" if octets else "missing"
            yield Part(name, place.offset, octets, "", missing)
        position = place.end
    if padding := datagram[position:length]:
        yield Part("padding", position, padding, "ignored")
    if beyond := datagram[length:]:
        yield Part("beyond", length, beyond, "", "after the end")


def _result(octets: bytes, status: Status | None, dialect: Dialect) -> tuple[str, str | None]:
    number = int.from_bytes(octets, dialect.byte_order)
    if status is Status.DONE:
        return _number(octets, dialect), None
    if status is None or not number:
        return "none", None
    return f"{number:,}", "an error with a result that is not zero"


def _number(octets: bytes, dialect: Dialect) -> str:
    """The values that a result can have, as widths and places differ between commands.

    Where the dialect has values in several places, each has the name of its command.
    """
    values = {
        command: _value(octets, operation, dialect)
        for command, operation in dialect.operations.items()
        if operation.value is not None
    }
    places = {
        operation.value.offset for operation in dialect.operations.values() if operation.value
    }
    if len(places) == 1:
        return " or ".join(dict.fromkeys(text for text in values.values() if text))
    return ", ".join(
        f"{command.value.replace('_', ' ')} {text}"
        for command, text in values.items()
        if text and command not in WRITES
    )


def _value(octets: bytes, operation: Operation, dialect: Dialect) -> str:
    """A number, or `on` or `off`; empty for a flag that is neither."""
    assert operation.value is not None
    start = operation.value.offset - dialect.result.offset
    number = int.from_bytes(
        octets[start : start + operation.value.size], dialect.byte_order, signed=operation.signed
    )
    if not operation.flag:
        return f"{number:,}"
    if number == dialect.on:
        return "on"
    return "off" if number in dialect.off else ""


def _text(octets: bytes) -> str:
    text = octets.decode("latin-1")
    return repr(text) if text.isascii() and text.isprintable() else "not text"
