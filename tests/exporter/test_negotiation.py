import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import Format
from exporter.http.responses import gzip_accepted, text_format

OPENMETRICS = "application/openmetrics-text"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html", Format.TEXT),
        (PROMETHEUS, Format.OPENMETRICS),
        (OPENMETRICS, Format.OPENMETRICS),
        (f'{OPENMETRICS}; version="1.0.0"', Format.OPENMETRICS),
        (f"{OPENMETRICS};version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.5", Format.OPENMETRICS),
        (f"{OPENMETRICS};q=0.4, text/plain;q=0.5", Format.TEXT),
        (f"{OPENMETRICS};q=0", Format.TEXT),
        (f"{OPENMETRICS};q=0, text/plain;q=0", Format.TEXT),
        (f"{OPENMETRICS};version=2.0.0", Format.TEXT),
        (f"{OPENMETRICS};version=abc", Format.TEXT),
        (f"{OPENMETRICS};version=99.9;q=1, text/plain;q=0.1", Format.TEXT),
        (f"{OPENMETRICS};q=high", Format.TEXT),
        (f"{OPENMETRICS};q=nan", Format.TEXT),
        (f"{OPENMETRICS};q=2, text/plain", Format.TEXT),
        (OPENMETRICS.upper(), Format.OPENMETRICS),
        ("," * 10_000, Format.TEXT),
    ],
)
def test_the_format_with_the_highest_weight_is_chosen(accept: str, form: Format) -> None:
    assert text_format(accept) is form


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0.001", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("GZIP", True),
    ],
)
def test_gzip_is_chosen_by_weight(header: str, accepted: bool) -> None:
    assert gzip_accepted(header) is accepted


@given(st.text(alphabet='gzip*/;=,q01."\\ \t\x00é', max_size=40) | st.text())
def test_any_header_yields_a_format(header: str) -> None:
    assert text_format(header) in Format
    assert gzip_accepted(header) in (True, False)
