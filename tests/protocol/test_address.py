import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import HostPort, numeric, unique_addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail.example:7030", HostPort("mail.example", 7030)),
        ("127.0.0.1:7030", HostPort("127.0.0.1", 7030)),
        ("[::1]:7030", HostPort("::1", 7030)),
        ("[fe80::1%eth0]:1", HostPort("fe80::1%eth0", 1)),
        (":7030", HostPort("", 7030)),
        ("h:0", HostPort("h", 0)),
        ("h:65535", HostPort("h", 65535)),
        ("h:00001", HostPort("h", 1)),
        ("mail.example", HostPort("mail.example", 2626)),
        ("[::1]", HostPort("::1", 2626)),
    ],
)
def test_hosts_and_ports_in_common_notations_are_parsed(text: str, expected: HostPort) -> None:
    assert HostPort.parse(text, default_port=2626) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a:b",
        "a:65536",
        "a:70000",
        "a:100000",
        "a:000001",
        "::1",
        "::1:7030",
        "a:",
        "a b:1",
        "a\n:1",
        "a:-1",
        "a:٣",
        "a:" + "1" * 5000,
    ],
)
def test_an_invalid_address_is_rejected_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="invalid address") as caught:
        HostPort.parse(text, default_port=7030)

    assert "\n" not in str(caught.value)


def test_an_ipv6_address_is_written_in_brackets() -> None:
    assert str(HostPort("::1", 7030)) == "[::1]:7030"
    assert str(HostPort("mail.example", 7030)) == "mail.example:7030"


def test_a_port_is_required_without_a_default() -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        HostPort.parse("mail.example")


@given(st.text())
def test_parsing_any_text_raises_only_a_value_error(text: str) -> None:
    try:
        where = HostPort.parse(text)
    except ValueError:
        return

    assert HostPort.parse(str(where)) == where


def test_ip_addresses_are_resolved_without_a_look_up() -> None:
    assert numeric(HostPort("127.0.0.1", 7030)) == (("127.0.0.1", 7030),)
    assert numeric(HostPort("::1", 7030)) == (("::1", 7030, 0, 0),)
    assert numeric(HostPort("mail.example", 7030)) == ()


PARTS = ("0", "1", "00", "010", "08", "0x7f", "127", "0377", "224", "255", "256", "4294967295", "")
NUMERIC = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map(".".join),
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, 2**32 - 1).map(lambda number: f"::ffff:{IPv4Address(number)}"),
    st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number))),
    st.sampled_from(["::", "fe80::1%lo", "fe80::1%1", "ff02::1%lo", "::1%nowhere", "1.2.3.4%lo"]),
    st.text(st.sampled_from("0123456789abcdefx.:%\u0663\uff11\ud800"), max_size=15),
)


@given(NUMERIC)
def test_a_numeric_address_is_the_one_that_getaddrinfo_returns(host: str) -> None:
    try:
        found = socket.getaddrinfo(host, 7030, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        found = []

    assert numeric(HostPort(host, 7030)) == unique_addresses(found)
