from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.datagrams import SEEDS, examine, run


@given(st.binary(max_size=64))
@example(b"")
def test_parsing_random_bytes_raises_only_documented_errors(data: bytes) -> None:
    examine(data)


def test_parsing_mutated_datagrams_raises_only_documented_errors() -> None:
    for seed in SEEDS:
        examine(seed)
    assert run(1.0, Random(7030)) > 50
