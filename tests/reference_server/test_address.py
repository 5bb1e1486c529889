from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.address import Address, comparable_domain, is_domain, parse_path

GOOD = {
    "<bob@example.com>": Address("bob", "example.com"),
    "<Bob.Q+x@EXAMPLE.com>": Address("Bob.Q+x", "EXAMPLE.com"),
    "<a/b'c@x>": Address("a/b'c", "x"),
    '<"b o\\"b"@x.org>': Address('b o"b', "x.org"),
    '<".."@x.org>': Address("..", "x.org"),
    '<""@x.org>': Address("", "x.org"),
    "<bob@[192.0.2.1]>": Address("bob", "[192.0.2.1]"),
    "<bob@[IPv6:2001:db8::1]>": Address("bob", "[IPv6:2001:db8::1]"),
    "<bob@192.0.2.1>": Address("bob", "192.0.2.1"),
    # From RFC 3696 3, and from aiosmtpd's tests, which omit the brackets.
    '<"Abc@def"@x.org>': Address("Abc@def", "x.org"),
    '<"Fred Bloggs"@x.org>': Address("Fred Bloggs", "x.org"),
    '<" "@x.org>': Address(" ", "x.org"),
    '<"bob..b"@x.org>': Address("bob..b", "x.org"),
    "<customer/department=shipping@x.org>": Address("customer/department=shipping", "x.org"),
    "<$A12345@x.org>": Address("$A12345", "x.org"),
    "<!def!xyz%abc@x.org>": Address("!def!xyz%abc", "x.org"),
    "<_@x.org>": Address("_", "x.org"),
    "<@relay.example,@b.example:bob@example.com>": Address("bob", "example.com"),
    "<PostMaster>": Address("PostMaster", ""),
    "<grüße@köln.example>": Address("grüße", "köln.example"),
    "<" + "a" * 900 + "@x>": Address("a" * 900, "x"),
    # Outside the grammar, accepted by Postfix, Exim and OpenSMTPD.
    "bob@example.com": Address("bob", "example.com"),
    '"b b"@example.com': Address("b b", "example.com"),
    "<b..b@x>": Address("b..b", "x"),
    "<.bob@x>": Address(".bob", "x"),
    "<bob.@x>": Address("bob.", "x"),
    "bob..@x": Address("bob..", "x"),
    # ZWNJ and ZWJ are part of words (RFC 5892 A.1).
    "<نامه\u200cای@x>": Address("نامه\u200cای", "x"),
    "<ක්\u200dෂ@x>": Address("ක්\u200dෂ", "x"),
}

BAD = [
    "", "<bob@example.com", "bob@example.com>", "bob", "bob@", "@example.com", "bob@example.com,eve@x",
    "<bob>", "<@example.com>", "<bob@>", "< bob@example.com>", "<bob @example.com>", "<bob@exa mple.com>",
    "<bob@-x>", "<bob@x->", "<bob@x..y>", "<bob@.x>", "<bob@x.>", "<a@b@c>", "<bob(comment)@x>",
    "<a,b@x>", '<"bob@x>', "<bob@[192.0.2.1>", "<a@" + "b." * 130 + "c>",
    "<a\\b@x>", "<<bob@x>>", "<bob@" + "l" * 64 + ">",
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), GOOD.items(), ids=GOOD)
def test_an_address_is_parsed_as_in_rfc_5321(text: str, address: Address) -> None:
    assert parse_path(text + " SIZE=1") == (address, " SIZE=1")


@pytest.mark.parametrize("text", BAD)
def test_invalid_addresses_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|local part|domain"):
        parse_path(text)


def test_a_domain_has_at_most_255_octets() -> None:
    labels = f"{'ü' * 63}.{'ü' * 63}"  # 253 octets

    assert parse_path(f"<bob@{labels}.x>") == (Address("bob", f"{labels}.x"), "")
    with pytest.raises(ValueError, match="longer than 255 octets"):
        parse_path(f"<bob@{labels}.xx>")


def test_the_null_path_is_not_an_address() -> None:
    assert parse_path("<>") == (None, "")


def test_addresses_round_trip() -> None:
    for address in GOOD.values():
        assert parse_path(f"<{address}>") == (address, "")


NAMES = {
    "": "%",
    "%": "%25",
    "bob": "bob",
    "Bob": "bob",
    "..": "%2E.",
    ".hidden": "%2Ehidden",
    "../../etc/passwd": "%2E.%2F..%2Fetc%2Fpasswd",
    "a%2fb": "a%252fb",
    "a b": "a%20b",
    "ü": "%C3%BC",
    "x" * 192: "x" * 192,
}


@pytest.mark.parametrize(("local", "directory"), NAMES.items())
def test_a_users_directory_is_a_safe_name(local: str, directory: str) -> None:
    assert Address(local, "x").directory == directory


locals_ = st.text(st.characters(codec="utf-8"), max_size=16)


@given(locals_, locals_)
def test_directories_of_local_parts_are_safe_and_distinct(one: str, other: str) -> None:
    name = Address(one, "x").directory

    assert PurePosixPath("root", name).parts == ("root", name)
    assert name.isascii()
    assert name.isprintable()
    assert len(name) <= 192
    assert (name == Address(other, "x").directory) == (
        one.encode().lower() == other.encode().lower()
    )


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40))
def test_parsing_any_address_raises_only_a_value_error(text: str) -> None:
    try:
        address, rest = parse_path(f"<{text}")
    except ValueError:
        return
    assert f"<{text}".endswith(rest)
    assert address is None or parse_path(f"<{address}>") == (address, "")


def test_directories_of_long_local_parts_are_cut_and_hashed() -> None:
    one, other = (Address("x" * 300 + end, "x").directory for end in "ab")

    assert one[:122] == other[:122] == "x" * 120 + "%~"
    assert one != other
    assert len(one) == len(other) == 186


@pytest.mark.parametrize(
    "domain",
    [
        "bücher.example",
        "BÜCHER.Example",
        "bu\u0308cher.example",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.example",
    ],
)
def test_domains_are_compared_as_a_labels(domain: str) -> None:
    assert comparable_domain(domain) == "xn--bcher-kva.example"


def test_domains_that_are_not_valid_under_idna_are_compared_as_written() -> None:
    assert comparable_domain("☃--.Example") == "☃--.example"
    assert comparable_domain("straße.example") != comparable_domain("strasse.example")


def test_domains_are_names_or_literals() -> None:
    assert [is_domain(text) for text in ("example.com", "[192.0.2.1]", "x", "a b", "", "-x")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
