import asyncio
import io
import itertools
import os
import re
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import HostPort
from protocol.cli.sample import Sample, compare, sample_as_json, sample_as_line
from protocol.cli.screen import Screen
from protocol.cli.watch import samples
from protocol.client import Peer, Reading
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS, V0
from protocol.errors import NoAnswer
from protocol.message import Value
from protocol.server import respond
from protocol.token import Token
from protocol.vocabulary import Command
from tests.support.udp import udp_server

NOON = datetime(2024, 5, 6, 12, 0)
TOKEN = Token(b"secretpa")
GROUP_4 = DIALECTS["group-4"]
COUNTED = Command.SENT_BYTES
SILENCE = Reading(error=NoAnswer(2, 12))


def reading(connections: int, transferred: int = 0, *, on: bool = True) -> Reading:
    values: dict[Command, Value | None] = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: 2,
        Command.TRANSFERRED_BYTES: transferred,
        Command.TRANSFORMS: on,
    }
    return Reading(values)


def narrow(connections: int, sent: int, mails: int = 0) -> Reading:
    """Reading of group-4, which has four-byte counters."""
    values: dict[Command, Value | None] = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: 2,
        Command.SENT_BYTES: sent,
        Command.MAILS: mails,
        Command.TRANSFORMS: True,
    }
    return Reading({command: values[command] for command in GROUP_4.reads})


def compared(
    before: Reading | None, after: Reading, seconds: float = 1.0, dialect: Dialect = V0
) -> Sample:
    return compare(before, after, seconds, NOON, dialect)


def test_a_rate_is_the_increase_divided_by_the_time_between_two_readings() -> None:
    sample = compared(reading(10, 1000), reading(20, 6000), 2.0)

    assert sample.rates == {Command.CONNECTIONS: 5.0, Command.TRANSFERRED_BYTES: 2500.0}


def test_a_counter_that_fell_means_a_restart_and_has_no_rate() -> None:
    sample = compared(reading(10, 1000), reading(0, 0))

    assert (sample.restarted, sample.rates) == (True, {})
    assert sample_as_line(sample).endswith("restarted")


def test_an_eight_byte_counter_that_fell_is_a_restart_even_if_another_increased() -> None:
    assert compared(reading(10, 1 << 40), reading(20, 0)).restarted


def test_a_narrow_counter_that_fell_while_others_increased_has_wrapped() -> None:
    sample = compared(narrow(10, 2**32 - 100), narrow(11, 900), 2.0, GROUP_4)

    assert (sample.restarted, sample.wrapped) == (False, frozenset({COUNTED}))
    assert sample.rates[COUNTED] == 500.0
    assert sample_as_json("a", GROUP_4, sample)["wrapped"] == [COUNTED.value]
    assert sample_as_line(sample).endswith(" wrapped")


@pytest.mark.parametrize(
    ("before", "after", "wrapped"),
    [
        (narrow(10, 2**32 - 100), narrow(10, 900), True),
        (narrow(10, 2**32 - 100), narrow(10, 2**31), False),
        (narrow(10, 1000), narrow(10, 900), False),
        (narrow(10, 2**32 - 100, 5), narrow(0, 900, 0), False),
        (narrow(10, 2**32 - 100, 5), narrow(0, 900, 6), True),
        (narrow(10, 1000, 5), narrow(11, 900, 0), True),
    ],
)
def test_a_wrapped_counter_is_distinguished_from_a_restart_by_the_other_counters(
    before: Reading, after: Reading, wrapped: bool
) -> None:
    sample = compared(before, after, dialect=GROUP_4)

    assert (bool(sample.wrapped), sample.restarted) == (wrapped, not wrapped)


def test_a_reading_that_failed_has_no_rate() -> None:
    assert compared(SILENCE, reading(5)).rates == {}
    assert compared(None, reading(5)).rates == {}
    failed = compared(reading(5), SILENCE)
    assert sample_as_line(failed) == "12:00:00  no answer within 2 s to 12 datagrams"


async def test_a_restart_is_seen_after_a_missed_reading_and_rates_span_the_gap() -> None:
    counters = iter([None, (20, 300), None, (1, 10), None])
    current: tuple[int, int] | None = (10, 100)

    def value(command: Command) -> Value:
        connections, transferred = current or (0, 0)
        known: dict[Command, Value] = {
            Command.CONNECTIONS: connections,
            Command.TRANSFERRED_BYTES: transferred,
        }
        return known.get(command, 0)

    def answer(datagram: bytes) -> list[bytes]:
        response = respond(datagram, TOKEN, value)
        return [response.encode()] if current and response else []

    found = []
    async with udp_server(answer) as port:
        peer = Peer(HostPort("127.0.0.1", port), TOKEN)
        async for sample in samples(peer, interval=0.3, timeout=0.2, count=5):
            found.append(sample)
            current = next(counters)

    assert [bool(s.reading.error) for s in found] == [False, True, False, True, False]
    assert [s.restarted for s in found] == [False, False, False, False, True]
    assert 10 < found[2].rates[Command.CONNECTIONS] < 20


