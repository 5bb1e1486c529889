import pytest

from protocol.roundtrip import RoundTrip


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
