"""Maildirs: which files are removed at the start, unique names, and file systems without hard links."""

import asyncio
import errno
import os
import re
import time
from itertools import islice
from pathlib import Path

import pytest

from reference_server.delivery import Maildirs
from reference_server.maildir import clear_stale, has_hard_links, make_root, unique_names
from reference_server.spool import Spool

NAME = "1795655054.M503883P8298Q1R074287509a5d78c1.mail.example"
"""A name as unique_names() yields it; a constant, because pytest-xdist requires constant parameters."""
DAY = 24 * 3600


def file_in(directory: Path, name: str, age: float) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text("content")
    os.utime(file, (time.time() - age,) * 2)
    return file


def maildir(root: Path, user: str) -> Path:
    for name in ("tmp", "new", "cur"):
        (root / user / name).mkdir(parents=True)
    return root / user


def test_the_name_of_these_tests_has_the_form_of_unique_names() -> None:
    for name in (NAME, next(unique_names("mail.example"))):
        assert re.fullmatch(r"\d+\.M\d+P\d+Q\d+R[0-9a-f]{16}\.mail\.example", name)


def test_clear_stale_removes_temporary_files_older_than_36_hours(tmp_path: Path) -> None:
    tmp = maildir(tmp_path, "bob") / "tmp"
    file_in(tmp, NAME, 37 * 3600)
    young = file_in(tmp, NAME + "x", 35 * 3600)

    assert clear_stale(tmp_path) == 1
    assert list(tmp.iterdir()) == [young]


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        ".hidden",
        "1700000000.txt",
        "2024.tar.gz",
        "1700000000.M1P2.host",
        f"{NAME}:2,S",
    ],
)
def test_clear_stale_keeps_files_that_are_not_named_like_messages(
    name: str, tmp_path: Path
) -> None:
    file = file_in(maildir(tmp_path, "bob") / "tmp", name, 3 * DAY)

    assert clear_stale(tmp_path) == 0
    assert file.exists()


@pytest.mark.parametrize("missing", ["new", "cur"])
def test_clear_stale_keeps_files_of_directories_that_are_not_maildirs(
    missing: str, tmp_path: Path
) -> None:
    project = maildir(tmp_path, "project")
    file = file_in(project / "tmp", NAME, 3 * DAY)
    (project / missing).rmdir()

    assert clear_stale(tmp_path) == 0
    assert file.exists()


@pytest.mark.parametrize("linked", ["bob", "bob/tmp", f"bob/tmp/{NAME}"])
def test_clear_stale_does_not_follow_links(linked: str, tmp_path: Path) -> None:
    outside = maildir(tmp_path, "outside")
    file = file_in(outside / "tmp", NAME, 3 * DAY)
    target = {"bob": outside, "bob/tmp": outside / "tmp"}.get(linked, file)
    root = tmp_path / "mail"
    if linked != "bob":
        maildir(root, "bob")
    link = root / linked
    link.parent.mkdir(exist_ok=True, parents=True)
    if link.is_dir():
        link.rmdir()
    link.symlink_to(target)
    os.utime(link, (time.time() - 3 * DAY,) * 2, follow_symlinks=False)

    assert clear_stale(root) == 0
    assert file.exists()
    assert link.is_symlink()


def test_clear_stale_logs_what_cannot_be_removed_and_removes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (maildir(tmp_path, user) / "tmp" for user in ("bob", "eve"))
    kept, removed = file_in(first, NAME, 3 * DAY), file_in(second, NAME, 3 * DAY)
    (first / NAME.replace("Q1", "Q2")).mkdir()  # a directory with a message's name
    os.utime(first / NAME.replace("Q1", "Q2"), (time.time() - 3 * DAY,) * 2)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == kept:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)

    assert clear_stale(tmp_path) == 1
    assert not removed.exists()
    assert [record.msg for record in caplog.records] == ["Cannot remove a stale file"]


def test_clear_stale_survives_directories_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    maildir(tmp_path, "bob")
    scan = os.scandir

    def refuse(path: Path) -> "os._ScandirIterator[str]":
        if path.name == "tmp":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)

    assert clear_stale(tmp_path) == 0
    assert [record.msg for record in caplog.records] == ["Cannot read a directory"]


def test_unique_names_differ_between_instances_with_the_same_clock_host_and_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_001_000)

    one, other = (list(islice(unique_names("mail.example"), 3)) for _ in range(2))

    assert len({*one, *other}) == 6
    assert all(name.startswith("1700000000.M000001P") for name in one + other)


def test_unique_names_of_long_host_names_fit_a_file_system(tmp_path: Path) -> None:
    (tmp_path / next(unique_names("a/:" * 80))).touch()


async def test_deliver_never_replaces_a_message_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_001_000)
    monkeypatch.setattr("secrets.token_hex", lambda size: "0" * 2 * size)
    outcomes = []
    for content in (b"one\n", b"two\n"):
        maildirs = Maildirs(tmp_path, "mail.example")  # two indistinguishable instances
        spool = Spool(tmp_path)
        spool.append(content)
        try:
            await maildirs.store(["bob"], b"", spool)
            outcomes.append("stored")
        except FileExistsError:
            outcomes.append("refused")
        await maildirs.aclose()

    assert outcomes == ["stored", "refused"]
    assert [file.read_bytes() for file in tmp_path.glob("bob/*/*")] == [b"one\n"]


async def test_deliver_without_hard_links_writes_a_copy_for_each_recipient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not has_hard_links(tmp_path)
    maildirs = Maildirs(tmp_path, "mail.example", hard_links=False)
    spool = Spool(tmp_path)
    spool.append(b"hello\n")

    await maildirs.store(["bob", "eve"], b"head\n", spool)

    await maildirs.aclose()
    stored = {
        file.parent.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*/*/*")
    }
    assert stored == {Path("bob/new"): b"head\nhello\n", Path("eve/new"): b"head\nhello\n"}


def test_the_root_is_made_with_its_parents_for_its_owner_alone(tmp_path: Path) -> None:
    root = tmp_path / "a/b/mail"
    make_root(root)
    make_root(root)

    assert root.stat().st_mode & 0o777 == 0o700


def test_has_hard_links_leaves_no_file(tmp_path: Path) -> None:
    assert has_hard_links(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_delivery_is_not_stored(tmp_path: Path) -> None:
    maildirs = Maildirs(tmp_path, "mail.example")
    spool = Spool(tmp_path)
    spool.append(b"hello\n")
    delivery = asyncio.create_task(maildirs.store(["bob"], b"", spool))
    await asyncio.sleep(0)
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)

    await maildirs.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_spool_that_was_closed_is_an_error_and_not_an_empty_message(
    tmp_path: Path,
) -> None:
    maildirs = Maildirs(tmp_path, "mail.example")
    spool = Spool(tmp_path)
    spool.append(b"hello\n")
    spool.close()

    with pytest.raises(OSError, match="the spool is closed"):
        await maildirs.store(["bob"], b"head\n", spool)

    await maildirs.aclose()
    assert list(tmp_path.glob("bob/*/*")) == []
