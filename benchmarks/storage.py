"""The cost of a Prometheus that scrapes a fleet: memory per series, CPU per sample."""

import re
from contextlib import ExitStack

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.fleet import Fleet, exporter
from benchmarks.process import running, until
from benchmarks.ratio import Ratio
from benchmarks.scrapers import fetch

_CONFIGURATION = """\
scrape_configs:
  - job_name: smtpstatus
    scrape_interval: {interval}s
    scrape_timeout: {interval}s
    static_configs: [{{targets: ["127.0.0.1:{web}"]}}]
"""
_INTERVAL = 3
_MEMORY, _CPU = 4.0, 30.0
"""The estimates of docs/scaling.md: KiB per series, microseconds per sample."""


def measure(bench: Bench) -> list[Ratio]:
    if not peers.installed("prometheus"):
        return []
    file, port = bench.file("prometheus.yml"), peers.free_port()
    with ExitStack() as stack:
        _, answering = stack.enter_context(bench.native.responder())
        fleet = Fleet(answering, bench.form.fleet)
        fleet.write(bench.file("storage.yml"))
        _, web = stack.enter_context(exporter(bench.file("storage.yml")))
        file.write_text(_CONFIGURATION.format(interval=_INTERVAL, web=web))
        command = (
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={bench.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        )
        process = stack.enter_context(running(command))
        process.listens(port)
        before = process.resident()
        wanted = fleet.size * 8 * bench.form.rounds
        until(lambda: _own(port, "samples_appended_total") >= wanted, 120)
        samples, cpu = _own(port, "samples_appended_total"), process.cpu()
        memory = (process.resident(peak=True) - before) * 1024 / _own(port, "series")
    subject = f"Prometheus with {fleet.size:,} targets"
    return [
        Ratio(subject, "peak memory per series, KiB", memory, "estimate", _MEMORY),
        Ratio(subject, "CPU per sample, µs", cpu / samples * 1e6, "estimate", _CPU),
    ]


def _own(port: int, name: str) -> float:
    """Returns a metric of the head block."""
    text = fetch(port, "/metrics").text
    found = re.findall(rf"^prometheus_tsdb_head_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))
