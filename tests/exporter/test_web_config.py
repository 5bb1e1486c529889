import asyncio
import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.http.web_config import WebConfig
from exporter.http.web_file import WebFile
from smtpstatus.errors import ConfigError

SALT = b"$2b$04$CBf1gaEYLk0EnnzPjC0nWe"
"""A constant, because pytest-xdist requires constant parameters."""

HASH = bcrypt.hashpw(b"open sesame", SALT).decode()
OTHER_HASH = bcrypt.hashpw(b"another", SALT).decode()


def written(directory: Path, text: str) -> Path:
    path = directory / "web.yml"
    path.write_text(text)
    return path


def test_an_empty_file_configures_no_authentication(tmp_path: Path) -> None:
    config = WebConfig.load(written(tmp_path, ""))

    assert (config.context, config.headers, dict(config.users), config.rate) == (
        None,
        (),
        {},
        None,
    )


def test_the_exporter_toolkit_format_is_accepted(tmp_path: Path) -> None:
    config = WebConfig.load(
        written(
            tmp_path,
            f"""
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  prometheus: {HASH}
  ünal: {HASH.replace("$2b$", "$2y$")}
rate_limit: {{interval: 100ms, burst: 20}}
""",
        )
    )

    assert config.headers == (
        (b"x-frame-options", b"deny"),
        (b"strict-transport-security", b"max-age=31536000"),
    )
    assert config.users.keys() == {b"prometheus", "ünal".encode()}
    assert config.rate is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_config: {}", ":1: unknown key: did you mean tls_server_config?"),
        (
            "basic_auth_users:\n  anna: secret",
            ":2: basic_auth_users.anna: expected a bcrypt hash",
        ),
        (
            f"basic_auth_users: {{anna:{HASH}}}",
            ":1: basic_auth_users.…: expected a string, got nothing: quote it",
        ),
        (f"basic_auth_users: {{'a:b': {HASH}}}", "a user name cannot have a colon"),
        (
            f"basic_auth_users: {{anna: {HASH}, anna: {HASH}}}",
            "basic_auth_users: duplicate key",
        ),
        ("http_server_config: {http2: maybe}", "http2: expected true or false"),
        ("http_server_config: {headers: {Server: x}}", "headers: unknown key"),
        ("http_server_config: {headers: {X-Frame-Options: allow}}", "not one of deny, sameorigin"),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\nSet-Cookie: b"}}',
            "printable ASCII",
        ),
        ("rate_limit: {interval: 1s}", "rate_limit: missing key burst"),
        ("rate_limit: {interval: soon, burst: 1}", "invalid duration 'soon'"),
        ("rate_limit: {interval: 1s, burst: 0}", "a whole number from 1"),
        ("[]", "expected a mapping, got a list"),
        ("a: [", "invalid YAML"),
    ],
)
def test_an_error_is_reported_with_file_and_key(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        WebConfig.load(path)

    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rate_limit:",
        "rate_limit: {}",
        "rate_limit: {interval: 0s, burst: 20}",
        "rate_limit: {interval: 0, burst: 20}",
        "rate_limit: {burst: 20}",
        "http_server_config:",
        "http_server_config: {headers: }",
        "http_server_config: {http2: true, headers: {}}",
        'http_server_config: {headers: {Content-Security-Policy: "", X-Frame-Options: ""}}',
        "basic_auth_users:",
        "basic_auth_users: {}",
        "tls_server_config:",
        "# nothing",
        "---",
    ],
)
def test_empty_sections_and_values_count_as_absent(tmp_path: Path, text: str) -> None:
    config = WebConfig.load(written(tmp_path, text))

    assert (config.context, config.headers, config.users, config.rate) == (None, (), {}, None)


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("1s", 1), ("100ms", 0.1), ("1.5s", 1.5), ("1m30s", 90), ("250us", 0.00025), ("1h", 3600)],
)
def test_the_interval_of_the_rate_limit_is_a_go_duration(
    tmp_path: Path, interval: str, seconds: float
) -> None:
    config = WebConfig.load(written(tmp_path, f"rate_limit: {{interval: {interval}, burst: 1}}"))

    assert config.rate is not None
    now = time.monotonic()
    assert config.rate.take(now)
    assert not config.rate.take(now + 0.999 * seconds)
    assert config.rate.take(now + 1.001 * seconds + 0.000001)


def test_a_header_may_be_a_number(tmp_path: Path) -> None:
    config = WebConfig.load(
        written(tmp_path, "http_server_config: {headers: {X-XSS-Protection: 1}}")
    )

    assert config.headers == ((b"x-xss-protection", b"1"),)


@pytest.mark.parametrize("version", ["2a", "2b", "2x", "2y"])
def test_every_hash_that_is_accepted_can_be_compared(tmp_path: Path, version: str) -> None:
    digest = HASH.replace("2b", version, 1)
    users = WebConfig.load(written(tmp_path, f"basic_auth_users: {{anna: {digest}}}")).users

    assert bcrypt.checkpw(b"open sesame", users[b"anna"])


