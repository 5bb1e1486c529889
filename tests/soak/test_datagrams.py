"""Hostile datagrams: random and mutated ones, at the status port and as replies to the exporter."""

import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from protocol.dialects import DIALECTS, V0
from protocol.message import Request, Response, result
from protocol.vocabulary import Command, Status
from tests.fuzz.datagrams import mutate
from tests.soak.conftest import Scale
from tests.support.gauge import usage
from tests.support.processes import exporter, mail_server

pytestmark = pytest.mark.soak

TOKEN = b"secretpa"
GROWTH_MIB = 8
TRUE = {
    Command.CONNECTIONS: 31,
    Command.ACTIVE_CONNECTIONS: 4,
    Command.TRANSFERRED_BYTES: 51442,
    Command.TRANSFORMS: True,
}


def test_the_status_port_survives_hostile_datagrams(tmp_path: Path, scale: Scale) -> None:
    random = Random(7030)
    with mail_server(tmp_path) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(5)
        ours.connect(("127.0.0.1", server.status))
        flood(server.status, random, 2_000)
        before = usage(server.process.pid)
        for _ in range(scale(full=1_000, short=30)):
            flood(server.status, random, 1_000)
            assert connections(ours, random.randrange(1 << 16)) == 0
        after = usage(server.process.pid)

        assert after.resident_mib - before.resident_mib < GROWTH_MIB
        assert after.descriptors == before.descriptors
        assert "Traceback" not in server.process.output


def flood(port: int, random: Random, count: int) -> None:
    """Sends mutated datagrams that cannot be valid requests: none carries the token."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect(("127.0.0.1", port))
        opened.setblocking(False)
        for _ in range(count):
            hostile = mutate(random).replace(TOKEN, b"attacker")
            try:
                opened.send(hostile)
            except (BlockingIOError, ConnectionRefusedError):
                continue


def connections(opened: socket.socket, identifier: int) -> int:
    """Reads the number of connections with a valid request; retransmits as a client would."""
    request = Request(identifier, TOKEN, V0.operations[Command.CONNECTIONS].code).encode()
    for _ in range(10):
        opened.send(request)
        try:
            response = Response.decode(opened.recv(64))
        except TimeoutError:
            continue
        if response.identifier == identifier:
            value = response.value(Command.CONNECTIONS)
            assert value is not None
            return value
    raise AssertionError("no response to a valid request")


@contextmanager
def hostile_server(replies: Callable[[bytes], Iterator[bytes]]) -> Iterator[int]:
    """A server on loopback that answers each datagram with those that `replies` yields; yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(0.1)
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    datagram, source = opened.recvfrom(2048)
                except TimeoutError:
                    continue
                for reply in replies(datagram):
                    opened.sendto(reply, source)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield opened.getsockname()[1]
        finally:
            stopping.set()
            thread.join()


def test_hostile_replies_never_change_a_value(scale: Scale) -> None:
    random = Random(7)
    sent = 0

    def replies(datagram: bytes) -> Iterator[bytes]:
        nonlocal sent
        request = Request.decode(datagram)
        for _ in range(random.randrange(1, 60)):
            hostile = mutate(random)
            if valid_response_to(hostile, request.identifier):
                continue
            sent += 1
            yield hostile
        if random.random() < 0.7:
            command = V0.codes[request.code]
            octets = result(command, TRUE[command])
            yield Response(request.identifier, Status.DONE, octets).encode()

    with (
        hostile_server(replies) as port,
        exporter(SMTPSTATUS_TARGET=f"127.0.0.1:{port}", SMTPSTATUS_TOKEN="secretpa") as url,
    ):
        total = scale(full=1_000_000, short=5_000)
        ups = 0
        while sent < total:
            with urllib.request.urlopen(f"{url}/api/v1/targets/127.0.0.1:{port}") as answer:
                state = json.load(answer)
            ups += state["up"]
            for command, value in TRUE.items():
                assert state[command.value] == (value if state["up"] else None)
        assert ups > 0


def valid_response_to(datagram: bytes, identifier: int) -> bool:
    """Whether a datagram is, by chance, indistinguishable from the server's own response."""
    place = V0.response_identifier
    return (
        len(datagram) == V0.response_length
        and datagram.startswith(V0.header)
        and datagram[place.span] == identifier.to_bytes(place.size)
    )


def test_every_dialect_is_covered_by_the_mutations() -> None:
    random = Random(0)
    seen = {
        name
        for _ in range(2_000)
        for name, dialect in DIALECTS.items()
        if mutate(random).startswith(dialect.signature)
    }

    assert seen == set(DIALECTS)
