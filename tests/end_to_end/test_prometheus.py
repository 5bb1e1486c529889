"""Real Prometheus that scrapes the installed exporter, which queries the installed server."""

import smtplib
import subprocess
import urllib.request
from pathlib import Path

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.processes import (
    MailServer,
    eventually,
    exporter,
    free_port,
    mail_server,
    prometheus,
)
from tests.support.real import require

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 900ms}}
scrape_configs:
  - job_name: smtpstatus
    static_configs: [{{targets: ["{address}"]}}]
"""


def send(server: MailServer, mails: int) -> None:
    for _ in range(mails):
        with smtplib.SMTP("127.0.0.1", server.smtp) as client:
            client.sendmail("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\nx\r\n")


def test_the_prometheus_api_returns_the_same_numbers_across_a_restart(tmp_path: Path) -> None:
    smtp, status = free_port(), free_port()
    arguments = {"SMTPSTATUS_TARGET": f"127.0.0.1:{status}", "SMTPSTATUS_TOKEN": "secretpa"}
    total = "smtpstatus_connections_total"
    with exporter(**arguments) as url:
        configuration = CONFIGURATION.format(address=url.removeprefix("http://"))
        with prometheus(tmp_path, configuration) as served:
            eventually(lambda: served.value("smtpstatus_up") == 0.0)
            assert served.value(total) is None
            with mail_server(tmp_path / "mail", smtp=smtp, status=status) as server:
                eventually(lambda: served.value(total) == 0)
                send(server, mails=7)
                eventually(lambda: served.value(total) == 7)
                assert served.value("smtpstatus_up") == 1
                server.process.end()
            eventually(lambda: served.value("smtpstatus_up") == 0)
            with mail_server(tmp_path / "mail", smtp=smtp, status=status) as server:
                eventually(lambda: served.value(total) == 0)
                send(server, mails=4)
                eventually(lambda: served.value(total) == 4)
            # The counter fell from 7 to 0: Prometheus sees a restart, and 7 + 4 messages in total.
            samples = served.get("/api/v1/query", query=f"{total}[5m]")["result"][0]["values"]

            assert [float(value) for _, value in samples][-1] == 4
            assert served.value(f"resets({total}[5m])") == 1
            increase = served.value(f"increase({total}[5m])")
            span = samples[-1][0] - samples[0][0]
            assert increase is not None
            assert 11 <= increase <= 11 * 300 / span


def test_the_exposition_passes_promtool_and_the_client_parsers(tmp_path: Path) -> None:
    promtool = require("promtool")
    with (
        mail_server(tmp_path / "mail") as server,
        exporter(
            SMTPSTATUS_TARGET=f"127.0.0.1:{server.status}", SMTPSTATUS_TOKEN="secretpa"
        ) as url,
    ):
        for path in ("/metrics", f"/probe?target=127.0.0.1:{server.status}"):
            text = fetch(url + path, "text/plain;version=0.0.4")
            checked = subprocess.run(
                [promtool, "check", "metrics"],
                input=text,
                capture_output=True,
                text=True,
                check=False,
            )

            assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
            assert list(parse_text(text))
            openmetrics = fetch(url + path, "application/openmetrics-text;version=1.0.0")
            assert openmetrics.endswith("# EOF\n")
            assert list(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]


def fetch(url: str, accept: str) -> str:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:
        text: str = answer.read().decode()
    return text
