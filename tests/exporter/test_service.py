"""The service over several readings and reloads."""

import asyncio
import gc
import logging
import weakref
from itertools import zip_longest

import pytest

from exporter.configuration.config import Config, Target
from exporter.configuration.secret import Secret
from exporter.reading import TargetReadings
from exporter.service import Service
from protocol.address import HostPort
from protocol.client import Peer
from protocol.errors import NoAnswer
from protocol.reading import Reading
from protocol.readings import Readings
from protocol.token import Token

TARGETS = tuple(
    Target(f"mail-{number}", HostPort("127.0.0.1", 7030 + number), Secret.given("secretpa"))
    for number in range(4)
)


def fleet(error: NoAnswer | None) -> TargetReadings:
    peers = [Peer(target.address, Token(b"secretpa")) for target in TARGETS]
    rows = {target.name: row for row, target in enumerate(TARGETS)}
    return TargetReadings(peers, TARGETS, Readings.of([Reading(error=error) for _ in peers]), rows)


def test_two_scrapes_that_find_the_same_targets_back_log_each_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    service = Service(lambda: Config(targets=TARGETS))
    for _ in service._observe(fleet(NoAnswer(2.0, 12)), {}):
        pass
    scrapes = (service._observe(fleet(None), {}) for _ in range(2))
    for _ in zip_longest(*scrapes):  # each returns to the event loop in between
        pass

    back = [record for record in caplog.records if record.message == "Target is back"]
    assert sorted(vars(record)["target"] for record in back) == [one.name for one in TARGETS]


def test_a_target_that_fails_often_is_logged_once_a_minute_and_again_if_it_stays_down(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients with a short timeout can let a reading of a distant target fail as often as they like."""
    caplog.set_level(logging.INFO)
    service = Service(lambda: Config(targets=TARGETS[:1]))

    def observe(*errors: NoAnswer | None) -> list[str]:
        caplog.clear()
        for error in errors:
            for _ in service._observe(fleet(error), {}):
                pass
        return [record.message for record in caplog.records]

    down = NoAnswer(2.0, 12)
    once = observe(*[down, None] * 10)
    assert once == ["Target is down"] * len(TARGETS) + ["Target is back"] * len(TARGETS)
    assert observe(down, down) == []
    monkeypatch.setattr("exporter.service._LOG_INTERVAL_S", 0.0)
    assert observe(down, down, None) == once


async def test_a_replaced_configuration_is_freed_without_garbage_collection() -> None:
    service = Service(lambda: Config(targets=TARGETS))
    gc.collect()
    gc.disable()  # the exporter collects the oldest generation rarely
    try:
        deadline = asyncio.get_running_loop().time() + 0.2
        await service.installed.targets.read_all(deadline)
        replaced = weakref.ref(service.installed.targets)
        await service.reload()
        await asyncio.sleep(0)

        assert replaced() is None
    finally:
        gc.enable()
        service.reader.close()
