from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.configuration import config
from exporter.configuration.config import Config
from protocol.address import HostPort
from protocol.dialects import DIALECTS, V0
from smtpstatus.document import ConfigError

WHOLE = """\
timeout: 500ms
attempts: 5
targets:
  - name: mail-1
    address: 127.0.0.1:7030
    token: secretpa
    labels: {site: eu}
  - name: legacy
    address: "[::1]"
    token_file: legacy-token
    dialect: group-4
probe:
  - networks: [10.0.0.0/8, "fd00::/8"]
    token_env: FLEET_TOKEN
api:
  token_file: $CREDENTIALS_DIRECTORY/api
  cors_origins: [http://grafana.example:3000]
"""


def load(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = directory / "config.yml"
    path.write_text(text)
    return config.load([path], environ or {})


def refusal(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """The one line that a configuration is refused with, the file's directory left out."""
    with pytest.raises(ConfigError) as told:
        load(directory, text, environ)
    assert "\n" not in str(told.value)
    return str(told.value).replace(f"{directory}/", "")


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    (tmp_path / "legacy-token").write_text("hex:0001020304050607\n")
    (tmp_path / "api").write_text("open-sesame\n")
    environ = {"FLEET_TOKEN": "fleetpas", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = load(tmp_path, WHOLE, environ)
    mail, legacy = loaded.targets
    (rule,) = loaded.probe

    assert (loaded.timeout, loaded.attempts) == (0.5, 5)
    assert (mail.name, mail.address, mail.labels) == (
        "mail-1",
        HostPort("127.0.0.1", 7030),
        {"site": "eu"},
    )
    assert (mail.secret.text, mail.dialect) == ("secretpa", V0)
    assert (legacy.address, legacy.dialect) == (HostPort("::1", 2626), DIALECTS["group-4"])
    assert config.token(legacy.secret, legacy.dialect).octets == bytes(range(8))
    assert rule.networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert rule.secret.text == "fleetpas"
    assert loaded.api.secret is not None
    assert loaded.api.secret.text == "open-sesame"
    assert loaded.api.cors_origins == ("http://grafana.example:3000",)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "targets: []\n"):
        assert load(tmp_path, text) == Config(timeout=2.0, attempts=3)


TARGET = "targets: [{name: a, address: 'h:1', token: secretpa"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targtes: []", "config.yml:1: unknown key; did you mean targets?"),
        ("zzz: 1", "config.yml:1: unknown key; known are timeout, attempts"),
        ("timeout: 2s\ntimeout: 3s", "config.yml:2: a key stands twice: delete one"),
        ("timeout: soon", "config.yml:1: timeout: invalid duration 'soon'"),
        ("timeout: [1]", "config.yml:1: timeout: a duration is wanted here"),
        ("timeout: 1h", "config.yml:1: timeout: a duration from 0.001 s to 600 s"),
        ("attempts: 0", "config.yml:1: attempts: a whole number from 1 to 20 is wanted here"),
        ("attempts: '3'", "config.yml:1: attempts: a whole number"),
        ("attempts: 1.5", "config.yml:1: attempts: a whole number"),
        ("targets: {}", "config.yml:1: targets: a list is wanted here"),
        ("targets: [x]", "config.yml:1: targets[0]: keys with values are wanted here"),
        ("targets:\n  - name: a", "config.yml:2: targets[0]: the key address is missing"),
        (TARGET + ", tokn: x}]", "targets[0]: unknown key; did you mean token?"),
        (TARGET + ", token_env: X}]", "targets[0]: give one of token, token_file and token_env"),
        ("targets: [{name: a, address: 'h:1'}]", "targets[0]: give one of token, token_file"),
        ("targets: [{name: 1, address: h, token: secretpa}]", "targets[0].name: a text is wanted here, and this is"),
        ("targets: [{name: a/b, address: 'h:1', token: secretpa}]", "targets[0].name: a name is 1 to 200"),
        ("targets: [{name: a, address: 'h:99999', token: secretpa}]", "targets[0].address: invalid address 'h:99999'"),
        ("targets: [{name: a, address: '::1:1', token: secretpa}]", "address: invalid address '::1:1': write"),
        ("targets: [{name: a, address: ':7030', token: secretpa}]", "targets[0].address: ':7030' is no target"),
        (TARGET + "}, {name: a, address: 'i:1', token: secretpa}]", "targets[1].name: "),
        (TARGET + ", dialect: group-5}]", "targets[0].dialect: no dialect is called group-5; there are v0"),
        (TARGET + ", labels: {1a: x}}]", "targets[0].labels.1a: a label's name has"),
        (TARGET + ", labels: {__a: x}}]", "targets[0].labels.__a: a label's name has"),
        (TARGET + ", labels: {target: x}}]", "targets[0].labels.target: the label target is the exporter's"),
        (TARGET + ", labels: {a: 1}}]", "targets[0].labels.a: a text is wanted here"),
        ("targets: [{name: a, address: h, token: short}]", "targets[0].token: token has 5 bytes"),
        ("targets: [{name: a, address: h, token: 12345678}]", "a text is wanted here, and this is a number: quote it"),
        ("targets: [{name: a, address: h, token: hex:00}]", "targets[0].token: token has 1 byte"),
        ("targets: [{name: a, address: h, token_env: UNSET}]", "token_env: the environment variable UNSET is not set"),
        ("targets: [{name: a, address: h, token_file: none}]", "token_file: the secret file none cannot be read"),
        ("probe: [{networks: [], token: secretpa}]", "probe[0].networks: name at least one network"),
        ("probe: [{networks: [10.0.0.1/8], token: secretpa}]", "networks[0]: 10.0.0.1/8 has host bits set: write"),
        ("api: {token_env: ODD}", "config.yml:1: api.token_env: the environment variable ODD is not UTF-8"),
        ("api: {token: ''}", "api.token: the token is empty"),
        ("api: {cors_origins: ['*']}", "api.cors_origins[0]: '*' is no origin"),
        ("api: {token: a, token_file: b}", "api: give one of token, token_file and token_env"),
        ("- a", "config.yml:1: keys with values are wanted here"),
        ("a: [", "config.yml:2: this is not YAML"),
        ("{? [a] : b}", "config.yml:1: a key must be a plain word"),
        ("timeout: \x07", "config.yml: this is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_line_key_and_remedy(
    tmp_path: Path, text: str, told: str
) -> None:
    line = refusal(tmp_path, text, {"ODD": "\udcff"})

    assert told in line
    assert line.startswith("config.yml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("targets: [{name: a, address: h, token:secretpa}]", "targets[0]: unknown key; a colon takes a space"),
        ("targets:\n  - name: a\n    secretpa: token", "config.yml:3: targets[0]: unknown key; known are name,"),
        (TARGET + ", tokensec: }]", "targets[0]: unknown key; did you mean token?"),
        (TARGET + ", labels: {token:secretpa}}]", "targets[0].labels.…: a label's name has"),
        ("api: {secretpa: 1, secretpa: 2}", "config.yml:1: api: a key stands twice"),
        ("api: {token:secretpa: 1}", "config.yml:1: api: unknown key"),
    ],
)  # fmt: skip
def test_a_secret_in_the_place_of_a_key_is_not_shown(tmp_path: Path, text: str, told: str) -> None:
    line = refusal(tmp_path, text)

    assert told in line
    assert "sec" not in line


def test_a_name_twice_is_told_with_both_places(tmp_path: Path) -> None:
    text = "targets:\n" + "  - {name: a, address: h, token: secretpa}\n" * 2

    assert refusal(tmp_path, text) == (
        "config.yml:3: targets[1].name: config.yml:2 has a target a too: rename one of them"
    )


def test_no_refusal_shows_a_token(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("verysecret")
    environ = {"VARIABLE": "verysecret"}
    for way in ("token: verysecret", "token_file: file", "token_env: VARIABLE"):
        line = refusal(tmp_path, f"targets: [{{name: a, address: h, {way}}}]", environ)
        assert "verysecret" not in line
        assert "10 bytes" in line


def test_several_files_and_directories_are_one_configuration(tmp_path: Path) -> None:
    (tmp_path / "main.yml").write_text("timeout: 1s")
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    for name in ("b.yml", "a.yaml"):
        (fleet / name).write_text(f"targets: [{{name: {name[0]}, address: h, token: secretpa}}]")
    (fleet / "notes.txt").write_text("not: [yaml")

    loaded = config.load([tmp_path / "main.yml", fleet], {})

    assert loaded.timeout == 1.0
    assert [target.name for target in loaded.targets] == ["a", "b"]


def test_what_several_files_say_twice_is_told_with_both_places(tmp_path: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text("timeout: 1s")

    with pytest.raises(ConfigError) as told:
        config.load([tmp_path], {})
    assert str(told.value).replace(f"{tmp_path}/", "") == (
        "b.yml:1: timeout: a.yml:1 says it too: keep one of them"
    )


def test_a_directory_without_files_and_a_file_that_is_missing_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \*\.yml"):
        config.load([tmp_path], {})
    with pytest.raises(ConfigError, match=r"none\.yml: the file cannot be read: No such file"):
        config.load([tmp_path / "none.yml"], {})


def test_targets_that_share_a_token_file_share_its_secret(tmp_path: Path) -> None:
    (tmp_path / "fleet").write_text("secretpa")
    entries = ", ".join(f"{{name: m{i}, address: h, token_file: fleet}}" for i in range(3))

    assert len(load(tmp_path, f"targets: [{entries}]").secrets) == 1


def test_the_environment_alone_gives_one_target(tmp_path: Path) -> None:
    (tmp_path / "api").write_text("open-sesame\n")
    loaded = config.load(
        [],
        {
            "SMTPSTATUS_TARGET": "mail.example:7030",
            "SMTPSTATUS_TOKEN": "secretpa",
            "SMTPSTATUS_API_TOKEN_FILE": str(tmp_path / "api"),
        },
    )
    (target,) = loaded.targets

    assert (target.name, target.address) == ("mail.example:7030", HostPort("mail.example", 7030))
    assert (target.secret.text, loaded.api.secret and loaded.api.secret.text) == (
        "secretpa",
        "open-sesame",
    )


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, "nothing to watch: give --config.file, or SMTPSTATUS_TARGET=host:port"),
        (
            {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "secretpa", "SMTPSTATUS_API_TOKEN": "a\udcff"},
            "SMTPSTATUS_API_TOKEN is not UTF-8 text",
        ),
        ({"SMTPSTATUS_TARGET": "h:1"}, "neither SMTPSTATUS_TOKEN nor SMTPSTATUS_TOKEN_FILE is"),
        ({"SMTPSTATUS_TARGET": "h:x", "SMTPSTATUS_TOKEN": "secretpa"}, "SMTPSTATUS_TARGET: invalid address 'h:x'"),
        ({"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "short"}, "SMTPSTATUS_TOKEN: token has 5"),
        (
            {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "a", "SMTPSTATUS_TOKEN_FILE": "b"},
            "SMTPSTATUS_TOKEN and SMTPSTATUS_TOKEN_FILE are both set",
        ),
        ({"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN_FILE": "/none"}, "/none cannot be read"),
    ],
)  # fmt: skip
def test_an_environment_that_is_wrong_is_told(environ: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load([], environ)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_and_a_target_in_the_environment_exclude_each_other(tmp_path: Path) -> None:
    assert "unset one of them" in refusal(tmp_path, "", {"SMTPSTATUS_TARGET": "h:1"})


yaml_values = st.recursive(
    st.sampled_from(["a", "'x'", "1", "1.5", "~", "true", "2s", "h:1", "secretpa", "0x1f"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(
            st.sampled_from(
                ["timeout", "targets", "name", "address", "token", "labels", "probe", "networks",
                 "api", "dialects", "signature", "request", "commands", "attempts", "x"]
            ),
            inner,
            max_size=4,
        ).map(lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items.items()) + "}")
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(yaml_values | st.text(max_size=60))
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    directory = tmp_path_factory.getbasetemp()
    (directory / "any.yml").write_text(text, encoding="utf-8", errors="surrogatepass")
    refused = ""
    try:
        config.load([directory / "any.yml"], {})
    except ConfigError as error:
        refused = str(error)
    assert "\n" not in refused
