"""XFORWARD attributes: parsing and encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.relay.xforward import ATTRIBUTES, OriginalClient


def test_attributes_of_a_command_are_parsed() -> None:
    client = OriginalClient().updated("NAME=spike.example ADDR=192.0.2.7 PORT=4711")

    assert client == OriginalClient(name="spike.example", addr="192.0.2.7", port="4711")


def test_a_second_command_adds_to_the_first() -> None:
    first = OriginalClient().updated("ADDR=192.0.2.7")

    assert first.updated("helo=me.example proto=ESMTP") == OriginalClient(
        addr="192.0.2.7", helo="me.example", proto="ESMTP"
    )


def test_an_unavailable_value_is_empty() -> None:
    client = OriginalClient(name="old", addr="192.0.2.7")

    assert client.updated("NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL]") == OriginalClient()


def test_an_ipv6_address_has_no_prefix() -> None:
    assert OriginalClient().updated("ADDR=IPv6:2001:db8::1").addr == "2001:db8::1"


@pytest.mark.parametrize(
    "parameters",
    ["", "NAME", "COLOR=red", "HELO=a+0Ab", "HELO=a+20b", "NAME=" + "x" * 256, "HELO=+FF"],
)
def test_invalid_parameters_are_rejected(parameters: str) -> None:
    with pytest.raises(ValueError, match=r"expected|value"):
        OriginalClient().updated(parameters)


def test_commands_have_only_the_offered_attributes_and_state_unknown_ones() -> None:
    client = OriginalClient(addr="2001:db8::1", helo="a+b=c")

    assert list(client.commands({"NAME", "ADDR", "HELO", "COLOR"})) == [
        "XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1",
        "XFORWARD HELO=a+2Bb+3Dc",
    ]
    assert list(client.commands(())) == []


WORD = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), max_size=40).filter(
    lambda text: text.isprintable() and not text.startswith("[")
)


@given(WORD, WORD)
def test_commands_are_parsed_to_the_same_attributes(name: str, helo: str) -> None:
    client = OriginalClient(name=name, helo=helo, addr="192.0.2.7")
    parsed = OriginalClient(source="unknown")
    for command in client.commands(ATTRIBUTES):
        assert command.isascii()
        assert command.isprintable()
        parsed = parsed.updated(command.removeprefix("XFORWARD "))

    assert parsed == client


@given(st.text())
def test_arbitrary_parameters_raise_value_error_or_give_printable_values(text: str) -> None:
    try:
        client = OriginalClient().updated(text)
    except ValueError:
        return
    assert all(getattr(client, name.lower()).isprintable() for name in ATTRIBUTES)
