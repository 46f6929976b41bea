"""The mutation proof's own parts: what it changes, what it leaves alone, and that a changed module is really used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.proof import mutation
from tests.proof.mutation import TARGETS, accepted, chosen
from tests.proof.mutator import mutants, mutated
from tests.proof.page import ROOT, table

SOURCE = '''
"""Words for people."""
from typing import TYPE_CHECKING
Kind = dict[str, int]
LIMIT = 5


def grade(values: "list[int]", *, strict: bool = True) -> str:
    """More words."""
    total = 0
    for value in values:
        if value < 0:
            continue
        total += value
    if not values or total == 0:
        raise ValueError("nothing to grade")
    return "high" if total >= LIMIT and strict else "low"
'''


def behaviour(tree: ast.Module) -> Any:
    """What a version of the module does."""
    space: dict[str, Any] = {}
    exec(compile(tree, "sample", "exec"), space)
    seen: list[Any] = []
    for values in ([], [0], [4], [5], [6], [-1, 5], [1, 3]):
        for more in ({}, {"strict": False}):
            try:
                seen.append(space["grade"](values, **more))
            except (ValueError, TypeError) as error:
                seen.append(str(error))
    return seen


def test_every_mutant_of_a_small_module_changes_what_it_does() -> None:
    before = behaviour(ast.parse(SOURCE))
    unchanged = [
        mutant for mutant in mutants("sample", SOURCE) if behaviour(mutated(SOURCE, mutant.index)) == before
    ]
    # Of `value <= 0` and `value < 1` nobody can tell: a zero is added or is not.
    assert [(mutant.before, mutant.after) for mutant in unchanged] == [
        ("value < 0", "value <= 0"),
        ("0", "1"),
    ]


def test_each_kind_of_change_is_made_and_words_and_types_are_left_alone() -> None:
    found = mutants("sample", SOURCE)
    kinds = Counter(mutant.kind for mutant in found)
    assert set(kinds) == {
        "comparison swapped",
        "condition negated",
        "and/or swapped",
        "not removed",
        "constant changed",
        "returns nothing",
        "statement removed",
    }
    changed = " ".join(mutant.before for mutant in found if mutant.kind == "constant changed")
    assert "words" not in changed
    assert "list" not in changed
    assert not [
        mutant
        for mutant in found
        if "nothing to grade" in mutant.before and mutant.kind != "statement removed"
    ]


def test_one_change_is_one_place() -> None:
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for mutant in mutants("sample", SOURCE):
        other = ast.unparse(mutated(SOURCE, mutant.index)).splitlines()
        assert len(other) == len(plain)
        assert sum(one != two for one, two in zip(plain, other, strict=True)) == 1, mutant


def test_a_change_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        mutated(SOURCE, 10_000)


@pytest.mark.parametrize("module", TARGETS)
def test_every_module_has_tests_that_must_notice(module: str) -> None:
    assert (ROOT / (module.replace(".", "/") + ".py")).exists()
    assert mutation.tests_of(module)


def test_every_file_of_tests_that_is_named_is_there() -> None:
    named = {pattern for patterns in TARGETS.values() for pattern in patterns}
    assert sorted(pattern for pattern in named if not any(ROOT.glob(pattern))) == []


TRIAL = """
import sys
from pathlib import Path
from tests.proof.mutator import mutants
from tests.proof.trials_of_mutants import baseline, load_libraries, run_all

load_libraries()
root, module, test = Path(sys.argv[1]), sys.argv[2], [sys.argv[3]]
text = (root / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
one = next(each for each in mutants(module, text) if each.kind == "returns nothing")
tried = run_all(root, [(one, test, 60.0)], 1, lambda *_: None)
print(baseline(root, test, 60.0).how, *(verdict.how for _, verdict in tried))
"""


def test_a_changed_module_is_the_one_that_is_tested(tmp_path: Path) -> None:
    """Also one of a package that brings a plug-in of pytest, whose modules pytest loads in its own way."""
    module, test = "ehr.people.names", tmp_path / "test_loaded.py"
    lines = [f"import {module} as it", "", "", "def test_it():"]
    lines += ["    assert type(it.__spec__.loader).__name__ != '_Finder'", ""]
    test.write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-c", TRIAL, str(ROOT), module, str(test)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["survived", "failed"]


def test_a_sample_is_the_same_for_one_seed_and_drawn_over_all_modules() -> None:
    one, count = chosen(1000, 3, tuple(TARGETS))
    assert one == chosen(1000, 3, tuple(TARGETS))[0] != chosen(1000, 4, tuple(TARGETS))[0]
    assert len(one) == len(set(one)) == 1000 < count
    # Three modules have so few mutants that a sample may miss them.
    assert len({mutant.module for mutant in one}) >= len(TARGETS) - 3


def test_secure_aggregation_has_a_page_of_its_own() -> None:
    assert mutation.groups(("ehr.dates", "secure_agg.keys")) == {
        "mutation": ("ehr.dates",),
        "mutation-secure-agg": ("secure_agg.keys",),
    }
    assert list(mutation.groups(("secure_agg.keys",))) == ["mutation-secure-agg"]


def test_every_accepted_survivor_is_a_change_that_there_is_and_has_a_reason() -> None:
    there = {
        mutant.key
        for module in TARGETS
        for mutant in mutants(
            module, Path(ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        )
    }
    known = accepted()
    assert [key for key in known if key not in there] == []
    assert all(len(reason) > 20 for reason in known.values())


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(("a",), [("x | y",)]).endswith("| x \\| y |")
