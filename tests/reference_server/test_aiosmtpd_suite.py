"""aiosmtpd's test suite against the reference server: each case passes or is a known difference."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

from tests.reference_server.differences import APART, DIFFERENCES

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/development/mail-interoperability.md"
# The modules about SMTP. The smuggling case is last, since it leaves smtplib modified.
WANTED = (
    "test_smtp.py",
    "test_starttls.py",
    "test_server.py::TestServer",
    "test_smtpsmuggling.py",
)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a case, whether it reached the server, and the unexpected codes."""

    passed: bool
    met: bool
    codes: tuple[tuple[int, int], ...]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    file = tmp_path_factory.mktemp("suite") / "outcomes"
    folder = Path(str(files("aiosmtpd.tests")))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider",
         "-p", "no:warnings", "-p", "tests.reference_server.suite", "--outcomes", file,
         "--tb=native",  # pytest's own tracebacks of the failing half take two thirds of the CPU
         *(folder / name for name in WANTED)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
             "ASYNCIO_CATCHUP_DELAY": "0.01"},
    )  # fmt: skip
    assert file.exists(), ended.stdout + ended.stderr
    return {
        case: Outcome(entry["passed"], entry["met"], tuple(map(tuple, entry["codes"])))
        for case, entry in json.loads(file.read_text()).items()
    }


def test_every_case_that_reaches_the_server_passes_or_is_a_known_difference(
    outcomes: dict[str, Outcome],
) -> None:
    failed = {case for case, outcome in outcomes.items() if outcome.met and not outcome.passed}
    differing = {case for case in outcomes for known in DIFFERENCES if known.covers(case)}

    assert failed == differing


def test_every_case_that_does_not_reach_the_server_is_known(outcomes: dict[str, Outcome]) -> None:
    alone = {case for case, outcome in outcomes.items() if not outcome.met}

    assert alone == {case for case in outcomes if APART.covers(case)}


def test_differing_replies_have_the_documented_code(outcomes: dict[str, Outcome]) -> None:
    for known in DIFFERENCES:
        for case in filter(known.covers, outcomes):
            if known.answer:
                assert [ours for _, ours in outcomes[case].codes] == [known.answer], case


def test_each_pattern_of_a_difference_matches_and_no_case_has_two_reasons(
    outcomes: dict[str, Outcome],
) -> None:
    for known in (*DIFFERENCES, APART):
        for pattern in known.cases:
            assert any(re.fullmatch(pattern, case) for case in outcomes), pattern
    for case in outcomes:
        assert sum(known.covers(case) for known in (*DIFFERENCES, APART)) <= 1, case


def test_the_document_states_the_numbers_of_the_run(outcomes: dict[str, Outcome]) -> None:
    met = [outcome for outcome in outcomes.values() if outcome.met]
    passed = sum(outcome.passed for outcome in met)
    document = " ".join(DOCUMENT.read_text().split())

    sentence = (
        f"aiosmtpd {version('aiosmtpd')}: of {len(outcomes)} cases {len(met)} talk to a server, and {passed} of these "
        "pass"
    )
    assert sentence in document
    counts = Counter(known.why for known in DIFFERENCES for case in outcomes if known.covers(case))
    rows = [f"| {why} | {count} |" for why, count in counts.most_common()]
    assert [row for row in rows if row not in document] == []
