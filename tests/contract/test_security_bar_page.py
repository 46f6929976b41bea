"""The page about the security bar and the tests say the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from tests.repository.sources import ROOT

PAGE = ROOT / "docs" / "security-bar.md"
_ROW = re.compile(r"\| S(\d+) \| (kept|part) \| ([^|]+) \| ([^|]*) \| ([^|]+) \|")


def _rows() -> dict[int, tuple[str, str, set[str]]]:
    """Number to (state, what waits, names of tests)."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [_ROW.fullmatch(line) for line in lines if line.startswith("| S")]
    assert all(found), "a row has another form"
    rows = {
        int(row[1]): (row[2], row[4].strip(), set(re.findall(r"`(\w+)`", row[5]))) for row in found if row
    }
    assert len(rows) == len(found), "a number stands in two rows"
    return rows


def _tests() -> dict[int, set[str]]:
    """Number to names of the tests that carry it."""
    found: dict[int, set[str]] = defaultdict(set)
    for file in (ROOT / "tests" / "contract").glob("test_security_bar_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                numbers = re.match(r"test_((?:s\d\d_)+)", node.name)
                for number in re.findall(r"\d\d", numbers[1]) if numbers else ():
                    found[int(number)].add(node.name.removeprefix("test_"))
    return found


def test_every_requirement_has_a_row_and_a_test() -> None:
    assert list(_rows()) == list(range(1, 39))
    assert set(_tests()) == set(range(1, 39))


def test_each_row_names_exactly_the_tests_that_carry_its_number() -> None:
    tests = _tests()
    assert {number: names for number, (_, _, names) in _rows().items()} == tests


def test_what_is_done_in_part_says_what_waits() -> None:
    for number, (state, waits, _) in _rows().items():
        assert bool(waits) is (state == "part"), f"S{number}"


def test_every_numbered_test_asserts_something() -> None:
    for file in (ROOT / "tests" / "contract").glob("test_security_bar_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                text = ast.unparse(node)
                assert "assert " in text or "pytest.raises" in text, node.name
