"""docs/dialects.md against the code: its keys are complete, its tables work, and its datagrams are right."""

import asyncio
import re
from pathlib import Path

import pytest

from protocol.address import HostPort
from protocol.client import Peer, connect
from protocol.conformance.runner import Runner, Verdict
from protocol.conformance.table import cases
from protocol.dialect import Dialect
from protocol.dialects import DIALECTS
from protocol.message import Request, Response
from protocol.ratelimit import ErrorRateLimiter
from protocol.server import serve
from protocol.token import Token
from protocol.vocabulary import FLAGS, WRITES, Command, Status
from smtpstatus.dialects import read_file
from smtpstatus.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs/dialects.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
SAMPLES = re.findall(
    r"^([\w-]+) (\w+) (\w+) (\w+)\n> (.*)\n< (.*)$",
    "\n".join(re.findall(r"```hex\n(.*?)```", PAGE, re.S)),
    re.M,
)


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Dialect]:
    found: dict[str, Dialect] = {}
    for block in BLOCKS:
        (tmp_path / "dialects.yml").write_text(block)
        found |= read_file(tmp_path / "dialects.yml")
    return found


def test_the_page_has_three_examples_and_the_smallest(tables: dict[str, Dialect]) -> None:
    assert list(tables) == ["my-server", "structure", "pop3", "block"]
    assert {sample[0] for sample in SAMPLES} == set(tables)


def test_the_smallest_table_is_the_built_in_dialect(tables: dict[str, Dialect]) -> None:
    mine, known = tables["my-server"], DIALECTS["group-11"]

    assert (mine.operations, mine.statuses) == (known.operations, known.statuses)
    assert (mine.signature, mine.default_port) == (known.signature, known.default_port)


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{s[0]} {s[1]}" for s in SAMPLES])
def test_the_datagrams_shown_are_right(
    sample: tuple[str, ...], tables: dict[str, Dialect]
) -> None:
    name, word, text, secret, sent, received = sample
    dialect, command = tables[name], Command[word.upper()]
    code = dialect.operations[command].code
    request = Request(0x1234 if dialect.request_identifier.size else 0, secret.encode(), code)
    value = {"on": True, "off": False}.get(text)

    assert request.encode(dialect) == bytes.fromhex(sent)
    response = Response.decode(bytes.fromhex(received), dialect)
    assert response.status is Status.DONE
    assert response.value(command, dialect) == (int(text) if value is None else value)


@pytest.mark.parametrize("name", ["my-server", "structure", "pop3", "block"])
async def test_a_server_of_each_table_is_read_and_conforms(
    name: str, tables: dict[str, Dialect]
) -> None:
    dialect = tables[name]
    token = Token(b"secretpa"[: dialect.token_length])
    state = {"enabled": True}

    def answer(command: Command) -> int | bool:
        if command in WRITES:
            state["enabled"] = command is Command.ENABLE_TRANSFORMS
        return state["enabled"] if command in FLAGS | WRITES else 7

    limiter = ErrorRateLimiter(150)
    async with serve("127.0.0.1", 0, token, answer, dialect, limiter) as endpoint:
        async with connect(Peer(HostPort("127.0.0.1", endpoint.port), token, dialect)) as asked:
            reading = await asked.read(timeout=5)
        runner = Runner(("127.0.0.1", endpoint.port), token, dialect, 2, grace=0.001, pause=0.01)
        table = cases(dialect, token, write=True)
        results = await asyncio.to_thread(lambda: list(runner.run(table)))

    assert reading.error is None
    assert reading.values == {c: True if c in FLAGS else 7 for c in dialect.reads}
    assert [r.case.name for r in results if r.verdict is not Verdict.PASSED] == []


def known(directory: Path, text: str) -> set[str]:
    """Keys that are accepted in place of `zzzzzz`, from the error message."""
    (directory / "known.yml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_file(directory / "known.yml")
    return set(str(error.value).split("known are ")[1].split(", "))


def test_the_tables_list_exactly_the_keys_with_default_and_unit(tmp_path: Path) -> None:
    start = "dialects: {d: {signature: cffe, statuses: {done: 0}, "
    request = "request: {length: 14, identifier: [3, 2], token: [5, 8], command: 13}, "
    response = "response: {length: 14, identifier: [3, 2], status: 5, result: [6, 8]}, "
    places = [
        known(tmp_path, "dialects: {d: {zzzzzz: 1}}"),
        known(tmp_path, start + "commands: {}, request: {zzzzzz: 1}, " + response + "}}"),
        known(tmp_path, start + "commands: {}, " + request + "response: {zzzzzz: 1}}}"),
        known(tmp_path, start + request + response + "commands: {mails: {zzzzzz: 1}}}}"),
    ]
    rows = re.findall(r"\| key.* \| default \| unit \| meaning \|\n\| ---.*\n((?:\|.*\n)+)", PAGE)
    documented = []
    for table in rows:
        cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]
        assert all(len(row) == 4 and all(row) for row in cells)
        documented.append({row[0].strip("`") for row in cells})

    assert documented == places


@pytest.mark.parametrize(
    "word",
    [*DIALECTS, *(one.name.lower() for one in Command), *(one.name.lower() for one in Status)],
)
def test_every_word_of_a_table_is_named(word: str) -> None:
    assert f"`{word}`" in PAGE
