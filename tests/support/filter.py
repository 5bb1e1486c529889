"""`smtpstatus-server` as a filter, and the configurations on docs/filter.md, with the ports of a test."""

import json
import re
import shlex
import smtplib
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import COMMANDS, Process, running

ROOT = Path(__file__).parents[2]
TOKEN = "secretpa"
_PAGE = ROOT / "docs/filter.md"


def documented(name: str, replacements: Mapping[str, str | int | Path]) -> str:
    """The code block on docs/filter.md that begins with `# NAME`, with some of its text replaced.

    Every text must occur in it, as a whole word or path.
    """
    found = re.search(rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", _PAGE.read_text(), re.M | re.S)
    assert found, f"docs/filter.md has no block {name!r}"
    text = found[1]
    for old, new in replacements.items():
        pattern = rf"(?<![\w.]){re.escape(old)}(?![\w])"
        assert re.search(pattern, text), f"{old!r} is not in the block {name!r}"
        text = re.sub(pattern, lambda _, new=str(new): new, text)
    return text


@dataclass(frozen=True, slots=True)
class Filter:
    """Running filter and its status port."""

    process: Process
    status: int

    def switch(self, state: str) -> None:
        """Turns the transforms `on` or `off` by SMTPStatus."""
        self._command("transforms", f"127.0.0.1:{self.status}", state)

    def counters(self) -> dict[str, Any]:
        """Returns the filter's counters by SMTPStatus."""
        found: dict[str, Any] = json.loads(
            self._command("get", f"127.0.0.1:{self.status}", "--json")
        )
        return found

    def _command(self, *arguments: str) -> str:
        done = subprocess.run(
            (COMMANDS / "smtpstatus", *arguments, "--token", TOKEN),
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def filter_server(*arguments: str) -> Iterator[Filter]:
    """A filter with these flags, on a free status port."""
    with running(
        "smtpstatus-server",
        "--status.listen-address=127.0.0.1:0",
        *arguments,
        SMTPSTATUS_TOKEN=TOKEN,
    ) as process:
        found = process.says(r"smtpstatus-server ready: .*status 127\.0\.0\.1:(\d+)")
        yield Filter(process, int(found[1]))


@contextmanager
def documented_filter(
    name: str, replacements: Mapping[str, str | int], *more: str
) -> Iterator[Filter]:
    """The filter of a set-up on docs/filter.md, with `more` flags; its token and transform are the test's."""
    own = {
        "--token-file /etc/smtpstatus/token": f"--token {TOKEN}",
        "/usr/local/bin/footer.sh": ROOT / "examples/footer.sh",
    }
    text = documented(f"{name} server", {**{k: str(v) for k, v in own.items()}, **replacements})
    command, *flags = shlex.split(text.replace("\\\n", " "))
    assert command == "smtpstatus-server"
    with filter_server(*flags, *more) as server:
        yield server


def send(
    port: int,
    content: str,
    *recipients: str,
    sender: str = "a@example.org",
    source: str = "127.0.0.1",
) -> None:
    """Sends a message by SMTP to a port of 127.0.0.1."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20, source_address=(source, 0)) as client:
        client.sendmail(
            sender, recipients, content.replace("\n", "\r\n").encode(), ["BODY=8BITMIME"]
        )
