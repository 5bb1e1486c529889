import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from exporter.configuration import flags
from exporter.configuration.flags import FLAGS, Options
from smtpstatus.errors import ConfigError

DEFAULTS = Options(
    (),
    False,
    False,
    (":17030",),
    False,
    None,
    40,
    None,
    360,
    "",
    "",
    (),
    0.5,
    False,
    "info",
    "logfmt",
)
GIVEN = {
    "config.file": "config.yml",
    "config.check": "true",
    "config.check-syntax": "false",
    "web.listen-address": "127.0.0.1:0,unix:/run/x",
    "web.systemd-socket": "true",
    "web.config.file": "web.yml",
    "web.max-requests": "7",
    "web.max-waiting": "8",
    "web.idle-timeout": "90s",
    "web.external-url": "https://mon.example/smtp/",
    "web.route-prefix": "/exporter",
    "web.trusted-proxies": "10.0.0.0/8,::1,unix",
    "timeout-offset": "0.25",
    "healthcheck": "true",
    "log.level": "debug",
    "log.format": "json",
}
EXPECTED = Options(
    (Path("config.yml"),),
    True,
    False,
    ("127.0.0.1:0", "unix:/run/x"),
    True,
    Path("web.yml"),
    7,
    8,
    90,
    "https://mon.example/smtp/",
    "/exporter",
    (ip_network("10.0.0.0/8"), ip_network("::1"), None),
    0.25,
    True,
    "debug",
    "json",
)


def test_an_empty_path_counts_as_unset() -> None:
    options = flags.parse(["--config.file=", "--web.config.file="], {})

    assert (options.config_files, options.web_config_file) == ((), None)


def test_without_flags_and_variables_the_defaults_apply() -> None:
    assert flags.parse([], {}) == DEFAULTS


def test_every_flag_has_an_environment_variable() -> None:
    environ = {FLAGS.variable(flag.name): GIVEN[flag.name] for flag in FLAGS.flags}

    assert flags.parse([], environ) == EXPECTED
    assert "SMTPSTATUS_EXPORTER_WEB_LISTEN_ADDRESS" in environ
    assert "SMTPSTATUS_EXPORTER_TIMEOUT_OFFSET" in environ


def test_a_flag_overrides_its_variable_and_may_be_repeated() -> None:
    environ = {FLAGS.variable(flag.name): GIVEN[flag.name] for flag in FLAGS.flags}
    arguments = ["--web.listen-address=:1", "--web.listen-address", ":2", "--log.level=warn"]
    options = flags.parse(arguments, environ)

    assert options.listen_addresses == (":1", ":2")
    assert options.log_level == "warn"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--web.max-requests=-1"], "--web.max-requests: invalid number '-1'"),
        (["--timeout-offset=soon"], "--timeout-offset: invalid duration 'soon'"),
        (["--web.external-url=mon.example"], "--web.external-url: invalid URL 'mon.example'"),
        (["--web.external-url=ftp://mon"], "--web.external-url: invalid URL"),
        (["--web.external-url=http://a/?x"], "--web.external-url: invalid URL"),
        (["--web.trusted-proxies=10.0.0.1/8"], "--web.trusted-proxies: 10.0.0.1/8 has host bits"),
        (["--web.max-waiting=all"], "--web.max-waiting: invalid number 'all'"),
        (["--log.level=loud"], "--log.level: 'loud' is not one of debug, info, warn, error"),
        (["--log.format=xml"], "--log.format: 'xml' is not one of logfmt, json"),
        (["--unknown"], "unknown flag --unknown; see --help"),
        (["--config"], "unknown flag --config"),
        (["--token=secretpa"], "unknown flag --token; see --help"),
        (["--token", "secretpa"], "unknown flag --token; see --help"),
        (["--web.config.file"], "--web.config.file: expected one argument; see --help"),
        (["extra"], "unexpected argument: a flag's name begins with --"),
    ],
)
def test_an_invalid_flag_is_reported_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        flags.parse(arguments, {})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("offset", ["0", "0s"])
def test_the_timeout_offset_may_be_zero(offset: str) -> None:
    assert flags.parse(["--timeout-offset", offset], {}).timeout_offset == 0


def test_help_names_every_flag_its_variable_and_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(["--help"], {})

    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert ended.value.code == 0
    for flag in FLAGS.flags:
        assert f"--{flag.name} " in text
        assert FLAGS.variable(flag.name) in text.replace(" ", "")
        if flag.default:
            assert f"(default: {flag.default})" in text


@pytest.mark.parametrize(
    ("arguments", "prefix"),
    [
        ([], ""),
        (["--web.external-url=https://mon.example"], ""),
        (["--web.external-url=https://mon.example/"], ""),
        (["--web.external-url=https://mon.example/a/b/"], "/a/b"),
        (["--web.external-url=https://mon.example/a", "--web.route-prefix=/"], ""),
        (["--web.route-prefix=exporter/"], "/exporter"),
    ],
)
def test_the_route_prefix_is_by_default_the_path_of_the_external_url(
    arguments: list[str], prefix: str
) -> None:
    assert flags.parse(arguments, {}).route_prefix == prefix
