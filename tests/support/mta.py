"""Real mail servers (Postfix, Exim, OpenSMTPD, Dovecot) that write only to a directory of the test."""

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import postfix as postfix_files
from tests.support.processes import Process, eventually, free_port
from tests.support.real import missing, require

USERS = ("ann", "bob", "eve")
"""Users with a mailbox at example.org."""

_POSTFIX_MAIN = """\
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
smtputf8_enable = yes
"""
_POSTFIX_MASTER = """\
pickup    unix n - n 60 1 pickup
smtp      unix - - n - - smtp
lmtp      unix - - n - - lmtp
"""

_EXIM = """\
spool_directory = {home}/spool
log_file_path = {home}/log/%slog
pid_file_path = {home}/spool/exim.pid
primary_hostname = mx.example.org
exim_user = Debian-exim
never_users =
keep_environment =
tls_advertise_hosts =
rfc1413_hosts =
rfc1413_query_timeout = 0s
dns_retry = 0
"""
_OPENSMTPD = """\
mount --bind "$0/spool" /var/spool/smtpd
mount --bind "$0/run" /run
mount --bind "$0/resolv.conf" /etc/resolv.conf
exec smtpd -d -f "$0/smtpd.conf"
"""

_CHECKED: list[TemporaryDirectory[str]] = []
"""Holds a copy of the queue directory that the first `postfix check` made."""


@dataclass(slots=True)
class Mta:
    """Running mail server: its SMTP port, and the directory with one Maildir per user."""

    home: Path
    port: int
    process: Process
    log: Path

    def mails(self, user: str) -> list[bytes]:
        """Messages delivered to a user, in any order."""
        return [path.read_bytes() for path in (self.home / "mail" / user / "new").glob("*")]

    def wait_for_mail(self, user: str, count: int = 1, seconds: float = 30) -> list[bytes]:
        """Waits until a user has `count` messages and returns them; fails with the log."""
        try:
            return eventually(
                lambda: found if len(found := self.mails(user)) >= count else None, seconds
            )
        except AssertionError:
            text = self.log.read_text() if self.log.exists() else self.process.output
            raise AssertionError(f"{len(self.mails(user))} of {count}: {text[-5000:]}") from None


@contextmanager
def directory() -> Iterator[Path]:
    """A temporary directory that mail servers can enter as several users; pytest's own are private."""
    with TemporaryDirectory(prefix="smtpstatus-mta-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def require_root() -> None:
    """Skips the test unless run as root, which mail servers need; fails it under SMTPSTATUS_REQUIRE_REAL=1."""
    if os.geteuid() != 0:
        missing("not running as root, which mail servers need")


@contextmanager
def postfix(home: Path, main: str = "", master: str = "", port: int = 0) -> Iterator[Mta]:
    """Runs a Postfix with these lines added to its main.cf and master.cf; it stores mail for `USERS` of example.org."""
    port = port or free_port()
    configure_postfix(home, port, main, master)
    process = Process(*postfix_files.command(home))
    with _ended(process):
        wait_for_port(port, process)
        yield Mta(home, port, process, home / "log/mail.log")


def configure_postfix(home: Path, port: int, main: str = "", master: str = "") -> None:
    """Creates the directories and files of a Postfix instance."""
    require("postfix")
    require_root()
    users = ", ".join(f"{{ {user}@example.org = {user}/ }}" for user in USERS)
    mailboxes = f"inline:{{ {users} }}"
    postfix_files.configure(home, port, mailboxes, _POSTFIX_MAIN + main, _POSTFIX_MASTER + master)
    if checked := next(iter(_CHECKED), None):
        # `postfix check` needs a second or more, and its result is the same for every instance.
        (home / "queue").rmdir()
        subprocess.run(("cp", "-a", Path(checked.name) / "queue", home), check=True)
    else:
        postfix_files.check(home)
        _CHECKED.append(TemporaryDirectory(prefix="smtpstatus-mta-"))
        subprocess.run(("cp", "-a", home / "queue", _CHECKED[0].name), check=True)


def postfix_queue(home: Path) -> str:
    """Queue of an instance, as printed by `postqueue -p`."""
    command = ("postqueue", "-c", home / "etc", "-p")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def exim(home: Path, configuration: str, port: int) -> Iterator[Mta]:
    """Runs an Exim with this configuration, which sets its port and stores mail in HOME/mail."""
    require("exim4")
    require_root()
    for part in ("spool", "log", "mail"):
        (home / part).mkdir(parents=True)
    user = pwd.getpwnam("Debian-exim")
    for part in ("spool", "log", "mail"):
        os.chown(home / part, user.pw_uid, user.pw_gid)
    file = home / "exim.conf"
    file.write_text(f"{_EXIM.format(home=home)}{configuration}")
    process = Process("exim4", "-C", str(file), "-bdf", "-q2s")
    with _ended(process):
        wait_for_port(port, process)
        yield Mta(home, port, process, home / "log/mainlog")


@contextmanager
def opensmtpd(home: Path, configuration: str, port: int) -> Iterator[Mta]:
    """Runs an OpenSMTPD with this configuration, which sets its port and stores mail in HOME/mail.

    It runs in a mount namespace, because the paths of its queue and socket are fixed and may be in use.
    """
    require("smtpd")
    require("unshare")
    require_root()
    for part in ("spool", "run", "mail"):
        (home / part).mkdir(parents=True)
    unprivileged = pwd.getpwnam("nobody")
    os.chown(home / "mail", unprivileged.pw_uid, unprivileged.pw_gid)
    (home / "spool").chmod(0o711)
    (home / "resolv.conf").write_text("lookup file\n")
    (home / "smtpd.conf").write_text(configuration)
    process = Process("unshare", "--mount", "sh", "-ec", _OPENSMTPD, str(home))
    with _ended(process):
        wait_for_port(port, process)
        yield Mta(home, port, process, home / "log")


@contextmanager
def dovecot(home: Path, configuration: str) -> Iterator[Process]:
    """Runs a Dovecot with this configuration."""
    require("dovecot")
    require_root()
    (home / "run").mkdir(parents=True, exist_ok=True)
    file = home / "dovecot.conf"
    file.write_text(f"base_dir = {home}/run\nlog_path = /dev/stderr\n{configuration}")
    process = Process("dovecot", "-F", "-c", str(file))
    with _ended(process, signal.SIGTERM):  # its processes are in separate groups
        yield process


def wait_for_port(port: int, process: Process) -> None:
    """Waits until a server listens on a port of 127.0.0.1; fails with its output if it ends first."""

    def is_listening() -> bool:
        assert not process.ended, process.output
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    eventually(is_listening)


@contextmanager
def _ended(process: Process, number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
    try:
        yield
    finally:
        # The whole group, because a process with an open connection continues until that is closed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait()
