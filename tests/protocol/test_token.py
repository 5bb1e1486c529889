from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import TokenError
from protocol.token import Token


def test_eight_characters_are_eight_bytes() -> None:
    assert Token.parse("secretpa").octets == b"secretpa"


def test_any_eight_bytes_can_be_written_in_hexadecimal() -> None:
    assert Token.parse("hex:00ff00ff00ff00ff").octets == bytes.fromhex("00ff00ff00ff00ff")


@pytest.mark.parametrize(
    "text", ["", "short", "ninechars", "hex:00", "hex:zzzzzzzzzzzzzzzz", "hex:abcd", "ñandúes!"]
)
def test_an_invalid_value_is_rejected_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(TokenError, match="exactly 8 ASCII characters, or hex: and 16") as e:
        Token.parse(text)

    assert not text or text not in str(e.value)


def test_a_dialect_may_have_shorter_tokens() -> None:
    assert Token.parse("o", length=1).octets == b"o"


@given(st.text())
def test_parsing_any_text_raises_only_a_token_error(text: str) -> None:
    try:
        token = Token.parse(text)
    except TokenError:
        return

    assert len(token.octets) == 8


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_token_file_may_end_with_a_newline(tmp_path: Path, end: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"secretpa" + end.encode())

    assert Token.read(path) == Token.parse("secretpa")


@pytest.mark.parametrize("content", [b"short", b"secretpa\n\n", b"\xff\xfe", None])
def test_a_file_without_a_token_is_named_without_its_content(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TokenError, match=str(path)) as caught:
        Token.read(path)

    assert "secretpa" not in str(caught.value)


def test_the_repr_of_a_token_hides_it() -> None:
    assert "secret" not in f"{Token.parse('secretpa')!r} {Token.parse('secretpa')}"


def test_a_token_matches_only_equal_bytes() -> None:
    token = Token.parse("secretpa")

    assert token.matches(b"secretpa")
    assert not token.matches(b"secretpb")
    assert not token.matches(b"secret")


@pytest.mark.parametrize(
    "text", ["secretpa", "SECRETPA", "12345678", "aAaAaAaA", "hex:0000000000000001"]
)
def test_tokens_of_one_kind_of_characters_are_weak(text: str) -> None:
    assert Token.parse(text).is_weak


@pytest.mark.parametrize("text", ["Secretpa", "s3cretpa", "hex:8f0b5c2de91a7746"])
def test_tokens_of_several_kinds_of_characters_are_not_weak(text: str) -> None:
    assert not Token.parse(text).is_weak


def test_short_tokens_are_weak() -> None:
    assert Token.parse("hex:6f", 1).is_weak


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (1, "1 ASCII character, or hex: and 2 hex digits"),
        (2, "exactly 2 ASCII characters, or hex: and 4 hex digits"),
    ],
)
def test_an_error_states_the_length_that_is_expected(length: int, wanted: str) -> None:
    with pytest.raises(TokenError, match=f"^token has 3 bytes: expected {wanted}$"):
        Token.parse("abc", length)
