"""Secret parsing, used for tokens in files, variables, flags and documents."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpstatus.secret import read_secret, secret_text, unexpanded


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_trailing_newline_is_removed_from_text_and_files(tmp_path: Path, end: str) -> None:
    (tmp_path / "token").write_bytes(f"open sesame{end}".encode())

    assert secret_text(f"open sesame{end}") == "open sesame"
    assert read_secret(tmp_path / "token") == "open sesame"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("open-sesame\n\n", "one line"),
        ("open\nsesame", "one line"),
        (" open-sesame", "space"),
        ("open-sesame ", "space"),
        ("open-sesame\t\n", "space"),
        ("open-sesame\u00a0", "space"),
        ("\ufeffopen-sesame", "byte order mark"),
        ("open\x00sesame", "not printable"),
        ("open\tsesame", "not printable"),
        ("open\u200bsesame", "not printable"),
        ("open\u0085sesame", "not printable"),
        ("open\udcff", "not printable"),
        ("x" * 4097, "longer than"),
        ("${API_TOKEN}", "placeholder"),
        ("${API_TOKEN:-}", "placeholder"),
        ("$API_TOKEN", "placeholder"),
        ("$(API_TOKEN)", "placeholder"),
        ("%API_TOKEN%", "placeholder"),
        ("{{ api_token }}", "placeholder"),
        ("<secret>", "placeholder"),
    ],
)
def test_text_invalid_in_a_header_and_an_unreplaced_placeholder_are_rejected(
    text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        secret_text(text)

    assert "sesame" not in str(error.value)
    assert "API_TOKEN" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["pa$sword", "$ecret", "100%", "a{b}c", "<secret>x", "hex:00", "токен-à"]
)
def test_text_that_only_resembles_a_placeholder_is_a_secret(text: str) -> None:
    assert secret_text(text) == text


def test_the_variable_in_a_placeholder_is_named() -> None:
    assert unexpanded("${API_TOKEN}") == unexpanded("$(API_TOKEN)") == "API_TOKEN"
    assert unexpanded("$API_TOKEN") is None


@given(st.text())
def test_a_secret_is_accepted_unchanged_or_rejected_without_repeating_it(text: str) -> None:
    found: str | None = None
    refusal = ""
    try:
        found = secret_text(text)
    except ValueError as error:
        refusal = str(error)
    if found is None:
        assert len(text) < 4 or text not in refusal
    else:
        assert found == text.removesuffix("\n").removesuffix("\r")
        assert found.isprintable()
        assert found == found.strip()


def test_only_a_regular_file_of_text_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "long").write_text("x" * 10_000)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    reasons = {
        "fifo": "not a regular file",
        "directory": "not a regular file",
        "long": "larger than",
        "binary": "not UTF-8",
        "missing": "No such file",
        "null\x00byte": "null (byte|character)",
        "/dev/zero": "not a regular file",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as error:
            read_secret(tmp_path / name)
        assert str(tmp_path) not in str(error.value)
