import asyncio
import logging
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest

from exporter.configuration.config import Config, ProbeNetwork, Target
from exporter.configuration.secret import Secret
from exporter.probe_policy import Denied
from exporter.reading import TargetReading, TargetReadings
from exporter.targets import BadAddress, Targets, UnknownTarget
from protocol.address import HostPort
from protocol.client import Peer, Reading
from protocol.dialects import V0
from protocol.errors import DiscardReason, FailureReason, Shortage
from tests.exporter.running import TOKEN, MailServer, silence


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def nothing(scrapes: TargetReadings, strays: Mapping[DiscardReason, int]) -> None:
    pass


def target(name: str, address: str, secret: Secret | None = None) -> Target:
    return Target(name, HostPort.parse(address), secret or Secret(TOKEN, ""))


def rule(network: str, token: str = TOKEN) -> ProbeNetwork:
    ports = (range(1, 65536),)
    return ProbeNetwork((ip_network(network),), Secret(token, ""), ports=ports)


def probing(*rules: ProbeNetwork) -> Targets:
    return Targets(Config(timeout=1, probe=rules), nothing)


async def test_a_probe_by_name_and_by_a_targets_address_is_the_same(
    mail_server: MailServer,
) -> None:
    targets = Targets(Config(targets=(target("mail", mail_server.address),)), nothing)

    for text in ("mail", mail_server.address):
        scrape = await targets.probe(text, in_seconds(1))
        assert scrape.target is not None
        assert (scrape.target.name, scrape.reading.error) == ("mail", None)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mail-9", UnknownTarget),
        ("", UnknownTarget),
        ("127.0.0.1:70000", BadAddress),
        ("::1:7030", BadAddress),
        ("a b:7030", BadAddress),
        ("127.0.0.1:7030", Denied),
    ],
)
async def test_without_networks_only_targets_are_probed(text: str, error: type) -> None:
    with pytest.raises(error):
        await probing().probe(text, in_seconds(1))


async def test_simultaneous_readings_of_one_target_share_one_query(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), nothing)

    scrapes = await asyncio.gather(*(targets.read(found, in_seconds(1)) for _ in range(5)))
    assert len(mail_server.asked) == 4
    assert all(scrape.reading is scrapes[0].reading for scrape in scrapes)

    await targets.read(found, in_seconds(1))
    assert len(mail_server.asked) == 8


async def test_a_late_caller_gets_no_timeout_before_its_own_deadline() -> None:
    async with silence() as address:
        found = target("mute", address)
        targets = Targets(Config(targets=(found,), attempts=1), nothing)
        loop = asyncio.get_running_loop()

        hurried = asyncio.create_task(targets.read(found, in_seconds(0.05)))
        await asyncio.sleep(0)
        deadline = in_seconds(0.2)
        patient = await targets.read(found, deadline)

        assert patient.reading.error is not None
        assert loop.time() >= deadline
        assert hurried.done()


async def test_a_caller_with_little_time_left_reuses_the_shared_result() -> None:
    observed: list[TargetReading] = []
    async with silence() as address:
        found = target("mute", address)
        targets = Targets(
            Config(targets=(found,)), lambda scrapes, strays: observed.extend(scrapes)
        )
        deadline = in_seconds(0.05)
        hurried, patient = await asyncio.gather(
            targets.read(found, deadline), targets.read(found, deadline + 0.005)
        )

    assert observed == [hurried]
    assert patient.reading is hurried.reading


async def test_a_reading_whose_deadline_passed_before_it_began_is_a_shortage(
    mail_server: MailServer,
) -> None:
    """The loop was late, so the target was not asked and is not down."""
    targets = Targets(Config(targets=(target("mail", mail_server.address),)), nothing)

    with pytest.raises(Shortage, match="did not run until the deadline"):
        await targets.read_all(in_seconds(-0.001))

    assert mail_server.asked == []


async def test_the_observer_receives_a_shared_reading_once(mail_server: MailServer) -> None:
    observed: list[TargetReading] = []
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), lambda scrapes, strays: observed.extend(scrapes))

    await asyncio.gather(*(targets.read(found, in_seconds(1)) for _ in range(3)))

    assert len(observed) == 1


