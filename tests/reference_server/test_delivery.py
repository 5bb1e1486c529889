"""Contents of Maildirs after success, after every failed system call, and after a crash."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

from reference_server.delivery import Maildirs
from reference_server.pipeline import message_identifiers
from reference_server.spool import Spool
from tests.reference_server.inside import MAIL, client, mail_server

HEAD = b"Return-Path: <>\n"


def spool(tmp_path: Path, content: bytes = b"hello\n") -> Spool:
    spool = Spool(tmp_path)
    spool.append(content)
    return spool


def files(root: Path) -> list[Path]:
    return [path.relative_to(root) for path in root.rglob("*") if path.is_file()]


async def deliver(root: Path, *users: str, content: bytes = b"hello\n") -> Maildirs:
    root.mkdir(exist_ok=True)
    maildirs = Maildirs(root, "mail.example")
    try:
        await maildirs.store(users, HEAD, spool(root, content))
    finally:
        await maildirs.aclose()
    return maildirs


async def test_each_user_gets_one_copy_with_a_maildir_name(tmp_path: Path) -> None:
    await deliver(tmp_path, "bob", "eve")

    parts = [path.parts for path in sorted(files(tmp_path))]
    assert [(user, new) for user, new, _ in parts] == [("bob", "new"), ("eve", "new")]
    assert len({name for *_, name in parts}) == 1
    assert {(tmp_path / path).read_bytes() for path in files(tmp_path)} == {HEAD + b"hello\n"}
    seconds, unique, host = parts[0][2].split(".", 2)
    assert abs(int(seconds) - time.time()) < 60
    assert unique.startswith("M")
    assert host == "mail.example"


def test_message_identifiers_differ_though_the_clock_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([7, 7, 7, 3, 20])
    monkeypatch.setattr("reference_server.pipeline.time", SimpleNamespace(time_ns=times.__next__))

    assert list(islice(message_identifiers(), 5)) == [7, 8, 9, 10, 20]


async def test_mail_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    await deliver(tmp_path, "bob")

    [file] = files(tmp_path)
    assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "bob").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "bob").iterdir()) == ["cur", "new", "tmp"]


async def test_simultaneous_messages_share_the_fsync_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(os.path.isdir(f"/proc/self/fd/{descriptor}"))  # noqa: PTH112
        time.sleep(0.005)
        fsync(descriptor)

    maildirs = Maildirs(tmp_path, "mail.example")
    await maildirs.store(["bob"], HEAD, spool(tmp_path))
    monkeypatch.setattr(os, "fsync", watched)

    await asyncio.gather(*(maildirs.store(["bob"], HEAD, spool(tmp_path)) for _ in range(32)))

    await maildirs.aclose()
    assert len(files(tmp_path)) == 33
    assert synced.count(False) == 32
    assert 1 <= synced.count(True) < 16


FAULTS: dict[str, tuple[str, int, int]] = {
    "making the maildir": ("mkdir", 1, errno.EACCES),
    "making tmp": ("mkdir", 2, errno.ENOSPC),
    "syncing the maildir": ("fsync", 1, errno.EIO),
    "syncing the root": ("fsync", 3, errno.EIO),
    "opening": ("open", 5, errno.EROFS),
    "writing": ("writev", 1, errno.ENOSPC),
    "syncing the file": ("fsync", 4, errno.EIO),
    "linking": ("link", 1, errno.EDQUOT),
    "linking the second": ("link", 2, errno.EIO),
    "syncing the first new": ("fsync", 5, errno.EIO),
    "syncing the second new": ("fsync", 6, errno.EIO),
}


@pytest.mark.parametrize(("call", "which", "error"), FAULTS.values(), ids=FAULTS)
async def test_a_failed_system_call_leaves_no_file_for_any_recipient(
    call: str, which: int, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_nth(monkeypatch, call, which, error)

    with pytest.raises(OSError, match=os.strerror(error)):
        await deliver(tmp_path / "mail", "bob", "eve")

    assert files(tmp_path) == []
    await deliver(tmp_path / "mail", "bob", "eve")
    assert len(files(tmp_path)) == 2


async def test_mail_is_stored_where_posix_fadvise_is_not_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_nth(monkeypatch, "posix_fadvise", 1, errno.ENOSYS)

    await deliver(tmp_path, "bob")

    assert len(files(tmp_path)) == 1


def fail_nth(monkeypatch: pytest.MonkeyPatch, call: str, which: int, error: int) -> None:
    """Make the `which`th call of an `os` function fail."""
    original: Callable[..., object] = getattr(os, call)
    calls = 0

    def failing(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == which:
            raise OSError(error, os.strerror(error))
        return original(*arguments, **named)

    monkeypatch.setattr(os, call, failing)


async def test_a_failed_message_does_not_fail_others_of_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildirs = Maildirs(tmp_path, "mail.example")
    await maildirs.store(["bob"], HEAD, spool(tmp_path))
    fail_nth(monkeypatch, "fsync", 3, errno.EIO)
    broken = spool(tmp_path)
    monkeypatch.setattr(broken, "copy_to", None)

    results = await asyncio.gather(
        *(maildirs.store(["bob"], HEAD, spool(tmp_path)) for _ in range(8)),
        maildirs.store(["bob"], HEAD, broken),
        return_exceptions=True,
    )

    await maildirs.aclose()
    assert [type(error) for error in results if error] == [OSError, TypeError]
    assert len(files(tmp_path)) == 8


async def test_a_failed_directory_fsync_fails_every_message_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maildirs = Maildirs(tmp_path, "mail.example")
    await maildirs.store(["bob"], HEAD, spool(tmp_path))
    await maildirs.store(["eve"], HEAD, spool(tmp_path))
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), (tmp_path / "bob/new").stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    to = [["bob"], ["eve"], ["eve", "bob"]]

    results = await asyncio.gather(
        *(maildirs.store(users, HEAD, spool(tmp_path)) for users in to), return_exceptions=True
    )

    await maildirs.aclose()
    assert [type(error) for error in results] == [OSError, type(None), OSError]
    assert sorted(path.parts[0] for path in files(tmp_path)) == ["bob", "eve", "eve"]


async def test_large_messages_are_stored_in_several_batches(
    tmp_path: Path,
) -> None:
    content = bytes(6_000_000)
    maildirs = Maildirs(tmp_path, "mail.example")
    stored: list[int] = []

    async def one_more() -> None:
        await maildirs.store(["bob"], HEAD, spool(tmp_path, content))
        stored.append(len(list((tmp_path / "bob" / "new").iterdir())))

    await asyncio.gather(*(one_more() for _ in range(7)))

    await maildirs.aclose()
    assert stored[0] < stored[-1] == 7


REPLIES = {
    errno.ENOSPC: b"452 4.3.1 Insufficient system storage",
    errno.EDQUOT: b"452 4.3.1 Insufficient system storage",
    errno.EIO: b"451 4.3.0 Error: local error in processing",
    errno.EROFS: b"451 4.3.0 Error: local error in processing",
}


@pytest.mark.parametrize(("error", "reply"), REPLIES.items())
async def test_a_storage_error_is_a_temporary_reply_without_its_reason(
    error: int, reply: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mail_server(tmp_path) as inside:
        fail_nth(monkeypatch, "writev", 1, error)
        async with client(inside.port) as c:
            await c.send(MAIL + MAIL + b"QUIT\r\n")
            replies = (await c.rest()).split(b"\r\n")

        verdicts = [line for line in replies if line.startswith((b"45", b"250 2.0.0 Ok: stored"))]
        assert verdicts[0] == reply
        assert len(inside.stored()) == 1
        assert inside.leftovers() == []


async def test_an_unexpected_exception_is_451_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("a secret")

    async with mail_server(tmp_path) as inside:
        monkeypatch.setattr("reference_server.pipeline.received_header", broken)
        async with client(inside.port) as c:
            await c.send(MAIL + b"QUIT\r\n")
            replies = await c.rest()

    assert b"451 4.3.0 Error: local error in processing" in replies
    assert b"secret" not in replies


async def test_a_removed_maildir_is_created_again(tmp_path: Path) -> None:
    maildirs = Maildirs(tmp_path, "mail.example")
    await maildirs.store(["bob"], HEAD, spool(tmp_path))
    for path in sorted((tmp_path / "bob").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

    await maildirs.store(["bob"], HEAD, spool(tmp_path))

    await maildirs.aclose()
    assert len(files(tmp_path)) == 1
