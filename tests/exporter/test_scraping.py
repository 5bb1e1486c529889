import asyncio
import gzip
import json
import socket
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.exposition import Format
from exporter.http.connection import Connection
from exporter.routes.context import HttpOptions
from protocol.dialects import DIALECTS
from protocol.errors import FailureReason, Resource, Shortage
from protocol.server import serve
from protocol.sockets import Sockets
from protocol.token import Token
from protocol.vocabulary import Command
from tests.exporter.running import (
    TOKEN,
    Exporter,
    MailServer,
    Start,
    one_target,
    running_mail_server,
    silence,
)
from tests.support.real import require

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def samples(text: str, prefix: str = "smtpstatus_") -> dict[str, float]:
    """Samples by name and labels as written, without those of the exporter itself."""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(prefix)]
    return {name: float(value) for name, value in lines if "_exporter_" not in name}


async def test_metrics_has_eight_lines_for_a_healthy_target_with_its_labels(
    exporter: Exporter,
) -> None:
    answer = await exporter.http.get("/metrics")

    found = samples(answer.text)
    labels = '{site="eu",target="mail-1"}'
    assert found.pop(f"smtpstatus_scrape_duration_seconds{labels}") > 0
    assert found == {
        f"smtpstatus_up{labels}": 1,
        f"smtpstatus_connections_total{labels}": 5,
        f"smtpstatus_active_connections{labels}": 0,
        f"smtpstatus_transferred_bytes_total{labels}": 51234,
        f"smtpstatus_transforms_enabled{labels}": 1,
        f"smtpstatus_scrape_datagrams_sent{labels}": 4,
        f"smtpstatus_scrape_retransmissions{labels}": 0,
    }


async def test_a_probe_has_no_labels_of_the_target_and_every_reason(exporter: Exporter) -> None:
    answer = await exporter.http.get("/probe", params={"target": "mail-1"})

    found = samples(answer.text)
    assert found["smtpstatus_up"] == 1
    assert found["smtpstatus_transferred_bytes_total"] == 51234
    reasons = {name: value for name, value in found.items() if "scrape_error" in name}
    assert reasons == {
        f'smtpstatus_scrape_error{{reason="{reason}"}}': 0 for reason in FailureReason
    }
    assert "smtpstatus_exporter_" not in answer.text
    assert "process_" not in answer.text


async def test_a_target_that_is_down_has_no_counters_and_its_own_reason(start: Start) -> None:
    exporter = await start(
        "targets: [{name: closed, address: '127.0.0.1:1', token: secretpa}]\ntimeout: 300ms\n"
    )

    everything = await exporter.http.get("/metrics")
    probe = await exporter.http.get("/probe?target=closed")

    found = samples(everything.text)
    assert everything.status_code == probe.status_code == 200
    assert found['smtpstatus_up{target="closed"}'] == 0
    assert found['smtpstatus_scrape_error{reason="unreachable",target="closed"}'] == 1
    assert sum("scrape_error" in name for name in found) == 1
    assert not any("_total" in name or "active" in name or "enabled" in name for name in found)
    assert samples(probe.text)['smtpstatus_scrape_error{reason="unreachable"}'] == 1
    assert samples(probe.text)['smtpstatus_scrape_error{reason="timeout"}'] == 0


async def test_a_silent_target_delays_a_scrape_at_most_until_its_deadline(
    start: Start, mail_server: MailServer
) -> None:
    async with running_mail_server(token="otherpas") as silent:
        silent.values.clear()
        config = one_target(mail_server).replace(
            "targets:",
            "targets:\n  - {name: mute, address: 'mute.invalid:7030', token: secretpa}",
        )
        exporter = await start(config)
        before = asyncio.get_running_loop().time()
        answer = await exporter.http.get(
            "/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.6"}
        )

    assert asyncio.get_running_loop().time() - before < 0.6
    assert samples(answer.text)['smtpstatus_up{site="eu",target="mail-1"}'] == 1
    assert samples(answer.text)['smtpstatus_up{target="mute"}'] == 0


@pytest.mark.parametrize("value", ["nonsense", "0", "-1", "nan", "inf", "1e999", ""])
async def test_an_invalid_timeout_header_is_a_bad_request(exporter: Exporter, value: str) -> None:
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": value}
    for path in ("/metrics", "/probe?target=mail-1"):
        answer = await exporter.http.get(path, headers=headers)

        assert (answer.status_code, answer.json()["title"]) == (400, "Bad Request")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?target=", 400),
        ("?target=mail-1&target=mail-1", 400),
        ("?target=mail-1&debug=perhaps", 400),
        ("?target=127.0.0.1:99999", 400),
        ("?target=::1:7030", 400),
        ("?target=mail-9", 404),
        ("?target=192.0.2.1:7030", 403),
        ("?target=localhost:9", 403),
    ],
)
async def test_a_probe_of_a_disallowed_target_is_rejected_with_the_reason(
    exporter: Exporter, mail_server: MailServer, query: str, status: int
) -> None:
    answer = await exporter.http.get(f"/probe{query}")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert mail_server.asked == []


