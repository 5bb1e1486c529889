"""The limits are those that docs/reference-server.md states."""

from pathlib import Path

from reference_server.limits import ServerLimits, SessionLimits
from reference_server.spool import Memory, Spool
from reference_server.transform import Bounds

DOCUMENT = " ".join((Path(__file__).parents[2] / "docs/reference-server.md").read_text().split())
MIB = 1024 * 1024


def default(flag: str) -> str:
    """The default of a flag in the table of the document."""
    return DOCUMENT.split(f"| | `{flag}` | ", 1)[1].split(" |", 1)[0]


def test_the_limits_of_a_session_are_documented() -> None:
    limits = SessionLimits()

    assert default("--smtp.max-message-bytes") == f"{limits.message_size / MIB:g} MiB"
    assert default("--smtp.max-recipients") == str(limits.recipients)
    assert default("--smtp.max-errors") == str(limits.errors)
    lines = f"at most {limits.command_line:,} octets, lines of a message {limits.text_line:,}."
    assert lines in DOCUMENT
    assert limits.commands == 10_000


def test_the_limits_of_the_server_are_documented() -> None:
    limits = ServerLimits()

    assert default("--smtp.max-connections`, `…-per-address") == (
        f"{limits.connections}, {limits.connections_per_address}"
    )
    assert default("--smtp.idle-timeout`, `…message-timeout`, `…session-timeout") == (
        f"`{limits.idle / 60:g}m`, `{limits.message / 60:g}m`, `{limits.session / 3600:g}h`"
    )


def test_the_limits_of_transforms_are_documented() -> None:
    bounds = Bounds()

    assert default("--transform.timeout`, `--transform.total-timeout") == (
        f"`{bounds.seconds:g}s`, `{bounds.chain_seconds / 60:g}m`"
    )
    assert bounds.output == SessionLimits().message_size
    assert default("--transform.max-open-files") == str(bounds.open_files)
    assert default("--transform.max-memory-bytes") == f"{bounds.memory / MIB:g} MiB"
    assert default("--transform.max-processes") == str(bounds.processes)


def test_the_memory_of_a_message_is_documented(tmp_path: Path) -> None:
    def longest_kept(memory: Memory) -> int:
        """The octets of the longest message that stays in memory, in one piece."""
        low, high = 0, 4 * MIB
        while high - low > 1:
            middle = (low + high) // 2
            spool = Spool(tmp_path, memory)
            spool.append(bytes(middle))
            low, high = (low, middle) if spool.full else (middle, high)
            spool.close()
        return low

    ample, scarce = Memory(), Memory()
    ample.take(30 * MIB)
    scarce.take(32 * MIB)

    assert "in memory up to 2 MiB while all messages together use less than 32 MiB" in DOCUMENT
    assert "and up to 512 KiB otherwise" in DOCUMENT
    overhead = 64  # of a piece
    assert longest_kept(ample) == 2 * MIB - overhead
    assert longest_kept(scarce) == 512 * 1024 - overhead


def test_the_start_of_a_message_is_kept_for_the_log(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(3):
        spool.append(b"x" * 3000)
    spool.append(b"y" * 3000)

    assert spool.start == b"x" * 8192
    spool.close()
