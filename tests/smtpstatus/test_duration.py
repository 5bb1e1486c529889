import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstatus.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("700ms", 0.7),
        ("2s", 2.0),
        ("1m", 60.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1d", 86400.0),
        ("2", 2.0),
        ("0.25", 0.25),
        ("1.5s", 1.5),
    ],
)
def test_durations_are_written_as_in_prometheus(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1s", "1 s", "1x", "0", "0s", "1e3", "nan", "inf", "s1", "²s", "1s1", "9" * 99],
)
def test_an_invalid_value_is_rejected_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.text())
def test_any_text_is_parsed_or_raises_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 < seconds < 1e9
