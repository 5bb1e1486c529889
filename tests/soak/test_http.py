"""Hostile HTTP clients: memory, descriptors, log volume and other clients, and what a strict parser reads."""

import socket
import struct
from collections import Counter
from contextlib import AbstractContextManager, suppress
from random import Random

import pytest

from tests.soak.conftest import Scale
from tests.support.bystander import unaffected
from tests.support.hostile import segments, statuses, stream, strict_verdict
from tests.support.processes import Process, running

pytestmark = pytest.mark.soak

PEAK_MIB = 128
LINES_PER_THOUSAND = 20
REFUSED = {400, 413, 431, 501, 505}
"""Responses of the connection itself, which executes nothing."""
RESET = struct.pack("ii", 1, 0)


def started() -> AbstractContextManager[Process]:
    return running(
        "smtpstatus-exporter",
        "--web.listen-address=127.0.0.1:0",
        SMTPSTATUS_TARGET="127.0.0.1:9",
        SMTPSTATUS_TOKEN="secretpa",
        SMTPSTATUS_API_TOKEN="open-sesame",
    )


def port_of(process: Process) -> int:
    return int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])


def exchange(port: int, random: Random, data: bytes) -> bytes:
    """Sends a stream in random segments, ends it, and returns everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as opened:
        with suppress(OSError):
            for segment in segments(random, data):
                opened.sendall(segment)
            opened.shutdown(socket.SHUT_WR)
        received = bytearray()
        with suppress(ConnectionResetError):
            while piece := opened.recv(1 << 16):
                received += piece
        return bytes(received)


def misbehave(port: int, random: Random, data: bytes) -> None:
    """Sends a stream and disconnects without reading, with a reset, or half way through."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as opened, suppress(OSError):
        opened.setblocking(False)
        for segment in segments(random, data * random.choice([1, 1, 50])):
            with suppress(BlockingIOError):
                opened.send(segment)
        if random.random() < 0.5:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_hostile_clients_affect_no_other_client(scale: Scale) -> None:
    random = Random(80)
    count = scale(full=100_000, short=3_000)
    with started() as process:
        port = port_of(process)
        misbehave(port, random, b"GET / HTTP/1.1\r\n\r\n")
        lines = 100 + LINES_PER_THOUSAND * count // 1_000
        with unaffected(process, port, peak_mib=PEAK_MIB, log_lines=lines):
            for _ in range(count):
                misbehave(port, random, stream(random))


def test_requests_are_delimited_as_by_a_strict_parser(scale: Scale) -> None:
    """Whatever h11 does not read as a request must not be executed as one."""
    random = Random(443)
    differences: Counter[str] = Counter()
    examples = {}
    with started() as process:
        port = port_of(process)
        for _ in range(scale(full=50_000, short=1_500)):
            data = stream(random)
            strict = strict_verdict(data)
            found = statuses(exchange(port, random, data))
            executed = [status for status in found if status not in REFUSED]
            if len(executed) > strict.requests:
                difference = "more requests than a strict parser reads"
                differences[difference] += 1
                examples[difference] = data
        assert "Traceback" not in process.output
    assert not differences, (differences, examples)
