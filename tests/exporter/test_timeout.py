"""A timeout passes at its last time, and sets the loop's timer only when it must."""

import asyncio
from collections.abc import Callable
from typing import Any

from exporter.http.timeout import Timeout


class Timer:
    """The loop's timer, run by hand."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """A loop whose time is set by the test."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, call: Callable[[], None]) -> Any:
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: object) -> Any:
        return self.call_at(self.now + seconds, lambda: call(*arguments))

    def advance(self, now: float) -> None:
        self.now = now
        for timer in [one for one in self.timers if one.at <= now and not one.cancelled]:
            timer.cancelled = True
            timer.call()


def timeout() -> tuple[Clock, list[float], Timeout]:
    clock, passed = Clock(), list[float]()
    loop: Any = clock
    return clock, passed, Timeout(loop, lambda: passed.append(clock.now))


def test_a_timeout_passes_at_its_time() -> None:
    clock, passed, one = timeout()
    one.after(10)
    one.watch()

    clock.advance(109)
    assert passed == []
    clock.advance(110)
    clock.advance(111)
    assert passed == [111]


def test_a_later_time_is_watched_with_the_timer_that_is_set() -> None:
    clock, passed, one = timeout()
    one.after(10)
    one.watch()
    one.after(360)
    one.watch()

    assert [timer.at for timer in clock.timers] == [110]
    clock.advance(110)
    clock.advance(459)
    assert passed == []
    clock.advance(460)
    clock.advance(461)
    assert passed == [461]


def test_an_earlier_time_replaces_the_timer() -> None:
    clock, passed, one = timeout()
    one.after(360)
    one.watch()
    one.after(10)
    one.watch()

    assert [timer.cancelled for timer in clock.timers] == [True, False]
    clock.advance(110)
    clock.advance(111)
    assert passed == [111]


def test_a_stopped_timeout_does_not_pass_until_it_is_set_again() -> None:
    clock, passed, one = timeout()
    one.after(10)
    one.watch()
    one.stop()
    one.watch()
    clock.advance(110)
    assert passed == []

    one.after(5)
    one.watch()
    clock.advance(115)
    clock.advance(116)
    assert passed == [116]


def test_input_that_is_read_in_a_last_look_moves_a_timeout_that_is_over() -> None:
    clock, passed, one = timeout()
    one.after(10)
    one.watch()
    clock.advance(500)  # this process was stopped meanwhile
    assert passed == []

    one.after(10)
    one.watch()
    clock.advance(501)
    assert passed == []
    clock.advance(510)
    clock.advance(511)
    assert passed == [511]


def test_a_closed_timeout_leaves_no_timer() -> None:
    clock, passed, one = timeout()
    one.after(10)
    one.watch()
    one.close()
    clock.advance(200)

    assert passed == []


async def test_the_loop_of_the_exporter_runs_it() -> None:
    passed = asyncio.Event()
    one = Timeout(asyncio.get_running_loop(), passed.set)
    one.after(0.01)
    one.watch()

    async with asyncio.timeout(10):
        await passed.wait()
