"""`make dist`: builds everything that a release consists of into a directory, and checks it.

The sdist, the wheel, the command alone as smtpstatus.pyz, the bill of materials (CycloneDX) of what a pip
installation brings, with licences, and SHA256SUMS. The same commit gives the same bytes: SOURCE_DATE_EPOCH is its date
unless it is set.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
MAIN = "import sys\n\nfrom protocol.__main__ import main\n\nsys.exit(main())\n"


def build(directory: Path, epoch_s: int) -> None:
    """Replaces `directory` with one that has the release's files.

    Raises `CalledProcessError` or `ValueError` if a check fails.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s)}

    def run(command: str, *arguments: str | Path) -> None:
        subprocess.run([BIN / command, *arguments], cwd=ROOT, env=environment, check=True)

    run("hatchling", "build", "-d", directory, "-t", "sdist", "-t", "wheel")
    run("twine", "check", "--strict", *sorted(directory.iterdir()))
    zip_application(directory / "smtpstatus.pyz", epoch_s)
    bill = directory / "smtpstatus.cdx.json"
    options = ("--pyproject", "pyproject.toml", "--output-reproducible", "-o", bill)
    run("cyclonedx-py", "requirements", *options, "requirements.lock")
    listed = with_licences(json.loads(bill.read_text()), dependencies())
    bill.write_text(json.dumps(listed, indent=2, sort_keys=True) + "\n")
    sums = [f"{digest(path)}  {path.name}\n" for path in sorted(directory.iterdir())]
    (directory / "SHA256SUMS").write_text("".join(sums))


def dependencies() -> dict[str, list[str]]:
    """Rows of docs/development/dependencies.md, by package: needed by, for, licence, code."""
    page = (ROOT / "docs/development/dependencies.md").read_text()
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.+) \|$", page, re.M)
    return {name: cells.split(" | ") for name, cells in rows if name not in ("package", "---")}


def with_licences(bill: dict[str, Any], rows: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The bill of materials with each package's purpose and licence.

    Raises `ValueError` if it lists other packages than `rows`.
    """
    listed = {component["name"] for component in bill["components"]}
    if different := listed ^ rows.keys():
        raise ValueError(
            f"docs/development/dependencies.md and requirements.lock differ: {', '.join(sorted(different))}"
        )
    for component in bill["components"]:
        _, purpose, licence, _ = rows[component["name"]]
        component["description"] = purpose
        component["licenses"] = [
            {"expression": licence} if " " in licence else {"license": {"id": licence}}
        ]
    return bill


def zip_application(target: Path, epoch_s: int) -> None:
    """Writes the smtpstatus command as one executable file, which needs Python alone."""
    files = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for package in ("protocol", "smtpstatus")
        for path in sorted((ROOT / package).rglob("*.py"))
    }
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in {"__main__.py": MAIN.encode(), **files}.items():
                entry = zipfile.ZipInfo(name, time.gmtime(max(epoch_s, 315532800))[:6])
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def commit_time_s() -> int:
    """The date of the checked out commit, or 2020-02-02, hatchling's own, outside a Git repository."""
    shown = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return int(shown.stdout) if shown.returncode == 0 else 1580601600


if __name__ == "__main__":
    build(Path(sys.argv[1]), int(os.environ.get("SOURCE_DATE_EPOCH") or commit_time_s()))
