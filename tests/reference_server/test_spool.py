import errno
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from reference_server.spool import Memory, Spool

PIECES = [bytes([n % 256]) * 1000 for n in range(1500)]


@pytest.mark.parametrize(
    "spilled", [(), (1499,), (3, 700)], ids=["in memory", "at the end", "between"]
)
def test_content_round_trips_in_memory_and_in_a_file(
    spilled: Sequence[int], tmp_path: Path
) -> None:
    spool = Spool(tmp_path, Memory(limit=0))
    for n, piece in enumerate(PIECES):
        spool.append(piece)
        if n in spilled:
            assert n < 600 or spool.full
            spool.spill()
            assert not spool.full

    with (tmp_path / "copy").open("wb") as copy:
        spool.copy_to(copy.fileno(), b"head")
    assert (tmp_path / "copy").read_bytes() == b"head" + b"".join(PIECES)
    assert spool.open().read() == b"".join(PIECES)
    assert spool.size == 1_500_000
    spool.close()
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_a_message_may_use_more_memory_below_the_budget(tmp_path: Path) -> None:
    memory = Memory(limit=4_000_000)
    spools = [Spool(tmp_path, memory) for _ in range(3)]
    for spool in spools:
        spool.append(bytes(1_500_000))

    def full() -> list[bool]:
        return [spool.full for spool in spools]

    assert full() == [True, True, True]
    spools[0].spill()
    assert full() == [False, False, False]
    spools[0].append(bytes(1_500_000))
    assert full() == [True, True, True]
    spools[2].close()
    assert full() == [False, False, False]
    spools[0].close()


def test_a_spool_gives_back_all_memory_when_it_is_written_and_closed(tmp_path: Path) -> None:
    memory = Memory(limit=0)
    spool = Spool(tmp_path, memory)
    for _ in range(2):
        spool.append(b"hello")
        assert memory.scarce
        spool.spill()
        assert not memory.scarce
    spool.append(b"hello")
    spool.close()
    spool.close()

    assert not memory.scarce
    memory.take(1)
    assert memory.scarce


def test_tiny_pieces_use_no_more_memory_than_large_ones(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    tracemalloc.start()
    while not spool.full:
        spool.append(bytes(bytearray(b"tiny")))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spool.spill()

    assert taken < 3 * 1024 * 1024
    assert len(spool.open().read()) == spool.size
    spool.close()


def test_a_truncated_spool_is_an_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for piece in PIECES:
        spool.append(piece)
    spool.open().truncate(100_000)

    with (tmp_path / "copy").open("wb") as copy, pytest.raises(OSError, match="100000") as caught:
        spool.copy_to(copy.fileno(), b"head")

    assert caught.value.errno == errno.EIO
    spool.close()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writev, write = os.writev, os.write
    monkeypatch.setattr(os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:1234]]))
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, octets[:100_000]))
    spool = Spool(tmp_path)
    for piece in PIECES:
        spool.append(piece)

    with (tmp_path / "copy").open("wb") as copy:
        spool.copy_to(copy.fileno(), b"head")

    assert (tmp_path / "copy").read_bytes() == b"head" + b"".join(PIECES)
