from protocol.entropy import PooledRandom


def test_draws_have_the_length_that_is_asked_for_however_they_fall_on_the_pool() -> None:
    random = PooledRandom()

    for size in (0, 1, 2, 8, 4095, 2, 4096, 10_000, 3):
        assert len(random.randbytes(size)) == size


def test_nothing_is_handed_out_twice() -> None:
    random = PooledRandom()
    drawn = [random.randbytes(8) for _ in range(2000)]

    assert len(set(drawn)) == len(drawn)


def test_two_that_are_made_at_the_same_time_draw_differently() -> None:
    first, second = PooledRandom(), PooledRandom()

    assert first.randbytes(16) != second.randbytes(16)
    assert first.random() != second.random()
