"""Postfix with the filter, compared with Postfix without a filter and with other filters.

Every Postfix stores in a Maildir. The peers do nothing to the message: `cat` in a script that pipe(8) starts
and that hands the message back by sendmail (Postfix FILTER_README, "simple content filter"), and aiosmtpd's proxy.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import peers, postfix
from benchmarks.bench import Bench
from benchmarks.fleet import COMMANDS, TOKEN
from benchmarks.mailers import POSTFIX_MAIN, Delivery, Load
from benchmarks.process import Process, running, until
from benchmarks.ratio import Bound, Ratio, at_least, at_most

_REINJECT = """\
127.0.0.1:{again} inet n - n - 20 smtpd
  -o content_filter=
  -o receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters
  -o smtpd_relay_restrictions=permit_mynetworks,reject
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
  -o smtpd_authorized_xforward_hosts=127.0.0.0/8
lmtp   unix - - n - - lmtp
smtp   unix - - n - - smtp
"""
_PIPE = """\
pickup unix n - n 1 1 pickup -o content_filter=
filter unix - n n - 20 pipe flags=Rq user=nobody null_sender=
  argv={script} -f ${{sender}} -- ${{recipient}}
"""
_SCRIPT = """\
#!/bin/sh
cat | /usr/sbin/sendmail -G -i "$@"
"""
_ALONE = """\
cp /etc/postfix/postfix-files "$0/etc"
mount --bind "$0/etc" /etc/postfix
postfix check
exec "$(postconf -h daemon_directory)/master" -d
"""
_AIOSMTPD = """\
import signal, sys
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Proxy
listen, remote = map(int, sys.argv[1:])
Controller(Proxy("127.0.0.1", remote), hostname="127.0.0.1", port=listen).start()
signal.pause()
"""
PIPE = "pipe(8) and sendmail"
_SESSIONS, _WARM_UP = 10, 50


@dataclass(frozen=True, slots=True)
class Way:
    """Postfix and its filter, if any: the processes, the SMTP port and the Maildir."""

    name: str
    processes: tuple[Process, ...]
    port: int
    new: Path

    def stored(self) -> int:
        return len(os.listdir(self.new)) if self.new.exists() else 0  # noqa: PTH208

    def cpu(self) -> float:
        return sum(process.cpu() for process in self.processes)


def measure(bench: Bench) -> list[Ratio]:
    if not peers.installed("smtp-source", "postfix", "unshare") or os.geteuid() != 0:
        return []
    load = Load(_SESSIONS, bench.form.messages, 1 << 10)
    found: defaultdict[str, list[Delivery]] = defaultdict(list)
    with ExitStack() as stack:
        ways = [
            stack.enter_context(way(bench.folder))
            for way in (_filtered, _transformed, _unfiltered, _piped, _proxied)
        ]
        for way in ways:  # Postfix starts its processes with the first messages
            _send(way, Load(_SESSIONS, _WARM_UP, 1 << 10))
        for _ in range(bench.form.rounds):
            for way in ways:
                found[way.name].append(_send(way, load))
    return list(_lines(load, [way.name for way in ways], found))


def _lines(
    load: Load, names: list[str], found: defaultdict[str, list[Delivery]]
) -> Iterator[Ratio]:
    ours, transformed, alone, *others = names
    rate = {name: median(delivery.rate for delivery in found[name]) for name in names}
    cpu = {name: median(delivery.cpu for delivery in found[name]) for name in names}
    for own, peer, bounds in (
        (ours, alone, (None, None)),
        # Postfix queues filtered messages again, which limits the rate of every filter.
        *((ours, other, (at_least(1) if other == PIPE else None, at_most(1))) for other in others),
        (transformed, alone, (None, None)),
        (transformed, others[0], (at_least(1), at_most(1))),
    ):
        subject = f"{load}, {own}"
        low, high = bounds
        yield _ratio(subject, "messages per second", rate, own, peer, low)
        yield _ratio(subject, "CPU s per 1,000 messages", cpu, own, peer, high)


def _ratio(
    subject: str, quantity: str, values: dict[str, float], own: str, peer: str, bound: Bound | None
) -> Ratio:
    return Ratio(subject, quantity, values[own], peer, values[peer], bound)


def _send(way: Way, load: Load) -> Delivery:
    """Sends a load and waits until all of it is stored."""
    before, cpu, began = way.stored(), way.cpu(), time.perf_counter()
    numbers = ("-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size))
    addresses = ("-f", "sender@example.org", "-t", "user@example.org")
    command = ("smtp-source", "-d", *numbers, *addresses, f"inet:127.0.0.1:{way.port}")
    subprocess.run(("timeout", "300", *command), check=True)
    until(lambda: way.stored() - before >= load.messages, 120)
    seconds = time.perf_counter() - began
    return Delivery(load.messages / seconds, (way.cpu() - cpu) / load.messages * 1000)


@contextmanager
def _unfiltered(folder: Path) -> Iterator[Way]:
    with _postfix(folder / "alone") as (process, port, new):
        yield Way("Postfix alone", (process,), port, new)


@contextmanager
def _filtered(folder: Path) -> Iterator[Way]:
    with _through(folder / "filtered", "filter without transforms") as way:
        yield way


@contextmanager
def _transformed(folder: Path) -> Iterator[Way]:
    with _through(folder / "transformed", "filter with `cat`", "--transform=cat") as way:
        yield way


@contextmanager
def _through(home: Path, name: str, *flags: str) -> Iterator[Way]:
    again = peers.free_port()
    command: tuple[str | Path, ...] = (
        COMMANDS / "smtpstatus-server",
        "--lmtp.listen-address=127.0.0.1:0",
        f"--next-hop=smtp://127.0.0.1:{again}",
        "--status.listen-address=127.0.0.1:0",
        "--log.level=warn",
        *flags,
    )
    with running(command, {"SMTPSTATUS_TOKEN": TOKEN}) as server:
        lmtp = server.says(r"lmtp 127\.0\.0\.1:(\d+)")[1]
        main = f"content_filter = lmtp:[127.0.0.1]:{lmtp}\nlmtp_send_xforward_command = yes\n"
        with _postfix(home, main, _REINJECT.format(again=again)) as (process, port, new):
            yield Way(name, (process, server), port, new)


@contextmanager
def _piped(folder: Path) -> Iterator[Way]:
    home = folder / "piped"
    home.mkdir()
    script = home / "filter.sh"
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    main = "content_filter = filter:dummy\n"
    with _postfix(home, main, _PIPE.format(script=script)) as (process, port, new):
        yield Way(PIPE, (process,), port, new)


@contextmanager
def _proxied(folder: Path) -> Iterator[Way]:
    listen, again = peers.free_port(), peers.free_port()
    with running((sys.executable, "-c", _AIOSMTPD, str(listen), str(again))) as proxy:
        proxy.listens(listen)
        main = f"content_filter = smtp:[127.0.0.1]:{listen}\n"
        reinject = _REINJECT.format(again=again)
        with _postfix(folder / "proxied", main, reinject) as (process, port, new):
            yield Way("aiosmtpd's Proxy", (process, proxy), port, new)


@contextmanager
def _postfix(home: Path, main: str = "", master: str = "") -> Iterator[tuple[Process, int, Path]]:
    """Postfix in a mount namespace with its own /etc/postfix: sendmail(1) accepts no other from unprivileged users."""
    port = peers.free_port()
    postfix.configure(home, port, "static:user/", POSTFIX_MAIN + main, master)
    with running(("unshare", "--mount", "sh", "-ec", _ALONE, home)) as process:
        process.listens(port)
        yield process, port, home / "mail/user/new"
