"""A target whose numbers come from another dialect is reported in the log once."""

import logging
import subprocess
from pathlib import Path

import pytest

from exporter.configuration.config import Target
from exporter.configuration.secret import Secret
from exporter.dialect_warnings import DialectWarnings
from exporter.reading import TargetReading
from protocol.address import HostPort
from protocol.client import Reading
from protocol.dialects import V0
from protocol.errors import NoAnswer
from protocol.message import Value
from protocol.vocabulary import Command
from tests.exporter.running import Start, running_mail_server
from tests.support.processes import COMMANDS

WHERE = HostPort("127.0.0.1", 7030)


def scrape(connections: int | None, active: int = 0, *, target: bool = True) -> TargetReading:
    values: dict[Command, Value | None] = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: active,
        Command.TRANSFERRED_BYTES: connections,
    }
    reading = Reading(error=NoAnswer(1, 1)) if connections is None else Reading(values)
    named = Target("mail-1", WHERE, Secret("secretpa", "token"), V0, {}) if target else None
    return TargetReading(WHERE, V0, named, reading)


def warned(
    caplog: pytest.LogCaptureFixture,
    *scrapes: TargetReading,
    warnings: DialectWarnings | None = None,
) -> list[str]:
    caplog.clear()
    observer = warnings or DialectWarnings()
    with caplog.at_level(logging.WARNING):
        for one in scrapes:
            observer.observe([one])
    return [f"{vars(record)['server']}: {vars(record)['err']}" for record in caplog.records]


@pytest.mark.parametrize(
    ("scrapes", "cause"),
    [
        ([scrape(3 << 32)], "narrower than the dialect's 8 bytes"),
        ([scrape(3 << 56)], "byte order"),
        ([scrape(1, 2)], "2 active connections of 1 in total"),
        ([scrape(5), scrape(5 + (1 << 32))], "multiples of 2^32"),
        ([scrape(0), scrape(None), scrape(1 << 32)], "narrower"),
    ],
)
def test_implausible_numbers_are_warned_about_once(
    caplog: pytest.LogCaptureFixture, scrapes: list[TargetReading], cause: str
) -> None:
    (text,) = warned(caplog, *scrapes, *scrapes)

    assert text.startswith("mail-1: ")
    assert cause in text


def test_plausible_numbers_are_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    assert warned(caplog, *[scrape(number) for number in (0, 0, 1, 5, 7 << 32)]) == []


def test_a_reading_of_the_transforms_alone_is_not_compared_with_one_of_the_counters(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Target("mail-1", WHERE, Secret("secretpa", "token"), V0, {})
    transforms = TargetReading(WHERE, V0, target, Reading({Command.TRANSFORMS: True}))

    assert warned(caplog, transforms, scrape(0), transforms, scrape(0), scrape(1)) == []
    (text,) = warned(caplog, scrape(5), transforms, scrape(5 + (1 << 32)))
    assert "multiples of 2^32" in text


def test_each_server_and_each_configuration_is_checked_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warnings = DialectWarnings()
    both = [scrape(1 << 32), scrape(1 << 32, target=False)]

    assert [text.split(": ")[0] for text in warned(caplog, *both, warnings=warnings)] == [
        "mail-1",
        "127.0.0.1:7030",
    ]
    assert warned(caplog, *both, warnings=warnings) == []
    warnings.clear()
    assert len(warned(caplog, *both, warnings=warnings)) == 2


async def test_a_scrape_warns_about_a_target_of_the_wrong_dialect(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_mail_server(V0) as server:
        server.values[Command.CONNECTIONS] = 1
        server.values[Command.ACTIVE_CONNECTIONS] = 7
        exporter = await start(
            f"targets: [{{name: a, address: '{server.address}', token: secretpa}}]"
        )
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                await exporter.http.get("/metrics")

    assert [record.getMessage() for record in caplog.records] == [
        "Implausible numbers; the dialect is probably wrong"
    ]


def test_the_check_of_a_configuration_lists_what_each_dialect_reads_and_writes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(
        "targets: [{name: a, address: h, token: secretpa, dialect: mine}]\n"
        "dialects: {mine: {signature: abcd, statuses: {done: 0},"
        " commands: {connections: {code: 9}, enable_transforms: {code: 0x10, value: none}},"
        " request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13},"
        " response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}}}\n"
    )

    command = [str(COMMANDS / "smtpstatus-exporter"), "--config.check", "--config.file", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=True)

    assert checked.stdout.splitlines() == [
        "configuration OK: 1 target",
        "dialect mine: reads connections (09); writes enable_transforms (10)",
    ]
