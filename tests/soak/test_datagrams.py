"""Hostile datagrams: random and mutated ones, at the status port and as replies to the exporter."""

import json
import socket
import threading
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from protocol.dialects import DIALECTS, V0
from protocol.message import Request, Response, result
from protocol.vocabulary import Command, Status
from tests.fuzz.datagrams import mutate
from tests.soak.conftest import Scale
from tests.support.gauge import Usage, usage
from tests.support.processes import mail_server, running

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
        lost = dropped(server.status)

        assert after.resident_mib - before.resident_mib < GROWTH_MIB
        assert after.descriptors == before.descriptors
        assert "Traceback" not in server.process.output
        assert lost < scale(full=1_000_000, short=30_000) / 2
    print(f"{lost} dropped by the kernel", before, after)


def dropped(port: int) -> int:
    """The datagrams that the kernel has discarded because the server's receive buffer was full: proc(5)."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == f"0100007F:{port:04X}":
            return int(fields[-1])
    raise AssertionError("no such socket")


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


class HostileTarget:
    """A server whose replies are mostly hostile; `sent` counts those.

    One with the right form and, by chance, the identifier of a request is a valid response (docs/protocol.md).
    """

    def __init__(self, seed: int) -> None:
        self.sent = 0
        self.ups = 0
        self._random = Random(seed)
        self._requests: deque[int] = deque(maxlen=64)
        self._guesses: set[int] = set()
        """The identifiers of hostile replies, which may be read after later requests."""
        self._guessed = False

    def replies(self, datagram: bytes) -> Iterator[bytes]:
        request = Request.decode(datagram)
        self._requests.append(request.identifier)
        self._guessed |= request.identifier in self._guesses
        for _ in range(self._random.randrange(1, 60)):
            hostile = mutate(self._random)
            identifier = response_identifier(hostile)
            if identifier in self._requests:
                continue
            if identifier is not None:
                self._guesses.add(identifier)
            self.sent += 1
            yield hostile
        if self._random.random() < 0.7:
            command = V0.codes[request.code]
            octets = result(command, TRUE[command])
            yield Response(request.identifier, Status.DONE, octets).encode()

    def read(self, url: str, total: int) -> None:
        """Reads the target until it has sent so many hostile replies; fails at the first false value."""
        while self.sent < total:
            self._guessed = False
            with urllib.request.urlopen(url, timeout=60) as answer:
                state = json.load(answer)
            if self._guessed:
                continue
            self.ups += state["up"]
            for command, value in TRUE.items():
                assert state[command.value] == (value if state["up"] else None)


def test_hostile_replies_never_change_a_value(tmp_path: Path, scale: Scale) -> None:
    targets = {f"mail-{seed}": HostileTarget(seed) for seed in range(40)}
    with ExitStack() as stack:
        lines = [
            f"  - {{name: {name}, address: '127.0.0.1:{port}', token: secretpa}}\n"
            for name, target in targets.items()
            for port in [stack.enter_context(hostile_server(target.replies))]
        ]
        (tmp_path / "exporter.yml").write_text(f"targets:\n{''.join(lines)}")
        process = stack.enter_context(
            running(
                "smtpstatus-exporter",
                "--web.listen-address=127.0.0.1:0",
                f"--config.file={tmp_path / 'exporter.yml'}",
            )
        )
        port = process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1]
        url = f"http://127.0.0.1:{port}/api/v1/targets"

        def read_until(sent: int) -> Usage:
            with ThreadPoolExecutor(len(targets)) as pool:
                for name, target in targets.items():
                    reading[name] = pool.submit(target.read, f"{url}/{name}", sent)
            for one in reading.values():
                one.result()
            return usage(process.pid)

        reading: dict[str, Future[None]] = {}
        before = read_until(scale(full=2_500, short=100))
        after = read_until(scale(full=25_000, short=200))
        assert after.resident_mib - before.resident_mib < GROWTH_MIB
        assert after.descriptors <= before.descriptors + 2
        assert "Traceback" not in process.output
        assert any(target.ups for target in targets.values())
    print(f"{sum(target.sent for target in targets.values())} replies", before, after)


def response_identifier(datagram: bytes) -> int | None:
    """The identifier of a datagram with the form of a response, otherwise None."""
    if len(datagram) != V0.response_length or not datagram.startswith(V0.header):
        return None
    return int.from_bytes(datagram[V0.response_identifier.span])


def test_every_dialect_is_covered_by_the_mutations() -> None:
    random = Random(0)
    seen = {
        name
        for _ in range(2_000)
        for name, dialect in DIALECTS.items()
        if mutate(random).startswith(dialect.signature)
    }

    assert seen == set(DIALECTS)
