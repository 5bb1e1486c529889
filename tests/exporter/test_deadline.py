import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.routes.deadline import budget


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 2.0),
        ("10", 2.0),
        ("1.5", 1.0),
        ("1", 0.5),
        ("0.6", 0.3),
        ("0.2", 0.1),
        ("0.004", 0.1),
        ("0.001", 0.1),
        ("1e1", 2.0),
    ],
)
def test_the_deadline_is_the_scrape_timeout_less_the_offset_up_to_the_timeout(
    header: str | None, seconds: float
) -> None:
    assert budget(header, offset=0.5, timeout=2.0) == seconds


@pytest.mark.parametrize("header", ["", "0", "-1", "nan", "inf", "-inf", "1e999", "ten", "1 s"])
def test_an_invalid_timeout_header_is_an_error(header: str) -> None:
    with pytest.raises(ValueError, match="X-Prometheus-Scrape-Timeout-Seconds"):
        budget(header, offset=0.5, timeout=2.0)


@given(st.floats(1e-9, 1e9), st.floats(0, 1e9), st.floats(0.001, 600))
def test_the_deadline_never_exceeds_a_scrape_timeout_above_the_minimum(
    header: float, offset: float, timeout: float
) -> None:
    assert 0 < budget(str(header), offset, timeout) <= min(max(header, 0.1), timeout)


@given(st.text())
def test_any_timeout_header_yields_a_time_or_a_value_error(header: str) -> None:
    with suppress(ValueError):
        assert 0 < budget(header, offset=0.5, timeout=2.0) < math.inf
