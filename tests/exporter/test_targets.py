import asyncio
import logging
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Config, Rule, Target
from exporter.secret import Secret
from exporter.targets import BadAddress, Denied, Scrape, Targets, UnknownTarget
from protocol import V0, Command, Discard, HostPort, Reason, Token, serve
from tests.exporter.running import TOKEN, MailServer, silence


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def nothing(scrapes: Sequence[Scrape], strays: Mapping[Discard, int]) -> None:
    pass


def target(name: str, address: str, secret: Secret | None = None) -> Target:
    return Target(name, HostPort.parse(address), secret or Secret(TOKEN, ""))


def rule(network: str, token: str = TOKEN) -> Rule:
    return Rule((ip_network(network),), Secret(token, ""))


def probing(*rules: Rule) -> Targets:
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


async def test_an_address_in_a_listed_network_is_probed(mail_server: MailServer) -> None:
    scrape = await probing(rule("127.0.0.0/8")).probe(mail_server.address, in_seconds(1))

    assert scrape.target is None
    assert scrape.reading[Command.CONNECTIONS] == 5


@pytest.mark.parametrize("networks", [("127.0.0.2/32",), ("10.0.0.0/8", "::/0")])
async def test_an_address_in_no_listed_network_is_sent_nothing(
    mail_server: MailServer, networks: tuple[str, ...]
) -> None:
    targets = probing(*map(rule, networks))
    for text in (mail_server.address, f"[::ffff:127.0.0.1]:{mail_server.port}"):
        with pytest.raises(Denied):
            await targets.probe(text, in_seconds(1))

    assert mail_server.asked == []


async def test_each_network_gets_its_own_token_and_no_other(mail_server: MailServer) -> None:
    seen: list[bytes] = []

    class Watched(Token):
        def matches(self, octets: bytes) -> bool:
            seen.append(octets)
            return False

    async with (
        serve("127.0.0.1", 0, Watched(b"12345678"), mail_server.answer) as near,
        serve("127.1.0.1", 0, Watched(b"12345678"), mail_server.answer) as far,
    ):
        targets = probing(rule("127.0.0.0/16", "nearnear"), rule("127.1.0.0/16", "far-far-"))
        await targets.probe(f"127.0.0.1:{near.port}", in_seconds(1))
        assert set(seen) == {b"nearnear"}
        seen.clear()
        await targets.probe(f"127.1.0.1:{far.port}", in_seconds(1))
        assert set(seen) == {b"far-far-"}


class Names:
    """A resolver that answers each time with the next of its lists of addresses, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(2, 2, 17, "", (address, port)) for address in found]


async def test_a_name_that_changes_its_address_after_the_check_lures_no_token(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.1"], ["127.9.9.9"])
    async with serve("127.9.9.9", mail_server.port, Token.parse(TOKEN), mail_server.answer):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
        targets = probing(rule("127.0.0.0/16"))
        text = f"rebinding.example:{mail_server.port}"
        scrape = await targets.probe(text, in_seconds(1))
        assert scrape.reading[Command.CONNECTIONS] == 5
        assert names.asked == 1

        mail_server.asked.clear()
        with pytest.raises(Denied):
            await targets.probe(text, in_seconds(1))
        assert mail_server.asked == []


async def test_of_a_names_addresses_only_those_that_are_listed_hear_anything(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.9.9.9", "127.0.0.1"])
    heard: list[Command] = []

    def hear(command: Command) -> int:
        heard.append(command)
        return 0

    async with serve("127.9.9.9", mail_server.port, Token.parse(TOKEN), hear):
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names.getaddrinfo)
        targets = probing(rule("127.0.0.0/16"))
        scrape = await targets.probe(f"mixed.example:{mail_server.port}", in_seconds(1))

    assert scrape.reading[Command.CONNECTIONS] == 5
    assert heard == []


async def test_a_name_without_an_address_is_a_reading_with_that_reason() -> None:
    scrape = await probing(rule("127.0.0.0/8")).probe("nowhere.invalid:7030", in_seconds(1))

    assert scrape.reading.error is not None
    assert scrape.reading.error.reason is Reason.NAME


async def test_readings_of_the_same_target_at_the_same_time_are_one_exchange(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), nothing)

    scrapes = await asyncio.gather(*(targets.read(found, in_seconds(1)) for _ in range(5)))
    assert len(mail_server.asked) == 4
    assert all(scrape is scrapes[0] for scrape in scrapes)

    await targets.read(found, in_seconds(1))
    assert len(mail_server.asked) == 8


async def test_who_joins_late_is_not_told_of_a_timeout_before_its_own_time_is_up() -> None:
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


async def test_the_observer_is_told_once_of_a_shared_exchange(mail_server: MailServer) -> None:
    told: list[Scrape] = []
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), lambda scrapes, strays: told.extend(scrapes))

    await asyncio.gather(*(targets.read(found, in_seconds(1)) for _ in range(3)))

    assert len(told) == 1


async def test_a_token_file_that_changes_is_used_from_the_next_reading_on(
    mail_server: MailServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert [record.message for record in caplog.records] == [
        "Token does not fit, the old one stays",
        "Secret not read again, the old one stays",
    ]
    assert "too long by far" not in caplog.text


async def test_what_is_learned_of_a_target_outlives_a_new_configuration(
    mail_server: MailServer,
) -> None:
    found = target("mail", mail_server.address)
    old = Targets(Config(targets=(found,)), nothing)
    await old.set_transforms(found, False, in_seconds(1))

    moved = target("mail", "127.0.0.1:1")
    same = Targets(Config(targets=(found,)), nothing, old)
    other = Targets(Config(targets=(moved,)), nothing, old)

    assert same.changed == old.changed != {}
    assert other.changed == {}


async def test_a_scrape_never_sends_a_command_that_writes(mail_server: MailServer) -> None:
    found = target("mail", mail_server.address)
    targets = Targets(Config(targets=(found,)), nothing)
    await targets.read_all(in_seconds(1))
    await targets.probe("mail", in_seconds(1))
    await targets.read_transforms(found, in_seconds(1))

    assert set(mail_server.asked) == set(V0.reads)
