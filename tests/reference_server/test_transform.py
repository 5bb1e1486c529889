"""Transforms: every row of the table in docs/reference-server.md, and hostile programs."""

import errno
import os
import resource
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reference_server.exit_status import TransformFailed
from reference_server.pipeline import _reply_to
from reference_server.reply import Reply
from reference_server.spool import Spool, unnamed_file
from reference_server.transform import Bounds, Program, TransformChain
from tests.reference_server.inside import ENVELOPE, MAIL, client, mail_server, until
from tests.reference_server.server import running
from tests.support.processes import eventually
from tests.support.real import require

BOUNDS = Bounds(seconds=5, chain_seconds=10, output=1_000_000, memory=256 * 1024 * 1024)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[TransformChain]:
    chain = TransformChain(BOUNDS, {"PATH": os.environ["PATH"]}, tmp_path)
    yield chain
    chain.close()


def program(text: str) -> Program:
    return Program.parse(text, os.environ["PATH"])


def shell(script: str) -> Program:
    return program(f"sh -c {shlex.quote(script)}")


def run(
    chain: TransformChain, tmp_path: Path, *programs: Program, content: bytes = b"hello\n"
) -> bytes:
    spool = Spool(tmp_path)
    spool.append(content)
    spool = chain.run(programs, spool, {"SENDER": "a@x"}, chain.deadline())
    try:
        return spool.open().read()
    finally:
        spool.close()


def failure(
    chain: TransformChain, tmp_path: Path, *programs: Program, content: bytes = b"hello\n"
) -> TransformFailed:
    with pytest.raises(TransformFailed) as caught:
        run(chain, tmp_path, *programs, content=content)
    return caught.value


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_programs_run_in_order_on_the_output_of_the_previous_one(
    chain: TransformChain, tmp_path: Path
) -> None:
    assert (
        run(chain, tmp_path, shell("cat; echo one"), shell("cat; echo two"))
        == b"hello\none\ntwo\n"
    )


def test_a_message_larger_than_memory_and_pipe_buffers_is_transformed(
    chain: TransformChain, tmp_path: Path
) -> None:
    content = b"0123456789\n" * 80_000

    assert run(chain, tmp_path, program("cat"), program("tr 0 x"), content=content) == (
        content.replace(b"0", b"x")
    )


def test_an_empty_message_is_transformed_to_an_empty_one(
    chain: TransformChain, tmp_path: Path
) -> None:
    assert run(chain, tmp_path, program("cat"), content=b"") == b""


def test_arguments_are_not_interpreted_by_a_shell(chain: TransformChain, tmp_path: Path) -> None:
    assert run(chain, tmp_path, program("sed 's/$/ $HOME; `id`/'")) == b"hello $HOME; `id`\n"


