"""Build results: version, generated files, the zip application, the source distribution, the image."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import hatch_build
from deploy import dist
from smtpstatus.version import __version__
from tests.support.real import require

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMMANDS = tuple(PROJECT["project"]["scripts"])
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return hatch_build.generated()


def test_the_changelog_has_this_version_or_an_unreleased_section() -> None:
    sections = re.findall(
        r"^## \[(.*?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    versions = [version for version, _ in sections]

    assert ("0.1.0", "2026-11-25") in sections
    assert versions[0] in ("Unreleased", __version__)
    assert all(date for version, date in sections if version != "Unreleased")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_a_man_page_and_completion_for_every_flag(
    command: str, generated: dict[str, str]
) -> None:
    shown = subprocess.run(
        [Path(sys.executable).parent / command, "--help"], capture_output=True, text=True
    )
    flags = set(re.findall(r"^  (?:-h, )?(--[a-z.-]+)", shown.stdout, re.M)) - {"--help"}
    files = [f"share/man/man1/{command}.1"]
    files += [path.format(command) for path in hatch_build.COMPLETIONS.values()]

    assert flags
    for name in files:
        text = generated[name].replace("\\-", "-")
        # fish names options without their dashes
        assert [flag for flag in flags if flag.removeprefix("--") not in text] == [], name


def test_generated_files_do_not_depend_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, generated: dict[str, str]
) -> None:
    """The defaults of flags do not depend on it either, so that a wheel is reproducible."""
    code = "import os; os.cpu_count = lambda: 99; import hatch_build, json; print(json.dumps(hatch_build.generated()))"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("HOME", "/nonexistent")

    elsewhere = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert json.loads(elsewhere.stdout) == generated


def test_man_pages_have_no_formatting_errors(tmp_path: Path, generated: dict[str, str]) -> None:
    for command in COMMANDS:
        page = tmp_path / f"{command}.1"
        page.write_text(generated[f"share/man/man1/{command}.1"])
        shown = subprocess.run(
            [require("man"), "--warnings", "-l", page],
            env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100"},
            capture_output=True,
            text=True,
        )

        assert shown.stderr == ""
        assert re.search(f"NAME\n +{command} +[-–−‐] +[A-Z]", shown.stdout), shown.stdout


def test_bash_completes_a_flag(tmp_path: Path, generated: dict[str, str]) -> None:
    script = tmp_path / "completion"
    script.write_text(generated["share/bash-completion/completions/smtpstatus-exporter"])
    typed = f"""
        source {script}
        COMP_WORDS=(smtpstatus-exporter --log.l) COMP_CWORD=1 COMP_LINE='smtpstatus-exporter --log.l'
        _shtab_smtpstatus_exporter smtpstatus-exporter --log.l smtpstatus-exporter
        echo "${{COMPREPLY[@]}}"
    """

    completed = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True)

    assert completed.stdout.split() == ["--log.level"]


@pytest.mark.parametrize("module", hatch_build.PARSERS.values())
def test_a_build_needs_only_its_stated_requirements(module: str) -> None:
    """The parsers are imported in the build environment, which has none of the runtime dependencies but PyYAML."""
    code = f"import sys, {module}; print(*sys.modules)"
    printed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    absent = {
        "fastapi",
        "uvicorn",
        "uvloop",
        "httptools",
        "bcrypt",
        "prometheus_client",
        "starlette",
    }

    assert set(printed.stdout.split()) & absent == set()


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pyz") / "smtpstatus.pyz"
    dist.zip_application(target, 1_700_000_000)
    return target


def test_the_zip_application_runs_without_dependencies(application: Path) -> None:
    """Isolated from the environment (-I) and without site-packages (-S)."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", application, *arguments], capture_output=True, text=True
        )

    assert run("--version").stdout == f"smtpstatus {__version__}\n"
    assert "Traceback" not in run("decode", "cffe00").stderr
    assert run("get").returncode == 2
    assert run("get", "--token=secretpa", "--timeout=10ms", "127.0.0.1:9").returncode == 3


def test_the_zip_application_is_reproducible(application: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.pyz"
    dist.zip_application(again, 1_700_000_000)

    assert again.read_bytes() == application.read_bytes()
    assert os.access(application, os.X_OK)
    with zipfile.ZipFile(application) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {
            "__main__.py",
            "protocol",
            "smtpstatus",
        }


def test_the_source_distribution_has_every_file_except_ci() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}

    assert all(pattern.startswith("/") for pattern in included)
    left_out = {
        name for name in top if not any(Path(f"/{name}").match(pattern) for pattern in included)
    }
    assert left_out <= {".ci", ".gitignore", "pyproject.toml"}  # the last is always included


def test_every_package_is_typed_and_copied_into_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    for package in PACKAGES:
        assert (ROOT / package / "py.typed").exists()
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in ignored


def test_the_image_has_labels_an_entry_point_and_no_health_check() -> None:
    instructions = re.findall(r"^[A-Z]+", (ROOT / "Dockerfile").read_text(), re.M)
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.M)

    assert "HEALTHCHECK" not in instructions
    assert "ENTRYPOINT" in instructions
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])


@pytest.mark.parametrize(
    ("arguments", "executed"),
    [
        ([], "smtpstatus-exporter"),
        (["--help"], "smtpstatus-exporter --help"),
        (["smtpstatus-server", "--maildir=a b"], "smtpstatus-server --maildir=a b"),
        (["sh", "-c", "smtpstatus-server"], "smtpstatus-server"),
    ],
)
def test_the_entry_point_accepts_flags_and_commands(
    tmp_path: Path, arguments: list[str], executed: str
) -> None:
    for name in COMMANDS:
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)

    printed = subprocess.run(
        [ROOT / "deploy/docker-entrypoint.sh", *arguments],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout.rstrip() == executed


def test_the_compose_files_are_a_bounded_demonstration_on_loopback() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]

    assert list(services) == ["mail", "exporter", "prometheus", "grafana", "traffic"]
    for name, service in services.items():
        assert "restart" not in service, name
        assert "healthcheck" in service, name
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-(\d+)\}:\1(/udp)?", port), port
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).is_dir(), volume
    assert "examples/expire.sh" in services["mail"]["command"][2]
    assert services["exporter"]["healthcheck"]["test"] == [
        *("CMD", "smtpstatus-exporter", "--healthcheck")
    ]


def test_ci_contains_no_registry_and_no_machine_path() -> None:
    for path in (ROOT / ".ci").iterdir():
        text = path.read_text()

        assert not re.search(r"https?://(?!127\.0\.0\.1)", text), path.name
        assert not re.search(r"(?<![\w.$}/])/(root|home|work)/", text), path.name


def test_ci_reports_in_one_line_that_containers_were_not_tested(tmp_path: Path) -> None:
    """Another clone may have neither the container helper nor a Docker engine."""
    script = (ROOT / ".ci/run").read_text()
    start = script.index("containers=${CONTAINERS")
    step = script[script.index("step()") :].partition("\n")[0]
    typed = f"set -euo pipefail\n{step}\n{script[start:]}"

    printed = subprocess.run(
        ["bash", "-c", typed],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{tmp_path}/none"},
        capture_output=True,
        text=True,
        check=True,
    )

    lines = [line for line in printed.stdout.splitlines() if "Docker" in line]
    assert len(lines) == 1
    assert "was not tested" in lines[0]
