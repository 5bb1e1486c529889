"""docs/configuration.md against the code: its tables are complete and its YAML blocks valid."""

import re
from pathlib import Path

import bcrypt
import pytest
import yaml

from exporter.configuration import config
from exporter.configuration.flags import FLAGS
from exporter.http.web_config import WebConfig
from smtpstatus.errors import ConfigError

DOCUMENT = (Path(__file__).parents[2] / "docs/configuration.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.S)


def documented() -> list[set[str]]:
    """Keys listed in each table of the page."""
    found = re.findall(r"\| key .*\n\| ---.*\n((?:\|.*\n)+)", DOCUMENT)
    return [
        {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}
        for table in found
    ]


def known(directory: Path, text: str) -> set[str]:
    """Keys that are accepted in place of `zzzzzz`, from the error message."""
    (directory / "known.yml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        config.load([directory / "known.yml"], {})
    return set(str(raised.value).split("known are ")[1].split(", "))


def test_the_flags_are_listed_with_their_variables_and_defaults() -> None:
    for flag in FLAGS.flags:
        default = f"`{flag.default}`" if flag.default else ""
        cells = [f"`--{flag.name}`", f"`{FLAGS.variable(flag.name)}`", default, flag.help]
        row = re.escape("|".join(cells)).replace(re.escape("|"), r" *\| *")
        assert re.search(rf"^\| *{row} *\|$", DOCUMENT, re.M), flag.name


def test_the_tables_list_exactly_the_existing_keys(tmp_path: Path) -> None:
    places = [
        known(tmp_path, "zzzzzz: 1"),
        known(tmp_path, "targets: [{zzzzzz: 1}]"),
        known(tmp_path, "probe: [{zzzzzz: 1}]"),
        known(tmp_path, "api: {zzzzzz: 1}"),
    ]

    assert documented() == places


def test_every_yaml_block_is_a_valid_configuration(tmp_path: Path) -> None:
    for name in ("legacy.token", "api.token", "mail-1"):
        (tmp_path / name).write_text("secretpa\n")
    environ = {"FLEET_TOKEN": "secretpa", "CREDENTIALS_DIRECTORY": str(tmp_path)}

    for block in blocks("yaml"):
        (tmp_path / "block.yml").write_text(block)
        assert config.load([tmp_path / "block.yml"], environ).targets
    assert len(blocks("yaml")) == 3


def test_the_sample_web_configuration_is_valid_except_for_its_certificates(tmp_path: Path) -> None:
    (block,) = blocks("yaml-web")
    (tmp_path / "web.yml").write_text(block)
    with pytest.raises(ConfigError, match="cert_file"):
        WebConfig.load(tmp_path / "web.yml")

    del (content := yaml.safe_load(block))["tls_server_config"]
    (tmp_path / "web.yml").write_text(yaml.safe_dump(content))
    users = WebConfig.load(tmp_path / "web.yml").users
    assert set(users) == {b"prometheus"}
    assert bcrypt.checkpw(b"test", users[b"prometheus"])
