"""Faulty name servers and networks between two namespaces: which targets are reported down, and why."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.soak.conftest import Scale
from tests.support.namespace import FAR, Host, two_hosts
from tests.support.processes import COMMANDS, Process, eventually
from tests.support.real import require

pytestmark = pytest.mark.soak

SERVERS = [f"10.77.0.{last}" for last in range(3, 8)]
UP = re.compile(r'^smtpstatus_up\{target="([^"]+)"\} (\S+)$', re.MULTILINE)
REASON = re.compile(
    r'^smtpstatus_scrape_error\{reason="([^"]+)",target="([^"]+)"\} 1(?:\.0)?$', re.MULTILINE
)


@dataclass
class Network:
    """An exporter on the near host; servers and a name server on the far one."""

    near: Host
    far: Host
    zone: Path
    exporter: Process
    socket: str
    servers: list[Process] = field(default_factory=list)

    def names(self, **zone: object) -> None:
        self.zone.write_text(json.dumps(zone))

    def page(self, path: str = "/metrics", timeout_s: float = 3.0) -> str:
        done = subprocess.run(
            [
                require("curl"), "-s", "--unix-socket", self.socket, "-m", "20",
                "-H", f"X-Prometheus-Scrape-Timeout-Seconds: {timeout_s}", f"http://x{path}",
            ],
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip
        return done.stdout

    def scraping(self) -> subprocess.Popen[str]:
        """A scrape under way; its output is the page."""
        return subprocess.Popen(
            [require("curl"), "-s", "--unix-socket", self.socket, "-m", "20", "http://x/metrics"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def down(self, timeout_s: float = 3.0) -> dict[str, str]:
        """The targets that are down, with the reasons."""
        page = self.page(timeout_s=timeout_s)
        values = dict(UP.findall(page))
        assert values, page[:400]
        reasons = {target: reason for reason, target in REASON.findall(page)}
        return {name: reasons[name] for name, value in values.items() if float(value) != 1}


def configuration(targets: dict[str, str]) -> str:
    lines = [
        f"  - {{name: {name}, address: '{address}', token: secretpa}}\n"
        for name, address in targets.items()
    ]
    return f"timeout: 2s\ntargets:\n{''.join(lines)}"


@contextmanager
def network(tmp_path: Path, targets: dict[str, str]) -> Iterator[Network]:
    zone = tmp_path / "zone.json"
    zone.write_text("{}")
    file = tmp_path / "exporter.yml"
    file.write_text(configuration(targets))
    path = tmp_path / "exporter.sock"
    with two_hosts(tmp_path) as (near, far), ExitStack() as stack:

        def start(host: Host, *arguments: str, **environment: str) -> Process:
            process = Process(*host.prefix, *arguments, environment=environment)
            stack.callback(process.end, signal.SIGKILL)
            return process

        start(far, sys.executable, "-m", "tests.support.nameserver", FAR, str(zone)).says("ready")
        servers = [
            start(
                far,
                str(COMMANDS / "smtpstatus-server"),
                f"--smtp.listen-address={address}:2525",
                f"--status.listen-address={address}:7030",
                f"--maildir={tmp_path / address}",
                SMTPSTATUS_TOKEN="secretpa",
            )
            for address in SERVERS
        ]
        for server in servers:
            server.says("ready")
        exporter = start(
            near,
            str(COMMANDS / "smtpstatus-exporter"),
            f"--web.listen-address=unix:{path}",
            f"--config.file={file}",
        )
        exporter.says("Listening")
        yield Network(near, far, zone, exporter, str(path), servers)
        assert "Traceback" not in exporter.output


ADDRESSES = {f"mail-{address}": f"{address}:7030" for address in SERVERS}


def test_names_that_do_not_resolve_affect_no_other_target(tmp_path: Path, scale: Scale) -> None:
    silent = {f"silent-{number}": f"s{number}.silent:7030" for number in range(40)}
    named = {f"named-{number}": f"m{number}.example:7030" for number in range(5)}
    with network(tmp_path, {**ADDRESSES, **silent, **named}) as one:
        one.names(
            **{f"m{number}.example": [SERVERS[number]] for number in range(5)},
            **{f"s{number}.silent": "silent" for number in range(40)},
        )
        eventually(lambda: not set(one.down()) & set(named), seconds=60)
        for _ in range(scale(full=40, short=4)):
            assert one.down() == dict.fromkeys(silent, "name")


def test_a_name_with_rotating_addresses_is_read_from_one_server(
    tmp_path: Path, scale: Scale
) -> None:
    with network(tmp_path, {"mail": "pool.example:7030"}) as one:
        one.names(**{"pool.example": SERVERS})
        for _ in range(scale(full=200, short=10)):
            assert one.down() == {}


def test_flapping_names_use_the_last_good_address(tmp_path: Path, scale: Scale) -> None:
    with network(tmp_path, {"mail": "flap.example:7030"}) as one:
        one.names(**{"flap.example": [SERVERS[0]]})
        assert one.down() == {}
        one.names(**{"flap.example": "flapping", "flapping-address": [SERVERS[0]]})
        for _ in range(scale(full=20, short=4)):
            assert one.down() == {}


def test_a_first_address_without_a_server_does_not_hide_the_second(
    tmp_path: Path, scale: Scale
) -> None:
    with network(tmp_path, {"mail": "two.example:7030"}) as one:
        one.names(**{"two.example": ["10.77.0.99", "10.77.0.12", SERVERS[0]]})
        for _ in range(scale(full=30, short=5)):
            assert one.down() == {}


def test_readings_succeed_when_half_of_the_datagrams_are_lost(
    tmp_path: Path, scale: Scale
) -> None:
    with network(tmp_path, ADDRESSES) as one:
        drop = (
            "table inet t { chain c { type filter hook input priority 0;"
            " udp dport 7030 numgen random mod 100 < 50 drop; }; }"
        )
        one.far.run(require("nft"), drop)
        rounds = scale(full=50, short=10)
        failed = sum(len(one.down()) for _ in range(rounds))
        total = rounds * len(SERVERS)
        # Three attempts of four commands: (1 - 0.5^3)^4 = 59 % would be up; the schedule has more attempts.
        assert failed < 0.6 * total
        one.far.run(require("nft"), "flush ruleset")
        assert one.down() == {}


@pytest.mark.parametrize("kind", ["net-unreachable", "host-unreachable", "admin-prohibited"])
def test_a_soft_icmp_error_does_not_end_a_query(tmp_path: Path, kind: str) -> None:
    with network(tmp_path, ADDRESSES) as one:
        reject = (
            "table inet t { chain c { type filter hook input priority 0;"
            f" udp dport 7030 reject with icmp type {kind}; }}; }}"
        )
        one.far.run(require("nft"), reject)
        scrape = one.scraping()
        with pytest.raises(subprocess.TimeoutExpired):
            scrape.wait(0.4)
        one.far.run(require("nft"), "flush ruleset")
        page, _ = scrape.communicate(timeout=20)

        assert {value for _, value in UP.findall(page)} == {"1.0"}


def test_a_closed_port_is_reported_as_unreachable(tmp_path: Path) -> None:
    with network(tmp_path, ADDRESSES) as one:
        one.servers[0].end(signal.SIGKILL)

        assert one.down() == {f"mail-{SERVERS[0]}": "unreachable"}


def test_targets_recover_after_an_interface_was_down(tmp_path: Path) -> None:
    with network(tmp_path, ADDRESSES) as one:
        assert one.down() == {}
        one.far.run(require("ip"), "link", "set", one.far.interface, "down")
        assert set(one.down()) == set(ADDRESSES)
        one.far.run(require("ip"), "link", "set", one.far.interface, "up")
        eventually(lambda: one.down() == {})


def test_a_stopped_exporter_reports_no_target_down(tmp_path: Path, scale: Scale) -> None:
    with network(tmp_path, ADDRESSES) as one:
        for _ in range(scale(full=10, short=2)):
            curl = one.scraping()
            one.exporter.send(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                curl.wait(2.5)
            one.exporter.send(signal.SIGCONT)
            page, _ = curl.communicate(timeout=20)
            assert [value for _, value in UP.findall(page) if float(value) != 1] == []


def test_a_congested_link_of_the_exporter_is_a_local_shortage(
    tmp_path: Path, scale: Scale
) -> None:
    with network(tmp_path, ADDRESSES) as one:
        one.near.run(
            require("tc"), "qdisc", "add", "dev", one.near.interface, "root",
            "tbf", "rate", "200kbit", "burst", "1600", "limit", "2000",
        )  # fmt: skip
        for _ in range(scale(full=50, short=5)):
            page = one.page()
            assert [value for _, value in UP.findall(page) if float(value) != 1] == []
