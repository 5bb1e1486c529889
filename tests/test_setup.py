"""Virtual environment of `make run`: its creation, and its failures in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def make_venv(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "deploy/make_venv.py", directory],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_missing_venv_package_is_reported_in_one_line(tmp_path: Path) -> None:
    """Debian's Python without python3-venv has no ensurepip."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError")

    ended = make_venv(tmp_path / "venv", PYTHONPATH=str(tmp_path))

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "apt install python3-venv" in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 10, 0)")

    ended = make_venv(tmp_path / "venv", PYTHONPATH=str(tmp_path))

    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "requires Python 3.11 or later" in ended.stderr


@pytest.mark.soak
def test_an_environment_of_another_python_is_replaced(tmp_path: Path) -> None:
    directory = tmp_path / "venv"
    directory.mkdir()
    (directory / "pyvenv.cfg").write_text("home = /nonexistent/bin\n")
    (directory / "leftover").touch()

    assert make_venv(directory).returncode == 0
    assert not (directory / "leftover").exists()

    (directory / "kept").touch()
    assert make_venv(directory).returncode == 0
    assert (directory / "kept").exists()


@pytest.mark.soak
def test_make_run_installs_only_runtime_dependencies(tmp_path: Path) -> None:
    """Runs in a new clone, with the package cache of this machine."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)

    subprocess.run(["make", "-s", ".venv-run/ready"], cwd=clone, check=True, timeout=300)

    used = subprocess.run(
        ["du", "-sm", clone / ".venv-run"], capture_output=True, text=True, check=True
    )
    assert int(used.stdout.split()[0]) <= 80
    assert not list((clone / ".venv-run").glob("lib/*/site-packages/pytest"))
    shown = subprocess.run(
        [clone / ".venv-run/bin/smtpstatus-exporter", "--version"], capture_output=True, check=True
    )
    assert shown.stdout.startswith(b"smtpstatus-exporter ")
