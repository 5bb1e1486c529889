import os

import pytest

from protocol.entropy import Entropy


def test_draws_have_the_requested_length_at_any_pool_position() -> None:
    entropy = Entropy()

    for size in (0, 1, 2, 8, 4095, 2, 4096, 10_000, 3):
        assert len(entropy.octets(size)) == size


def test_no_bytes_are_returned_twice() -> None:
    entropy = Entropy()
    drawn = [entropy.octets(8) for _ in range(2000)]

    assert len(set(drawn)) == len(drawn)


def test_two_pools_return_different_bytes() -> None:
    assert Entropy().octets(16) != Entropy().octets(16)


def test_jitter_is_spread_over_ten_percent_in_both_directions() -> None:
    entropy = Entropy()
    factors = [entropy.jitter() for _ in range(1000)]

    assert 0.9 <= min(factors) < 0.93
    assert 1.07 < max(factors) <= 1.1


@pytest.mark.parametrize(("octet", "factor"), [(0, 0.9), (51, 0.94), (255, 1.1)])
def test_jitter_is_linear_in_a_random_byte(
    octet: int, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "urandom", lambda count: bytes((octet,)) * count)

    assert Entropy().jitter() == pytest.approx(factor, abs=1e-9)
