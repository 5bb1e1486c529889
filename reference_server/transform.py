"""Runs transforms: external programs that read a message from stdin and write the changed message to stdout.

The output of a program is used only if it ended with 0, read all its input and wrote something; otherwise the message
is rejected (docs/reference-server.md has the table of replies). It is never stored untransformed instead.

stdin and stdout are files without names: no pipe can deadlock, and a grandchild that keeps stdout open delays nothing.
Every program is a session of its own, which is killed as a whole when it ends, or when the server does (guard.py).
"""

import itertools
import logging
import math
import os
import resource
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Self

from reference_server.exit_status import TransformFailed, check_exit_status, not_started
from reference_server.guard import Guard, kill_session
from reference_server.reply import BUSY, FAILED
from reference_server.spool import Spool, unnamed_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """An executable's absolute path, and its arguments."""

    argv: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, path: str) -> Self:
        """Read `PROGRAM ARGS`, quoted as for a shell but without one. Raises `ValueError`, which names the remedy."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ValueError(f"{text!r} cannot be read: {error}") from None
        if not words:
            raise ValueError("it is empty: write 'PROGRAM ARGS'")
        executable = shutil.which(words[0], path=path)
        if executable is None:
            raise ValueError(f"no program {words[0]!r} can be run: write its whole path")
        return cls((str(Path(executable).absolute()), *words[1:]))

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name


@dataclass(frozen=True, slots=True)
class Bounds:
    """What each program may use; `chain_seconds` is for all of them and the wait for a free slot."""

    seconds: float = 10
    chain_seconds: float = 60
    output: int = 64 * 1024 * 1024
    memory: int = 512 * 1024 * 1024
    processes: int = 4096
    """The system counts all of this user's processes, not the program's alone, and root's not at all."""
    open_files: int = 256


_TERMINATION_S = 1.0
"""Seconds between SIGTERM and SIGKILL."""

_REAP_S = 0.5
"""Seconds that a killed program has to end; one that cannot be killed (set-uid, stuck in the kernel) is left behind."""

_LOOK_S = 0.02
"""Seconds between two looks at how much a program has written."""


