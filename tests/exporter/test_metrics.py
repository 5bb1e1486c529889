import re
from pathlib import Path

import pytest
from prometheus_client import Metric

from exporter.metrics import OUTCOMES, ExporterMetrics
from exporter.samples import FAMILIES, SCRAPE_ERROR, SCRAPE_ERROR_DOCUMENTATION
from protocol.errors import DiscardReason, FailureReason, Resource
from protocol.vocabulary import Command
from tests.exporter.running import Exporter

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def rows(heading: str) -> list[tuple[str, ...]]:
    """Rows of the first table below a heading."""
    section = DOCUMENT.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"\| metric .*\n\| ---.*\n((?:\|.*\n)+)", section)
    assert table
    return [tuple(cell.strip() for cell in row.split("|")[1:-1]) for row in table[1].splitlines()]


def row(metric: Metric) -> tuple[str, ...]:
    labels = sorted({name for sample in metric.samples for name in sample.labels if name != "le"})
    suffix = "_total" if metric.type == "counter" else ""
    shown = f"{{{', '.join(labels)}}}" if labels else ""
    return f"`{metric.name}{suffix}{shown}`", metric.type, metric.documentation


def test_the_document_lists_the_metrics_of_targets_as_defined_in_the_code() -> None:
    families = [(f"`{one.name}`", one.kind, one.documentation) for one in FAMILIES]
    error = (f"`{SCRAPE_ERROR}{{reason}}`", "gauge", SCRAPE_ERROR_DOCUMENTATION)

    assert rows("Per target") == [*families, error]


def test_the_document_lists_the_exporters_metrics_as_defined_in_the_code() -> None:
    own = [
        one for one in ExporterMetrics().registry.collect() if one.name.startswith("smtpstatus")
    ]

    assert rows("The exporter's own metrics") == [row(metric) for metric in own]


@pytest.mark.parametrize("word", [*FailureReason, *DiscardReason, *Resource, *OUTCOMES])
def test_the_document_describes_every_label_value(word: str) -> None:
    assert f"`{word}`" in DOCUMENT


def test_every_command_that_reads_has_a_metric() -> None:
    names = {family.name for family in FAMILIES}

    for command in Command:
        assert (f"smtpstatus_{command.value}" in names) is not command.name.startswith(
            ("ENABLE_", "DISABLE_")
        )


async def test_every_exposed_metric_is_documented(exporter: Exporter) -> None:
    text = (await exporter.http.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (smtpstatus_\w+) ", text, re.M))

    assert names <= set(re.findall(r"`(smtpstatus_\w+)", DOCUMENT))
    assert len(names) > 20
