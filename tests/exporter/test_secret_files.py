"""Rereading of secrets in files: outside the event loop, and only the required ones."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exporter import secret_files
from exporter.configuration.secret import Secret
from exporter.secret_files import SecretFiles, SecretThreads

FRESH_S = secret_files._FRESH_S

changed: list[Secret] = []


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.secret_files._FRESH_S", 0.0)
    changed.clear()


@pytest.fixture
def files() -> SecretFiles:
    return SecretFiles(SecretThreads(), changed.append)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read, by a thread other than the event loop's."""
    names: list[str] = []
    original = Path.stat
    loop_thread = threading.get_ident()

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.name.startswith("secret-"):
            names.append(path.name)
            assert threading.get_ident() != loop_thread
            while os.access(f"{path}.hangs", os.F_OK):
                time.sleep(0.01)
        return original(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)
    return names


def secret(directory: Path, name: str, text: str = "first") -> Secret:
    (directory / name).write_text(text)
    return Secret.read(directory / name)


async def test_a_changed_file_is_reread_and_reported_once(
    files: SecretFiles, tmp_path: Path
) -> None:
    one, two = secret(tmp_path, "one"), secret(tmp_path, "two")
    await files.refresh((one, two))
    assert changed == []

    (tmp_path / "one").write_text("second")
    await files.refresh((one, two))
    await files.refresh((one, two))
    assert (changed, one.text, two.text) == ([one], "second", "first")


async def test_a_file_is_checked_again_after_a_second(
    files: SecretFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(secret_files, "_FRESH_S", FRESH_S)
    monkeypatch.setattr(secret_files, "monotonic", lambda: now)
    one = secret(tmp_path, "one")
    await files.refresh((one,))
    (tmp_path / "one").write_text("second")

    now = 100.99
    await files.refresh((one,))
    assert one.text == "first"
    now = 101.0
    await files.refresh((one,))
    assert one.text == "second"


async def test_only_the_requested_files_are_read_and_not_in_the_event_loop(
    tmp_path: Path, looked_at: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = await asyncio.to_thread(
        lambda: [secret(tmp_path, f"secret-{number}") for number in range(200)]
    )
    looked_at.clear()
    files = SecretFiles(SecretThreads(), changed.append)

    await files.refresh(secrets[7:8])
    assert looked_at == ["secret-7"]

    monkeypatch.setattr("exporter.secret_files._FRESH_S", 60.0)
    await files.refresh(secrets)
    await files.refresh(secrets)
    assert len(looked_at) == 201


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than `tmp_path`."""
    with TemporaryDirectory(dir="/dev/shm") as name:
        assert Path(name).stat().st_dev != tmp_path.stat().st_dev
        yield Path(name)


async def test_a_hanging_file_system_delays_one_request_and_the_old_secret_is_kept(
    files: SecretFiles,
    tmp_path: Path,
    other_device: Path,
    looked_at: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    hanging, *more, other = await asyncio.to_thread(
        lambda: (
            secret(tmp_path, "secret-hanging"),
            *(secret(tmp_path, f"secret-{number}") for number in range(100)),
            secret(other_device, "secret-other"),
        )
    )
    (tmp_path / "secret-hanging.hangs").touch()
    (tmp_path / "secret-hanging").write_text("second")
    began = time.monotonic()
    await files.refresh((hanging,))
    assert 0.1 <= time.monotonic() - began < 1
    assert hanging.text == "first"

    began = time.monotonic()
    for one in more:
        await files.refresh((hanging, one))
    assert time.monotonic() - began < 0.1
    (other_device / "secret-other").write_text("second")
    await files.refresh((other,))
    assert other.text == "second"
    assert [record.message for record in caplog.records] == [
        "Secret files are slow to read; keeping the known secrets"
    ]

    (tmp_path / "secret-hanging.hangs").unlink()
    while hanging not in changed:
        await asyncio.sleep(0.01)
    assert hanging.text == "second"


async def test_an_unusable_file_is_logged_once_and_others_are_reread(
    files: SecretFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    bad, good = secret(tmp_path, "bad"), secret(tmp_path, "good")
    (tmp_path / "bad").unlink()
    os.mkfifo(tmp_path / "bad")
    (tmp_path / "good").write_text("second")
    for _ in range(3):
        await files.refresh((bad, good))

    assert (bad.text, good.text) == ("first", "second")
    assert [record.message for record in caplog.records] == [
        "Cannot reread secret; keeping the previous one"
    ]


async def test_an_unexpected_error_is_logged_without_its_text(
    files: SecretFiles,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = secret(tmp_path, "bad")

    def fail(self: Secret) -> bool:
        raise RuntimeError("secretpa")

    monkeypatch.setattr(Secret, "refresh", fail)
    await files.refresh((bad,))

    assert vars(caplog.records[0])["err"].startswith("RuntimeError at test_secret_files.py:")
    assert "secretpa" not in caplog.text
