"""A fleet's samples as text.

Written here rather than by prometheus_client, because ten thousand targets are 80,000 lines; the text is the
same to the letter. The exporter's own metrics are prometheus_client's, and stand in front.
"""

from collections.abc import Iterator, Mapping
from enum import Enum

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.samples import (
    FAMILIES,
    SCRAPE_ERROR,
    SCRAPE_ERROR_DOCUMENTATION,
    Family,
    Samples,
)
from protocol.errors import FailureReason

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
    samples: Samples | None, form: Format, own: CollectorRegistry | None = None
) -> Iterator[str]:
    """The whole text, in slices."""
    if own:
        yield _own_text(own, form)
    if samples:
        for family, header in _HEADERS[form].items():
            yield from _with_header(header, _lines(family, samples))
        yield from _with_header(_ERROR_HEADER, _error_lines(samples))
    if form is Format.OPENMETRICS:
        yield "# EOF\n"


def _with_header(header: str, slices: Iterator[str]) -> Iterator[str]:
    """The header before the first line; nothing where there is no line."""
    for text in slices:
        if text:
            yield header + text
            header = ""


def _own_text(own: CollectorRegistry, form: Format) -> str:
    if form is Format.OPENMETRICS:
        text: str = generate_openmetrics(own).decode()  # type: ignore[no-untyped-call]
        return text.removesuffix("# EOF\n")
    return generate_latest(own).decode()


def _lines(family: Family, samples: Samples) -> Iterator[str]:
    name, labels, column = family.name, samples.labels, family.column(samples)
    if column.count(None) == len(column):  # most targets have no more than four of all quantities
        return
    for start in range(0, len(column), _SLICE):
        part = column[start : start + _SLICE]
        # Most columns have few different values.
        texts = {one: family.text(one) for one in set(part) if one is not None}
        yield "".join(
            [
                f"{name}{label} {texts[one]}\n"
                for label, one in zip(labels[start : start + _SLICE], part, strict=True)
                if one is not None
            ]
        )


def _error_lines(samples: Samples) -> Iterator[str]:
    errors = samples.readings.errors
    if samples.all_reasons:
        shown = [(one, reason) for one in range(len(samples.labels)) for reason in FailureReason]
    else:
        shown = [(one, error.reason) for one, error in errors.items()]
    for start in range(0, len(shown), _SLICE):
        lines = []
        for target, reason in shown[start : start + _SLICE]:
            failed = target in errors and errors[target].reason is reason
            labels = samples.error_labels(target, reason.value)
            lines.append(f"{SCRAPE_ERROR}{labels} {'1.0' if failed else '0.0'}\n")
        yield "".join(lines)


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
