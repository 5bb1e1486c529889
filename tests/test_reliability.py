"""Promises of docs/reliability.md: each names a test or benchmark that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text()
ROWS = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for table in re.findall(r"\| promise .*\n\| ---.*\n((?:\|.*\n)+)", PAGE)
    for row in table.splitlines()
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_promise_names_a_test_or_a_benchmark(row: list[str]) -> None:
    assert re.search(r"`tests/\S+\.py|`make |`python -m ", row[2])


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE))))
def test_every_named_test_exists(named: str) -> None:
    path, _, name = named.partition("::")
    source = (ROOT / path).read_text()

    assert not name or name in {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
