"""Real servers, the real exporter and a real Prometheus with this project's own configuration and rules.

quiet      a reference server that receives no mail
group-4, group-6, group-11: servers of other dialects, with quantities that version 0 does not have
closed     a closed port
locked     a server that is queried with a wrong token
"""

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from anyio.from_thread import start_blocking_portal

from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.message import Value
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.support.processes import (
    Prometheus,
    eventually,
    exporter,
    free_port,
    mail_server,
    prometheus,
)
from tests.support.real import require

ROOT = Path(__file__).parents[2]
API_TOKEN = "open-sesame"
GRAFANA = "http://127.0.0.1:3000"
CURRENT = "prometheus3"


@dataclass(frozen=True, slots=True)
class Stack:
    """Prometheus servers that scrape an exporter, whose URL is `exporter`, in each of the ways that are shipped.

    Job `smtpstatus` scrapes /metrics; `smtpstatus-fleet` discovers the same servers through /sd;
    `shard-0` and `shard-1` share them. `prometheus` is Debian's, and `current` a Prometheus 3 where one is installed.
    """

    prometheus: Prometheus
    current: Prometheus | None
    exporter: str

    def served(self, program: str = "prometheus") -> Prometheus:
        """The server that runs this program. Skips or fails the test if it is missing (tests/support/real.py)."""
        require(program)
        found = self.current if program == CURRENT else self.prometheus
        assert found
        return found

    def ask(self, expression: str, program: str = "prometheus") -> list[dict[str, Any]]:
        """The samples of an instant query."""
        answer = self.served(program).get("/api/v1/query", query=expression)
        found: list[dict[str, Any]] = answer["result"]
        return found


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    with ExitStack() as stack:
        quiet = stack.enter_context(mail_server(folder / "mail")).status
        targets = [
            _target("quiet", quiet),
            _target("closed", free_port()),
            *stack.enter_context(_other_servers()),
        ]
        api = {"token": API_TOKEN, "cors_origins": [GRAFANA]}
        file = folder / "exporter.yml"
        file.write_text(yaml.safe_dump({"targets": targets, "api": api}))
        url = stack.enter_context(exporter(f"--config.file={file}"))
        address = url.removeprefix("http://")
        configuration = yaml.safe_dump(_configuration(address))

        def started(program: str) -> Prometheus:
            own = folder / program
            own.mkdir()
            _write_rules(own)
            _write_history(own, address, [target["name"] for target in targets])
            return stack.enter_context(prometheus(own, configuration, program=program))

        current = started(CURRENT) if shutil.which(CURRENT) else None
        yield Stack(started("prometheus"), current, url)


def _target(name: str, port: int, token: str = "secretpa", dialect: str = "v0") -> dict[str, str]:
    return {"name": name, "address": f"127.0.0.1:{port}", "token": token, "dialect": dialect}


@contextmanager
def _other_servers() -> Iterator[list[dict[str, str]]]:
    """Their entries in the exporter's configuration."""
    answers = _Answers()
    # Three scrapes a second are more wrong tokens than a server answers in the long run.
    ration = ErrorRateLimiter(burst=100_000)
    with start_blocking_portal() as portal, ExitStack() as stack:

        def serving(name: str, dialect: Dialect, sent: str, right: str) -> dict[str, str]:
            secret = Token.parse(right, dialect.token_length)
            served = serve("127.0.0.1", 0, secret, answers, dialect, ration)
            endpoint = stack.enter_context(portal.wrap_async_context_manager(served))
            return _target(name, endpoint.port, sent, dialect.name)

        yield [
            serving("locked", V0, "xxxxxxxx", "secretpa"),
            serving("group-4", DIALECTS["group-4"], "secretpa", "secretpa"),
            serving("group-6", DIALECTS["group-6"], "s", "s"),
            serving("group-11", DIALECTS["group-11"], "secretpa", "secretpa"),
        ]


