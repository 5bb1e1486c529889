"""A datagram explained byte by byte, as a request and as a response, in one dialect or in all that could fit."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from protocol.dialect import Dialect, Field
from protocol.dialects import DIALECTS, V0
from protocol.vocabulary import Status

Kind = Literal["request", "response"]


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes: what it is called, what it holds, what that means, and what is wrong with it, if anything."""

    name: str
    offset: int
    octets: bytes
    meaning: str
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """One way to read a datagram. The parts cover every byte once, in order."""

    kind: Kind
    dialect: str
    parts: tuple[Part, ...]
    size_fault: str | None

    @property
    def faults(self) -> list[str]:
        """Everything wrong with the datagram if it is meant to be this."""
        parts = [f"{part.name}: {part.fault}" for part in self.parts if part.fault]
        return ([self.size_fault] if self.size_fault else []) + parts


def describe(datagram: bytes, dialects: Iterable[Dialect] = ()) -> list[Description]:
    """Every way to read a datagram that has no fault, or, where there is none, those with the fewest.

    Without `dialects`, in the known ones whose signature it has; a foreign signature is read as version 0.
    """
    candidates = list(dialects) or [
        dialect for dialect in DIALECTS.values() if datagram.startswith(dialect.signature)
    ]
    found = [
        reading
        for dialect in candidates or [V0]
        for reading in (describe_response(datagram, dialect), describe_request(datagram, dialect))
    ]
    fewest = min(len(reading.faults) for reading in found)
    return [reading for reading in found if len(reading.faults) == fewest]


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
    """A table with a line for each part; a fault stands under an arrow at its line's end."""
    total = sum(len(part.octets) for part in description.parts)
    size = f"{total} byte{'' if total == 1 else 's'}"
    verdict = "" if not description.faults else ", malformed"
    lines = [f"a {description.kind} of {description.dialect}, {size}{verdict}", ""]
    for part in description.parts:
        last = part.offset + max(len(part.octets), 1) - 1
        place = f"{part.offset}" if last == part.offset else f"{part.offset}-{last}"
        line = f"  {place:>5}  {part.name:<8}{part.octets.hex(' '):<25}{part.meaning}".rstrip()
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
    meant = status.value if status else f"reserved: it means nothing in {dialect.name}"
    result, fault = _result(datagram[dialect.result.span], status, dialect)
    meanings = {
        "STAT": (dialect.status, meant, None if status else "a status that means nothing"),
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
    fields = _header(datagram, dialect)
    number = int.from_bytes(datagram[identifier.span])
    fields["RID"] = (identifier, f"{number} (0x{number:0{2 * identifier.size}x})", None)
    fields |= meanings
    parts = tuple(_parts(datagram, length, fields))
    fits = len(datagram) == length
    fault = None if fits else f"{len(datagram)} bytes, where a {kind} has exactly {length}"
    return Description(kind, dialect.name, parts, fault)


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
            f"not {dialect.signature.hex(' ')}: answered with silence" if foreign else None,
        ),
        "VER": (
            version,
            f"version {found[0]}" if found else "",
            f"invalid version: {dialect.name} has {dialect.version}" if other else None,
        ),
    }


def _parts(datagram: bytes, length: int, fields: _Meanings) -> Iterator[Part]:
    """The fields in the order of their bytes, with the padding between them and what lies beyond."""
    position = 0
    for name, (place, meaning, fault) in sorted(
        fields.items(), key=lambda item: item[1][0].offset
    ):
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
        yield Part("beyond", length, beyond, "", "too long")


def _result(octets: bytes, status: Status | None, dialect: Dialect) -> tuple[str, str | None]:
    number = int.from_bytes(octets, dialect.byte_order)
    if status is Status.DONE:
        return _number(octets, dialect), None
    if status is None or not number:
        return "nothing", None
    return f"{number:,}", "an error carries no number"


def _number(octets: bytes, dialect: Dialect) -> str:
    """What a result says to each command that it could answer; widths and places differ with the command."""
    meanings: dict[str, None] = {}
    for operation in dialect.operations.values():
        if operation.value is None:
            continue
        start = operation.value.offset - dialect.result.offset
        number = int.from_bytes(
            octets[start : start + operation.value.size],
            dialect.byte_order,
            signed=operation.signed,
        )
        if not operation.flag:
            meanings[f"{number:,}"] = None
        elif number == dialect.on or number in dialect.off:
            meanings["on" if number == dialect.on else "off"] = None
    return ", or for a switch ".join(meanings)


def _text(octets: bytes) -> str:
    text = octets.decode("latin-1")
    return repr(text) if text.isascii() and text.isprintable() else "not text"
