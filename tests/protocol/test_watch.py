import io
import itertools
import re
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from protocol.cli.watch import Sample, Screen, compare, sample_as_line
from protocol.client import Reading
from protocol.dialects import V0
from protocol.errors import NoAnswer
from protocol.message import Value
from protocol.vocabulary import Command

NOON = datetime(2024, 5, 6, 12, 0)
SILENCE = Reading(error=NoAnswer(2, 12))


def reading(connections: int, transferred: int = 0, *, on: bool = True) -> Reading:
    values: dict[Command, Value | None] = {
        Command.CONNECTIONS: connections,
        Command.ACTIVE_CONNECTIONS: 2,
        Command.TRANSFERRED_BYTES: transferred,
        Command.TRANSFORMS: on,
    }
    return Reading(values)


def test_a_rate_is_the_growth_over_the_time_between_two_readings() -> None:
    sample = compare(reading(10, 1000), reading(20, 6000), 2.0, NOON)

    assert sample.rates == {Command.CONNECTIONS: 5.0, Command.TRANSFERRED_BYTES: 2500.0}


def test_a_counter_that_fell_means_a_restart_and_has_no_rate() -> None:
    sample = compare(reading(10, 1000), reading(0, 0), 1.0, NOON)

    assert (sample.restarted, sample.rates) == (True, {})
    assert sample_as_line(sample).endswith("restarted")


def test_no_rate_reaches_over_a_reading_that_failed() -> None:
    assert compare(SILENCE, reading(5), 1.0, NOON).rates == {}
    failed = compare(reading(5), SILENCE, 1.0, NOON)
    assert sample_as_line(failed) == "12:00:00  no answer within 2 s to 12 datagrams"


def drawn(*samples: Sample, width: int = 80) -> list[str]:
    """The text of the last screen."""
    terminal = io.StringIO()
    screen = Screen("mail:7030", V0, terminal)
    for sample in samples:
        screen.draw(sample, width)
    last = re.split(r"\x1b\[\d+F", terminal.getvalue())[-1]
    return last.replace("\x1b[K", "").splitlines()


def test_the_chart_moves_and_shows_restarts_and_silence() -> None:
    readings = [reading(0), reading(1), reading(5), reading(2), SILENCE, reading(4), reading(8)]
    samples = [compare(before, after, 1.0, NOON) for before, after in itertools.pairwise(readings)]

    lines = drawn(*samples)

    assert lines[0] == "mail:7030  12:00:00  up, restarts seen: 1"
    assert lines[1].split() == ["connections,", "historic", "8", "4/s", "▃█↺·", "█"]


def test_a_screen_is_drawn_over_the_one_before() -> None:
    terminal = io.StringIO()
    screen = Screen("mail:7030", V0, terminal)
    for _ in range(2):
        screen.draw(compare(None, reading(1), 1.0, NOON), 80)

    assert terminal.getvalue().count("\x1b[5F") == 1


@given(st.integers(1, 300), st.integers(0, 2**64 - 1))
def test_no_line_is_wider_than_the_terminal(width: int, number: int) -> None:
    sample = compare(reading(0), reading(number, number), 1.0, NOON)

    assert all(len(line) < max(width, 2) for line in drawn(*[sample] * 5, width=width))
