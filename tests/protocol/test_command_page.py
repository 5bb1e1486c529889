"""docs/smtpstatus.md against the command: options, subcommands, and the keys of check's JSON report."""

import argparse
import json
import re
from pathlib import Path

from protocol.cli.arguments import parser
from protocol.conformance.case import Case, Step
from protocol.conformance.expectation import Expectation
from protocol.conformance.report import Report
from protocol.conformance.runner import Failure, Result, Verdict
from protocol.dialects import V0
from protocol.token import Token
from protocol.vocabulary import Status

PAGE = (Path(__file__).parents[2] / "docs/smtpstatus.md").read_text()


def subcommands() -> dict[str, argparse.ArgumentParser]:
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("no subcommands")


def test_every_subcommand_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+) (?:HOST|HEX)", PAGE, re.M)

    assert listed == list(subcommands())


def test_every_option_is_documented() -> None:
    for name, added in {"smtpstatus": parser(), **subcommands()}.items():
        for action in added._actions:
            for option in action.option_strings:
                assert option == "-h" or f"`{option}" in PAGE or option == "--file", (name, option)


def keys(table: str) -> set[str]:
    found = re.search(rf"\| {table} \| type \| \|\n\| ---.*\n((?:\|.*\n)+)", PAGE)
    assert found
    return {row.split("|")[1].strip().strip("`") for row in found[1].splitlines()}


def test_the_keys_of_the_json_report_match_the_documentation() -> None:
    step = Step(bytes(14), Expectation(frozenset({Status.DONE})))
    case = Case("name", "1", (step,))
    result = Result(case, Verdict.FAILED, (Failure("text", step, b"x"), Failure("other")), 1.0)
    report = Report("host", V0, Token(b"secretpa"), (result,), 2.0).as_json()

    (found,) = json.loads(json.dumps(report))["cases"]
    assert set(report) == keys("key of the report")
    assert set(found) == keys("key of a case")
    for failure in found["failures"]:
        assert set(failure) == keys("key of a failure")
    for key in found["steps"][0]:
        assert f"`{key}`" in PAGE
    assert all(f"`{verdict}`" in PAGE for verdict in Verdict)