@pytest.mark.parametrize(
    "digest",
    [
        HASH.replace("$2b$", "$2$"),
        HASH.replace("$2b$", "$2c$"),
        HASH.replace("$04$", "$03$"),
        HASH.replace("$04$", "$32$"),
        HASH[:28] + "z" + HASH[29:],
        HASH[:-1],
        HASH + "x",
        "$apr1$abc$defghijkl",
        "{SHA}abc",
    ],
)
def test_a_hash_that_bcrypt_cannot_compare_is_rejected_on_load(
    tmp_path: Path, digest: str
) -> None:
    with pytest.raises(ConfigError, match="expected a bcrypt hash") as caught:
        WebConfig.load(written(tmp_path, f"basic_auth_users: {{anna: '{digest}'}}"))

    assert digest not in str(caught.value)


@given(st.text(max_size=60))
def test_any_file_raises_only_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_text(text, encoding="utf-8")
    with suppress(ConfigError):
        WebConfig.load(path)


def test_the_repr_contains_no_hash(tmp_path: Path) -> None:
    assert HASH not in repr(
        WebConfig.load(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))
    )


def checked(web: WebFile) -> WebConfig:
    """Settings in use after a check of the file."""
    web.check()
    return web.known


def test_a_changed_file_is_reread(tmp_path: Path) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))
    before = checked(web).users

    written(tmp_path, f"basic_auth_users: {{bert: {OTHER_HASH}, carl: {HASH}}}")

    assert {b"anna"} == before.keys()
    assert {b"bert", b"carl"} == checked(web).users.keys()


def test_an_unchanged_file_is_not_reread(tmp_path: Path) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))

    assert checked(web) is checked(web)


def test_an_invalid_change_is_logged_once_and_the_old_settings_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))

    written(tmp_path, "basic_auth_user: {}")
    users = [checked(web).users for _ in range(3)]

    assert [{b"anna"}] * 3 == [found.keys() for found in users]
    assert caplog.messages == ["Web configuration rejected; keeping the previous one"]
    assert "web.yml:1: unknown key" in str(vars(caplog.records[0])["err"])


def test_a_defect_while_loading_is_logged_without_its_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))

    def fail(*_: object) -> None:
        raise KeyError("sesame")

    monkeypatch.setattr(WebConfig, "load", fail)
    written(tmp_path, "basic_auth_users: {}")

    assert checked(web).users.keys() == {b"anna"}
    assert str(vars(caplog.records[0])["err"]).startswith("KeyError at test_web_config.py:")


def test_a_corrected_file_takes_effect_immediately(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))
    written(tmp_path, "basic_auth_users: {bert: oops}")
    checked(web)

    written(tmp_path, f"basic_auth_users: {{bert: {HASH}}}")

    assert {b"bert"} == checked(web).users.keys()
    assert caplog.messages == [
        "Web configuration rejected; keeping the previous one",
        "Web configuration loaded",
    ]


def test_a_removed_file_is_an_invalid_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}")
    web = WebFile(path)

    path.unlink()

    assert {b"anna"} == checked(web).users.keys()
    assert caplog.messages == ["Web configuration rejected; keeping the previous one"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "http_server_config: {http2: false}"])
def test_a_file_that_lost_its_users_does_not_disable_authentication(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))

    written(tmp_path, text)

    assert [checked(web).users, checked(web).users] == [{b"anna": HASH.encode()}] * 2
    assert caplog.messages == ["Web configuration rejected; keeping the previous one"]
    with pytest.raises(ConfigError, match=r"web\.yml: basic_auth_users was removed: write"):
        web.reload()


def test_an_explicitly_empty_user_list_disables_authentication(tmp_path: Path) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))

    written(tmp_path, "basic_auth_users: {}")

    assert checked(web).users == {}


def test_a_requested_reload_reports_the_error(tmp_path: Path) -> None:
    web = WebFile(written(tmp_path, ""))
    written(tmp_path, "nonsense: 1")

    with pytest.raises(ConfigError, match=":1: unknown key"):
        web.reload()


async def test_a_hanging_file_system_blocks_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = WebFile(written(tmp_path, f"basic_auth_users: {{anna: {HASH}}}"))
    answer = threading.Event()
    monkeypatch.setattr("exporter.http.web_file.stamp", lambda path: answer.wait(10))

    async with asyncio.timeout(5):
        for _ in range(20):  # the first one waits a little, the others not at all
            assert (await web.current()).users.keys() == {b"anna"}
    answer.set()


async def test_the_files_are_checked_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = WebFile(written(tmp_path, ""))
    looks = []
    monkeypatch.setattr(web, "check", lambda: looks.append(1))

    for _ in range(50):
        await web.current()

    assert len(looks) == 1
