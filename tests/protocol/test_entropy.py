from protocol.entropy import Entropy


def test_draws_have_the_length_that_is_asked_for_however_they_fall_on_the_pool() -> None:
    entropy = Entropy()

    for size in (0, 1, 2, 8, 4095, 2, 4096, 10_000, 3):
        assert len(entropy.octets(size)) == size


def test_nothing_is_returned_twice() -> None:
    entropy = Entropy()
    drawn = [entropy.octets(8) for _ in range(2000)]

    assert len(set(drawn)) == len(drawn)


def test_two_that_are_made_at_the_same_time_draw_differently() -> None:
    assert Entropy().octets(16) != Entropy().octets(16)


def test_jitter_is_spread_over_a_tenth_in_both_directions() -> None:
    entropy = Entropy()
    factors = [entropy.jitter() for _ in range(1000)]

    assert 0.9 <= min(factors) < 0.93
    assert 1.07 < max(factors) <= 1.1
