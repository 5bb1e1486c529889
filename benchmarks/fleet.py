"""Many targets on one responder, and an exporter that reads them."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from benchmarks.process import Process, running

FIRST = IPv4Address("127.1.0.1")
COMMANDS = Path(sys.executable).parent
TOKEN = "secretpa"


@dataclass(frozen=True, slots=True)
class Fleet:
    """Targets at consecutive loopback addresses, named after their addresses."""

    port: int
    size: int
    silent: int = 0
    """As responder.c has it."""

    def addresses(self) -> Iterator[IPv4Address]:
        return (FIRST + number for number in range(self.size))

    def write(self, file: Path, timeout: str = "2s") -> None:
        """Configuration of the exporter; `timeout` overrides the default of 2s."""
        lines = [
            f"  - {{name: mail-{address}, address: '{address}:{self.port}', token: {TOKEN}}}\n"
            for address in self.addresses()
        ]
        probe = f"probe:\n  - networks: [127.0.0.0/8]\n    ports: [1-65535]\n    token: {TOKEN}\n"
        file.write_text(f"timeout: {timeout}\ntargets:\n" + "".join(lines) + probe)

    def expected(self) -> dict[tuple[str, str], float]:
        """Expected samples for the responses of responder.c, by metric and target."""
        samples: dict[tuple[str, str], float] = {}
        for address in self.addresses():
            number = int(address)
            name = f"mail-{address}"
            lives = not (self.silent and number % self.silent == 0)
            samples["smtpstatus_up", name] = float(lives)
            if lives:
                samples["smtpstatus_connections_total", name] = number
                samples["smtpstatus_active_connections", name] = number & 255
                samples["smtpstatus_transferred_bytes_total", name] = number * 1000
                samples["smtpstatus_transforms_enabled", name] = float(number % 2 == 0)
        return samples

    def wrong(self, text: str) -> int:
        """Number of samples in an exposition that are wrong, missing or unexpected."""
        differing = self.expected().items() ^ samples(text).items()
        return len(dict(differing))  # a wrong sample is in both differences


_SAMPLE = re.compile(
    r"^(smtpstatus_(?:up|connections_total|active_connections|transferred_bytes_total|transforms_enabled))"
    r'\{target="([^"]+)"\} (\S+)$',
    re.MULTILINE,
)


def samples(text: str) -> dict[tuple[str, str], float]:
    """The targets' values in an exposition."""
    return {(metric, name): float(number) for metric, name, number in _SAMPLE.findall(text)}


def own(text: str, name: str) -> float:
    """One of the exporter's own samples, without labels."""
    found = re.search(rf"^smtpstatus_exporter_{name} (\S+)$", text, re.MULTILINE)
    if not found:
        raise LookupError(f"smtpstatus_exporter_{name} is not in the exposition")
    return float(found[1])


def failures(text: str) -> float:
    """Failed readings by the exporter's own count."""
    counts = re.findall(r"^smtpstatus_exporter_failures_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, counts))


@contextmanager
def exporter(file: Path, tree: Path | None = None) -> Iterator[tuple[Process, int]]:
    """The exporter on a configuration, and its port, when it listens; `tree` is another version's source."""
    program: tuple[str | Path, ...] = (COMMANDS / "smtpstatus-exporter",)
    if tree:
        start = f"import os, sys; os.chdir({str(tree)!r}); sys.path.insert(0, {str(tree)!r})"
        program = (sys.executable, "-c", f"{start}; from exporter.__main__ import main; main()")
    options = (f"--config.file={file}", "--web.listen-address=127.0.0.1:0", "--log.level=info")
    with running((*program, *options)) as process:
        yield process, int(process.says(r"Listening.*127\.0\.0\.1:(\d+)")[1])