class _Answers:
    """Answers of these servers: constant numbers, and a shared switch."""

    def __init__(self) -> None:
        self._enabled = True

    def __call__(self, command: Command) -> Value | None:
        if command in (Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS):
            self._enabled = command is Command.ENABLE_TRANSFORMS
        if command is Command.TRANSFORMS:
            return self._enabled
        return False if command is Command.VERBOSE else 7


def _configuration(address: str) -> dict[str, Any]:
    """Both shipped configurations merged, with the exporter's address and a shorter scrape interval."""

    def shipped(name: str) -> dict[str, Any]:
        text = (ROOT / "prometheus" / name).read_text().replace("exporter:17030", address)
        return dict(yaml.safe_load(text))

    one, fleet = shipped("prometheus.yml"), shipped("prometheus-fleet.yml")
    discovered = fleet["scrape_configs"][0]
    shards = [_shard(discovered, number) for number in range(2)]
    discovered["job_name"] = "smtpstatus-fleet"
    times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    jobs = [*one["scrape_configs"], *fleet["scrape_configs"], *shards]
    return one | {"global": times, "scrape_configs": jobs}


def _shard(discovered: dict[str, Any], number: int) -> dict[str, Any]:
    """The discovery job for the shard of this number, as in docs/scaling.md."""
    page = (ROOT / "docs/scaling.md").read_text()
    relabelling = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    relabelling[-1]["regex"] = str(number)
    return discovered | {"job_name": f"shard-{number}", "relabel_configs": relabelling}


def _write_rules(folder: Path) -> None:
    """The shipped rules, evaluated every second and firing immediately."""
    (folder / "rules").mkdir()
    for path in (ROOT / "prometheus/rules").glob("*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules))


def _write_history(folder: Path, address: str, targets: Sequence[str]) -> None:
    """Recorded rates of the same hour yesterday and last week, as blocks."""
    rate, total = (
        "instance_target:smtpstatus_connections:rate5m",
        "instance:smtpstatus_connections:rate5m_sum",
    )
    now = time.time()
    lines = [f"# TYPE {rate} gauge", f"# TYPE {total} gauge"]
    series = [f'{rate}{{job="JOB",instance="{address}",target="{name}"}} 1' for name in targets]
    series.append(f'{total}{{job="JOB",instance="{address}"}} {len(targets)}')
    for sample in series:
        for job in ("smtpstatus", "smtpstatus-fleet"):
            for days in (7, 1):
                for minutes in range(-30, 90, 10):
                    at = now - days * 86400 + minutes * 60
                    lines.append(f"{sample.replace('JOB', job)} {at:.3f}")
    file = folder / "history.om"
    names = sorted(lines, key=lambda line: (total in line, not line.startswith("#")))
    file.write_text("\n".join([*names, "# EOF\n"]))
    paths = [str(file), str(folder / "data")]
    command = [require("promtool"), "tsdb", "create-blocks-from", "openmetrics", *paths]
    subprocess.run(command, check=True, capture_output=True)


def settle(stack: Stack) -> None:
    """Waits until every rate has enough samples and the rules have been evaluated over them."""
    for served in filter(None, (stack.prometheus, stack.current)):
        _settle(served)


def _settle(served: Prometheus) -> None:
    def count(selector: str) -> float:
        return served.value(f"count({selector})") or 0

    eventually(lambda: count('smtpstatus_up{job="smtpstatus"}'))
    # Each server is scraped in three ways: /metrics, /probe, and /probe by its shard.
    eventually(lambda: count("smtpstatus_up") == 3 * count('smtpstatus_up{job="smtpstatus"}'))
    eventually(lambda: not count("count_over_time(up[1m]) < 3"))
    eventually(lambda: count("instance_target:smtpstatus_up:avg1d") == count("smtpstatus_up"))
    eventually(lambda: count('ALERTS{alertname="SmtpstatusTransformsOff"}'))


def switch_off(stack: Stack, target: str) -> None:
    """Turns a server's transforms off through the exporter's API."""
    request = urllib.request.Request(
        f"{stack.exporter}/api/v1/targets/{target}/transforms",
        data=b'{"enabled": false}',
        headers={"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
