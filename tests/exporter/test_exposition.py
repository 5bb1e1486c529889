"""The exposition equals that of prometheus_client; that of a fleet does not block the event loop."""

import asyncio
import gc
import re
import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString
from starlette.requests import Request

from exporter.configuration.config import Config, Target
from exporter.configuration.secret import Secret
from exporter.exposition import Format, exposition, label_text
from exporter.http.responses import json_list, text_response
from exporter.reading import TargetReadings
from exporter.samples import (
    FAMILIES,
    SCRAPE_ERROR,
    SCRAPE_ERROR_DOCUMENTATION,
    Family,
    Samples,
    sample_text,
)
from exporter.service import Service
from protocol.address import HostPort
from protocol.client import Peer, Reading
from protocol.dialects import V0
from protocol.errors import FailureReason, NoAnswer
from protocol.reading import Cost
from protocol.readings import Columns, Readings
from protocol.token import Token
from protocol.vocabulary import Command

numbers = st.integers(0, 2**64 - 1)
values = st.fixed_dictionaries(
    {
        Command.CONNECTIONS: numbers,
        Command.ACTIVE_CONNECTIONS: numbers,
        Command.TRANSFERRED_BYTES: numbers,
        Command.TRANSFORMS: st.booleans(),
    },
    optional={Command.MAILS: numbers},
)
seconds = st.floats(0, 1000)
readings = st.builds(Reading, values, st.none(), st.builds(Cost, numbers, numbers), seconds) | (
    st.builds(
        Reading, st.just({}), st.builds(NoAnswer, seconds, numbers), st.just(Cost()), seconds
    )
)
labels = st.dictionaries(st.sampled_from(["site", "Zone", "a_b", "target"]), st.text(max_size=9))


@st.composite
def samples(draw: st.DrawFn) -> tuple[Samples, list[Mapping[str, str]]]:
    """Samples, with the labels of each target."""
    found = draw(st.lists(readings, max_size=3))
    given: list[Mapping[str, str]] = [draw(labels) for _ in found]
    changed = {
        row: at for row in range(len(found)) if (at := draw(st.none() | st.floats(0, 1e10)))
    }
    texts = [label_text(one) for one in given]
    return Samples(
        texts,
        Readings.of(found),
        changed,
        all_reasons=draw(st.booleans()),
        error_labels=lambda row, reason: label_text({**given[row], "reason": reason}),
    ), given


class Snapshot:
    """The same samples as metric families of prometheus_client."""

    def __init__(self, samples: Samples, labels: Sequence[Mapping[str, str]]) -> None:
        self._samples, self._labels = samples, labels

    def collect(self) -> list[Metric]:
        families = [self._family(family) for family in FAMILIES]
        errors = GaugeMetricFamily(SCRAPE_ERROR, SCRAPE_ERROR_DOCUMENTATION)
        for labels, reading in zip(self._labels, self._samples.readings, strict=True):
            found = reading.error
            for reason in FailureReason:
                failed = bool(found and found.reason is reason)
                if failed or self._samples.all_reasons:
                    errors.add_sample(SCRAPE_ERROR, {**labels, "reason": reason.value}, failed)
        return [family for family in (*families, errors) if family.samples]

    def _family(self, ours: Family) -> Metric:
        kind = CounterMetricFamily if ours.kind == "counter" else GaugeMetricFamily
        family = kind(ours.name, ours.documentation)
        for labels, one in zip(self._labels, ours.column(self._samples), strict=False):
            if one is not None:
                family.add_sample(ours.name, dict(labels), float(ours.text(one)))
        return family


def test_a_fleet_is_written_in_time_slices_with_one_header_per_family() -> None:
    service, found = fleet(1_001)
    given = service.installed.samples(found)
    labels = [{"site": "eu", "target": f"mail-{number}"} for number in range(1_001)]

    text = "".join(exposition(given, Format.TEXT))

    assert text == generate_latest(Snapshot(given, labels)).decode()


def without_zeros(text: str) -> str:
    """Text of prometheus_client as of 0.26: earlier versions write 1e10 as 1e+010."""
    return re.sub(r"e\+0(\d\d)", r"e+\1", text)


