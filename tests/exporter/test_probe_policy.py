import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from exporter.configuration.config import Config, ProbeNetwork
from exporter.configuration.secret import Secret
from exporter.probe_policy import Denied
from exporter.reading import TargetReadings
from exporter.targets import Targets
from protocol.address import HostPort
from protocol.client import Peer
from protocol.errors import DiscardReason, FailureReason
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.exporter.running import TOKEN, MailServer


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


def nothing(scrapes: TargetReadings, strays: Mapping[DiscardReason, int]) -> None:
    pass


def rule(network: str, token: str = TOKEN) -> ProbeNetwork:
    ports = (range(1, 65536),)
    return ProbeNetwork((ip_network(network),), Secret(token, ""), ports=ports)


def probing(*rules: ProbeNetwork) -> Targets:
    return Targets(Config(timeout=1, probe=rules), nothing)


async def test_an_address_in_a_listed_network_is_probed(mail_server: MailServer) -> None:
    scrape = await probing(rule("127.0.0.0/8")).probe(mail_server.address, in_seconds(1))

    assert scrape.target is None
    assert scrape.reading[Command.CONNECTIONS] == 5


async def test_nothing_is_sent_to_a_port_that_is_not_allowed(mail_server: MailServer) -> None:
    """A token must not be sent to another program on another port of an allowed host."""
    own_port_only = replace(rule("127.0.0.0/8"), ports=())
    other_ports = replace(rule("127.0.0.0/8"), ports=(range(1, mail_server.port),))
    for targets in (probing(own_port_only), probing(other_ports)):
        with pytest.raises(Denied, match="does not allow its address and port"):
            await targets.probe(mail_server.address, in_seconds(1))
    assert mail_server.asked == []


async def test_no_name_is_looked_up_for_a_port_that_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[str] = []

    def look_up(host: str, *_: object, **__: object) -> list[Any]:
        looked_up.append(host)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    targets = probing(replace(rule("127.0.0.0/8"), ports=(range(7030, 7040),)))

    with pytest.raises(Denied):
        await targets.probe("random.example:7040", in_seconds(1))

    assert looked_up == []


@pytest.mark.parametrize("networks", [("127.0.0.2/32",), ("10.0.0.0/8", "::/0")])
async def test_nothing_is_sent_to_an_address_outside_the_networks(
    mail_server: MailServer, networks: tuple[str, ...]
) -> None:
    targets = probing(*map(rule, networks))
    for text in (mail_server.address, f"[::ffff:127.0.0.1]:{mail_server.port}"):
        with pytest.raises(Denied):
            await targets.probe(text, in_seconds(1))

    assert mail_server.asked == []


async def test_each_network_receives_only_its_own_token(mail_server: MailServer) -> None:
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
    """Resolver that returns the next of its lists of addresses each time, the last one repeatedly."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.system: Any = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, **more: Any) -> list[tuple[Any, ...]]:
        if not host.endswith(".example") or more.get("flags"):  # the flag is AI_NUMERICHOST
            found_by_it: list[tuple[Any, ...]] = self.system(host, port, **more)
            return found_by_it
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(2, 2, 17, "", (address, port)) for address in found]


async def test_a_name_that_changes_its_address_after_the_check_redirects_no_token(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.0.0.1"], ["127.9.9.9"])
    async with serve("127.9.9.9", mail_server.port, Token.parse(TOKEN), mail_server.answer):
        monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        targets = probing(rule("127.0.0.0/16"))
        text = f"rebinding.example:{mail_server.port}"
        scrape = await targets.probe(text, in_seconds(1))
        assert scrape.reading[Command.CONNECTIONS] == 5
        assert names.asked == 1

        mail_server.asked.clear()
        with pytest.raises(Denied):
            await targets.probe(text, in_seconds(1))
        assert mail_server.asked == []


async def test_only_the_allowed_addresses_of_a_name_receive_datagrams(
    mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(["127.9.9.9", "127.0.0.1"])
    received: list[Command] = []

    def receive(command: Command) -> int:
        received.append(command)
        return 0

    async with serve("127.9.9.9", mail_server.port, Token.parse(TOKEN), receive):
        monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
        targets = probing(rule("127.0.0.0/16"))
        scrape = await targets.probe(f"mixed.example:{mail_server.port}", in_seconds(1))

    assert scrape.reading[Command.CONNECTIONS] == 5
    assert received == []


async def test_an_unresolvable_name_is_a_reading_with_the_reason_name() -> None:
    scrape = await probing(rule("127.0.0.0/8")).probe("nowhere.invalid:7030", in_seconds(1))

    assert scrape.reading.error is not None
    assert scrape.reading.error.reason is FailureReason.NAME


async def test_a_changed_token_file_of_a_network_is_used(
    mail_server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.secret_files._FRESH_S", 0.0)
    path = tmp_path / "token"
    path.write_text("wrongone")
    targets = probing(replace(rule("127.0.0.0/8"), secret=Secret.read(path)))
    refused = await targets.probe(mail_server.address, in_seconds(1))
    path.write_text(TOKEN)
    answered = await targets.probe(mail_server.address, in_seconds(1))

    assert refused.reading.error is not None
    assert answered.reading.error is None


async def test_the_1024_servers_that_were_probed_last_are_remembered() -> None:
    targets = probing(rule("127.0.0.0/8"))

    async def probe(port: int) -> Peer:
        return await targets._networks.peer(HostPort("127.0.0.1", port), in_seconds(1))

    first = await probe(1000)
    second = await probe(1001)
    for number in range(1022):
        await probe(2000 + number)

    assert await probe(1000) is first
    assert await probe(4000) is await probe(4000)
    assert await probe(1000) is first
    assert await probe(1001) is not second
    assert len(targets._networks._peers) == 1024
