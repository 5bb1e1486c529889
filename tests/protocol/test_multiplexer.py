"""The multiplexer's notion of a loop that was stalled; test_client.py and test_reader.py drive it with queries."""

import pytest

from protocol import multiplexer as module
from protocol.multiplexer import Multiplexer


async def test_a_loop_that_runs_more_than_half_a_second_late_is_stalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    multiplexer = Multiplexer()
    stalled = [multiplexer.is_stalled]  # it never ran
    multiplexer.resumes_at = 100.0
    now = 100.5
    stalled.append(multiplexer.is_stalled)
    now = 100.51
    stalled.append(multiplexer.is_stalled)
    multiplexer.close()

    assert stalled == [False, False, True]
