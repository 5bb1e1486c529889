import os
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.configuration import config
from exporter.configuration.config import Config
from exporter.configuration.fields import address
from protocol.address import HostPort
from protocol.dialects import DIALECTS, V0
from smtpstatus.errors import ConfigError

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
    """Error line of an invalid configuration, without the file's directory."""
    with pytest.raises(ConfigError) as raised:
        load(directory, text, environ)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(f"{directory}/", "")


def test_a_complete_configuration_is_loaded(tmp_path: Path) -> None:
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


def test_absent_keys_have_their_defaults(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "targets: []\n"):
        assert load(tmp_path, text) == Config(timeout=2.0, attempts=3)


PROBE = "probe: [{networks: [10.0.0.0/8], token: secretpa, "
TARGET = "targets: [{name: a, address: 'h:1', token: secretpa"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targtes: []", "config.yml:1: unknown key: did you mean targets?"),
        ("zzz: 1", "config.yml:1: unknown key: known are timeout, attempts"),
        ("timeout: 2s\ntimeout: 3s", "config.yml:2: duplicate key"),
        ("timeout: soon", "config.yml:1: timeout: invalid duration 'soon'"),
        ("timeout: [1]", "config.yml:1: timeout: expected a duration such as 700ms or 2s, got a list"),
        ("timeout: 1h", "config.yml:1: timeout: expected a duration from 0.001 s to 600 s"),
        ("attempts: 0", "attempts: expected a whole number from 1 to 20, got 0"),
        ("attempts: '3'", "config.yml:1: attempts: expected a whole number"),
        ("attempts: 1.5", "config.yml:1: attempts: expected a whole number"),
        ("targets: {}", "config.yml:1: targets: expected a list, got a mapping"),
        ("targets: [x]", "config.yml:1: targets[0]: expected a mapping, got a string"),
        ("targets:\n  - name: a", "config.yml:2: targets[0]: missing key address"),
        (TARGET + ", tokn: x}]", "targets[0]: unknown key: did you mean token?"),
        (TARGET + ", token_env: X}]", "targets[0]: expected exactly one of token, "),
        ("targets: [{name: a, address: 'h:1'}]", "targets[0]: expected exactly one of token, token_file"),
        ("targets: [{name: 1, address: h, token: secretpa}]", "name: expected a string, got a number: quote it"),
        ("targets: [{name: a/b, address: 'h:1', token: secretpa}]", "targets[0].name: expected 1 to 200 printable"),
        ("targets: [{name: a, address: 'h:99999', token: secretpa}]", "targets[0].address: invalid address 'h:99999'"),
        ("targets: [{name: a, address: '::1:1', token: secretpa}]", "address: invalid address '::1:1': write"),
        ("targets: [{name: a, address: ':7030', token: secretpa}]", "invalid address ':7030': expected host:port"),
        (TARGET + "}, {name: a, address: 'i:1', token: secretpa}]", "targets[1].name: "),
        (TARGET + ", dialect: group-5}]", "targets[0].dialect: unknown dialect: known are v0"),
        (TARGET + ", labels: {1a: x}}]", "targets[0].labels.1a: invalid label name"),
        (TARGET + ", labels: {__a: x}}]", "targets[0].labels.__a: invalid label name"),
        (TARGET + ", labels: {target: x}}]", "targets[0].labels.target: the label target is set by"),
        (TARGET + ", labels: {instance: x}}]", "the label instance is set by"),
        (TARGET + ", labels: {job: x}}]", "targets[0].labels.job: the label job is set by"),
        (TARGET + ", labels: {a: 1}}]", "targets[0].labels.a: expected a string, got a number"),
        ("targets: [{name: a, address: h, token: short}]", "targets[0].token: token has 5 bytes"),
        ("targets: [{name: a, address: h, token: 12345678}]", "expected a string, got a number: quote it"),
        ("targets: [{name: a, address: h, token: hex:00}]", "targets[0].token: token has 1 byte"),
        ("targets: [{name: a, address: h, token_env: UNSET}]", "this environment variable is not set"),
        ("targets: [{name: a, address: h, token_file: none}]", "cannot read the token from this file: No such"),
        ("probe: [{networks: [], token: secretpa}]", "networks: expected at least one network"),
        ("probe: [{networks: [10.0.0.1/8], token: secretpa}]", "10.0.0.1/8 has host bits set: expected a network"),
        (PROBE + "ports: []}]", "probe[0].ports: expected at least one port"),
        (PROBE + "ports: 7030}]", "probe[0].ports: expected a list, got a number"),
        (PROBE + "ports: [0]}]", "probe[0].ports[0]: expected a whole number from 1 to 65535, got 0"),
        (PROBE + "ports: [70-60]}]", "probe[0].ports[0]: expected a range of ports from 1 to 65535, the lower one"),
        (PROBE + "ports: [1-65536]}]", "probe[0].ports[0]: expected a range of ports"),
        (PROBE + "ports: [http]}]", "probe[0].ports[0]: expected a whole number"),
        (PROBE + "ports: [[1]]}]", "probe[0].ports[0]: expected a whole number"),
        ("api: {token_env: ODD}", "variable's value cannot be used: token has"),
        ("api: {token: ''}", "api.token: token is empty"),
        ("api: {cors_origins: ['*']}", "api.cors_origins[0]: invalid origin '*'"),
        ("api: {token: a, token_file: b}", "api: expected exactly one of token, token_file and token_env"),
        ("- a", "config.yml:1: expected a mapping, got a list"),
        ("a: [", "config.yml:2: invalid YAML"),
        ("{? [a] : b}", "config.yml:1: expected a plain word as key"),
        ("timeout: \x07", "config.yml: invalid YAML"),
    ],
)  # fmt: skip
def test_an_invalid_configuration_is_rejected_with_file_line_key_and_remedy(
    tmp_path: Path, text: str, expected: str
) -> None:
    line = refusal(tmp_path, text, {"ODD": "\udcff"})

    assert expected in line
    assert line.startswith("config.yml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("targets: [{name: a, address: h, token:secretpa}]", "targets[0]: unknown key: write a space after the colon"),
        ("targets:\n  - name: a\n    secretpa: token", "config.yml:3: targets[0]: unknown key: known are name,"),
        (TARGET + ", tokensec: }]", "targets[0]: unknown key: did you mean token?"),
        (TARGET + ", labels: {token:secretpa}}]", "targets[0].labels.…: invalid label name"),
        ("api: {secretpa: 1, secretpa: 2}", "config.yml:1: api: duplicate key"),
        ("api: {token:secretpa: 1}", "config.yml:1: api: unknown key"),
    ],
)  # fmt: skip
def test_a_secret_in_the_place_of_a_key_is_not_repeated(
    tmp_path: Path, text: str, expected: str
) -> None:
    line = refusal(tmp_path, text)

    assert expected in line
    assert "sec" not in line


