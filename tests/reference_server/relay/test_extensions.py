"""Service extensions parsed from EHLO replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.relay.extensions import Extensions


def test_extensions_of_postfix_are_parsed() -> None:
    text = (
        "mail.example\nPIPELINING\nSIZE 10240000\nVRFY\nETRN\nXFORWARD NAME ADDR PROTO HELO\n"
        "ENHANCEDSTATUSCODES\n8BITMIME\nDSN\nSMTPUTF8\nCHUNKING"
    )

    assert Extensions.parse(text) == Extensions(
        pipelining=True,
        eight_bit_mime=True,
        smtputf8=True,
        size=True,
        size_limit=10_240_000,
        xforward=frozenset({"NAME", "ADDR", "PROTO", "HELO"}),
    )


def test_the_first_line_is_the_servers_name_and_no_extension() -> None:
    assert Extensions.parse("PIPELINING") == Extensions()


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE big", "SIZE " + "9" * 30])
def test_a_size_without_a_usable_limit_states_no_limit(size: str) -> None:
    extensions = Extensions.parse(f"mail.example\n{size}")

    assert extensions.size
    assert extensions.size_limit is None


def test_keywords_are_case_insensitive() -> None:
    assert Extensions.parse("x\npipelining\nsize 5").size_limit == 5


@given(st.text())
def test_arbitrary_text_is_parsed(text: str) -> None:
    Extensions.parse(text)
