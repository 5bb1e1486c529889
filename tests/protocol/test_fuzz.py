from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.datagrams import SEEDS, examine, run


@given(st.binary(max_size=64))
@example(b"")
def test_no_bytes_get_past_what_parses(data: bytes) -> None:
    examine(data)


def test_nor_do_mutations_of_what_is_really_sent() -> None:
    for seed in SEEDS:
        examine(seed)
    assert run(1.0, Random(7030)) > 50
