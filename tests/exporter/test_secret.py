import os
from pathlib import Path

import pytest

from exporter.configuration.secret import Secret, file_path
from smtpstatus.errors import ConfigError
from smtpstatus.secret import read_secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_the_repr_of_a_secret_hides_it() -> None:
    assert "open-sesame" not in repr(Secret("open-sesame", "")) + str(Secret("open-sesame", ""))


@pytest.mark.parametrize("text", ["secretpa", "secretpa\n", "secretpa\r\n"])
def test_a_file_holds_one_line(path: Path, text: str) -> None:
    path.write_bytes(text.encode())

    assert Secret.read(path).text == "secretpa"


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_any_other_file_is_rejected_without_repeating_its_content(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"token|one line|UTF-8") as error:
        Secret.read(path)
    assert "two" not in str(error.value)


def test_a_change_while_the_file_is_read_is_seen_by_the_next_refresh(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("first")

    def read_and_replace(file: Path) -> str:
        text = read_secret(file)
        file.write_text("second")
        return text

    monkeypatch.setattr("exporter.configuration.secret.read_secret", read_and_replace)
    secret = Secret.read(path)
    monkeypatch.undo()
    assert secret.text == "first"

    assert secret.refresh()
    assert secret.text == "second"


@pytest.mark.parametrize(
    "content", [b"spaced \n", b"\xef\xbb\xbfmarked", b"two\nlines", b"", b"${X}"]
)
def test_an_unusable_new_secret_is_reported_once_and_the_old_one_is_kept(
    path: Path, content: bytes
) -> None:
    path.write_text("first")
    secret = Secret.read(path)
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=str(path)):
        secret.refresh()
    assert not secret.refresh()
    assert secret.text == "first"


def test_a_file_is_reread_only_when_it_changed(path: Path) -> None:
    path.write_text("first")
    secret = Secret.read(path)
    assert not secret.refresh()

    path.write_text("second")
    assert secret.refresh()
    assert secret.text == "second"
    assert not secret.refresh()


def test_a_file_with_a_replaced_link_is_reread_as_in_a_kubernetes_volume(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{name}-one")
        os.utime(tmp_path / name / "token", (0, 0))
    (tmp_path / "data").symlink_to("old")
    secret = Secret.read(tmp_path / "data" / "token")

    (tmp_path / "data.new").symlink_to("new")
    (tmp_path / "data.new").replace(tmp_path / "data")

    assert secret.refresh()
    assert secret.text == "new-one"


def test_a_removed_file_is_reported_once_and_the_old_secret_is_kept(path: Path) -> None:
    path.write_text("first")
    secret = Secret.read(path)
    path.unlink()

    with pytest.raises(ConfigError, match="No such file"):
        secret.refresh()
    assert not secret.refresh()
    assert secret.text == "first"

    path.write_text("second")
    assert secret.refresh()


def test_paths_are_relative_to_the_configuration_or_below_systemds_credentials(
    tmp_path: Path,
) -> None:
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials/unit"}

    assert file_path("token", tmp_path, {}) == tmp_path / "token"
    assert file_path("/etc/token", tmp_path, {}) == Path("/etc/token")
    for text in ("$CREDENTIALS_DIRECTORY/token", "${CREDENTIALS_DIRECTORY}/token"):
        assert file_path(text, tmp_path, environ) == Path("/run/credentials/unit/token")
        with pytest.raises(ValueError, match="LoadCredential="):
            file_path(text, tmp_path, {})
