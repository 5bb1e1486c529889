import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.cli.output import as_json, as_table, human_bytes, human_seconds
from protocol.client import Reading
from protocol.dialects import DIALECTS, V0
from protocol.errors import NoAnswer
from protocol.reading import Cost
from protocol.vocabulary import Command


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (51_234, "51.2 kB"),
        (999_999, "1 MB"),
        (1_050_000_000, "1.05 GB"),
        (2**64 - 1, "18.4 EB"),
    ],
)
def test_bytes_have_three_digits_and_a_decimal_unit(count: int, text: str) -> None:
    assert human_bytes(count) == text


@given(st.floats(0.001, 2**64))
def test_any_number_of_bytes_is_short(count: float) -> None:
    assert len(human_bytes(count)) <= len("0.00123 B")


def test_seconds_below_one_are_milliseconds() -> None:
    assert (human_seconds(0.0004), human_seconds(1.5)) == ("0.4 ms", "1.5 s")


def test_quantities_of_a_dialect_are_shown_and_others_are_absent() -> None:
    dialect = DIALECTS["group-11"]
    reading = Reading(dict.fromkeys(dialect.reads, 1), cost=Cost(5, 0, (0.25, 0.125)))

    assert as_json("legacy", dialect, reading) == {
        "target": "legacy",
        "up": True,
        "connections_total": 1,
        "active_connections": 1,
        "sent_bytes_total": 1,
        "received_bytes_total": 1,
        "transferred_bytes_total": 1,
        "round_trip_seconds": 0.125,
    }


def test_a_server_that_is_down_has_no_numbers() -> None:
    found = as_json("mail", V0, Reading(error=NoAnswer(2, 12)))

    assert found["error"] == "no answer within 2 s to 12 datagrams"
    assert [found[command.value] for command in V0.reads] == [None] * 4
    assert (found["up"], found["round_trip_seconds"]) == (False, None)


def test_the_numbers_of_a_table_are_aligned() -> None:
    reading = Reading(dict(zip(V0.reads, (3, 2**64 - 1, 999, False), strict=True)))

    table = as_table("mail", V0, reading)

    rows = [line.split("  (")[0] for line in table.splitlines()[2:]]
    assert table.startswith("mail is up\n")
    assert rows[1].endswith("18,446,744,073,709,551,615")
    assert len({len(row) for row in rows}) == 1
    assert Command.TRANSFORMS in V0.reads
