"""Ten thousand messages through well-behaved and misbehaving programs."""

import os
import smtplib
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.reference_server.server import Server, running
from tests.support.processes import eventually

pytestmark = [pytest.mark.soak, pytest.mark.long]

CLIENTS = 10
SCRIPT = """#!/bin/sh
read -r first
case $first in
  *refuse) exit 65;;
  *crash) kill -SEGV $$;;
  *leave) sleep {mark} & ;;
esac
echo "$first"
exec cat
"""
MARK = f"300.{os.getpid()}"
KINDS = {"pass": 250, "refuse": 554, "crash": 451, "leave": 250}


def left_over(server: Server) -> list[str]:
    """Children of the server, including zombies, and processes left running by programs, whatever their parent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            command = (process / "cmdline").read_bytes()
            if int(parent) == server.process.pid or MARK.encode() in command:
                found.append(f"{process.name} {command!r}")
    return found


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208  one directory, only counted


def resident(server: Server) -> int:
    """MiB of memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def send(server: Server, count: int) -> Counter[tuple[str, int]]:
    """Sends messages from several clients simultaneously; returns the number of each reply by kind."""
    replies: Counter[tuple[str, int]] = Counter()

    def work() -> None:
        with smtplib.SMTP("127.0.0.1", server.smtp) as client:
            for number in range(count // CLIENTS):
                kind = list(KINDS)[number % len(KINDS)]
                client.ehlo_or_helo_if_needed()
                client.mail("a@x.org")
                client.rcpt("bob@example.com")
                code, _ = client.data(f"Subject: {kind}\r\n\r\nhello\r\n")
                with lock:
                    replies[kind, code] += 1

    lock = threading.Lock()
    workers = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return replies


def test_ten_thousand_messages_leak_no_process_descriptor_or_memory(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script"
    script.write_text(SCRIPT.replace("{mark}", MARK))
    script.chmod(0o700)
    flags = ("--transform", str(script), "--transform", "cat", "--log.level", "error")
    with running(tmp_path, *flags, "--smtp.max-errors", "10000") as server:
        open_at_first = descriptors(server)
        at_first = left_over(server)  # the guard of the transforms
        send(server, 800)  # all threads are there from here on
        memory = resident(server)
        replies = send(server, 10_000)

        assert replies == {(kind, code): 10_000 // len(KINDS) for kind, code in KINDS.items()}
        # Killed processes and closed descriptors may take a moment to disappear.
        eventually(lambda: left_over(server) == at_first)
        eventually(lambda: descriptors(server) == open_at_first)
        assert resident(server) - memory < 8
        assert len(server.stored("bob")) == 10_800 // 2
        assert server.leftovers() == []
        assert server.stop() == 0
