"""History of readings: rounds of a fleet, single readings, and failures in a ring of their own."""

import time

import pytest

from exporter.configuration.config import Target
from exporter.configuration.secret import Secret
from exporter.history import History
from exporter.reading import TargetReadings
from protocol.address import HostPort
from protocol.client import Peer
from protocol.errors import FailureReason, NoAnswer
from protocol.reading import Cost, Reading
from protocol.readings import Readings
from protocol.token import Token

DOWN = Reading(error=NoAnswer(2.0, 12), cost=Cost(12, 8), seconds=2.0)


def up(seconds: float) -> Reading:
    return Reading(cost=Cost(4, 0), seconds=seconds)


def found(**readings: Reading) -> TargetReadings:
    """Readings by the name of the target."""
    secret = Secret.given("secretpa")
    targets = [Target(name, HostPort("127.0.0.1", 7030), secret) for name in readings]
    peers = [Peer(target.address, Token(b"secretpa")) for target in targets]
    rows = {target.name: row for row, target in enumerate(targets)}
    return TargetReadings(peers, targets, Readings.of(list(readings.values())), rows)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each observation takes place a second after the one before."""
    times = iter(range(1000, 2000))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))


def observe(history: History, **readings: Reading) -> int:
    """Returns how often the history yielded to the caller."""
    return len(list(history.observe(found(**readings))))


def test_the_last_readings_of_a_target_are_kept_oldest_first() -> None:
    history = History(length=3)
    for second in range(4):
        observe(history, one=up(second), other=up(10))
    observe(history, one=up(4))

    assert [(entry.at, entry.seconds) for entry in history.last("one")] == [
        (1002.0, 2.0),
        (1003.0, 3.0),
        (1004.0, 4.0),
    ]
    assert [entry.seconds for entry in history.last("other")] == [10, 10, 10]
    assert history.last("missing") == ()


def test_an_entry_has_the_cost_of_its_reading() -> None:
    history = History()
    observe(history, one=up(0.5), other=DOWN)
    observe(history, other=DOWN)

    assert [tuple(entry) for entry in history.last("one")] == [(1000.0, None, None, 0.5, 4, 0)]
    failed = (str(DOWN.error), FailureReason.TIMEOUT, 2.0, 12, 8)
    assert [tuple(entry) for entry in history.last("other")] == [
        (1000.0, *failed),
        (1001.0, *failed),
    ]


def test_successes_do_not_displace_failures() -> None:
    history = History(length=2)
    assert observe(history, one=DOWN, other=up(1)) == 1
    for _ in range(5):
        assert observe(history, one=up(1), other=up(1)) == 0

    assert [entry.at for entry in history.failed("one")] == [1000.0]
    assert [entry.error for entry in history.last("one")] == [None, None]
    assert history.failed("other") == ()


def test_readings_of_addresses_that_are_no_targets_are_not_kept() -> None:
    history = History()
    probed = found(one=DOWN)
    strangers = TargetReadings(probed._peers, [None], probed.readings, {})
    for _ in history.observe(strangers):
        pass

    assert (history.last("one"), history.failed("one")) == ((), ())


def test_a_forgotten_target_has_no_entries_and_the_others_keep_theirs() -> None:
    history = History()
    observe(history, one=DOWN, other=DOWN)
    observe(history, one=up(1), other=up(1))
    observe(history, one=up(1))
    observe(history, other=up(1))

    history.forget({"other", "new"})

    assert (history.last("one"), history.failed("one")) == ((), ())
    assert [entry.at for entry in history.last("other")] == [1000.0, 1001.0, 1003.0]
    assert [entry.at for entry in history.failed("other")] == [1000.0]
