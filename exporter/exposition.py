"""A fleet's samples as text.

Written here rather than by prometheus_client, because ten thousand targets are 80,000 lines; the text is the
same to the letter. The exporter's own metrics are prometheus_client's, and stand in front.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.metrics import FAMILIES, SCRAPE_ERROR, SCRAPE_ERROR_DOCUMENTATION, Family, Row
from exporter.serving.negotiation import Format

_SLICE = 500
"""Lines written in one go: about a millisecond, then whoever writes may let others have their turn."""


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
    for family in FAMILIES:
        yield from _with_header(_header(family, form), _lines(family, rows))
    error_header = (
        f"# HELP {SCRAPE_ERROR} {SCRAPE_ERROR_DOCUMENTATION}\n# TYPE {SCRAPE_ERROR} gauge\n"
    )
    yield from _with_header(error_header, _error_lines(rows))
    if form is Format.OPENMETRICS:
        yield "# EOF\n"


def _own_text(own: CollectorRegistry, form: Format) -> str:
    if form is Format.OPENMETRICS:
        text: str = generate_openmetrics(own).decode()  # type: ignore[no-untyped-call]
        return text.removesuffix("# EOF\n")
    return generate_latest(own).decode()


def _header(family: Family, form: Format) -> str:
    name = family.name
    if form is Format.OPENMETRICS and family.kind == "counter":
        name = name.removesuffix("_total")
    return f"# HELP {name} {family.documentation}\n# TYPE {name} {family.kind}\n"


def _with_header(header: str, slices: Iterable[str]) -> Iterator[str]:
    """A family's lines behind its header, which is left out where there are none."""
    for lines in slices:
        if lines:
            yield header + lines
            header = ""


def _lines(family: Family, rows: Sequence[Row]) -> Iterator[str]:
    name = family.name
    for start in range(0, len(rows), _SLICE):
        part = rows[start : start + _SLICE]
        yield "".join(
            [
                f"{name}{row.label_text} {text}\n"
                for row, text in zip(part, family.column(part), strict=True)
                if text is not None
            ]
        )


def _error_lines(rows: Sequence[Row]) -> Iterator[str]:
    for start in range(0, len(rows), _SLICE):
        lines = []
        for row in rows[start : start + _SLICE]:
            error = row.reading.error
            for reason in row.reasons:
                labels = label_text({**row.labels, "reason": reason.value})
                sample = "1.0" if error and error.reason is reason else "0.0"
                lines.append(f"{SCRAPE_ERROR}{labels} {sample}\n")
        yield "".join(lines)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