@settings(max_examples=40, deadline=None)
@given(samples())
def test_the_exposition_equals_that_of_prometheus_client(
    found: tuple[Samples, list[Mapping[str, str]]],
) -> None:
    given, snapshot = found[0], Snapshot(*found)

    text = without_zeros(generate_latest(snapshot).decode())
    openmetrics = without_zeros(generate_openmetrics(snapshot).decode())  # type: ignore[no-untyped-call]
    assert "".join(exposition(given, Format.TEXT)) == text
    assert "".join(exposition(given, Format.OPENMETRICS)) == openmetrics


@given(st.floats(0, allow_infinity=False) | numbers)
def test_a_number_is_formatted_as_by_prometheus_client(number: float) -> None:
    assert sample_text(number) == without_zeros(floatToGoString(number))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0.0"),
        (0.5, "0.5"),
        (999_999, "999999.0"),
        (999_999.5, "999999.5"),
        (1_000_000, "1e+06"),
        (1_000_000.0, "1e+06"),
        (1_234_567, "1.234567e+06"),
        (1_234_567.25, "1.23456725e+06"),
        (12_345_678.5, "1.23456785e+07"),
        (12_000_000_000, "1.2e+10"),
        (1_764_132_000.125, "1.764132000125e+09"),
        (2**53 - 1, "9.007199254740991e+15"),
        (1e16, "1e+16"),
        (-5, "-5.0"),
        (-1_234_567.5, "-1234567.5"),
    ],
)
def test_a_number_of_a_million_or_more_is_written_with_an_exponent(
    number: float, text: str
) -> None:
    theirs: str = floatToGoString(number)  # type: ignore[no-untyped-call]

    assert sample_text(number) == text == without_zeros(theirs)


def one_target(**values: int) -> Samples:
    return Samples(
        [""], Readings.of([Reading({Command(name): one for name, one in values.items()})])
    )


@pytest.mark.parametrize(
    ("count", "sample"),
    [(2**53 - 1, 2**53 - 1), (2**53, 0), (2**53 + 1, 1), (2**64 - 1, 2**53 - 1), (7 << 53, 0)],
)
def test_a_counter_wraps_at_2_to_the_53_so_that_every_sample_is_exact(
    count: int, sample: int
) -> None:
    text = "".join(exposition(one_target(transferred_bytes_total=count), Format.TEXT))

    lines = [line for line in text.splitlines() if line.startswith("smtpstatus_transferred")]
    assert [int(float(line.split()[1])) for line in lines] == [sample]


def test_the_exporters_metrics_come_first_and_eof_is_written_once() -> None:
    own = CollectorRegistry()
    Gauge("own", "The exporter's.", registry=own).set(1)

    text = "".join(exposition(one_target(connections_total=1), Format.OPENMETRICS, own))

    assert text.startswith("# HELP own The exporter's.\n")
    assert text.count("# EOF\n") == 1
    assert text.endswith("smtpstatus_scrape_retransmissions 0.0\n# EOF\n")


def fleet(size: int) -> tuple[Service, TargetReadings]:
    secret = Secret("secretpa", "")
    targets = tuple(
        Target(f"mail-{number}", HostPort("127.0.0.1", 7030), secret, labels={"site": "eu"})
        for number in range(size)
    )
    values = {command: [51234] * size for command in V0.reads}
    columns = Columns(4, values, [0.0005] * size, [0.0004] * 4 * size)
    service = Service(lambda: Config(targets=targets))
    peers = [Peer(target.address, Token.parse("secretpa")) for target in targets]
    rows = {target.name: row for row, target in enumerate(targets)}
    readings = Readings(size, [(range(size), columns)])
    return service, TargetReadings(peers, targets, readings, rows)


async def test_ten_thousand_targets_are_written_without_blocking_the_event_loop() -> None:
    service, found = fleet(10_000)
    gc.disable()  # exclude garbage collections from the measured time
    longest, started = 0.0, time.thread_time()

    async def watch() -> None:
        nonlocal longest
        since = time.thread_time()
        while True:
            await asyncio.sleep(0)
            longest, since = max(longest, time.thread_time() - since), time.thread_time()

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    headers = [(b"accept-encoding", b"gzip")]
    request = Request({"type": "http", "method": "GET", "headers": headers})
    samples = service.installed.samples(found)
    answer = await text_response(request, "text/plain", exposition(samples, Format.TEXT))
    states = json_list("targets", ({"target": name} for name in found.rows))
    await text_response(request, "application/json", states)
    watching.cancel()
    gc.enable()
    total = time.thread_time() - started

    assert answer.headers["content-encoding"] == "gzip"
    assert longest < total / 5  # a share and not a time, as machines differ