async def test_a_changed_token_file_is_used_and_an_invalid_one_is_not(
    mail_server: MailServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.secret_files._FRESH_S", 0.0)
    path = tmp_path / "token"
    path.write_text("wrongone\n")
    found = target("mail", mail_server.address, Secret.read(path))
    targets = Targets(Config(targets=(found,)), nothing)

    async def works() -> bool:
        return (await targets.read(found, in_seconds(1))).reading.error is None

    assert not await works()
    path.write_text(f"{TOKEN}\n")
    assert await works()

    caplog.set_level(logging.WARNING)
    path.write_text("too long by far\n")
    assert await works()
    path.unlink()
    assert await works()
    assert await works()
    assert [record.message for record in caplog.records if record.name.startswith("exporter")] == [
        "New token does not fit the dialect; keeping the previous one",
        "Cannot reread secret; keeping the previous one",
    ]
    assert "too long by far" not in caplog.text


async def test_the_time_of_a_change_survives_a_reload_that_keeps_the_address(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    old = Targets(Config(targets=(found,)), nothing)
    await old.set_transforms(found, False, in_seconds(1))

    moved = target("mail", "127.0.0.1:1")
    same = Targets(Config(targets=(found,)), nothing)
    other = Targets(Config(targets=(moved,)), nothing)
    same.inherit(old)
    assert same.changed(found) == old.changed(found) is not None

    other.inherit(same)
    assert other.changed(moved) is None


async def test_a_write_in_progress_during_a_reload_keeps_its_time_of_change(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    old = Targets(Config(targets=(found,)), nothing)
    new = Targets(Config(targets=(found,)), nothing)
    new.inherit(old)

    await old.set_transforms(found, False, in_seconds(1))
    assert new.changed(found) is not None

    newest = Targets(Config(), nothing)
    newest.inherit(new)
    assert new.changed(found) is None  # a removed target leaves no entry


async def test_a_defect_with_one_target_fails_no_other(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = target("good", mail_server.address), target("bad", "127.0.0.1:1")
    targets = Targets(Config(targets=(good, bad)), nothing)
    reader = targets._reader
    read = reader.read

    async def read_or_fail(peer: Peer, *, timeout: float, attempts: int = 3) -> Reading:
        if peer.where.port == 1:
            raise KeyError("secretpa")
        return await read(peer, timeout=timeout, attempts=attempts)

    async def fail(*_: object, **__: object) -> list[Reading]:
        raise KeyError("secretpa")

    monkeypatch.setattr(reader, "read", read_or_fail)
    monkeypatch.setattr(reader, "read_all", fail)
    first, second = await targets.read_all(in_seconds(1))

    assert first.reading.error is None
    assert second.reading.error is not None
    assert second.reading.error.reason is FailureReason.INTERNAL
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert vars(line)["address"] == "127.0.0.1:1"
    assert "secretpa" not in caplog.text + str(second.reading.error)


async def test_a_defect_of_the_observer_does_not_lose_the_reading(
    mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secretpa")

    found = target("mail", mail_server.address)
    scrape = await Targets(Config(targets=(found,)), fail).read(found, in_seconds(1))

    assert scrape.reading.error is None
    assert "Internal error while recording readings" in caplog.text
    assert "secretpa" not in caplog.text


async def test_a_scrape_never_sends_a_command_that_writes(mail_server: MailServer) -> None:
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), nothing)
    await targets.read_all(in_seconds(1))
    await targets.probe("mail", in_seconds(1))
    await targets.read_transforms(found, in_seconds(1))

    assert set(mail_server.asked) == set(V0.reads)


async def test_concurrent_writes_to_one_target_wait_for_each_other(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), nothing)

    switched = await asyncio.gather(
        *(targets.set_transforms(found, bool(number % 2), in_seconds(5)) for number in range(6))
    )

    assert [one.reading.error for one in switched] == [None] * 6


async def test_a_write_that_waits_for_another_ends_by_its_deadline(
    mail_server: MailServer,
) -> None:
    async with silence() as address:
        found = target("mute", address)
        targets = Targets(Config(targets=(found,), attempts=1), nothing)
        first = asyncio.create_task(targets.set_transforms(found, True, in_seconds(5)))
        await asyncio.sleep(0)
        second = await targets.set_transforms(found, False, in_seconds(0.05))
        first.cancel()
        await asyncio.wait([first])

    assert second.before is None
    assert second.reading.error
    assert second.reading.error.reason is FailureReason.TIMEOUT


async def test_a_request_joins_a_reading_with_a_shorter_deadline_at_most_once() -> None:
    observed: list[TargetReading] = []
    async with silence() as address:
        found = target("mute", address)
        targets = Targets(
            Config(targets=(found,), attempts=1),
            lambda readings, strays: observed.extend(readings),
        )
        now = asyncio.get_running_loop().time()
        deadlines = [now + 0.1 + number / 50 for number in range(10)]
        ended: list[float] = []

        async def read(deadline: float) -> None:
            await targets.read(found, deadline)
            ended.append(asyncio.get_running_loop().time() - deadline)

        await asyncio.gather(*map(read, deadlines))

    # All share the first reading; then each has its own with its remaining time.
    assert len(observed) <= len(deadlines)
    assert min(ended) > -0.02
