"""Rules of the repository (docs/design.md) that a program can check."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("smtpstatus", "protocol", "exporter", "reference_server")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ALLOWED = {
    "smtpstatus": {"smtpstatus", "protocol"},
    "protocol": {"protocol", "smtpstatus"},
    "exporter": {"exporter", "protocol", "smtpstatus"},
    "reference_server": {"reference_server", "protocol", "smtpstatus"},
}


def relative_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Top-level names that a module imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_point_downward_only() -> None:
    wrong = {
        relative_name(path): upward
        for path in MODULES
        if (upward := imported(path) & set(PACKAGES) - ALLOWED[path.relative_to(ROOT).parts[0]])
    }

    assert wrong == {}


def test_the_protocol_imports_only_the_standard_library() -> None:
    allowed = {"protocol", "smtpstatus", "__future__", *sys.stdlib_module_names}
    wrong = {
        relative_name(path): other
        for path in MODULES
        if "protocol" in path.parts and (other := imported(path) - allowed)
    }

    assert wrong == {}


def test_a_module_has_at_most_300_lines() -> None:
    lines = {relative_name(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_only_the_commands_read_the_environment_and_the_arguments() -> None:
    reads = re.compile(r"sys\.argv|os\.(environ|getenv)")
    found = {path for path in MODULES if reads.search(path.read_text())}

    assert {path for path in found if path.name not in ("__main__.py", "traffic.py")} == set()


MUTABLE = {
    "protocol/resolver.py: _LookUp",
    "exporter/singleflight.py: _Flight",
    "reference_server/clock.py: SessionClock",
    "reference_server/status.py: ServerStatus",
    "reference_server/traffic.py: Tally",
    "reference_server/transaction.py: Transaction",
}
"""Dataclasses with a lifetime; all others are values."""


def test_dataclasses_are_frozen_and_have_slots() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                name = f"{relative_name(path)}: {node.name}"
                for options in map(ast.unparse, node.decorator_list):
                    if options.startswith("dataclass"):
                        assert "slots=True" in options, name
                        assert ("frozen=True" in options) != (name in MUTABLE), name


def test_the_protocol_package_exports_nothing() -> None:
    assert imported(ROOT / "protocol/__init__.py") == set()


def test_the_design_page_names_every_module() -> None:
    page = (ROOT / "docs/design.md").read_text()

    missing = [
        relative_name(path)
        for path in MODULES
        if path.name != "__init__.py" and path.name not in page
    ]
    assert missing == []


def test_every_module_has_a_docstring() -> None:
    for path in MODULES:
        docstring = ast.get_docstring(ast.parse(path.read_text()))

        assert docstring or not path.read_text(), relative_name(path)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]


def test_every_link_between_files_has_an_existing_target() -> None:
    broken = []
    for page in tracked():
        if page.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{relative_name(page)}: {target}")

    assert broken == []


def test_the_installed_commands_are_the_documented_ones() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]

    assert set(scripts) == {
        "smtpstatus",
        "smtpstatus-exporter",
        "smtpstatus-server",
        "smtpstatus-traffic",
    }
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


REPLACED_NAMES = (
    *("Contradicted", "Disbelieved", "Examination", "Flights", "Inquiry", "Intake", "Manner"),
    *("Question", "Questions", "Ration", "Shortfall", "Tape", "Wanted", "Weather", "Wording"),
    *("exchange", "flight", "inquiry", "intake", "layout", "line", "question", "reads", "turns"),
)
"""Classes that have a standard name now, and modules, whose names count with their suffix."""

AVOIDED_WORDS = (
    r"(?<![\"=/])\bnobody\b(?![\"@])",  # but the system user and mailboxes of that name
    r"\b(somebody|anybody|everybody|whoever|told|believed|lest)\b",
    r"\b(at once|for want of|takes no (?!value\b))\b",
    r"\b(?<!there )is no (?!longer\b)",
)
"""Words with a standard or plainer equivalent, as regular expressions."""


def test_replaced_names_and_avoided_words_do_not_occur() -> None:
    classes = [rf"\b{name}\b" for name in REPLACED_NAMES if name[0].isupper()]
    modules = [rf"\b{name}\.(py|js)\b" for name in REPLACED_NAMES if name[0].islower()]
    names = re.compile("|".join(classes + modules))
    words = re.compile("|".join(AVOIDED_WORDS), re.IGNORECASE)
    found = []
    for path in tracked():
        if path.suffix not in (".py", ".md", ".js", ".html", ".yml", ".lua", ".c", ".sh"):
            continue
        if path.name == "CHANGELOG.md" or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if names.search(line) or words.search(line):
                found.append(f"{relative_name(path)}:{number}: {line.strip()}")

    assert found == []
