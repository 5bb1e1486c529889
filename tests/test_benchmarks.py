"""Short form of the benchmarks: checks that they run and measure correctly, not the speed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.fleet import Fleet, samples
from benchmarks.history import History
from benchmarks.native import compiled
from benchmarks.process import running
from benchmarks.ratio import Ratio, at_least, at_most, table
from tests.grafana.dashboards import DASHBOARDS
from tests.support.mta import require_root
from tests.support.real import require

ROOT = Path(__file__).parents[1]


def measured(output: Path, *subjects: str) -> dict[str, Any]:
    command = (sys.executable, "-m", "benchmarks", "short", "--only", *subjects)
    done = subprocess.run(
        (*command, "--output", output), cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    found: dict[str, Any] = json.loads((output / "short.json").read_text())
    return found


@pytest.mark.soak
@pytest.mark.long
def test_a_scrape_of_a_fleet_with_silent_targets_has_every_value_right(tmp_path: Path) -> None:
    require("cc")
    lines = measured(tmp_path, "scrape")["lines"]
    wrong = {
        line["subject"]: line["ours"]
        for line in lines
        if line["quantity"] == "samples wrong or missing"
    }

    assert wrong == {
        "/metrics, 200 targets": 0,
        "the same, half silent": 0,
        "the same, all silent": 0,
        "the same, 1 % of the requests lost": 0,
    }


@pytest.mark.soak
@pytest.mark.long
def test_growth_is_drawn_with_a_point_for_every_size(tmp_path: Path) -> None:
    require("cc")
    sizes = [size["targets"] for size in measured(tmp_path, "growth")["growth"]]
    drawing = ElementTree.parse(tmp_path / "growth.svg").getroot()
    points = drawing.findall(".//{http://www.w3.org/2000/svg}circle")

    assert len({point.attrib["cx"] for point in points}) == len(sizes) == 2


@pytest.mark.soak
@pytest.mark.long
def test_mail_is_compared_with_every_other_server(tmp_path: Path) -> None:
    for program in ("cc", "smtp-source", "postfix", "smtpd", "unshare"):
        require(program)
    beside = {line["beside"] for line in measured(tmp_path, "mail")["lines"]}

    assert beside == {
        "Postfix",
        "OpenSMTPD",
        "aiosmtpd, Mailbox handler",
        "aiosmtpd, discards mail",
        "smtp-sink, discards mail",
        "limit",
    }


@pytest.mark.soak
@pytest.mark.long
@pytest.mark.soak
def test_the_overview_is_compared_with_its_predecessor_over_the_same_blocks(
    tmp_path: Path,
) -> None:
    for program in ("cc", "prometheus", "promtool"):
        require(program)
    (line,) = measured(tmp_path, "dashboards")["lines"]

    assert line["subject"] == "overview, 50 servers, 0.5 h"
    assert line["ours"] > 0
    assert line["theirs"] > 0


def test_a_history_has_every_series_that_the_overview_reads() -> None:
    text = "".join(History(servers=60, start=0, end=60).text(0, 60))
    written = set(re.findall(r"^([\w:]+)\{", text, re.MULTILINE))
    expressions = json.dumps(DASHBOARDS["overview"]["panels"])
    read = set(re.findall(r"([\w:]*smtpstatus_[\w:]+)\{", expressions))

    # Events, writes and the exporter's own series are absent or few.
    rare = {name for name in read if re.search(r"changes5m|resets5m|_changed_|_exporter_", name)}
    assert read - rare <= written


@pytest.mark.soak
def test_a_filter_is_compared_with_other_filters_and_with_none(tmp_path: Path) -> None:
    for program in ("cc", "smtp-source", "postfix", "unshare"):
        require(program)
    require_root()
    beside = {line["beside"] for line in measured(tmp_path, "filter")["lines"]}

    assert beside == {"Postfix alone", "pipe(8) and sendmail", "aiosmtpd's Proxy"}


def test_the_floor_program_receives_a_response_to_every_datagram(tmp_path: Path) -> None:
    require("cc")
    native = compiled(tmp_path)
    with native.responder() as (_, port):
        passage = native.floor("127.1.0.1", port, 400, targets=100)

    assert (passage.sent, passage.received) == (400, 400)


def test_the_floor_program_ends_when_targets_are_silent(tmp_path: Path) -> None:
    require("cc")
    native = compiled(tmp_path)
    with native.responder(silent=2) as (_, port):
        passage = native.floor("127.1.0.1", port, 400, targets=100, window=400)

    assert (passage.sent, passage.received) == (400, 200)


def test_a_wrong_sample_is_detected() -> None:
    [expected] = [
        item for item in Fleet(7030, 1).expected().items() if "connections_total" in item[0][0]
    ]
    text = 'smtpstatus_connections_total{target="mail-127.1.0.1"} '

    assert dict([expected]) == samples(f"{text}2.130771969e+09\n")
    assert dict([expected]) != samples(f"{text}2.130771970e+09\n")


def test_a_ratio_is_compared_with_its_limit() -> None:
    cheaper = Ratio("x", "CPU", 10, "peer", 100, at_most(0.125))

    assert (cheaper.ratio, cheaper.holds) == (0.1, True)
    assert Ratio("x", "rate", 10, "peer", 100, at_least(2)).holds is False
    assert Ratio("x", "rate", 10, "peer", 100).holds is None
    assert Ratio("x", "loss", 1, "limit", 0, at_most(1)).holds is False
    assert "| 0.10  | ≤ 0.125 | met |" in table([cheaper])


def test_cpu_time_includes_ended_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    start = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done')"
    )
    stay = "import time; time.sleep(60)"
    with running((sys.executable, "-u", "-c", f"{start}; {stay}")) as process:
        process.says("done")

        assert process.cpu() >= 0.2


def test_a_program_that_ends_early_is_reported_with_its_output() -> None:
    with running((sys.executable, "-c", "print('no such port')")) as process:
        with pytest.raises(RuntimeError, match="no such port"):
            process.says("never")
