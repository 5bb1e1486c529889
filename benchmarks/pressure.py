"""The reference server while clients pipeline commands, and under a flood of wrong tokens."""

import asyncio
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.fleet import TOKEN
from benchmarks.mailers import reference_server
from benchmarks.ratio import Ratio, at_least, at_most
from protocol.message import Request
from protocol.mmsg import MessageBatch, pack_sockaddr
from protocol.token import Token

_HOST = "127.0.0.1"
_SUBJECT = "under pressure"
_COMMANDS = {
    "EHLO": (b"", b"EHLO x\r\n"),
    "RCPT": (b"EHLO x\r\nMAIL FROM:<>\r\n", b"RCPT TO:<user@example.org>\r\n"),
    "NOOP": (b"", b"NOOP\r\n"),
    "HELP": (b"", b"HELP\r\n"),
}
_PIPELINED_OCTETS = 80_000
"""Of each connection."""

_TIMEOUT_S = 1.0
"""Timeout of a request to the status port, without retransmission."""

_PROBED_S = 5.0
"""Seconds for which the status port is queried; the clients continue longer."""

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Latency:
    """Requests to the status port: sent, answered, and the 99th percentile of the response time in seconds."""

    sent: int
    answered: int
    p99_s: float


def measure(bench: Bench) -> list[Ratio]:
    lines = []
    connections = bench.form.pipelining
    for name, (before, command) in _COMMANDS.items():
        octets = before + command * (_PIPELINED_OCTETS // len(command))
        with reference_server(bench.folder / f"pressure-{name}") as (mailer, port):
            with _background(_pipeline, mailer.port, connections, octets) as running:
                latency = _probe(port, running)
        lines.append(
            _at_most(
                f"status p99, {connections} clients pipeline {name}, ms", latency.p99_s * 1000, 50
            )
        )
    lines.append(
        _at_most(f"SIGTERM, {connections} clients pipeline EHLO, s", _time_to_end(bench), 2)
    )
    with reference_server(bench.folder / "pressure-flood") as (_, port):
        with _background(_flood, port, bench.form.flood_s) as running:
            latency = _probe(port, running)
    answered = "valid requests answered, without retransmission"
    lines.append(
        Ratio(
            f"{_SUBJECT}: flood of wrong tokens",
            answered,
            latency.answered,
            "sent",
            latency.sent,
            at_least(0.9),
        )
    )
    lines.append(_at_most("status p99, flood of wrong tokens, ms", latency.p99_s * 1000, 50))
    return lines


def _at_most(quantity: str, ours: float, limit: float) -> Ratio:
    return Ratio(_SUBJECT, quantity, ours, "limit", limit, at_most(1))


def _time_to_end(bench: Bench) -> float:
    """Seconds from SIGTERM to the end of the process, half a second after the clients have begun."""
    octets = b"EHLO x\r\n" * (_PIPELINED_OCTETS // 8)
    with reference_server(bench.folder / "pressure-end") as (mailer, _):
        with _background(_pipeline, mailer.port, bench.form.pipelining, octets):
            time.sleep(0.5)
            began = time.monotonic()
            os.kill(mailer.process.pid, signal.SIGTERM)
            while Path(f"/proc/{mailer.process.pid}/exe").exists():
                time.sleep(0.005)
            return time.monotonic() - began


@contextmanager
def _background(work: Callable[..., None], *arguments: object) -> Iterator[Callable[[], bool]]:
    """Runs `work` in a process; yields whether it still runs."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    try:
        yield process.is_alive
    finally:
        process.terminate()
        process.join()


def _probe(port: int, running: Callable[[], bool]) -> Latency:
    """Queries the status port every 2 ms under pressure, for a few seconds at most."""
    until = time.monotonic() + _PROBED_S
    token = Token.parse(TOKEN).octets
    took: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((_HOST, port))
        while running() and time.monotonic() < until:
            number = len(took) & 0xFFFF
            began = time.perf_counter()
            asking.send(Request(number, token, 0).encode())
            took.append(_wait_for(asking, number, began))
            time.sleep(0.002)
    answered = sum(seconds < _TIMEOUT_S for seconds in took)
    return Latency(len(took), answered, sorted(took)[len(took) * 99 // 100])


def _wait_for(asking: socket.socket, number: int, began: float) -> float:
    while (left := began + _TIMEOUT_S - time.perf_counter()) > 0:
        asking.settimeout(left)
        try:
            response = asking.recv(100)
        except TimeoutError:
            break
        if response[3:5] == number.to_bytes(2):  # and not a late one
            return time.perf_counter() - began
    return _TIMEOUT_S


def _pipeline(port: int, connections: int, octets: bytes) -> None:
    async def client() -> None:
        reader, writer = await asyncio.open_connection(_HOST, port)
        writer.write(octets + b"QUIT\r\n")
        while await reader.read(1 << 16):
            pass
        writer.close()

    async def clients() -> None:
        await asyncio.gather(*(client() for _ in range(connections)), return_exceptions=True)

    asyncio.run(clients())


def _flood(port: int, seconds: float) -> None:
    datagram = Request(1, b"x" * 8, 0).encode()
    batch = MessageBatch(socket.AF_INET, _BATCH, len(datagram))
    batch.put(datagram * _BATCH)
    batch.address(pack_sockaddr((_HOST, port)) * _BATCH)
    until = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding:
        while time.monotonic() < until:
            try:
                batch.send(flooding, 0, _BATCH)
            except BlockingIOError:
                time.sleep(0)