def stop_the_program(seconds: float) -> None:
    time.sleep(seconds)


async def test_readings_due_while_the_program_was_stopped_are_left_out() -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    def answer(datagram: bytes) -> list[bytes]:
        response = respond(datagram, TOKEN, lambda command: command is Command.TRANSFORMS)
        return [response.encode()] if response else []

    async with udp_server(answer) as port:
        peer = Peer(HostPort("127.0.0.1", port), TOKEN)
        async for _ in samples(peer, interval=0.1, timeout=0.1, count=6):
            times.append(loop.time())
            if len(times) == 2:
                stop_the_program(1)

    assert times[5] - times[3] > 0.15


def terminal(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def drawn(
    *samples: Sample, width: int = 80, height: int = 24, encoding: str = "utf-8"
) -> list[str]:
    """Lines of the last screen."""
    stream = terminal(encoding)
    screen = Screen("mail:7030", V0, stream)
    for sample in samples:
        screen.draw(sample, os.terminal_size((width, height)))
    last = re.split(r"\x1b\[\d+F", written(stream))[-1]
    return last.replace("\x1b[K", "").replace("\x1b[J", "").splitlines()


READINGS = [reading(0), reading(1), reading(5), reading(2), SILENCE, reading(4), reading(8)]
SAMPLES = [compared(before, after) for before, after in itertools.pairwise(READINGS)]


def test_the_chart_scrolls_and_shows_restarts_and_silence() -> None:
    lines = drawn(*SAMPLES)

    assert lines[0] == "mail:7030  12:00:00  up, restarts seen: 1"
    assert lines[1].split() == ["total", "connections", "8", "4/s", "▃█↺·", "█"]


def test_the_last_good_values_are_shown_while_readings_fail() -> None:
    lines = drawn(compared(None, reading(7)), compared(reading(7), SILENCE), width=120)

    assert lines[0].endswith("no answer within 2 s to 12 datagrams, values of 12:00:00")
    assert lines[1].split()[:3] == ["total", "connections", "7"]


def test_a_terminal_without_utf_8_has_a_chart_in_ascii() -> None:
    lines = drawn(*SAMPLES, encoding="ascii")

    assert (
        lines[1].split() == ["total", "connections", "8", "4/s", "-*R?", "*"] or "R?" in lines[1]
    )
    assert all(line.isascii() for line in lines)


def test_a_screen_is_redrawn_in_place() -> None:
    stream = terminal()
    screen = Screen("mail:7030", V0, stream)
    for _ in range(2):
        screen.draw(compared(None, reading(1)), os.terminal_size((80, 24)))

    assert written(stream).count("\x1b[5F") == 1


def test_a_shorter_screen_leaves_no_line_of_the_longer_one() -> None:
    stream = terminal()
    screen = Screen("mail:7030", V0, stream)
    size = os.terminal_size((40, 24))
    for sample in (compared(None, SILENCE), compared(None, reading(1))):
        screen.draw(sample, size)

    assert written(stream).endswith("\x1b[J")


def test_a_resized_terminal_is_cleared_first() -> None:
    stream = terminal()
    screen = Screen("mail:7030", V0, stream)
    for columns in (80, 40, 40):
        screen.draw(compared(None, reading(1)), os.terminal_size((columns, 24)))

    assert written(stream).count("\x1b[2J") == 1
    assert written(stream).count("\x1b[5F") == 1


def test_a_terminal_with_too_few_rows_gets_one_line_for_each_reading() -> None:
    lines = drawn(compared(None, reading(1)), compared(None, reading(2)), height=5)

    assert len(lines) == 2
    assert all(line.startswith("12:00:00  total connections") for line in lines)


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_no_number_is_truncated_at_any_width(width: int, number: int) -> None:
    sample = compared(reading(0), reading(number, number))
    lines = drawn(*[sample] * 5, width=width, height=1000)

    values = [f"{number:,}", "2", f"{number:,}", "on"]
    shown = [word for line in lines for word in line.split()]
    for value in values:
        assert value in shown
        shown.remove(value)
    assert all(len(line) < width or " " not in line for line in lines)
