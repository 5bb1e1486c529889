"""Configurations and calculations of docs/scaling.md."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from benchmarks.shards import shard
from tests.support.processes import eventually, exporter, mail_server, prometheus

pytestmark = pytest.mark.soak

DOCUMENT = (Path(__file__).parents[1] / "docs/scaling.md").read_text()


def block(word: str) -> str:
    """The YAML block of the document that contains this word."""
    [found] = [
        text for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL) if word in text
    ]
    return str(found)


@pytest.mark.parametrize(
    ("program", "mode"),
    [("prometheus", "--enable-feature=agent"), ("prometheus3", "--agent")],
)
def test_an_agent_sends_what_it_scrapes_to_the_storage(
    program: str, mode: str, tmp_path: Path
) -> None:
    assert mode in DOCUMENT
    with ExitStack() as stack:
        server = stack.enter_context(mail_server(tmp_path / "mail"))
        url = stack.enter_context(
            exporter(SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}", SMTPSTATUS_TOKEN="secretpa")
        )
        flags = (f"--storage.tsdb.path={tmp_path / 'tsdb'}", "--web.enable-remote-write-receiver")
        storage = stack.enter_context(
            prometheus(tmp_path / "storage", "global: {}", *flags, program=program)
        )
        text = block("remote_write").replace("exporter:17030", url.removeprefix("http://"))
        text = text.replace("http://storage:9090", storage.url).replace("15s", "1s")
        flags = (mode, f"--storage.agent.path={tmp_path / 'wal'}")
        text = text.replace("10s", "1s")
        stack.enter_context(prometheus(tmp_path / "agent", text, *flags, program=program))

        eventually(lambda: storage.value('smtpstatus_up{site="eu"}') == 1)


def test_names_are_assigned_to_the_same_shards_as_by_prometheus(tmp_path: Path) -> None:
    """Prometheus' own hash assigns the names to shards, as in the calculation for a million names."""
    relabelling = yaml.safe_load(block("hashmod"))
    modulus = relabelling[0]["modulus"]
    names = [f"127.0.0.1:{port}" for port in range(20000, 20020)]
    job = {
        "job_name": "x",
        "static_configs": [{"targets": names}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            *relabelling,
        ],
    }
    flags = (f"--storage.tsdb.path={tmp_path / 'tsdb'}",)
    with prometheus(tmp_path / "a", yaml.safe_dump({"scrape_configs": [job]}), *flags) as served:
        found = eventually(lambda: served.get("/api/v1/targets")["activeTargets"])

    kept = {target["discoveredLabels"]["__address__"] for target in found}
    assert kept == {name for name in names if shard(name, modulus) == 0}