def test_a_duplicate_name_is_rejected_with_both_places(tmp_path: Path) -> None:
    text = "targets:\n" + "  - {name: a, address: h, token: secretpa}\n" * 2

    assert refusal(tmp_path, text) == (
        "config.yml:3: targets[1].name: duplicate target a, also at config.yml:2: rename one of them"
    )


def test_an_error_never_repeats_a_token(tmp_path: Path) -> None:
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


def test_a_key_in_two_files_is_rejected_with_both_places(tmp_path: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (tmp_path / name).write_text("timeout: 1s")

    with pytest.raises(ConfigError) as raised:
        config.load([tmp_path], {})
    assert str(raised.value).replace(f"{tmp_path}/", "") == (
        "b.yml:1: timeout: also set at a.yml:1: keep one of them"
    )


def test_an_empty_directory_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.yml"):
        config.load([tmp_path], {})
    with pytest.raises(ConfigError, match=r"none\.yml: cannot read the file: No such file"):
        config.load([tmp_path / "none.yml"], {})


def test_a_probe_network_allows_its_ports_or_the_dialects_default(tmp_path: Path) -> None:
    for more, allowed, refused in (
        ("dialect: group-4", [2626], [7030, 22]),
        ("ports: [7030, 8000-8002]", [7030, 8000, 8002], [22, 7999, 8003]),
    ):
        (network,) = load(tmp_path, PROBE + more + "}]").probe
        assert all(network.allows("10.9.0.2", port) for port in allowed)
        assert not any(network.allows("10.9.0.2", port) for port in refused)
        assert network.allows("::ffff:10.9.0.2", allowed[0])
        assert not network.allows("11.9.0.2", allowed[0])


def test_targets_that_share_a_token_file_share_its_secret(tmp_path: Path) -> None:
    (tmp_path / "fleet").write_text("secretpa")
    entries = ", ".join(f"{{name: m{i}, address: h, token_file: fleet}}" for i in range(3))

    targets = load(tmp_path, f"targets: [{entries}]").targets
    assert {target.secret for target in targets} == {targets[0].secret}


def test_environment_variables_alone_configure_one_target(tmp_path: Path) -> None:
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
    ("environ", "expected"),
    [
        ({}, "no targets configured: pass --config.file, or set SMTPSTATUS_TARGET=host:port"),
        (
            {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "secretpa", "SMTPSTATUS_API_TOKEN": "a\udcff"},
            "SMTPSTATUS_API_TOKEN: token has a character that",
        ),
        ({"SMTPSTATUS_TARGET": "h:1"}, "no token for SMTPSTATUS_TARGET: set SMTPSTATUS_TOKEN"),
        ({"SMTPSTATUS_TARGET": "h:x", "SMTPSTATUS_TOKEN": "secretpa"}, "SMTPSTATUS_TARGET: invalid address 'h:x'"),
        ({"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "short"}, "SMTPSTATUS_TOKEN: token has 5"),
        (
            {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN": "a", "SMTPSTATUS_TOKEN_FILE": "b"},
            "SMTPSTATUS_TOKEN and SMTPSTATUS_TOKEN_FILE are both set",
        ),
        ({"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN_FILE": "/none"}, "_FILE: cannot read the token: No such file"),
    ],
)  # fmt: skip
def test_an_invalid_environment_is_rejected(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load([], environ)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_and_a_target_in_the_environment_are_mutually_exclusive(tmp_path: Path) -> None:
    assert "unset one of them" in refusal(tmp_path, "", {"SMTPSTATUS_TARGET": "h:1"})
    assert (
        load(tmp_path, "", {"SMTPSTATUS_TARGET": ""}) == Config()
    )  # as Compose passes unset ones


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api: {token: '${API_TOKEN}'}", "api.token: variables are not expanded here: write token_env: API_TOKEN"),
        ("api: {token: $(API_TOKEN)}", "api.token: variables are not expanded here: write token_env: API_TOKEN"),
        ("api: {token: $API_TOKEN}", "api.token: token is a placeholder"),
        ("api: {token: !env API_TOKEN}", "config.yml:1: tags are not supported"),
        ("api: {token: !!binary c2VjcmV0cGE=}", "config.yml:1: tags are not supported"),
        ("api: {token: 'open-sesame '}", "api.token: token begins or ends with a space"),
        ("api: {token_file: spaced}", "from this file: token begins or ends"),
        ("api: {token_file: marked}", "token begins with a byte order mark"),
        ("api: {token_env: SPACED}", "value cannot be used: token begins"),
        ("api: {token_file: fifo}", "cannot read the token from this file: not a regular file"),
        ("api: {token_file: 'nul\\0'}", "cannot read the token from this file: "),
        ("attempts: 010", "attempts: expected a whole number from 1 to 20, in decimal or as 0x1f: 010 is read"),
        ("attempts: 0b11", "attempts: expected a whole number"),
        ("attempts: 1_0", "attempts: expected a whole number"),
        ("attempts: 0:5", "attempts: expected a whole number"),
        (f"attempts: {'9' * 5000}", "attempts: expected a whole number from 1 to 20, got 999"),
        ("targets: [{name: '.', address: h, token: secretpa}]", "targets[0].name: '.' and '..' are no names"),
        ("targets: [{name: '..', address: h, token: secretpa}]", "targets[0].name: '.' and '..' are no names"),
        *(
            (
                f"targets: [{{name: a, address: '{address}:7030', token: secretpa}}]",
                f"invalid address '{address}:7030': expected the address of one server",
            )
            for address in ("0.0.0.0", "0", "[::]", "[::ffff:0.0.0.0]", "224.0.0.1", "[ff02::1]", "255.255.255.255")
        ),
        ("targets: [{name: a, address: '${HOST}:7030', token: secretpa}]", "invalid address '${HOST}:7030': var"),
        ("targets: [{name: a, address: '{{ host }}', token: secretpa}]", "targets[0].address: invalid address"),
        ("targets: [{name: a, address: '$(HOST)', token: secretpa}]", "targets[0].address: invalid address"),
        ("targets: [{name: a, address: '<host>:1', token: secretpa}]", "targets[0].address: invalid address"),
        ("api: {cors_origins: ['${ORIGIN}']}", "api.cors_origins[0]: invalid origin"),
        ("api: {cors_origins: ['https://user@host']}", "api.cors_origins[0]: invalid origin"),
        ("api: {cors_origins: ['https://host/']}", "api.cors_origins[0]: invalid origin"),
        ("api: {cors_origins: ['ftp://host']}", "api.cors_origins[0]: invalid origin"),
    ],
)  # fmt: skip
def test_ambiguous_input_is_rejected(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "spaced").write_text("open-sesame \n")
    (tmp_path / "marked").write_text("\ufeffopen-sesame\n")
    os.mkfifo(tmp_path / "fifo")
    line = refusal(tmp_path, text, {"SPACED": " open-sesame", "API_TOKEN": "x"})

    assert expected in line
    assert "sesame" not in line


@pytest.mark.parametrize("key", ["token_env", "token_file"])
@pytest.mark.parametrize("wrong", ["secretpa", "hex:0011223344556677", "SECRETPA", "/secretpa"])
def test_a_token_in_the_place_of_a_file_or_variable_is_not_repeated(
    tmp_path: Path, key: str, wrong: str
) -> None:
    line = refusal(tmp_path, f"targets: [{{name: a, address: h, {key}: '{wrong}'}}]")
    assert f"targets[0].{key}: " in line
    assert wrong.strip("/") not in line

    with pytest.raises(ConfigError) as error:
        config.load([], {"SMTPSTATUS_TARGET": "h:1", "SMTPSTATUS_TOKEN_FILE": wrong})
    assert wrong.strip("/") not in str(error.value)


def test_hidden_files_and_empty_documents_in_a_directory_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("timeout: 1s")
    (tmp_path / "empty.yml").write_text("---\n")
    for name in (".#a.yml", "._a.yml", ".a.yml.swp"):
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".#lock.yml").symlink_to("user@host:1234")  # Emacs' lock

    assert config.load([tmp_path], {}).timeout == 1.0


def test_merge_keys_share_settings_between_targets(tmp_path: Path) -> None:
    text = """\
targets:
  - &first {name: a, address: "h:1", token: secretpa, labels: {site: eu}}
  - {<<: *first, name: b}
"""
    first, second = load(tmp_path, text).targets

    assert (second.name, second.address, second.labels) == ("b", first.address, first.labels)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://Grafana.example:443", "https://grafana.example"),
        ("HTTP://grafana.example:80", "http://grafana.example"),
        ("http://grafana.example:3000", "http://grafana.example:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
    ],
)
def test_an_origin_is_normalised_to_the_form_that_browsers_send(
    tmp_path: Path, written: str, sent: str
) -> None:
    assert load(tmp_path, f"api: {{cors_origins: ['{written}']}}").api.cors_origins == (sent,)


