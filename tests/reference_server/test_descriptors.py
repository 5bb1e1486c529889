"""Lack of descriptors: its effect on clients and the log."""

import asyncio
import smtplib
import subprocess
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from reference_server.descriptors import TooFewDescriptors, within
from reference_server.limits import ServerLimits
from tests.reference_server.inside import ENVELOPE, client
from tests.reference_server.server import TOKEN, running
from tests.support.real import require


def test_accept_errors_are_logged_once_a_second_and_retried(
    tmp_path: Path,
) -> None:
    failing = ("strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=accept4", "-e")
    require("strace")

    with running(tmp_path, front=(*failing, "inject=accept4:error=ENFILE:when=1")) as server:
        with smtplib.SMTP("127.0.0.1", server.smtp) as client:
            assert client.noop()[0] == 250
        server.stop()

    _start, line = server.log.read_text().splitlines()
    assert line.endswith(
        'level=error msg="Cannot accept connections" err="[Errno 23] Too many open files in system"'
    )


LARGE = ENVELOPE + (b"x" * 998 + b"\r\n") * 2500 + b".\r\nQUIT\r\n"
WARNING = 'level=warn msg="Open file limit (ulimit -n) allows fewer sessions" connections='


@pytest.mark.parametrize("program", [(), ("--transform", "cat", "--transform.slots", "1")])
async def test_few_descriptors_limit_the_sessions_and_no_message_fails(
    program: tuple[str, ...], tmp_path: Path
) -> None:
    codes: Counter[int] = Counter()
    flags = ("--log.level", "warn", *program)

    async def send(port: int, barrier: asyncio.Barrier) -> None:
        async with client(port) as c:
            code = await c.code()
            if code == 220:
                await barrier.wait()
                await c.send(LARGE)
                code = int((await c.rest()).splitlines()[-2][:3])
            codes[code] += 1
        if code == 421:
            await barrier.wait()

    with running(tmp_path, *flags, front=("prlimit", "--nofile=40")) as server:
        barrier = asyncio.Barrier(60)
        await asyncio.gather(*(send(server.smtp, barrier) for _ in range(60)))
        async with client(server.smtp) as c:
            assert await c.code() == 220
        server.stop()

    lines = [
        line
        for line in server.log.read_text().splitlines()
        if "root:" not in line and "Weak" not in line
    ]
    warning, *refused = lines
    assert warning.endswith(f"{WARNING}{codes[250]} instead_of=1000")
    assert codes[250] >= 4
    assert codes == {250: codes[250], 421: 60 - codes[250]}
    assert len(server.stored("bob")) == codes[250]
    assert len(refused) == codes[421]


async def test_rejected_clients_that_stay_do_not_exhaust_descriptors(
    tmp_path: Path,
) -> None:
    with running(tmp_path, front=("prlimit", "--nofile=40")) as server:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(server.smtp)) for _ in range(60)]
            assert await clients[0].code() == 220
            await clients[0].send(LARGE)
            assert b"250 2.0.0 Ok: stored" in await clients[0].rest()
        server.stop()

    assert "level=error" not in server.log.read_text()


def test_too_few_descriptors_exit_with_status_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["prlimit", "--nofile=5", sys.executable, "-m", "reference_server",
         "--token", TOKEN, "--maildir", str(tmp_path)],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "smtpstatus-server: open file limit too low: raise the limit (ulimit -n) by 18 or more\n"
    )


def test_inherited_descriptors_are_counted(tmp_path: Path) -> None:
    few = ("bash", "-c", 'for _ in {1..20}; do exec {fd}</dev/null; done; ulimit -n 60; exec "$@"')

    with running(tmp_path, front=(*few, "bash")) as server:
        assert f"{WARNING}6 instead_of" in server.log.read_text()


@pytest.mark.parametrize("slots", [0, 1, 16])
@pytest.mark.parametrize("descriptors", [140, 141, 142, 400, 1000, 2114, 2300, 1_000_000])
def test_limits_leave_a_descriptor_for_every_file_of_a_session(
    descriptors: int, slots: int
) -> None:
    limits = within(descriptors, ServerLimits(), slots)

    sessions = limits.connections
    assert limits.sockets >= sessions + 8
    assert limits.sockets + sessions + min(sessions, 100) + 7 * slots + 9 == descriptors
    assert (sessions == 1000) == (descriptors - 7 * slots >= 2117)


def test_fewer_descriptors_than_one_session_needs_are_an_error() -> None:
    assert within(20, ServerLimits(), 0).connections == 1
    with pytest.raises(TooFewDescriptors, match="by 8 or more"):
        within(19, ServerLimits(), 1)
