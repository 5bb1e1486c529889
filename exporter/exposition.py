"""A fleet's samples as text.

Written here rather than by prometheus_client, because ten thousand targets are 80,000 lines; the text is the
same to the letter. The exporter's own metrics are prometheus_client's, and stand in front.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.metrics import FAMILIES, SCRAPE_ERROR, SCRAPE_ERROR_DOCUMENTATION, Family, Row
from protocol.errors import FailureReason
from protocol.timeslice import batches

_SLICE = 500
"""Lines written in one go: about a millisecond, then whoever writes may let others have their turn."""


class Format(Enum):
    """The text formats; the value is the Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as both formats write them, in order of their names."""
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return f"{{{text}}}" if text else ""


def exposition(
    rows: Sequence[Row], form: Format, own: CollectorRegistry | None = None
) -> Iterator[str]:
    """The whole text, in slices."""
    if own:
        yield _own_text(own, form)
    slices = list(batches(rows, _SLICE))
    for family, header in _HEADERS[form].items():
        for part in slices:
            # Left out where no target has such a sample.
            if lines := _lines(family, part):
                yield header + lines
                header = ""
    header = _ERROR_HEADER
    for part in slices:
        if lines := _error_lines(part):
            yield header + lines
            header = ""
    if form is Format.OPENMETRICS:
        yield "# EOF\n"


def _own_text(own: CollectorRegistry, form: Format) -> str:
    if form is Format.OPENMETRICS:
        text: str = generate_openmetrics(own).decode()  # type: ignore[no-untyped-call]
        return text.removesuffix("# EOF\n")
    return generate_latest(own).decode()


def _lines(family: Family, rows: Sequence[Row]) -> str:
    name, column = family.name, family.column(rows)
    if not column:
        return ""
    return "".join(
        [
            f"{name}{row.label_text} {text}\n"
            for row, text in zip(rows, column, strict=True)
            if text is not None
        ]
    )


def _error_lines(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        error = row.reading.error
        for reason in row.reasons:
            sample = "1.0" if error and error.reason is reason else "0.0"
            lines.append(f"{SCRAPE_ERROR}{_error_label_text(row, reason)} {sample}\n")
    return "".join(lines)


def _error_label_text(row: Row, reason: FailureReason) -> str:
    if not row.labels:  # as on /probe, which has all reasons
        return f'{{reason="{reason.value}"}}'
    return label_text({**row.labels, "reason": reason.value})


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _header(family: Family, form: Format) -> str:
    name = family.name
    if form is Format.OPENMETRICS and family.kind == "counter":
        name = name.removesuffix("_total")
    return f"# HELP {name} {family.documentation}\n# TYPE {name} {family.kind}\n"


_HEADERS = {form: {family: _header(family, form) for family in FAMILIES} for form in Format}
_ERROR_HEADER = (
    f"# HELP {SCRAPE_ERROR} {SCRAPE_ERROR_DOCUMENTATION}\n# TYPE {SCRAPE_ERROR} gauge\n"
)
