import re
from pathlib import Path

import pytest
from prometheus_client import Metric

from exporter.metrics import OUTCOMES, ExporterMetrics, RoundTrips
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


def test_build_info_is_constant_1() -> None:
    (build,) = [
        one
        for one in ExporterMetrics("http://x").registry.collect()
        if one.name.endswith("info") and one.name.startswith("smtpstatus")
    ]

    assert [(sample.value, sample.labels["external_url"]) for sample in build.samples] == [
        (1, "http://x")
    ]


@pytest.mark.parametrize("times", [1, 101])
def test_round_trips_are_counted_in_buckets_whose_upper_bound_they_do_not_exceed(
    times: int,
) -> None:
    trips = RoundTrips()
    trips.observe([0.0001, 0.00011, 2.5, 2.6] * times)
    (histogram,) = trips.collect()

    counts = {
        sample.labels["le"]: sample.value / times
        for sample in histogram.samples
        if sample.name.endswith("_bucket")
    }
    assert counts == {
        "0.0001": 1,
        "0.00025": 2,
        "0.0005": 2,
        "0.001": 2,
        "0.0025": 2,
        "0.005": 2,
        "0.01": 2,
        "0.025": 2,
        "0.05": 2,
        "0.1": 2,
        "0.25": 2,
        "0.5": 2,
        "1.0": 2,
        "2.5": 3,
        "+Inf": 4,
    }
    (total,) = [one.value for one in histogram.samples if one.name.endswith("_sum")]
    assert total == pytest.approx(5.10021 * times)


async def test_every_exposed_metric_is_documented(exporter: Exporter) -> None:
    text = (await exporter.http.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (smtpstatus_\w+) ", text, re.M))

    assert names <= set(re.findall(r"`(smtpstatus_\w+)", DOCUMENT))
    assert len(names) > 20
