"""Mail servers on ports of their own, and smtp-source as the load generator."""

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import COMMANDS, TOKEN
from benchmarks.peers import free_port
from benchmarks.postfix import check, command, configure
from benchmarks.process import Process, running, until

POSTFIX_MAIN = "default_process_limit = 100\n"
_OPENSMTPD = """\
smtp limit max-mails 1000000
table users {{ "@" = "nobody" }}
listen on 127.0.0.1 port {port} hostname mail.example.org
action "store" maildir "{folder}/mail/user" virtual <users>
match from any for domain "example.org" action "store"
"""
_ALONE = """\
mount --bind "$0/spool" /var/spool/smtpd
mount --bind "$0/run" /run
mount --bind "$0/resolv.conf" /etc/resolv.conf
exec smtpd -d -f "$0/smtpd.conf"
"""


@dataclass(slots=True)
class Mailer:
    """A running mail server; `new` is the folder of its delivered mail, None if it discards it."""

    name: str
    process: Process
    port: int
    new: Path | None

    def stored(self) -> int:
        return len(os.listdir(self.new)) if self.new and self.new.exists() else 0  # noqa: PTH208

    def empty(self) -> None:
        """Truncates the stored mail. Files are not deleted: ext4 is slow to create new ones after many deletions."""
        for file in self.new.iterdir() if self.new else ():
            os.truncate(file, 0)


@dataclass(frozen=True, slots=True)
class Load:
    """What smtp-source sends: `messages` of `size` bytes over `sessions` simultaneous, persistent connections."""

    sessions: int
    messages: int
    size: int

    def __str__(self) -> str:
        size = f"{self.size >> 20} MiB" if self.size >= 1 << 20 else f"{self.size >> 10} KiB"
        return f"{size}, {self.sessions} sessions"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Messages per second until the last is stored, and CPU seconds per 1,000 messages."""

    rate: float
    cpu: float


def send(mailer: Mailer, load: Load) -> Delivery:
    """Sends a load to a mail server and waits until all of it is stored."""
    before, cpu, began = mailer.stored(), mailer.process.cpu(), time.perf_counter()
    numbers = {"-s": load.sessions, "-m": load.messages, "-l": load.size}
    options = [text for option, number in numbers.items() for text in (option, str(number))]
    addresses = ("-f", "sender@example.org", "-t", "user@example.org")
    target = f"inet:127.0.0.1:{mailer.port}"
    # subprocess's own timeout polls for the end, up to 50 ms apart.
    subprocess.run(
        ("timeout", "300", "smtp-source", "-d", *options, *addresses, target), check=True
    )
    if mailer.new:
        until(lambda: mailer.stored() - before >= load.messages, 120)
    seconds = time.perf_counter() - began
    used = mailer.process.cpu() - cpu
    return Delivery(load.messages / seconds, used / load.messages * 1000)


@contextmanager
def reference_server(folder: Path, level: str = "warning") -> Iterator[tuple[Mailer, int]]:
    """Runs the reference server; yields it and its status port."""
    command = (
        COMMANDS / "smtpstatus-server",
        "--smtp.listen-address=127.0.0.1:0",
        "--status.listen-address=127.0.0.1:0",
        f"--maildir={folder / 'reference'}",
        "--domain=example.org",
        f"--log.level={level}",
    )
    with running(command, {"SMTPSTATUS_TOKEN": TOKEN}) as process:
        ports = process.says(r"smtp 127\.0\.0\.1:(\d+), status 127\.0\.0\.1:(\d+)")
        new = folder / "reference" / "user" / "new"
        yield Mailer("smtpstatus-server", process, int(ports[1]), new), int(ports[2])


@contextmanager
def postfix(folder: Path) -> Iterator[Mailer]:
    """Runs an instance with queue and Maildir in `folder`, which other users must be able to enter."""
    port, home = free_port(), folder / "postfix"
    configure(home, port, "static:user/", POSTFIX_MAIN)
    check(home)
    with running(command(home)) as process:
        process.listens(port)
        yield Mailer("Postfix", process, port, home / "mail/user/new")


@contextmanager
def opensmtpd(folder: Path, backlog: Path) -> Iterator[Mailer]:
    """Runs an instance in a mount namespace, because the paths of its queue and socket are fixed and may be in use.

    Like the other servers, it does not resolve its clients' names. For `backlog` see backlog.so.c.
    """
    port, unprivileged = free_port(), pwd.getpwnam("nobody")
    home = folder / "opensmtpd"
    for part in ("spool", "run", "mail"):
        (home / part).mkdir(parents=True)
    os.chown(home / "mail", unprivileged.pw_uid, unprivileged.pw_gid)
    (home / "spool").chmod(0o711)
    (home / "resolv.conf").write_text("lookup file\n")
    (home / "smtpd.conf").write_text(_OPENSMTPD.format(port=port, folder=home))
    command = ("unshare", "--mount", "sh", "-ec", _ALONE, home)
    with running(command, {"LD_PRELOAD": str(backlog)}) as process:
        process.listens(port)
        yield Mailer("OpenSMTPD", process, port, home / "mail/user/new")


@contextmanager
def aiosmtpd(folder: Path | None = None) -> Iterator[Mailer]:
    """Runs aiosmtpd with its handler that discards mail or, given a folder, with its Maildir handler."""
    port = free_port()
    handler = ("Mailbox", str(folder / "aiosmtpd")) if folder else ("Sink",)
    name = f"aiosmtpd, {'Mailbox handler' if folder else 'discards mail'}"
    listen = ("-n", "-l", f"127.0.0.1:{port}", "-c")
    command = (sys.executable, "-m", "aiosmtpd", *listen, f"aiosmtpd.handlers.{handler[0]}")
    with running((*command, *handler[1:])) as process:
        process.listens(port)
        yield Mailer(name, process, port, folder / "aiosmtpd/new" if folder else None)


@contextmanager
def smtp_sink() -> Iterator[Mailer]:
    """Runs smtp-sink, which accepts and discards mail: the cost of receiving alone."""
    port = free_port()
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    with running(("smtp-sink", *user, f"inet:127.0.0.1:{port}", "1024")) as process:
        process.listens(port)
        yield Mailer("smtp-sink, discards mail", process, port, None)
