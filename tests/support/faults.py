"""Runs a fault scenario in a network namespace and prints its outcome as JSON (for test_real_faults.py)."""

import asyncio
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from exporter.configuration.config import Config, Target
from exporter.configuration.secret import Secret
from exporter.targets import Targets
from protocol.address import HostPort
from protocol.client import Peer, connect
from protocol.message import Request, Value
from protocol.reader import Reader
from protocol.server import respond, serve
from protocol.token import Token
from protocol.vocabulary import Command
from tests.support.dns import serve_names

TOKEN = Token(b"secretpa")
PORT = 7030
Outcome = dict[str, object]


def answer(command: Command) -> Value:
    return command is Command.TRANSFORMS


def fleet(count: int) -> list[Peer]:
    return [Peer(HostPort(f"127.77.0.{number + 1}", PORT), TOKEN) for number in range(count)]


def run(*command: str) -> None:
    subprocess.run(command, check=True)


async def full_queue() -> Outcome:
    """An interface whose transmit queue holds about a hundred datagrams leads to the servers, slowly."""
    for line in (
        "ip netns add servers",
        "ip link add here type veth peer name there netns servers",
        "ip addr add 10.76.0.1/16 dev here",
        "ip link set here up",
        "ip route add 10.77.0.0/16 dev here",
        "ip -n servers link set there up",
        "ip -n servers link set lo up",
        "ip -n servers addr add 10.76.0.2/16 dev there",
        "ip -n servers route add local 10.77.0.0/16 dev lo",
        "tc qdisc add dev here root tbf rate 2mbit burst 2000 limit 6000",
    ):
        run(*line.split())
    command = ("ip", "netns", "exec", "servers", sys.executable, "-m", __spec__.name, "servers")
    servers = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert servers.stdout
    await servers.stdout.readline()
    peers = [Peer(HostPort(f"10.77.0.{number + 1}", PORT), TOKEN) for number in range(200)]
    try:
        readings = await Reader().read_all(peers, timeout=3)
    finally:
        servers.terminate()
        await servers.wait()
    errors = [str(one.error) for one in readings if one.error]
    return {"up": 200 - len(errors), "errors": errors[:3]}


async def servers() -> Outcome:
    """Serves on every address until terminated."""
    async with serve("0.0.0.0", PORT, TOKEN, answer):
        print("ready", flush=True)
        await asyncio.Event().wait()
    return {}


async def outage() -> Outcome:
    """The network is down for the first of every two seconds."""
    run("ip", "link", "set", "lo", "down")
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, lambda: loop.run_in_executor(None, run, "ip", "link", "set", "lo", "up"))
    async with serve("0.0.0.0", PORT, TOKEN, answer):
        reader = Reader()
        together, alone = await asyncio.gather(
            reader.read_all(fleet(20), timeout=2),
            reader.read(Peer(HostPort("127.0.0.1", PORT), TOKEN), timeout=2),
        )
    errors = [str(one.error) for one in [*together, alone] if one.error]
    return {"up": 21 - len(errors), "errors": errors}


def icmp(code: int, client: tuple[str, int], payload: bytes) -> None:
    """An ICMP "destination unreachable" to a client about a datagram that it sent to 127.0.0.1:7030."""
    udp = struct.pack("!HHHH", client[1], PORT, 8 + len(payload), 0) + payload
    here = socket.inet_aton("127.0.0.1")
    quoted = (
        struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, here, here) + udp
    )
    message = struct.pack("!BBHI", 3, code, 0, 0) + quoted
    total = sum(
        struct.unpack(f"!{(len(message) + 1) // 2}H", message + b"\0" * (len(message) % 2))
    )
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.sendto(message[:2] + checksum.to_bytes(2) + message[4:], ("127.0.0.1", 0))


