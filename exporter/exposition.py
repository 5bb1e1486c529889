"""A fleet's samples as text.

Written here rather than by prometheus_client, because ten thousand targets are 80,000 lines; the text is the
same byte for byte. The exporter's own metrics are rendered by prometheus_client and come first.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    reason_label,
)
from protocol.errors import FailureReason
from protocol.timeslice import batches
from protocol.vocabulary import Command

_SLICE = 500
"""Lines written without yielding to the event loop, about a millisecond of work."""


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
        yield from _of_one(samples, form) if len(samples.labels) == 1 else _of_many(samples, form)
        header = _ERROR_HEADER
        for lines in _error_lines(samples):
            yield header + lines
            header = ""
    if form is Format.OPENMETRICS:
        yield "# EOF\n"


def _of_one(samples: Samples, form: Format) -> Iterator[str]:
    label, values = samples.labels[0], samples.readings[0].values
    for family, header in _HEADERS[form].items():
        source = family.source
        value = values.get(source) if isinstance(source, Command) else source(samples)[0]
        if value is not None:
            yield f"{header}{family.name}{label} {family.text(value)}\n"


def _of_many(samples: Samples, form: Format) -> Iterator[str]:
    for family, header in _HEADERS[form].items():
        column = family.column(samples)
        if column.count(None) == len(column):  # most targets have four of all quantities
            continue
        for start in range(0, len(column), _SLICE):
            end = start + _SLICE
            if lines := _lines(family, samples.labels[start:end], column[start:end]):
                yield header + lines
                header = ""


def _own_text(own: CollectorRegistry, form: Format) -> str:
    if form is Format.OPENMETRICS:
        text: str = generate_openmetrics(own).decode()  # type: ignore[no-untyped-call]
        return text.removesuffix("# EOF\n")
    return generate_latest(own).decode()


def _lines(family: Family, labels: Sequence[str], column: Sequence[float | None]) -> str:
    name, text = family.name, family.text
    # Most columns have few different values.
    texts = {one: text(one) for one in set(column) if one is not None}
    return "".join(
        [
            f"{name}{label} {texts[one]}\n"
            for label, one in zip(labels, column, strict=True)
            if one is not None
        ]
    )


def _error_lines(samples: Samples) -> Iterator[str]:
    errors, labels = samples.readings.errors, samples.error_labels
    if samples.all_reasons:
        for target in range(len(samples.labels)):
            failed = errors[target].reason if target in errors else None
            if labels is reason_label:
                yield _ALL_REASONS[failed]
            else:
                yield _all_reasons(failed, target, labels)
        return
    for batch in batches(tuple(errors.items()), _SLICE):
        yield "".join(
            [f"{SCRAPE_ERROR}{labels(one, error.reason.value)} 1.0\n" for one, error in batch]
        )


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


def _all_reasons(
    failed: FailureReason | None, target: int, labels: Callable[[int, str], str]
) -> str:
    lines = [
        f"{SCRAPE_ERROR}{labels(target, reason.value)} {'1.0' if reason is failed else '0.0'}\n"
        for reason in FailureReason
    ]
    return "".join(lines)


_ALL_REASONS = {failed: _all_reasons(failed, 0, reason_label) for failed in (None, *FailureReason)}
"""The samples of a target without labels, by its failure."""