def test_a_dialect_without_a_command_that_reads_is_rejected(tmp_path: Path) -> None:
    dialect = (
        "dialects: {x: {signature: cffe, statuses: {done: 0}, commands: %s,"
        " request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13},"
        " response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}}}"
    )
    for commands in ("{}", "{enable_transforms: {code: 4}, disable_transforms: {code: 5}}"):
        assert "at least one command that reads" in refusal(tmp_path, dialect % commands)
    on = dialect.replace("signature", "on: 1, signature") % "{connections: {code: 0}}"
    assert "dialects.x.on: " in refusal(tmp_path, on)


def test_the_environment_is_checked_without_reading_secrets() -> None:
    environ = {"SMTPSTATUS_TARGET": "mail.example", "SMTPSTATUS_TOKEN_FILE": "/none/token"}

    assert len(config.load([], environ, read_secrets=False).targets) == 1
    assert len(config.load([], {"SMTPSTATUS_TARGET": "h"}, read_secrets=False).targets) == 1
    with pytest.raises(ConfigError, match="cannot read the token"):
        config.load([], environ)


def test_the_environment_can_choose_a_known_dialect() -> None:
    environ = {"SMTPSTATUS_TARGET": "h", "SMTPSTATUS_TOKEN": "secretpa"}
    loaded = config.load([], {**environ, "SMTPSTATUS_DIALECT": "group-4"})

    assert (loaded.targets[0].dialect.name, loaded.targets[0].address.port) == ("group-4", 2626)
    with pytest.raises(ConfigError, match="SMTPSTATUS_DIALECT: unknown dialect: known are v0"):
        config.load([], {**environ, "SMTPSTATUS_DIALECT": "v1"})


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
def test_any_file_is_loaded_or_rejected_in_one_line(
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


FIRST = st.sampled_from([0, 127 << 24, 224 << 24, 240 << 24, 2**32 - 2, 0xFF << 120, 2**128 - 2])
NUMBERS = st.one_of(
    FIRST.flatmap(lambda first: st.integers(first, first + 1)), st.integers(0, 2**128 - 1)
)


@given(NUMBERS, st.booleans())
def test_the_address_of_one_server_is_not_unspecified_multicast_or_broadcast(
    number: int, mapped: bool
) -> None:
    host = str(IPv4Address(number)) if number < 2**32 else str(IPv6Address(number))
    if mapped and number < 2**32:
        host = f"::ffff:{host}"
    ip = getattr(ip_address(host), "ipv4_mapped", None) or ip_address(host)
    several = ip.is_unspecified or ip.is_multicast or str(ip) == "255.255.255.255"
    text = f"[{host}]:7030" if ":" in host else f"{host}:7030"

    if several:
        with pytest.raises(ValueError, match="expected the address of one server"):
            address(text, V0)
    else:
        assert address(text, V0).host == host
