"""Readings of a fleet: columns and separate readings together equal a list of readings."""

import pytest

from protocol.errors import DiscardReason, NoAnswer
from protocol.message import Value
from protocol.reading import Cost, Reading, joined
from protocol.readings import Columns, Readings
from protocol.vocabulary import Command

ERROR = NoAnswer(2.0, 6)
DOWN = Reading(error=ERROR, cost=Cost(6, 4), seconds=2.0)
LATE = Reading(
    {Command.CONNECTIONS: 7, Command.MAILS: 1},
    cost=Cost(3, 1, (0.3,), {DiscardReason.SIZE: 2}),
    seconds=0.5,
)


def columns(
    size: int, first: int = 0, width: int = 2, void: tuple[int, ...] = (), mails: bool = True
) -> Columns:
    rows = range(first, first + size)
    values: dict[Command, list[Value | None]] = {Command.CONNECTIONS: [100 + row for row in rows]}
    if mails:
        values[Command.MAILS] = [200 + row for row in rows]
    trips = [row + number / 10 for row in rows for number in range(width)]
    return Columns(width, values, [float(row) for row in rows], trips, void)


FLEETS = {
    "no target": Readings(0),
    "columns": Readings(3, [(range(3), columns(3))]),
    "columns and others": Readings(5, [((0, 2, 3, 4), columns(4, void=(2,)))], {1: DOWN, 3: LATE}),
    "two tables": Readings(
        6, [((0, 4), columns(2)), ((2, 5), columns(2, 9, 3, mails=False))], {1: LATE, 3: DOWN}
    ),
    "others": Readings.of([LATE, DOWN]),
}


@pytest.mark.parametrize("fleet", FLEETS.values(), ids=FLEETS)
def test_columns_equal_those_of_the_single_readings(fleet: Readings) -> None:
    single = [fleet[place] for place in range(len(fleet))]

    assert list(fleet) == single
    assert fleet[1:] == single[1:]
    for command in (Command.CONNECTIONS, Command.MAILS, Command.TRANSFORMS):
        assert fleet.values(command) == [one.values.get(command) for one in single]
    assert fleet.seconds() == [one.seconds for one in single]
    assert fleet.datagrams_sent() == [one.cost.datagrams_sent for one in single]
    assert fleet.retransmissions() == [one.cost.retransmissions for one in single]
    assert fleet.totals() == (
        sum(one.cost.datagrams_sent for one in single),
        sum(one.cost.retransmissions for one in single),
    )
    trips = [trip for one in single for trip in one.cost.round_trips]
    assert sorted(fleet.round_trips()) == sorted(trips)
    assert fleet.errors == {place: ERROR for place, one in enumerate(single) if one.error}


def test_a_place_without_a_reading_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Readings(2, [((0,), columns(1))])[1]


def test_replaced_readings_leave_the_others() -> None:
    fleet = FLEETS["columns and others"]
    replaced = fleet.replaced({1: LATE, 2: DOWN})

    assert list(replaced) == [fleet[0], LATE, DOWN, LATE, fleet[4]]
    assert replaced.errors == {2: ERROR}
    assert fleet.errors == {1: ERROR}


def test_consecutive_readings_are_one_with_the_sum_of_their_costs() -> None:
    found = joined([Reading({Command.MAILS: 3}, cost=Cost(1, 0, (0.1,)), seconds=1.0), LATE])

    assert found.values == {Command.MAILS: 1, Command.CONNECTIONS: 7}
    assert (found.error, found.seconds) == (None, 1.5)
    assert found.cost == Cost(4, 1, (0.1, 0.3), {DiscardReason.SIZE: 2})


def test_consecutive_readings_that_end_with_an_error_have_no_values() -> None:
    found = joined([LATE, DOWN])

    assert (found.values, found.error) == ({}, ERROR)
    assert found.cost == Cost(9, 5, (0.3,), {DiscardReason.SIZE: 2})
