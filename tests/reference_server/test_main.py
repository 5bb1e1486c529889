"""The installed command."""

import asyncio
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol.address import HostPort
from protocol.client import Peer, connect
from protocol.token import Token
from protocol.vocabulary import Command
from tests.reference_server.inside import MAIL, client
from tests.reference_server.server import TOKEN, running
from tests.support.processes import eventually
from tests.support.real import require

LETTER = "Subject: hi\r\n\r\nhello\r\n.dot\r\n"


async def test_a_message_is_counted_transformed_and_stored_and_the_switch_applies_to_the_next(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--transform", "sed s/hello/HELLO/", "--transform", "cat") as server:
        with smtplib.SMTP("127.0.0.1", server.smtp) as sender:
            sender.sendmail("a@x.org", ["bob@example.com", "eve@example.com"], LETTER)
            assert await server.ask(Command.DISABLE_TRANSFORMS) == 0
            sender.sendmail("a@x.org", ["bob@example.com"], LETTER)
            assert await server.ask(Command.ACTIVE_CONNECTIONS) == 1

        assert await server.ask(Command.CONNECTIONS) == 1
        bodies = [message.partition(b"\n\n")[2] for message in server.stored("bob")]
        assert bodies == [b"HELLO\n.dot\n", b"hello\n.dot\n"]
        assert server.stored("eve") == server.stored("bob")[:1]
        assert server.leftovers() == []
        assert server.stop() == 0


async def test_sigterm_ends_within_two_seconds_and_idle_clients_get_421(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as server, smtplib.SMTP("127.0.0.1", server.smtp) as idle:
        started = time.monotonic()

        assert server.stop() == 0
        assert time.monotonic() - started < 2
        assert idle.noop()[0] == 421


async def test_the_status_port_answers_until_the_last_message_is_answered(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with running(tmp_path, "--transform", f"sh -c 'cat; read go <{gate}'") as server:
        async with client(server.smtp) as idle, client(server.smtp) as c:
            assert await idle.code() == 220
            await c.send(MAIL)
            assert [await c.code() for _ in range(5)] == [220, 250, 250, 250, 354]
            server.process.terminate()
            assert await idle.code() == 421

            assert await server.ask(Command.ACTIVE_CONNECTIONS) >= 1
            assert server.stored() == []
            with gate.open("r+b", buffering=0) as opened:
                opened.write(b"go\n")
                replies = await c.rest()

        assert replies.startswith(b"250 2.0.0 Ok: stored")
        assert replies.endswith(b"421 4.3.2 Service shutting down\r\n")
        assert server.process.wait(5) == 0


def test_old_temporary_files_are_removed_at_the_start(tmp_path: Path) -> None:
    for name in ("tmp", "new", "cur"):
        (tmp_path / "mail/bob" / name).mkdir(parents=True)
    tmp = tmp_path / "mail/bob/tmp"
    names = {"1700000000.M000001P1Q1.host": 37, "1700000000.M000002P1Q2.host": 35, "notes.txt": 99}
    for name, hours in names.items():
        (tmp / name).touch()
        os.utime(tmp / name, (time.time() - hours * 3600,) * 2)
    (tmp / "1700000000.M000003P1Q3.host").mkdir()

    with running(tmp_path) as server:
        assert {file.name for file in server.leftovers()} == {*names} - {
            "1700000000.M000001P1Q1.host"
        }
        assert 'msg="Stale files removed" files=1' in server.log.read_text()


def test_a_server_whose_threads_cannot_start_exits_with_status_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [require("strace"), "-f", "-o", "/dev/null", "-e", "inject=clone3,clone:error=EAGAIN",
         sys.executable, "-m", "reference_server", "--token", TOKEN, "--maildir", str(tmp_path)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("smtpstatus-server: cannot start a thread: raise the limit")


def test_the_first_log_line_has_the_version_and_the_configuration_without_the_token(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "--transform", "cat", "--transforms", "off") as server:
        log = eventually(server.log.read_text, seconds=5)

    first = log.splitlines()[0]
    assert re.search(
        r'level=info msg="Starting smtpstatus-server" version=\S+ dialect=v0 hostname=', first
    )
    assert f"destination={tmp_path}/mail transforms=cat transforms_enabled=false" in first
    assert TOKEN not in log


def test_sighup_neither_ends_the_server_nor_a_session(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp) as sender:
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: "SIGHUP ignored" in server.log.read_text(), seconds=5)

            sender.sendmail("a@x.org", ["bob@example.com"], LETTER)
        assert server.stop() == 0


def test_recipients_of_a_domain_are_accepted_in_every_form_of_it(tmp_path: Path) -> None:
    forms = ["bücher.example", "xn--bcher-kva.example", "bu\u0308cher.example", "BÜCHER.example"]
    with running(tmp_path, "--domain", "bücher.example") as server:
        with smtplib.SMTP("127.0.0.1", server.smtp) as sender:
            sender.ehlo()
            sender.mail("a@x.org", ["SMTPUTF8"])
            assert [sender.docmd(f"RCPT TO:<bob@{form}>")[0] for form in forms] == [250] * 4
            assert sender.docmd("RCPT TO:<bob@bucher.example>")[0] == 550


def test_a_port_without_a_host_serves_every_address_of_both_families(
    tmp_path: Path,
) -> None:
    flags = ("--smtp.listen-address", ":0", "--status.listen-address", ":0")
    process = subprocess.Popen(
        [sys.executable, "-m", "reference_server", "--token", TOKEN, "--maildir", str(tmp_path / "mail"), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout
        assert process.stderr
        ports = re.findall(r":(\d+)", process.stdout.readline())
        for host in ("127.0.0.1", "::1"):
            with smtplib.SMTP(host, int(ports[0])) as sender:
                sender.sendmail("a@x.org", ["bob@localhost"], LETTER)
            peer = Peer(HostPort(host, int(ports[1])), Token.parse(TOKEN))
            assert asyncio.run(connections(peer)) > 0
        process.terminate()
        log = process.stderr.read()

    assert re.findall(r" client=(\S+)", log) == ["127.0.0.1", "::1"]


async def connections(peer: Peer) -> int:
    async with connect(peer) as connection:
        value = (await connection.ask(Command.CONNECTIONS, timeout=5))[Command.CONNECTIONS]
    assert value is not None
    return int(value)


def test_mail_is_stored_while_the_reader_of_the_log_is_stuck(tmp_path: Path) -> None:
    stuck = tmp_path / "stuck"
    os.mkfifo(stuck)
    # Opened for reading and writing, it has a reader; 64 KiB fit.
    with (
        stuck.open("r+b", buffering=0),
        running(tmp_path, front=("sh", "-c", f'exec "$@" 2>{stuck}', "sh")) as server,
    ):
        with socket.create_connection(("127.0.0.1", server.smtp), 10) as connection:
            connection.sendall(b"EHLO me\r\n" + MAIL.partition(b"\r\n")[2] * 1000 + b"QUIT\r\n")
            with connection.makefile("rb") as replies:
                assert replies.read().count(b"250 2.0.0 Ok: stored") == 1000

        assert server.stop() == 0


def test_a_file_system_that_cannot_sync_directories_is_rejected_at_the_start(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [require("strace"), "-f", "-o", "/dev/null", "-e", "inject=fsync:error=EINVAL",
         sys.executable, "-m", "reference_server", "--token", TOKEN, "--maildir", str(tmp_path)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("smtpstatus-server: --maildir: cannot store files durably in")


def test_mail_is_stored_on_a_file_system_without_hard_links(tmp_path: Path) -> None:
    front = (
        require("strace"),
        "-D",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "inject=link,linkat:error=EPERM",
    )
    with (
        running(tmp_path, front=front) as server,
        smtplib.SMTP("127.0.0.1", server.smtp) as sender,
    ):
        sender.sendmail("a@x.org", ["bob@example.com", "eve@example.com"], LETTER)

        assert len(server.stored("bob")) == len(server.stored("eve")) == 1
        assert "level=warn" in server.log.read_text()


BAD = {
    "unknown flag": (["--speed", "5"], "unknown flag --speed; see --help"),
    "flag without a value": (["--token"], "--token: expected one argument; see --help"),
    "no token": ([], "no token: set --token-file"),
    "short token": (["--token", "short"], "--token: token has 5 bytes"),
    "no such token file": (["--token-file", "/nowhere/t"], "cannot read token file /nowhere/t"),
    "address": (["--token", TOKEN, "--smtp.listen-address", "x"], "invalid address 'x'"),
    "directory": (["--token", TOKEN, "--maildir", "/dev/null/mail"], "--maildir: cannot write"),
    "empty directory": (["--token", TOKEN, "--maildir", ""], "--maildir: it is empty: name a"),
    "program": (["--token", TOKEN, "--transform", "/nowhere/prog"], "'/nowhere/prog' can be run"),
    "switch": (["--token", TOKEN, "--transforms", "maybe"], "is not one of on, off"),
    "domain": (["--token", TOKEN, "--domain", "a b"], "write it like example.com"),
    "dialect": (["--token", TOKEN, "--dialect", "v9"], "expected one of v0, group-4"),
    "duration": (["--token", TOKEN, "--smtp.idle-timeout", "soon"], "write 700ms, 2s, 1m30s"),
    "count": (["--token", TOKEN, "--smtp.max-recipients", "0"], "expected a whole number above 0"),
}


@pytest.mark.parametrize(("flags", "message"), BAD.values(), ids=BAD)
def test_an_invalid_setting_is_one_line_and_exit_status_2(
    flags: list[str], message: str, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "reference_server", *flags],
        capture_output=True, text=True, timeout=10, check=False, env={"PYTHONPATH": str(Path.cwd())}, cwd=tmp_path,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert message in ended.stderr


@pytest.mark.parametrize("flag", ["--smtp.listen-address", "--status.listen-address"])
def test_a_port_in_use_is_named_with_its_flag(flag: str, tmp_path: Path) -> None:
    with running(tmp_path) as server:
        taken = server.smtp if flag.startswith("--smtp") else server.status
        ended = subprocess.run(
            [sys.executable, "-m", "reference_server", "--token", TOKEN, "--maildir", str(tmp_path / "other"),
             "--smtp.listen-address", "127.0.0.1:0", flag, f"127.0.0.1:{taken}"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip

    assert ended.returncode == 2
    assert ended.stderr == (
        f"smtpstatus-server: {flag}: cannot listen on 127.0.0.1:{taken}: Address already in use; choose another\n"
    )


def test_a_stdout_that_cannot_be_written_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            ["env", "-u", "PYTHONUNBUFFERED", sys.executable, "-m", "reference_server",
             "--token", TOKEN, "--maildir", str(tmp_path),
             "--smtp.listen-address", "127.0.0.1:0", "--status.listen-address", "127.0.0.1:0"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=10, check=False,
        )  # fmt: skip

    assert ended.returncode == 2
    assert ended.stderr == (
        "smtpstatus-server: stdout: cannot be written to: No space left on device; choose another\n"
    )