async def test_a_target_may_be_probed_by_its_address(
    exporter: Exporter, mail_server: MailServer
) -> None:
    answer = await exporter.http.get("/probe", params={"target": mail_server.address})

    assert samples(answer.text)["smtpstatus_connections_total"] == 5


@pytest.mark.parametrize("path", ["/metrics", "/probe?target=mail-1"])
async def test_both_formats_parse_strictly(exporter: Exporter, path: str) -> None:
    text = await exporter.http.get(path)
    openmetrics = await exporter.http.get(path, headers=OPENMETRICS)

    assert text.headers["content-type"] == Format.TEXT.value
    assert openmetrics.headers["content-type"] == Format.OPENMETRICS.value
    assert {family.name for family in parse_text(text.text)} == {
        family.name
        for family in parse_openmetrics(openmetrics.text)  # type: ignore[no-untyped-call]
    }
    assert "_created" not in text.text + openmetrics.text


@pytest.mark.parametrize("path", ["/metrics", "/probe?target=mail-1"])
async def test_promtool_reports_no_problem(exporter: Exporter, path: str) -> None:
    text = (await exporter.http.get(path)).content

    checked = await asyncio.to_thread(
        subprocess.run,
        [require("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_a_response_is_compressed_if_the_client_accepts_it(start: Start) -> None:
    many = "".join(
        f"  - {{name: closed-{number}, address: '127.0.0.1:1', token: secretpa}}\n"
        for number in range(100)
    )
    exporter = await start(f"targets:\n{many}")
    for wanted, packed in [("gzip", True), ("gzip;q=0", False), ("br", False), ("*", True)]:
        request = exporter.http.build_request(
            "GET", "/metrics", headers={"Accept-Encoding": wanted}
        )
        answer = await exporter.http.send(request, stream=True)
        body = b"".join([part async for part in answer.aiter_raw()])

        assert (answer.headers.get("content-encoding") == "gzip") is packed
        assert b"smtpstatus_up" in (gzip.decompress(body) if packed else body)
        assert answer.headers["vary"] == "Accept, Accept-Encoding"


async def test_a_short_response_is_not_compressed(exporter: Exporter) -> None:
    answer = await exporter.http.get("/probe?target=mail-1", headers={"Accept-Encoding": "gzip"})

    assert "content-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.content) < 14_600


async def test_requests_beyond_the_limit_are_503_and_a_shared_reading_counts_once(
    start: Start, mail_server: MailServer
) -> None:
    async with silence() as address:
        exporter = await start(
            f"""
targets:
  - {{name: mute, address: '{address}', token: {TOKEN}}}
  - {{name: mail-1, address: '{mail_server.address}', token: {TOKEN}}}
timeout: 700ms
""",
            HttpOptions(max_waiting=1),
        )
        sample = exporter.service.own.registry.get_sample_value
        waiting = [
            asyncio.ensure_future(exporter.http.get("/probe?target=mute")) for _ in range(3)
        ]
        while sample("smtpstatus_exporter_scrapes_in_flight") != 3:
            await asyncio.sleep(0.001)

        for path in ("/metrics", "/probe?target=mail-1", "/api/v1/targets"):
            refused = await exporter.http.get(path)

            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (await exporter.http.get("/metrics?collect[]=exporter")).status_code == 200
        assert not any(one.done() for one in waiting)
        assert {(await one).status_code for one in waiting} == {200}
        assert (await exporter.http.get("/probe?target=mail-1")).status_code == 200
        assert sample("smtpstatus_exporter_scrapes_rejected_total") == 3


async def test_requests_for_silent_servers_do_not_block_requests_for_others(
    start: Start, mail_server: MailServer
) -> None:
    async with silence() as address:
        exporter = await start(
            "targets:\n"
            + "".join(
                f"  - {{name: mute-{index}, address: '{address}', token: {TOKEN}}}\n"
                for index in range(10)
            )
            + f"  - {{name: mail-1, address: '{mail_server.address}', token: {TOKEN}}}\n"
            "timeout: 1s\n",
            HttpOptions(max_requests=1),
        )
        waiting = [
            asyncio.ensure_future(exporter.http.get(f"/probe?target=mute-{index}"))
            for index in range(10)
        ]
        await asyncio.sleep(0.1)
        good = [await exporter.http.get("/probe?target=mail-1") for _ in range(20)]

        assert {answer.status_code for answer in good} == {200}
        assert all(samples(answer.text)["smtpstatus_up"] == 1 for answer in good)
        for one in waiting:
            found = samples((await one).text)
            assert found['smtpstatus_scrape_error{reason="timeout"}'] == 1


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("", {"own", "targets"}),
        ("?collect[]=exporter", {"own"}),
        ("?collect[]=targets", {"targets"}),
        ("?collect%5B%5D=targets", {"targets"}),
        ("?collect[]=exporter&collect[]=targets", {"own", "targets"}),
    ],
)
@pytest.mark.parametrize("accept", [{}, OPENMETRICS])
async def test_collect_selects_parts_of_metrics(
    exporter: Exporter,
    mail_server: MailServer,
    query: str,
    parts: set[str],
    accept: dict[str, str],
) -> None:
    answer = await exporter.http.get(f"/metrics{query}", headers=accept)

    found = {
        "own": "smtpstatus_exporter_build_info" in answer.text and "python_info" in answer.text,
        "targets": "smtpstatus_up{" in answer.text,
    }
    assert answer.status_code == 200
    assert {part for part, present in found.items() if present} == parts
    assert bool(mail_server.asked) is ("targets" in parts)
    parse = parse_openmetrics if accept else parse_text
    list(parse(answer.text))


async def test_an_unknown_part_of_metrics_is_a_bad_request(
    exporter: Exporter, mail_server: MailServer
) -> None:
    answer = await exporter.http.get("/metrics?collect[]=targets&collect[]=cpu")

    assert answer.status_code == 400
    assert answer.json()["detail"] == "unknown collect[] 'cpu': known are exporter and targets"
    assert not mail_server.asked


async def test_a_scraper_that_disconnects_frees_its_place(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "half_closed_timeout_s", 0.05)
    async with silence() as address:
        exporter = await start(
            f"targets: [{{name: mute, address: '{address}', token: secretpa}}]\ntimeout: 1m\n",
            HttpOptions(max_waiting=1),
        )
        sample = exporter.service.own.registry.get_sample_value
        _, writer = await asyncio.open_connection("127.0.0.1", exporter.port)
        writer.write(b"GET /probe?target=mute HTTP/1.1\r\nHost: exporter\r\n\r\n")
        while not sample("smtpstatus_exporter_scrapes_in_flight"):
            await asyncio.sleep(0.001)

        writer.close()
        await writer.wait_closed()
        async with asyncio.timeout(5):
            while sample("smtpstatus_exporter_scrapes_in_flight"):
                await asyncio.sleep(0.001)

        assert (await exporter.http.get("/-/healthy")).status_code == 200


async def test_service_discovery_lists_every_target(exporter: Exporter) -> None:
    answer = await exporter.http.get("/sd", headers={"Host": "exporter.example:17030"})

    assert answer.json() == [
        {
            "targets": ["exporter.example:17030"],
            "labels": {
                "__metrics_path__": "/probe",
                "__scheme__": "http",
                "__param_target": "mail-1",
                "target": "mail-1",
                "site": "eu",
            },
        }
    ]


async def test_debug_output_shows_every_datagram_and_no_token(
    exporter: Exporter, mail_server: MailServer
) -> None:
    answer = await exporter.http.get("/probe?target=mail-1&debug=true")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.count(" ms  sent to") == answer.text.count("accepted, from") == 4
    assert "up: every request was answered" in answer.text
    assert "51,234" in answer.text
    assert "smtpstatus_transferred_bytes_total 51234.0" in answer.text
    assert TOKEN not in answer.text
    assert TOKEN.encode().hex(" ") not in answer.text
    assert TOKEN.encode().hex() not in answer.text


async def test_debug_output_shows_why_a_datagram_was_discarded(start: Start) -> None:
    dialect = DIALECTS["group-11"]
    async with running_mail_server(dialect) as other:
        exporter = await start(one_target(other, "timeout: 300ms"))
        silent = await exporter.http.get("/probe?target=mail-1&debug=true")

        assert "down, timeout: no answer" in silent.text

    async with serve("127.0.0.1", 0, Token.parse("xxxxxxxx"), lambda command: 0) as endpoint:
        exporter = await start(
            f"targets: [{{name: locked, address: '127.0.0.1:{endpoint.port}', token: {TOKEN}}}]"
        )
        refused = await exporter.http.get("/probe?target=locked&debug=true")

        assert "authentication failed" in refused.text
        assert "down, authentication: server returned" in refused.text


@pytest.mark.parametrize("name", DIALECTS)
async def test_each_dialect_exposes_exactly_its_own_quantities(start: Start, name: str) -> None:
    dialect = DIALECTS[name]
    token = "o" if dialect.token_length == 1 else TOKEN
    async with running_mail_server(dialect, token) as server:
        exporter = await start(
            f"targets: [{{name: mail, address: '{server.address}', token: {token},"
            f" dialect: {name}}}]"
        )
        found = samples((await exporter.http.get("/probe?target=mail")).text)

        assert set(server.asked) == set(dialect.reads)
    quantities = {f"smtpstatus_{command.value}": command for command in Command}
    assert {quantities[key] for key in found if key in quantities} == set(dialect.reads)
    assert found["smtpstatus_connections_total"] == 5


async def test_a_server_of_another_dialect_is_reported_with_the_matching_dialect(
    start: Start,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        other.bind(("127.0.0.1", 0))

        def answer_as_group_11() -> None:
            _, source = other.recvfrom(64)
            other.sendto(bytes.fromhex("feca00123400") + bytes(8), source)

        asyncio.get_running_loop().add_reader(other, answer_as_group_11)
        exporter = await start(
            f"timeout: 100ms\ntargets: [{{name: odd, address: '127.0.0.1:{other.getsockname()[1]}',"
            " token: secretpa}]"
        )
        found = samples((await exporter.http.get("/probe?target=odd")).text)
        output = (await exporter.http.get("/probe?target=odd&debug=true")).text
        asyncio.get_running_loop().remove_reader(other)

    assert found['smtpstatus_scrape_error{reason="dialect"}'] == 1
    assert "discarded, from" in output
    assert "(wrong signature)" in output
    assert "does not speak dialect v0: its responses fit group-11" in output


async def test_promtool_accepts_the_service_discovery(exporter: Exporter, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{exporter.port}/sd"
    (tmp_path / "prometheus.yml").write_text(
        f"scrape_configs: [{{job_name: mail, http_sd_configs: [{{url: '{url}'}}]}}]"
    )
    process = await asyncio.create_subprocess_exec(
        require("promtool"), "check", "service-discovery", "--timeout=1s",
        str(tmp_path / "prometheus.yml"), "mail", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()

    (found,) = json.loads(printed)
    labels = {
        "instance": url.removeprefix("http://").removesuffix("/sd"),
        "job": "mail",
        "site": "eu",
        "target": "mail-1",
    }
    assert labels.items() <= found["labels"].items()
    assert found["discoveredLabels"]["__param_target"] == "mail-1"
    assert found["discoveredLabels"]["__metrics_path__"] == "/probe"
    assert found["discoveredLabels"]["__address__"] == f"127.0.0.1:{exporter.port}"


async def test_the_exporters_metrics_count_datagrams_and_failures(
    start: Start, mail_server: MailServer
) -> None:
    config = one_target(mail_server).replace(
        "targets:", "targets:\n  - {name: closed, address: '127.0.0.1:1', token: secretpa}"
    )
    exporter = await start(config)
    await exporter.http.get("/metrics")

    sample = exporter.service.own.registry.get_sample_value
    assert sample("smtpstatus_exporter_requests_total") == 2
    assert sample("smtpstatus_exporter_failures_total", {"reason": "unreachable"}) == 1
    assert sample("smtpstatus_exporter_failures_total", {"reason": "timeout"}) == 0
    assert sample("smtpstatus_exporter_round_trip_seconds_count") == 4
    assert sample("smtpstatus_exporter_datagrams_retransmitted_total") == 0
    assert sample("smtpstatus_exporter_targets") == 2


@pytest.mark.parametrize("path", ["/metrics", "/probe?target=mail-1", "/api/v1/targets/mail-1"])
async def test_a_local_shortage_is_503_and_counted_and_no_target_is_down(
    path: str,
    exporter: Exporter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise Shortage(Resource.DESCRIPTORS, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Sockets, "open", fail)
        answer, _ = [await exporter.http.get(path) for _ in range(2)]
    again = await exporter.http.get("/metrics")

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "Too many open files" in answer.json()["detail"]
    sample = exporter.service.own.registry.get_sample_value
    assert sample("smtpstatus_exporter_shortages_total", {"resource": "descriptors"}) == 2
    (logged,) = [record for record in caplog.records if record.message == "Request failed"]
    assert vars(logged)["repeated"] == 0
    assert sample("smtpstatus_exporter_failures_total", {"reason": "unreachable"}) == 0
    assert 'smtpstatus_up{site="eu",target="mail-1"} 1.0' in again.text
