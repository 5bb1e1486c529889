from math import sqrt

import pytest

from protocol.roundtrip import RoundTrip, transmission_time


def test_the_initial_timeout_is_a_quarter_of_a_second() -> None:
    assert RoundTrip().timeout == 0.25


def test_the_first_sample_sets_the_round_trip_and_half_of_it_the_variation() -> None:
    trip = RoundTrip()

    trip.observe(0.2)

    assert (trip.smoothed, trip.variation) == (0.2, 0.1)
    assert trip.timeout == pytest.approx(0.6)


def test_further_samples_are_weighted_as_in_rfc_6298() -> None:
    trip = RoundTrip()
    trip.observe(0.2)

    trip.observe(0.4)

    assert trip.variation == pytest.approx(0.75 * 0.1 + 0.25 * 0.2)
    assert trip.smoothed == pytest.approx(0.875 * 0.2 + 0.125 * 0.4)


def test_the_timeout_of_a_fast_target_has_a_minimum() -> None:
    trip = RoundTrip()

    trip.observe(0.0001)

    assert trip.timeout == 0.1


def test_the_timeout_of_a_steady_target_exceeds_its_round_trip_by_the_granularity() -> None:
    trip = RoundTrip()
    for _ in range(200):
        trip.observe(0.2)

    assert trip.timeout == pytest.approx(0.205)


def test_a_round_trip_that_varies_adds_four_variations_to_the_timeout() -> None:
    trip = RoundTrip()
    trip.smoothed, trip.variation = 0.2, 0.1

    assert trip.timeout == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("timeout", "budget", "times"),
    [
        (0.25, 3.0, [0.0]),
        (0.25, 3.0, [0.0, sqrt(0.25 * 2)]),
        (5.0, 3.0, [0.0, 2.0]),
        (0.25, 3.0, [0.0, 0.25, 2.0]),
        (0.25, 3.0, [0.0, 0.25, sqrt(0.25 * 2), 2.0]),
        (0.25, 3.0, [0.0, 0.25, 0.5, 1.0, 2.0]),
        (5.0, 3.0, [0.0, 1.0, 2.0]),
    ],
)
def test_the_last_attempt_is_made_at_two_thirds_of_the_budget(
    timeout: float, budget: float, times: list[float]
) -> None:
    attempts = len(times)

    assert [transmission_time(one, timeout, attempts, budget) for one in range(attempts)] == (
        pytest.approx(times)
    )
