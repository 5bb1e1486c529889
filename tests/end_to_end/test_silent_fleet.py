"""A real Prometheus scrapes 20 good and 200 silent servers through /sd and /probe, every five seconds."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.exporter.running import TOKEN, running_mail_server
from tests.support.processes import eventually, exporter, prometheus

GOOD, SILENT = 20, 200


@pytest.mark.soak
async def test_silent_servers_delay_no_other_scrape_and_fire_an_alert_each(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        silent.bind(("0.0.0.0", 0))  # every loopback address of this port
        port = silent.getsockname()[1]
        servers = [await stack.enter_async_context(running_mail_server()) for _ in range(GOOD)]
        addresses = {f"good-{number}": server.address for number, server in enumerate(servers)}
        addresses |= {f"silent-{n}": f"127.1.0.{n + 1}:{port}" for n in range(SILENT)}
        targets = "\n".join(
            f"  - {{name: {name}, address: '{address}', token: {TOKEN}}}"
            for name, address in addresses.items()
        )
        (tmp_path / "exporter.yml").write_text(f"targets:\n{targets}\n")
        await asyncio.to_thread(scraped, tmp_path)


def scraped(directory: Path) -> None:
    (directory / "rules.yml").write_text(
        "groups: [{name: a, rules: [{alert: Down, expr: smtpstatus_up == 0, for: 20s}]}]"
    )
    with exporter(f"--config.file={directory / 'exporter.yml'}") as url:
        configuration = f"""
global: {{scrape_interval: 5s, evaluation_interval: 1s}}
rule_files: [{directory / "rules.yml"}]
scrape_configs:
  - job_name: smtpstatus
    http_sd_configs: [{{url: "{url}/sd"}}]
"""
        with prometheus(directory / "prometheus", configuration) as served:
            firing = 'count(ALERTS{alertstate="firing"}) == 200'
            eventually(lambda: served.value(firing), seconds=120)
            failed = "sum(count_over_time(up[2m]) - sum_over_time(up[2m]))"
            assert served.value(failed) == 0
            assert served.value("count(smtpstatus_up == 1)") == GOOD