def test_the_environment_has_the_documented_variables_only(
    chain: TransformChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPSTATUS_TOKEN", "secretpa")

    shown = run(chain, tmp_path, shell("cat >/dev/null; env -u PWD -u SHLVL -u _ -u OLDPWD"))

    assert sorted(shown.decode().split()) == sorted([f"PATH={os.environ['PATH']}", "SENDER=a@x"])


CODES = {
    1: (451, "4.3.0"), 2: (451, "4.3.0"), 64: (451, "4.3.5"), 65: (554, "5.6.0"), 66: (451, "4.3.5"),
    67: (451, "4.3.5"), 68: (451, "4.3.5"), 69: (554, "5.3.0"), 70: (451, "4.3.5"), 71: (451, "4.3.0"),
    72: (451, "4.3.5"), 73: (451, "4.3.0"), 74: (451, "4.3.0"), 75: (451, "4.3.0"), 76: (554, "5.6.0"),
    77: (554, "5.7.1"), 78: (451, "4.3.5"), 99: (451, "4.3.0"), 100: (554, "5.6.0"), 111: (451, "4.3.0"),
    126: (451, "4.3.5"), 127: (451, "4.3.5"), 255: (451, "4.3.0"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "reply"), CODES.items())
def test_exit_status_determines_the_reply(
    code: int, reply: tuple[int, str], chain: TransformChain, tmp_path: Path
) -> None:
    found = failure(chain, tmp_path, shell(f"cat; exit {code}")).reply

    assert (found.code, found.status) == reply


BAD = {
    "killed by a signal": ("cat; kill -SEGV $$", "was killed by signal 11"),
    "too much output": ("cat; exec yes", "wrote too much"),
    "too much output and the end": ("cat; head -c 1000001 /dev/zero", "wrote too much"),
    "too much memory": (
        f"cat; exec {sys.executable} -c 'bytearray(1 << 30)' || exit 1",
        "ended with 1",
    ),
    "input not read": ("echo hello", "did not read all its input"),
    "input half read": ("head -c 3; true", "did not read all its input"),
    "no output": ("cat >/dev/null", "wrote nothing"),
}


@pytest.mark.parametrize(("script", "reason"), BAD.values(), ids=BAD)
def test_a_failed_program_is_a_temporary_reply(
    script: str, reason: str, chain: TransformChain, tmp_path: Path
) -> None:
    failed = failure(chain, tmp_path, shell(script))

    assert failed.reply == Reply(451, "4.3.0", "Error: local error in processing")
    assert reason in str(failed)


def test_a_missing_program_is_a_configuration_error(chain: TransformChain, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ncat\n")
    script.chmod(0o700)
    vanishing = program(str(script))
    script.unlink()

    assert failure(chain, tmp_path, vanishing).reply.status == "4.3.5"


def test_a_rejection_has_the_first_line_of_stderr_in_printable_ascii(
    chain: TransformChain, tmp_path: Path
) -> None:
    def rejection(text: str, code: int) -> Reply:
        return failure(chain, tmp_path, shell(f"cat; printf '{text}' >&2; exit {code}")).reply

    assert rejection("no cards, please\\nsecret", 65) == Reply(554, "5.6.0", "no cards, please")
    assert rejection("5.7.13 not you", 77) == Reply(554, "5.7.13", "not you")
    assert rejection("4.7.0 not now", 77) == Reply(554, "5.7.1", "4.7.0 not now")
    assert rejection("a\\r\\001\\377b", 65) == Reply(554, "5.6.0", "a???b")
    assert rejection("x" * 500, 65).text == "x" * 200
    assert rejection("our secret", 75).text == "Error: local error in processing"


def test_a_program_is_killed_with_its_group_at_the_time_limit(tmp_path: Path) -> None:
    mark = f"29.{os.getpid()}"
    chain = TransformChain(Bounds(seconds=0.3), {"PATH": os.environ["PATH"]}, tmp_path)
    started = time.monotonic()

    failed = failure(
        chain, tmp_path, shell(f"sleep {mark} & cat; trap '' TERM; sleep {mark}; sleep {mark}")
    )

    chain.close()
    assert "ran out of time" in str(failed)
    assert time.monotonic() - started < 3
    assert not alive(f"sleep {mark}")


def test_background_processes_are_killed_when_a_program_ends(
    chain: TransformChain, tmp_path: Path
) -> None:
    mark = f"28.{os.getpid()}"
    started = time.monotonic()

    assert run(chain, tmp_path, shell(f"sleep {mark} & cat")) == b"hello\n"
    assert time.monotonic() - started < 2
    deadline = time.monotonic() + 5
    while alive(f"sleep {mark}") and time.monotonic() < deadline:
        pass
    assert not alive(f"sleep {mark}")


ESCAPES = {
    "timeout has a group of its own": "timeout 60 sleep {mark}",
    "timeout in the background": "timeout 60 sleep {mark} & cat",
    "job control": "set -m; sleep {mark} & set +m; cat",
    "a group of a group": "timeout 60 sh -c 'set -m; sleep {mark} & sleep {mark}'",
}


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES)
def test_processes_of_other_groups_are_killed_with_their_session(
    script: str, tmp_path: Path
) -> None:
    mark = f"27.{os.getpid()}"
    chain = TransformChain(Bounds(seconds=0.3), {"PATH": os.environ["PATH"]}, tmp_path)

    with suppress(TransformFailed):
        run(chain, tmp_path, shell(script.format(mark=mark)))

    chain.close()
    assert not alive(f"sleep {mark}")


@pytest.mark.parametrize(
    "script", ["exec sleep {mark}", "timeout 60 sleep {mark}", "set -m; sleep {mark} & wait"]
)
def test_transforms_are_killed_when_the_server_is_killed(script: str, tmp_path: Path) -> None:
    mark = f"26.{os.getpid()}"
    program = f'sh -c "{script.format(mark=mark)}"'
    with running(tmp_path, "--transform", program) as server:
        with socket.create_connection(("127.0.0.1", server.smtp)) as connection:
            connection.sendall(MAIL)
            eventually(lambda: alive(f"sleep {mark}"))
            server.process.kill()

            eventually(lambda: not alive(f"sleep {mark}"))


def test_a_program_that_cannot_be_killed_frees_its_slot(
    tmp_path: Path,
) -> None:
    """Makes kill(2) fail by strace, as root may kill every process."""
    front = (require("strace"), "-D", "-f", "-o", "/dev/null", "-e", "inject=kill:error=EPERM")
    mark = f"8.{os.getpid()}"
    flags = (
        "--transform",
        f"sh -c 'cat; exec sleep {mark}'",
        "--transform.slots",
        "1",
        "--transform.timeout",
        "200ms",
    )
    with running(tmp_path, *flags, front=front) as server:
        with socket.create_connection(("127.0.0.1", server.smtp)) as connection:
            connection.sendall(MAIL + b"QUIT\r\n")
            with connection.makefile("rb") as replies:
                assert b"451 4.3.0 Error: local error in processing" in replies.read()
        assert 'msg="Cannot kill a transform"' in server.log.read_text()
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 6  # the program runs for 8 s


def test_a_program_may_write_files_that_are_larger_than_a_message(
    chain: TransformChain, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script = f"head -c 2000000 /dev/zero >{log}; cat"

    assert run(chain, tmp_path, shell(script)) == b"hello\n"
    assert log.stat().st_size == 2_000_000


def test_the_number_of_open_files_is_limited_by_its_flag(tmp_path: Path) -> None:
    chain = TransformChain(Bounds(open_files=33), {"PATH": os.environ["PATH"]}, tmp_path)

    assert run(chain, tmp_path, shell("cat >/dev/null; ulimit -n")) == b"33\n"
    chain.close()


async def test_recipients_beyond_the_size_of_a_variable_are_truncated_and_counted(
    tmp_path: Path,
) -> None:
    shown = "sh -c 'cat >/dev/null; echo $RECIPIENT_COUNT; printf %s \"$RECIPIENTS\" | tail -n1'"
    domains = [f"{number}.{'x' * 60}.{'x' * 60}.{'x' * 60}.example" for number in range(700)]
    recipients = "".join(f"RCPT TO:<bob@{domain}>\r\n" for domain in domains).encode()
    async with mail_server(tmp_path, shown, domains=frozenset(domains)) as inside:
        async with client(inside.port) as c:
            await c.send(
                b"EHLO me\r\nMAIL FROM:<>\r\n" + recipients + b"DATA\r\nhi\r\n.\r\nQUIT\r\n"
            )
            assert b"250 2.0.0 Ok: stored" in await c.rest()

        [stored] = inside.stored()
    count, last = stored.splitlines()[-2:]
    assert (count, last.endswith(b".example")) == (b"700", True)


def alive(command: str) -> bool:
    """Whether a process with this command line is running; a zombie has no command line."""
    wanted = command.replace(" ", "\0").encode() + b"\0"
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == wanted:
                return True
        except OSError:
            continue
    return False


def zombies() -> list[str]:
    """Zombies: ended children of this process that were not waited for."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(entry.parent.name)
    return found


def test_programs_leave_no_zombie_and_no_descriptor(chain: TransformChain, tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(100):
        run(chain, tmp_path, program("cat"))
        failure(chain, tmp_path, program("false"))

    assert descriptors() == before
    assert zombies() == []


def test_the_total_time_limit_is_a_temporary_reply(tmp_path: Path) -> None:
    chain = TransformChain(
        Bounds(seconds=5, chain_seconds=0.2), {"PATH": os.environ["PATH"]}, tmp_path
    )
    slow = shell("sleep 0.15; cat")

    assert failure(chain, tmp_path, slow, slow).reply.code == 451
    chain.close()


def test_waiting_too_long_for_a_slot_is_a_temporary_reply(
    chain: TransformChain, tmp_path: Path
) -> None:
    with pytest.raises(TransformFailed, match="no free slot") as caught:
        chain.run([program("cat")], Spool(tmp_path), {}, time.monotonic() - 1)

    assert caught.value.reply.status == "4.3.2"


def test_an_environment_too_large_for_execve_is_a_configuration_error(
    chain: TransformChain, tmp_path: Path
) -> None:
    with pytest.raises(TransformFailed, match="cannot be started") as caught:
        chain.run(
            [program("cat")], Spool(tmp_path), {"RECIPIENTS": "x" * 200_000}, chain.deadline()
        )

    assert caught.value.reply.status == "4.3.5"


ERRORS = {
    errno.ENOENT: "4.3.5",
    errno.EACCES: "4.3.5",
    errno.ENOEXEC: "4.3.5",
    errno.EAGAIN: "4.3.2",
    errno.ENOMEM: "4.3.2",
    errno.EMFILE: "4.3.2",
    errno.ENFILE: "4.3.2",
    errno.EIO: "4.3.0",
}


@pytest.mark.parametrize(("number", "status"), ERRORS.items())
@pytest.mark.parametrize("place", ["subprocess.Popen", "os.pidfd_open"])
def test_a_lack_of_resources_at_the_start_is_no_configuration_error(
    place: str, number: int, status: str, tmp_path: Path, chain: TransformChain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    before = descriptors()
    monkeypatch.setattr(f"reference_server.transform.{place}", failing)
    failed = failure(chain, tmp_path, program("cat"))

    assert (failed.reply.code, failed.reply.status) == (451, status)
    assert str(failed) == f"cat cannot be started: {os.strerror(number)}"
    assert descriptors() == before


def test_a_message_without_free_descriptors_is_answered_as_busy_and_leaves_nothing(
    chain: TransformChain, tmp_path: Path
) -> None:
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = []
    for free in range(16):
        taken = [os.dup(0) for _ in range(64)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
        for descriptor in taken[:free]:
            os.close(descriptor)
        try:
            found.append(run(chain, tmp_path, program("cat")))
        except (OSError, TransformFailed) as error:
            found.append(str(_reply_to(error)).encode())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken[free:]:
                os.close(descriptor)

    assert found[0] == b"451 4.3.2 Error: server busy"
    assert found[-1] == b"hello\n"
    assert set(found) == {found[0], found[-1]}
    assert descriptors() == before
    eventually(
        lambda: (
            not subprocess.run(
                ["pgrep", "-P", str(os.getpid()), "cat"], capture_output=True
            ).stdout
        )
    )


def test_stop_kills_running_programs(chain: TransformChain, tmp_path: Path) -> None:
    stopper = threading.Thread(target=stop_when, args=(chain, tmp_path / "runs"))
    stopper.start()
    failed = failure(chain, tmp_path, shell(f"cat; touch {tmp_path}/runs; sleep 20"))
    stopper.join()

    assert failed.reply.status == "4.3.2"
    assert str(failed) == "sh was stopped with the server"


def stop_when(chain: TransformChain, runs: Path) -> None:
    deadline = time.monotonic() + 5
    while not runs.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    chain.stop()


def test_no_program_is_started_after_stop(chain: TransformChain, tmp_path: Path) -> None:
    chain.stop()
    failed = failure(chain, tmp_path, shell("cat"))

    assert failed.reply.status == "4.3.2"
    assert str(failed) == "sh was not started: the server ends"


def test_programs_are_located_validated_and_named() -> None:
    assert program("cat -").argv[1:] == ("-",)
    assert Path(program("cat").argv[0]).is_absolute()
    for text, message in {
        "": "it is empty",
        "'": "No closing quotation",
        "/etc/passwd": "can be run",
    }.items():
        with pytest.raises(ValueError, match=message):
            program(text)


def test_the_input_file_is_unlinked(tmp_path: Path) -> None:
    with unnamed_file(tmp_path):
        assert list(tmp_path.iterdir()) == []


async def test_the_switch_is_read_once_at_the_end_of_a_message(tmp_path: Path) -> None:
    async with mail_server(tmp_path, "sh -c 'sleep 0.2; sed s/hello/HELLO/'", "cat") as inside:
        async with client(inside.port) as c:
            await c.send(MAIL)
            await until(lambda: inside.busy)
            inside.status.transforms_enabled = False
            await c.send(MAIL + b"QUIT\r\n")
            assert (await c.rest()).count(b"250 2.0.0 Ok: stored") == 2

        assert sorted(message[-6:] for message in inside.stored()) == [b"HELLO\n", b"hello\n"]


async def test_a_message_that_cannot_be_transformed_is_not_stored(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path, "sh -c 'grep -q good && cat'", "false") as inside:
        async with client(inside.port) as c:
            await c.send(MAIL + ENVELOPE + b"again\r\n.\r\nQUIT\r\n")
            replies = await c.rest()

        assert replies.count(b"\r\n451 4.3.0") == 2
        assert replies.endswith(b"221 2.0.0 Bye\r\n")
        assert inside.stored() == []
        assert inside.leftovers() == []
        assert inside.status.mails == 0


async def test_hostile_envelopes_are_passed_to_programs_as_plain_text(tmp_path: Path) -> None:
    shown = 'printf "%s|" "$SENDER" "$RECIPIENTS" "$CLIENT_HELO" "$CLIENT_ADDRESS"'
    envelope = (
        b'EHLO `id`\r\nMAIL FROM:<"$(id)`id` () { :; }; \\"x"@x>\r\n'
        b'RCPT TO:<";rm -rf"@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n'
    )
    async with mail_server(tmp_path, f"sh -c 'cat; {shown}'") as inside:
        async with client(inside.port) as c:
            await c.send(envelope + b".\r\nQUIT\r\n")
            await c.rest()

        [stored] = inside.stored("b")
        assert stored.endswith(
            b'"$(id)`id` () { :; }; \\"x"@x|";rm -rf"@example.com\nb@example.com|`id`|127.0.0.1|'
        )


async def test_slots_limit_simultaneous_transforms(
    tmp_path: Path,
) -> None:
    running = tmp_path / "running"
    running.mkdir()
    script = tmp_path / "script"
    script.write_text(
        f"#!/bin/sh\ntouch {running}/$$; ls {running} | wc -l; sleep 0.1; cat; rm {running}/$$\n"
    )
    script.chmod(0o700)

    async with mail_server(tmp_path, str(script), slots=2) as inside:
        for _ in range(6):
            async with client(inside.port) as c:
                await c.send(MAIL)
                c.writer.write_eof()
        await until(lambda: inside.status.mails == 6)

        seen = [int(message.partition(b"\n\t")[2].splitlines()[3]) for message in inside.stored()]
    assert max(seen) <= 2
