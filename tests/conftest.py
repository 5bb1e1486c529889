import os
import signal

# Imported late, in the middle of a test, it may fail to compile: CPython 3.11 confuses a parser that the garbage
# collector interrupts (gh-106905).
import hypothesis.internal.conjecture.optimiser  # noqa: F401
import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None)  # a busy machine must not fail a test
settings.load_profile("steady")


# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that end a command by
# SIGINT would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the developer's settings from the environment of the commands under test."""
    for name in os.environ:
        if name.startswith("SMTPSTATUS_") and name != "SMTPSTATUS_REQUIRE_REAL":
            monkeypatch.delenv(name)
