"""Dependencies: their versions, locks and licences, and the bill of materials."""

import os
import re
import tomllib
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from deploy import dist

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
LOCK = "requirements.lock"
LOWEST = "requirements-lowest.lock"
INSTALLED = os.environ.get("SMTPSTATUS_LOCK", LOCK)
"""`make lowest` names the lock of the lowest versions."""
locked_only = pytest.mark.skipif(INSTALLED != LOCK, reason="stated for the locked versions")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIRED = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
SUBCLASSED = {"uvicorn", "httptools"}
"""Packages whose internals exporter/http/ relies on."""
ALLOWED_LICENCES = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "PSF-2.0"}


def pins(name: str) -> dict[str, str]:
    """Versions in a lock file, by package."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / name).read_text(), re.M))


def stated() -> dict[str, list[str]]:
    """Rows of docs/development/dependencies.md, by package: needed by, for, licence, code."""
    return dist.dependencies()


def licence(name: str) -> str:
    """Licence in a package's metadata, as an SPDX expression."""
    metadata = distribution(name).metadata
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classifiers = [
        text.rpartition(":: ")[2].removesuffix(" License").replace("Apache Software", "Apache-2.0")
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    return " OR ".join(sorted(classifiers, reverse=True))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()

    assert "--hash=sha256:" in text
    assert "://" not in text
    assert "index" not in text


def test_locks_agree_on_every_version() -> None:
    """Several are installed into one environment, as by `make run`."""
    found: dict[str, set[str]] = {}
    for lock in LOCKS:
        if lock.name != LOWEST:
            for name, pinned in pins(lock.name).items():
                found.setdefault(name, set()).add(pinned)

    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


def test_every_dependency_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().split("dependencies = [")[1].splitlines()[1:]
    for line in lines[: lines.index("]")]:
        assert "#" in line, line


def test_the_installed_versions_are_those_of_the_lock() -> None:
    expected = pins(INSTALLED)

    assert {name: version(name) for name in expected} == expected


@pytest.mark.parametrize("required", REQUIRED, ids=lambda required: required.name)
def test_the_tested_versions_are_the_ends_of_the_stated_range(required: Requirement) -> None:
    lowest, locked = pins(LOWEST)[required.name], pins(LOCK)[required.name]
    bounds = {bound.operator: Version(bound.version) for bound in required.specifier}

    assert Version(lowest) == bounds[">="]
    assert locked in required.specifier
    if required.name in SUBCLASSED:
        minor = Version(locked).minor + 1
        assert bounds["<"] == Version(f"{Version(locked).major}.{minor}")
    else:
        assert set(bounds) == {">="}


def test_the_stated_packages_are_those_of_the_lock() -> None:
    assert list(stated()) == sorted(pins(LOCK))


@locked_only
def test_each_package_is_needed_by_the_stated_one() -> None:
    direct = {required.name for required in REQUIRED}
    for name, (parent, *_) in stated().items():
        if parent == "smtpstatus":
            assert name in direct
        else:
            needed = [Requirement(text) for text in distribution(parent).requires or []]
            assert name in {one.name.replace("_", "-") for one in needed}, name


@locked_only
def test_every_stated_licence_is_the_packages_own_and_allowed() -> None:
    for name, (_, _, expression, kind) in stated().items():
        native = any(str(file).endswith(".so") for file in distribution(name).files or [])

        assert licence(name) == expression, name
        assert set(re.split(" AND | OR ", expression)) <= ALLOWED_LICENCES
        assert kind == ("native" if native else "Python"), name


def test_the_allowed_licences_are_the_documented_ones() -> None:
    page = (ROOT / "docs/development/dependencies.md").read_text()
    (sentence,) = re.findall(r"^Allowed licences: ([^.]*(?:\.\d[^.]*)*)\. ", page, re.M)

    assert set(re.split(", | and ", sentence)) == ALLOWED_LICENCES


def component(name: str) -> dict[str, object]:
    return {"name": name, "description": f"requirements line 1: {name} --hash=…"}


def test_the_bill_of_materials_has_the_licence_of_each_package() -> None:
    bill = {"components": [component("uvloop"), component("anyio")]}
    rows = {"anyio": ["starlette", "threads", "MIT", "Python"]}
    rows["uvloop"] = ["smtpstatus", "the event loop", "MIT OR Apache-2.0", "native"]

    components = dist.with_licences(bill, rows)["components"]

    assert components[0]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert components[1]["licenses"] == [{"license": {"id": "MIT"}}]
    assert components[1]["description"] == "threads"


@pytest.mark.parametrize("listed", [["anyio"], ["anyio", "uvloop", "other"]])
def test_a_bill_of_materials_with_other_packages_is_an_error(listed: list[str]) -> None:
    rows = {name: ["", "", "MIT", "Python"] for name in ("anyio", "uvloop")}

    with pytest.raises(ValueError, match=r"differ: (other|uvloop)"):
        dist.with_licences({"components": [component(name) for name in listed]}, rows)
