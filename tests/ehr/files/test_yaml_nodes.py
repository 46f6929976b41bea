"""YAML as text with places: nothing is guessed, and nothing hidden is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.files.problems import FileErrors, Mark, Problem, Problems, quoted, suggestion
from ehr.files.yaml_nodes import Items, Table, Text, Yaml, plain, read_yaml, shape, texts_in


def read(data: str | bytes) -> tuple[Yaml | None, list[str]]:
    problems = Problems()
    root = read_yaml(data.encode() if isinstance(data, str) else data, "f.yaml", problems)
    return root, [str(problem) for problem in sorted(problems.found)]


def test_every_scalar_stays_the_text_that_was_written() -> None:
    root, found = read("a: NO\nb: 010\nc: 1e3\nd: ~\ne: 2026-01-01\nf: 'x'\ng:\n")
    assert root is not None
    assert plain(root) == {"a": "NO", "b": "010", "c": "1e3", "d": "~", "e": "2026-01-01", "f": "x", "g": ""}
    assert found == []


def test_places_are_counted_from_one() -> None:
    root, _ = read("a:\n  - x\n  - {b: y}\n")
    assert isinstance(root, Table)
    assert root.keys["a"] == Mark("f.yaml", 1, 1)
    items = root.entries["a"]
    assert isinstance(items, Items)
    assert [node.mark[1:] for node in items.items] == [(2, 5), (3, 5)]
    assert [(text.value, text.mark.line) for text in texts_in(root)] == [("x", 2), ("y", 3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\n", "f.yaml:1:4: TV101 anchors"),
        ("a: *x\n", "f.yaml:1:4: TV101 aliases"),
        ("a: !!int 1\n", "f.yaml:1:4: TV101 tags"),
        ("a:\n  <<: {b: 1}\n", "f.yaml:2:3: TV101 merge keys"),
        ("[x]: 1\n", "f.yaml:1:1: TV101 a key is a plain word"),
        ("a: 1\na: 2\n", 'f.yaml:2:1: TV102 "a" is given twice (first on line 1)'),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: TV101 one file holds one document"),
        ("a: 1\n---\n- {b: [2]}\n", "f.yaml:2:1: TV101 one file holds one document"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: TV100 tabs cannot indent"),
        ("a: \x07\n", "f.yaml:1:4: TV100 a control character"),
        ("a: b: c\n", 'f.yaml:1:5: TV100 a ":" stands where none can'),
        ("a: [1, 2\n", "TV100 a list or table in brackets is not closed"),
        ("a: 'open\n", "TV100 a quoted text is not closed"),
        ("a: 1\n b: 2\n", "TV100 "),
        ("", "f.yaml:1:1: TV100 the file is empty"),
        ("[" * 70 + "]" * 70, "TV108 lists and tables are nested deeper than 64"),
        (b"a: \xff", "f.yaml:1:4: TV100 a byte is not UTF-8"),
        (b"#" * (1 << 20) + b"#", "TV108 the file has 1048577 bytes"),
    ],
)
def test_what_a_reader_would_not_see_is_refused_at_its_place(text: str | bytes, words: str) -> None:
    _, found = read(text)
    assert any(words in line for line in found), found


def test_a_billion_laughs_are_three_problems_and_no_memory() -> None:
    root, found = read("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    assert len(found) == 6
    assert root is not None


@given(st.text(max_size=80))
def test_any_text_is_read_or_has_a_problem(text: str) -> None:
    root, found = read(text.encode("utf-8", "surrogatepass"))
    assert root is not None or found


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_have_a_problem(data: bytes) -> None:
    root, found = read(data)
    assert root is not None or found


def test_shapes_are_named_without_what_is_in_them() -> None:
    root, _ = read("a: [1, 2]\nb: {c: d}\ne: {}\nf:\n")
    assert isinstance(root, Table)
    shapes = [shape(node) for node in root.entries.values()]
    assert shapes == ["a list of 2", "a table with 1 key", "a table with 0 keys", "nothing"]
    assert shape(Text("x", Mark("f", 1))) == '"x"'


def test_problems_are_listed_once_each_and_warnings_do_not_refuse() -> None:
    problems = Problems()
    problems.warn(Mark("f", 2, 1), "PV900", "later.")
    assert not problems.failed
    problems.error(Mark("f", 3), "PV901", "wrong.")
    problems.error(Mark("f", 3), "PV901", "wrong.")
    assert problems.failed
    raised = FileErrors(problems.found)
    assert str(raised) == "warning f:2:1: PV900 later.\nf:3: PV901 wrong."
    assert raised.problems[1] == Problem("f", 3, 0, "PV901", "wrong.")


def test_a_piece_of_a_file_is_shown_short_and_on_one_line() -> None:
    assert quoted("a\nb\x1b[31m") == '"a\ufffdb\ufffd[31m"'
    assert len(quoted("x" * 1000)) == 42
    assert suggestion("conditon", ["condition", "image"]) == ' Did you mean "condition"?'
    assert suggestion("x" * 100_000, ["condition"]) == ""
