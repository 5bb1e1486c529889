"""Durability of acknowledged mail, tested by killing the server under load and by the order of its system calls."""

import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.reference_server.server import Server, running
from tests.support.processes import eventually
from tests.support.real import require


@dataclass
class Load:
    """Clients that send numbered messages to two users until the server has ended."""

    port: int
    seed: int
    accepted: list[str] = field(default_factory=list)

    def run(self, threads: int) -> list[threading.Thread]:
        workers = [threading.Thread(target=self._send, args=(n,)) for n in range(threads)]
        for worker in workers:
            worker.start()
        return workers

    def _send(self, worker: int) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                lines = connection.makefile("rb")
                connection.sendall(b"EHLO me\r\n")
                number = 0
                while True:
                    number += 1
                    name = f"{self.seed}-{worker}-{number}"
                    size = 10 if number % 5 else 20_000
                    body = f"Message-ID: {name}\r\n\r\n{'0123456789' * 7}\r\n" + "x" * 70 + "\r\n"
                    body += f"{name}\r\n" * size
                    connection.sendall(
                        b"MAIL FROM:<a@x>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<eve@example.com>\r\nDATA\r\n"
                        + body.encode() + f"end {name}\r\n.\r\n".encode()
                    )  # fmt: skip
                    while not (line := lines.readline()).startswith(b"250 2.0.0 Ok: stored"):
                        if not line:
                            return
                    self.accepted.append(name)
        except OSError:
            return


def names(messages: list[bytes]) -> Counter[str]:
    """Number of copies of each message; each must be complete, from its header to its last line."""
    found: Counter[str] = Counter()
    for message in messages:
        name = re.search(rb"\nMessage-ID: (\S+)\n", message)
        assert name
        assert message.startswith(b"Return-Path: <a@x>\n")
        assert message.endswith(b"\nend " + name[1] + b"\n")
        found[name[1].decode()] += 1
    return found


@pytest.mark.parametrize(
    "kills", [8, pytest.param(300, marks=[pytest.mark.soak, pytest.mark.long])]
)
def test_a_killed_server_has_stored_every_accepted_message_once(
    kills: int, tmp_path: Path
) -> None:
    dice = random.Random(7)
    accepted: list[str] = []
    for seed in range(kills):
        with running(tmp_path, "--transform", "cat", "--log.level", "error") as server:
            load = Load(server.smtp, seed)
            workers = load.run(4)
            deadline = time.monotonic() + 5
            wanted = dice.randrange(20)
            while len(load.accepted) < wanted and time.monotonic() < deadline:
                time.sleep(dice.random() / 200)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            for worker in workers:
                worker.join(5)
        accepted += load.accepted

    assert len(accepted) > kills
    for user in ("bob", "eve"):
        found = names(server.stored(user))
        assert set(accepted) <= set(found)
        assert set(found.values()) == {1}


