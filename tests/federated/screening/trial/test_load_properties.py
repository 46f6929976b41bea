"""Whatever happens to a file, the place that is told is the place that was changed, and nothing is raised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr.files.problems import Mark, Problems
from ehr.files.yaml_nodes import Items, Table, Yaml, read_yaml
from federated.screening.trial.load import read_trial
from tests.federated.screening.trial_texts import errors, read

TEXTS = {
    path.stem: path.read_text()
    for path in sorted((Path(__file__).parents[4] / "examples" / "trials").glob("*.yaml"))
}
NAMES = ("value_sets", "parameters", "criteria")


def keys(node: Yaml, *, free: bool = False) -> Iterator[Mark]:
    """The places of all keys but those that the author names."""
    if isinstance(node, Items):
        for item in node.items:
            yield from keys(item)
    if isinstance(node, Table):
        for key, value in node.entries.items():
            if not free:
                yield node.keys[key]
            yield from keys(value, free=key in NAMES)


def places(text: str) -> list[Mark]:
    root = read_yaml(text.encode(), "t.yaml", Problems())
    assert root is not None
    return list(keys(root))


@pytest.mark.parametrize("name", TEXTS)
def test_the_reported_line_is_the_mutated_line(name: str) -> None:
    text = TEXTS[name]
    lines = text.split("\n")
    marks = places(text)
    assert len(marks) > 80
    for mark in marks[:: 1 if len(marks) < 120 else 3]:
        line = lines[mark.line - 1]
        changed = [*lines]
        changed[mark.line - 1] = f"{line[: mark.column - 1]}zz{line[mark.column - 1 :]}"
        found = {(p.line, p.column) for p in errors(read("\n".join(changed)))}
        assert (mark.line, mark.column) in found, (mark, found)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_lines_put_in_front_move_every_problem(data: st.DataObject) -> None:
    text = TEXTS["ga-ehr-codes"].replace("within: 12 mo", "within: -12 mo").replace("version:", "verzion:")
    before = [(p.line, p.code) for p in read(text).problems]
    lines = text.split("\n")
    at = data.draw(st.integers(0, len(lines)))
    count = data.draw(st.integers(1, 5))
    moved = "\n".join(lines[:at] + ["# a comment"] * count + lines[at:])
    after = [(p.line, p.code) for p in read(moved).problems]
    # A problem of the whole file stands at its first key.
    assert after == [(line + count if line > at else line, code) for line, code in before]


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_problems_and_no_exception(data: bytes) -> None:
    assert read_trial(data).trial is None


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_gives_a_trial_or_problems(data: st.DataObject) -> None:
    raw = bytearray(TEXTS[data.draw(st.sampled_from(sorted(TEXTS)))].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + data.draw(st.integers(0, 8))] = data.draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"[", b"}", b": ", b"\n", b"- ", b"$x", b"*", b"&a ", b"'"]),
            )
        )
    checked = read_trial(bytes(raw))
    assert (checked.trial is None) == bool(errors(checked))
    for problem in checked.problems:
        assert 1 <= problem.line <= raw.count(b"\n") + 2
        assert problem.message.isprintable()