class TransformChain:
    """Runs programs one after the other. `run` blocks, and may be called in several threads. Owns the guard."""

    def __init__(
        self,
        bounds: Bounds,
        environment: Mapping[str, str],
        directory: Path,
        guard: Guard | None = None,
    ) -> None:
        self._bounds = bounds
        self._environment = dict(environment)
        self._directory = directory
        self._stopping = os.eventfd(0)
        self._guard = guard
        self._unkillable: list[subprocess.Popen[bytes]] = []
        limits = {
            "core": 0,
            "nofile": bounds.open_files,
            "cpu": math.ceil(bounds.seconds) * (os.cpu_count() or 1),
            "data": bounds.memory,
            "nproc": bounds.processes,
        }
        # prlimit in front and no preexec_fn, for which Python would have to copy the whole process first.
        self._prefix = ["prlimit", *itertools.starmap(_limit, limits.items()), "--"]

    def deadline(self) -> float:
        """When a message that ends now must have gone through everything, on the monotonic clock."""
        return time.monotonic() + self._bounds.chain_seconds

    def stop(self) -> None:
        """Kill what runs, and start nothing any more."""
        os.eventfd_write(self._stopping, 1)

    def close(self) -> None:
        if self._guard:
            self._guard.close()
        os.close(self._stopping)

    def run(
        self,
        programs: Sequence[Program],
        message: Spool,
        variables: Mapping[str, str],
        deadline: float,
    ) -> Spool:
        """The message as the last program wrote it; `deadline` is of the monotonic clock.

        Raises `TransformFailed` or `OSError`. The spool that was given is closed in any case.
        """
        environment = {**self._environment, **variables}
        for program in programs:
            try:
                output = self._run_one(program, message, environment, deadline)
            finally:
                message.close()
            message = Spool.of(output, self._directory)
        return message

    def _run_one(
        self, program: Program, message: Spool, environment: Mapping[str, str], deadline: float
    ) -> FileIO:
        until = min(deadline, time.monotonic() + self._bounds.seconds)
        if until <= time.monotonic():
            raise TransformFailed(BUSY, "there was no free slot in time")
        if self._wait(until=0):
            # Hundreds may wait for a slot: a process for each, only to kill it, would hold up the end.
            raise TransformFailed(BUSY, f"{program.name} was not started: the server ends")
        source = message.open()
        output = unnamed_file(self._directory)
        try:
            with unnamed_file(self._directory) as errors:
                self._execute(program, (source, output, errors), environment, until)
            if source.tell() != message.size:
                raise TransformFailed(FAILED, f"{program.name} did not read all its input")
            size = output.seek(0, os.SEEK_END)
            if message.size and not size:
                raise TransformFailed(FAILED, f"{program.name} wrote nothing")
            if size > self._bounds.output:
                raise TransformFailed(FAILED, f"{program.name} wrote too much")
        except BaseException:
            output.close()
            raise
        return output

    def _execute(
        self,
        program: Program,
        files: tuple[FileIO, FileIO, FileIO],
        environment: Mapping[str, str],
        until: float,
    ) -> None:
        """Run a program to its end; `files` are its first three. Raises `TransformFailed` unless it ends with 0."""
        source, output, errors = files
        # Every process of the program inherits this end of a pipe: when it is closed everywhere, none is left.
        left, inherited = os.pipe()
        try:
            try:
                process = subprocess.Popen(
                    [*self._prefix, *program.argv],
                    stdin=source,
                    stdout=output,
                    stderr=errors,
                    env=environment,
                    pass_fds=(inherited,),
                    start_new_session=True,
                    umask=0o077,
                )
            except OSError as error:
                raise not_started(program.name, error) from None
            finally:
                os.close(inherited)
            if self._guard:
                self._guard.started(process.pid)
            self._finish(program, process, output, left, until)
        finally:
            os.close(left)
        check_exit_status(program.name, process.returncode, errors)

    def _finish(
        self,
        program: Program,
        process: "subprocess.Popen[bytes]",
        output: FileIO,
        left: int,
        until: float,
    ) -> None:
        """Wait for the program's end, kill what is left of its session, and reap it."""
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError as error:
            with suppress(OSError):  # it may need a descriptor, too
                kill_session(process.pid, signal.SIGKILL)
            with suppress(OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait(_REAP_S)
            if process.returncode is None:
                self._unkillable.append(process)
            raise not_started(program.name, error) from None
        try:
            while not (ready := self._wait(min(until, time.monotonic() + _LOOK_S), pidfd)):
                if os.fstat(output.fileno()).st_size > self._bounds.output:
                    raise TransformFailed(FAILED, f"{program.name} wrote too much")
                if time.monotonic() >= until:
                    kill_session(process.pid, signal.SIGTERM)
                    self._wait(time.monotonic() + _TERMINATION_S, pidfd)
                    raise TransformFailed(FAILED, f"{program.name} ran out of time")
            if pidfd not in ready:
                raise TransformFailed(BUSY, f"{program.name} was stopped with the server")
        finally:
            # Before it is reaped, so that the session's number cannot belong to another yet.
            if not (_ended(pidfd) and _ended(left)):
                kill_session(process.pid, signal.SIGKILL)
            if _ended(pidfd, _REAP_S):
                process.wait()
                if self._guard:
                    self._guard.ended(process.pid)
            else:
                logger.error(
                    "Cannot kill a transform", extra={"program": program.name, "pid": process.pid}
                )
                self._unkillable = [one for one in self._unkillable if one.poll() is None]
                self._unkillable.append(process)
            os.close(pidfd)
        if process.returncode is None:
            raise TransformFailed(FAILED, f"{program.name} cannot be killed")

    def _wait(self, until: float, *processes: int) -> set[int]:
        """Wait for the end of the server or of a process; returns the descriptors of what ended."""
        poller = select.poll()
        for descriptor in (*processes, self._stopping):
            poller.register(descriptor, select.POLLIN)
        return {found for found, _ in poller.poll(max(0, until - time.monotonic()) * 1000)}


def _ended(descriptor: int, seconds: float = 0) -> bool:
    """Whether the process of a pidfd has ended, or the other end of a pipe is closed, within `seconds`."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _limit(name: str, value: int) -> str:
    """The option of prlimit(1) for a limit, which may not exceed the server's own hard limit."""
    _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    return f"--{name}={value if hard == resource.RLIM_INFINITY else min(value, hard)}"
