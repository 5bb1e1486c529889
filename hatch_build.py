"""Build hook: man pages and shell completion, generated from the commands' own argument parsers."""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import shtab
from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.utils import get_reproducible_timestamp

ROOT = Path(__file__).parent
PARSERS = {
    "smtpstatus": "protocol.cli.arguments",
    "smtpstatus-exporter": "exporter.configuration.flags",
    "smtpstatus-server": "reference_server.config",
    "smtpstatus-traffic": "reference_server.traffic",
}
"""Each command's module with a function `parser()`. It imports PyYAML at most: a build has no other dependency."""

COMPLETIONS = {
    "bash": "share/bash-completion/completions/{}",
    "zsh": "share/zsh/site-functions/_{}",
    "fish": "share/fish/vendor_completions.d/{}.fish",
}
"""Where each shell looks for a command's completion, below the installation's prefix."""


class GeneratedFiles(BuildHookInterface[Any]):
    """Adds the generated files to a wheel. An editable installation has none."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._files = tempfile.TemporaryDirectory()
        for name, text in generated().items():
            file = Path(self._files.name, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            build_data["shared_data"][str(file)] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._files.cleanup()


def generated() -> dict[str, str]:
    """The text of every generated file by its path below the installation's prefix."""
    files = {}
    reproducible = {"COLUMNS": "100", "SOURCE_DATE_EPOCH": str(get_reproducible_timestamp())}
    with (
        mock.patch.object(sys, "path", [str(ROOT), *sys.path]),
        mock.patch.dict(os.environ, reproducible),
    ):
        version = importlib.import_module("smtpstatus.version").__version__
        for command, module in PARSERS.items():
            parser: argparse.ArgumentParser = importlib.import_module(module).parser()
            files[f"share/man/man1/{command}.1"] = man_page(parser, version)
            for shell, path in COMPLETIONS.items():
                files[path.format(command)] = shtab.complete(parser, shell=shell)
    return files


def man_page(parser: argparse.ArgumentParser, version: str) -> str:
    page = Manpage(parser)
    page.source = f"smtpstatus {version}"
    page.manual = "SMTPStatus"
    page.description = (parser.description or "").partition("\n")[0].rstrip(".")
    return f"{page}\n"
