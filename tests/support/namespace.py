"""Two hosts on one machine: network namespaces connected by a veth pair."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.real import require

_NUMBERS = itertools.count()
NEAR, FAR = "10.77.0.1", "10.77.0.2"


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace; `interface` is its end of the veth pair."""

    name: str
    interface: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Command prefix that runs a command on this host."""
        return (require("ip"), "netns", "exec", self.name)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [*self.prefix, *command], capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


@contextmanager
def two_hosts(names: Path) -> Iterator[tuple[Host, Host]]:
    """A near and a far host at NEAR and FAR, and further addresses up to 10.77.0.250 at the far one.

    The near host resolves names at the far one; `names` is the folder for its resolv.conf.
    """
    ip = require("ip")
    number = f"{os.getpid()}-{next(_NUMBERS)}"
    near = Host(f"smtpstatus-near-{number}", "near0")
    far = Host(f"smtpstatus-far-{number}", "far0")
    configuration = Path("/etc/netns") / near.name
    try:
        for host in (near, far):
            subprocess.run([ip, "netns", "add", host.name], check=True, timeout=20)
            host.run(ip, "link", "set", "lo", "up")
        near.run(
            ip, "link", "add", near.interface, "type", "veth",
            "peer", "name", far.interface, "netns", far.name,
        )  # fmt: skip
        for host, address in ((near, NEAR), (far, FAR)):
            host.run(ip, "address", "add", f"{address}/24", "dev", host.interface)
            host.run(ip, "link", "set", host.interface, "up")
        for last in range(3, 13):
            far.run(ip, "address", "add", f"10.77.0.{last}/24", "dev", far.interface)
        configuration.mkdir(parents=True)
        (configuration / "resolv.conf").write_text(
            f"nameserver {FAR}\noptions timeout:1 attempts:2\n"
        )
        (configuration / "nsswitch.conf").write_text("hosts: files dns\n")
        yield near, far
    finally:
        for host in (near, far):
            subprocess.run([ip, "netns", "delete", host.name], check=False, timeout=20)
        for file in configuration.glob("*"):
            file.unlink()
        if configuration.exists():
            configuration.rmdir()