def test_sigterm_under_load_ends_within_two_seconds_and_loses_nothing(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--transform", "cat", "--log.level", "error") as server:
        load = Load(server.smtp, 0)
        workers = load.run(6)
        deadline = time.monotonic() + 5
        while len(load.accepted) < 30 and time.monotonic() < deadline:
            time.sleep(0.005)
        started = time.monotonic()
        server.process.terminate()
        code = server.process.wait(10)
        took = time.monotonic() - started
        for worker in workers:
            worker.join(5)

    assert code == 0
    assert took < 2
    assert server.leftovers() == []
    assert names(server.stored("bob")) == names(server.stored("eve")) == Counter(load.accepted)


def strace(*flags: str) -> tuple[str, ...]:
    """Command prefix; the tracer is a separate process (-D), so that signals reach the command itself."""
    return (require("strace"), "-D", "-f", "-y", "-s", "200", *flags)


def order_of(trace: str) -> list[str]:
    """System calls that matter for durability, in their order."""
    begun: dict[str, str] = {}
    happened = []
    for line in trace.splitlines():
        if "/.probe-" in line:  # at the start: the test for hard links
            continue
        process, _, call = line.partition(" ")
        call = call.strip()
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            call = begun.pop(process) + resumed[1]
        elif call.endswith("<unfinished ...>"):
            begun[process] = call.removesuffix("<unfinished ...>")
            if call.startswith("sendto"):  # a reply counts as sent from the beginning of the call
                begun[process] = ""
            else:
                continue
        if call.startswith("sendto") and "250 2.0.0 Ok: stored" in call:
            happened.append("250")
        elif call.endswith("= 0"):
            name = call.partition("(")[0]
            if place := re.search(r"/mail/[^/]+/(tmp|new)\b", call):
                happened.append(f"fsync {place[1]}" if name == "fsync" else name)
    return happened


@pytest.mark.parametrize("recipients", [1, 2])
def test_file_name_and_directory_are_synced_in_order_before_250(
    recipients: int, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    watched = strace("-o", str(trace), "-e", "trace=fsync,link,sendto")

    with running(tmp_path, front=watched) as server:
        for _ in range(3):
            deliver_one(server, recipients)
        server.stop()

    deadline = time.monotonic() + 5
    while trace.read_text().count("250 2.0.0 Ok: stored") < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    happened = order_of(trace.read_text())
    one = ["fsync tmp", *["link"] * recipients, *["fsync new"] * recipients, "250"]
    assert happened == one * 3


LARGE = b"x" * 998 + b"\r\n"


def test_no_file_system_call_is_made_in_the_event_loop(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    calls = "%file,fsync,fdatasync,ftruncate,fstatfs,sendfile,writev,close"

    with running(tmp_path, front=strace("-o", str(trace), "-e", f"trace={calls}")) as server:
        deliver_one(server, 1)  # exclude one-time calls, such as reading the time zone
        before = len(trace.read_text().splitlines())
        for content in (b"hello\r\n", LARGE * 3000):
            with socket.create_connection(("127.0.0.1", server.smtp), 10) as connection:
                mail = b"EHLO me\r\nMAIL FROM:<> SIZE=10\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n"
                connection.sendall(mail + content + b".\r\nQUIT\r\n")
                replies = b""
                while octets := connection.recv(4096):
                    replies += octets
                assert b"250 2.0.0 Ok: stored" in replies
        eventually(lambda: trace.read_text().count("link(") >= 2, seconds=5)
        after = trace.read_text().splitlines()[before:]
        loop = str(server.process.pid)
        server.stop()

    assert any("fsync(" in line for line in after)
    mine = [line.partition(" ")[2].strip() for line in after if line.split()[0] == loop]
    assert [
        call for call in mine if not re.match(r"close\(\d+<(socket|TCP|UDP)|\+\+\+|---", call)
    ] == []


def deliver_one(server: Server, recipients: int) -> bytes:
    with socket.create_connection(("127.0.0.1", server.smtp), 10) as connection:
        to = "".join(f"RCPT TO:<user{n}@example.com>\r\n" for n in range(recipients))
        mail = f"EHLO me\r\nMAIL FROM:<>\r\n{to}DATA\r\nhello\r\n.\r\nQUIT\r\n"
        connection.sendall(mail.encode())
        replies = b""
        while octets := connection.recv(4096):
            replies += octets
    return replies.splitlines()[-2]


def test_created_directories_are_synced_in_their_parents(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    parents = {f"{tmp_path}", f"{tmp_path}/new", f"{tmp_path}/new/er"}

    with running(
        tmp_path,
        "--maildir",
        f"{tmp_path}/new/er/mail",
        front=strace("-o", str(trace), "-e", "trace=fsync"),
    ) as server:
        server.stop()

    def synced() -> bool:
        return parents <= set(re.findall(r"fsync\(\d+<(.+?)>\) += 0", trace.read_text()))

    eventually(synced, seconds=5)


FAULTS = {
    "fsync:error=EIO:when=5": b"451 4.3.0 Error: local error in processing",
    "link:error=ENOSPC:when=2": b"452 4.3.1 Insufficient system storage",
    "link:error=EDQUOT:when=2": b"452 4.3.1 Insufficient system storage",
}


@pytest.mark.parametrize(("fault", "reply"), FAULTS.items())
def test_a_failed_system_call_is_replied_to_and_leaves_nothing(
    fault: str, reply: bytes, tmp_path: Path
) -> None:
    calls = ("-e", "trace=fsync,link", "-e", f"inject={fault}")

    with running(tmp_path, front=strace("-o", "/dev/null", *calls)) as server:
        assert deliver_one(server, 2) == reply
        assert server.stored() == []
        assert server.leftovers() == []
        server.stop()
