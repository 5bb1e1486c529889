"""YAML documents, with libyaml and PyYAML's own parser: both accept and reject the same."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpstatus import document
from smtpstatus.document import Value
from smtpstatus.errors import ConfigError


@pytest.fixture(params=["libyaml", "pure Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pure Python":
        monkeypatch.delattr(yaml, "CSafeLoader")
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML is built without libyaml")
    return str(request.param)


def read(directory: Path, text: str) -> Value | None:
    path = directory / "file.yml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return document.read(path)


def error(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(directory, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{directory}/", "")


def plain(value: Value) -> object:
    if isinstance(value.node, yaml.MappingNode):
        return {key: plain(entry) for key, entry in value.entries().items()}
    if isinstance(value.node, yaml.SequenceNode):
        return [plain(item) for item in value.items()]
    return value.node.value


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 100_000, "- " * 5_000, "? " * 50_000, "a: " + "[" * 200, "[{" * 50_000],
    ids=["lists", "mappings", "block lists", "complex keys", "value", "mixed"],
)
def test_deep_nesting_is_rejected_before_it_is_composed(
    tmp_path: Path, parser: str, text: str
) -> None:
    refused = error(tmp_path, text)

    assert refused in (
        "file.yml:1: nested more than 32 levels deep",
        "file.yml:1: invalid YAML: exceeded maximum nesting depth",  # libyaml's own limit
    )


@pytest.mark.parametrize(
    "text", ["a: !env X", "a: !!binary QQ==", "a: !!python/name:os.system x", "! a", "a: !<x> b",
             "!!map {}", "a: [!x b]", "? !x a\n: b"]
)  # fmt: skip
def test_a_tag_is_rejected_with_its_line(tmp_path: Path, parser: str, text: str) -> None:
    line = "file.yml:1: tags are not supported: quote a value that begins with !"
    assert error(tmp_path, text) == line


@pytest.mark.parametrize(
    "text", ["token: !secret!pa", "token: *secretpa", "token: '\\", "%secretpa 1"]
)
def test_a_syntax_error_repeats_no_part_of_a_token(tmp_path: Path, parser: str, text: str) -> None:
    assert "secret" not in error(tmp_path, text)


@pytest.mark.parametrize(
    "text", [r'a: "\ud800"', r'"\udfff": a', r'a: ["\ud800\udc00"]', r'a: "\U00110000"', "a: \x07", "a: \ud800"]
)  # fmt: skip
def test_text_that_cannot_be_encoded_is_rejected(tmp_path: Path, parser: str, text: str) -> None:
    assert error(tmp_path, text).startswith("file.yml")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "---\n# nothing\n---\n"[:-4], "~", "null\n"]
)
def test_an_empty_document_is_none(tmp_path: Path, parser: str, text: str) -> None:
    assert read(tmp_path, text) is None


def test_a_second_document_is_rejected(tmp_path: Path, parser: str) -> None:
    assert "file.yml:3: expected one document" in error(tmp_path, "---\na: 1\n---\nb: 2\n")


def test_merge_keys_add_the_missing_keys_of_a_mapping(tmp_path: Path, parser: str) -> None:
    text = """\
base: &base {a: 1, b: 2}
more: &more {b: 3, c: 4}
one: {<<: *base, b: 5}
several: {<<: [*base, *more], d: 6}
chained: &chained {<<: *more}
again: {<<: *chained}
quoted: {"<<": x}
"""
    found = read(tmp_path, text)
    assert found is not None
    entries = {key: plain(value) for key, value in found.entries().items()}

    assert entries["one"] == {"b": "5", "a": "1"}
    assert entries["several"] == {"d": "6", "a": "1", "b": "2", "c": "4"}
    assert entries["again"] == {"b": "3", "c": "4"}
    assert entries["quoted"] == {"<<": "x"}


@pytest.mark.parametrize("merged", ["3", "[a]", "{? [x] : y}", "", "*none", "&self {<<: *self}"])
def test_a_merge_of_anything_but_mappings_is_rejected(
    tmp_path: Path, parser: str, merged: str
) -> None:
    assert error(tmp_path, f"<<: {merged}").startswith("file.yml:1: ")


def test_nested_merges_are_composed_in_linear_time(tmp_path: Path, parser: str) -> None:
    lines = ["l0: &l0 {k: v}"]
    lines += [f"l{i}: &l{i} {{<<: [{', '.join([f'*l{i - 1}'] * 9)}]}}" for i in range(1, 25)]

    assert read(tmp_path, "\n".join(lines)) is not None


def test_a_node_cannot_contain_itself(tmp_path: Path, parser: str) -> None:
    assert "undefined alias" in error(tmp_path, "a: &a [*a]")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(st.sampled_from("ab:-[]{}*&!<?|>'\"%@\\ud8\n \t#,~1"), max_size=30))
def test_both_parsers_give_the_same_document(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    directory = tmp_path_factory.getbasetemp()
    found: list[object] = []
    for without in ((), ("CSafeLoader",)):
        with pytest.MonkeyPatch.context() as patch:
            for name in without:
                patch.delattr(yaml, name)
            try:
                value = read(directory, text)
                found.append(None if value is None else plain(value))
            except ConfigError:
                found.append("refused")
    # The parsers reject different inputs; documents that both accept must be equal.
    assert "refused" in found or found[0] == found[1]