async def forged_errors(code: int, quote: Callable[[bytes], bytes]) -> Outcome:
    """Sends an ICMP error about each request, then answers it after 50 ms."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", PORT))
        loop = asyncio.get_running_loop()

        def receive() -> None:
            datagram, client = opened.recvfrom(2048)
            icmp(code, client, quote(datagram))
            response = respond(datagram, TOKEN, answer)
            assert response
            loop.call_later(0.05, opened.sendto, response.encode(), client)

        loop.add_reader(opened, receive)
        peer = Peer(HostPort("127.0.0.1", PORT), TOKEN)
        reader = Reader()
        alone = await reader.read(peer, timeout=1)
        (together,) = await reader.read_all([peer], timeout=1)
        loop.remove_reader(opened)
    return {"alone": str(alone.error or "up"), "together": str(together.error or "up")}


async def rotating_name() -> Outcome:
    """Two servers behind one name, whose addresses rotate with every look-up."""
    await serve_names({"mail.example": ["127.0.0.1", "127.0.0.2"]})
    servers = {address: {"on": True, "reads": 0} for address in ("127.0.0.1", "127.0.0.2")}

    def state(address: str) -> Callable[[Command], Value]:
        server = servers[address]

        def one(command: Command) -> Value:
            if command in (Command.ENABLE_TRANSFORMS, Command.DISABLE_TRANSFORMS):
                server["on"] = command is Command.ENABLE_TRANSFORMS
            server["reads"] += 1
            return bool(server["on"]) if command is Command.TRANSFORMS else int(address[-1])

        return one

    config = Config(
        targets=(Target("mail", HostPort("mail.example", PORT), Secret("secretpa", "")),)
    )
    targets = Targets(config, lambda *_: None)
    async with (
        serve("127.0.0.1", PORT, TOKEN, state("127.0.0.1")),
        serve("127.0.0.2", PORT, TOKEN, state("127.0.0.2")),
    ):
        seen = []
        for number in range(10):
            loop = asyncio.get_running_loop()
            written = await targets.set_transforms(
                config.targets[0], bool(number % 2), loop.time() + 2
            )
            found = await targets.read(config.targets[0], loop.time() + 2)
            assert not written.reading.error, written.reading.error
            seen.append(found.reading.values.get(Command.CONNECTIONS))
    return {"seen": seen, "asked": sum(bool(server["reads"]) for server in servers.values())}


async def silent_zone() -> Outcome:
    """Many targets and a flood of probes in zones whose name servers are silent, beside names that resolve."""
    names = {f"good-{number}.example": ["127.0.0.1"] for number in range(20)}
    await serve_names(names)
    reader = Reader()
    slow = [Peer(HostPort(f"s{number}.slow", PORT), TOKEN) for number in range(20)]
    good = [Peer(HostPort(name, PORT), TOKEN) for name in names]
    up = []
    async with serve("127.0.0.1", PORT, TOKEN, answer):
        probes = [
            asyncio.ensure_future(
                reader.resolver.resolve(HostPort(f"random-{number}.slow", PORT), 2, probe=True)
            )
            for number in range(200)
        ]
        for _ in range(3):
            readings = await reader.read_all([*slow, *good], timeout=1)
            up.append(sum(one.error is None for one in readings[len(slow) :]))
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
    return {"up": up, "seconds": max(one.seconds for one in readings[len(slow) :])}


async def two_families() -> Outcome:
    """A name with a server on ::1 that answers late, and a closed port on 127.0.0.1."""
    await serve_names({"mail.example": ["::1", "127.0.0.1"]})
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("::1", PORT))
        loop = asyncio.get_running_loop()

        def receive() -> None:
            datagram, client = opened.recvfrom(2048)
            response = respond(datagram, TOKEN, answer)
            assert response
            loop.call_later(0.3, opened.sendto, response.encode(), client)

        loop.add_reader(opened, receive)
        async with connect(Peer(HostPort("mail.example", PORT), TOKEN)) as connection:
            reading = await connection.read(timeout=2)
        loop.remove_reader(opened)
    return {"outcome": str(reading.error or "up"), "server": reading.server and reading.server[0]}


async def stopped() -> Outcome:
    """The reading process is stopped for 2.5 s while the answers wait in its socket; its timeout is 2 s."""
    command = (sys.executable, "-m", __spec__.name, "reader")
    reader = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.77.0.1", PORT))
        loop = asyncio.get_running_loop()
        requests = [await loop.sock_recvfrom(opened, 2048) for _ in range(4)]
        reader.send_signal(signal.SIGSTOP)
        for datagram, client in requests:
            response = respond(datagram, TOKEN, answer)
            assert response
            opened.sendto(response.encode(), client)
        await asyncio.sleep(2.5)
        reader.send_signal(signal.SIGCONT)
        output, _ = await reader.communicate()
    found: Outcome = json.loads(output)
    return found


async def one_reader() -> Outcome:
    (reading,) = await Reader().read_all(fleet(1), timeout=2)
    return {"outcome": str(reading.error or "up")}


async def stopped_unanswered() -> Outcome:
    """The same without answers: nothing is known about the server."""
    command = (sys.executable, "-m", __spec__.name, "reader")
    reader = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.77.0.1", PORT))
        await asyncio.get_running_loop().sock_recvfrom(opened, 2048)
        reader.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        reader.send_signal(signal.SIGCONT)
        _, error = await reader.communicate()
    return {"error": error.decode().strip().splitlines()[-1]}


def other_identifier(datagram: bytes) -> bytes:
    request = Request.decode(datagram)
    return Request(request.identifier ^ 1, request.authentication, request.code).encode()


SCENARIOS: dict[str, Callable[[], Awaitable[Outcome]]] = {
    "full-queue": full_queue,
    "servers": servers,
    "outage": outage,
    "forged-port-unreachable": lambda: forged_errors(3, other_identifier),
    "host-unreachable": lambda: forged_errors(1, bytes),
    "short-port-unreachable": lambda: forged_errors(3, lambda datagram: datagram[:4]),
    "real-port-unreachable": lambda: forged_errors(3, bytes),
    "rotating-name": rotating_name,
    "silent-zone": silent_zone,
    "two-families": two_families,
    "stopped": stopped,
    "stopped-unanswered": stopped_unanswered,
    "reader": one_reader,
}


def main(name: str) -> None:
    async def timed() -> Outcome:
        began = time.monotonic()
        outcome = await SCENARIOS[name]()
        return {**outcome, "took": time.monotonic() - began}

    print(json.dumps(asyncio.run(timed())))


if __name__ == "__main__":
    main(sys.argv[1])
