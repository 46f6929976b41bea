"""The ledger at its edges: whose history counts, what is remembered, and which differences show few people."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from federated.counts.differencing import too_close
from federated.errors import BudgetSpent, PolicyRefused
from federated.owner.budgets import FILE, BudgetLedger, Charge, History, TaskEntry, largest_rho
from secure_agg.privacy import epsilon
from tests.federated.owner.test_budgets import counted, pods

ANA, EVE = b"a" * 32, b"e" * 32


def entry(hashed: bytes, **changes: object) -> TaskEntry:
    made = TaskEntry(hashed, ANA, "n1", "2026-06-01", "heart", pods("bath", "hull", "kent"))
    return replace(made, **changes)  # type: ignore[arg-type]


def history(budgets: BudgetLedger, task: TaskEntry) -> History:
    """What the judge is told of a task that it then refuses."""
    seen: list[History] = []
    assert budgets.admit_task(task, lambda known: bool(seen.append(known))) is False
    return seen[0]


def test_a_task_is_judged_by_its_own_modellers_history(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    assert budgets.admit_task(entry(b"1"), lambda known: True)
    same = history(budgets, entry(b"2"))
    assert (same.nonce_used, same.begun_today, same.cohorts) == (True, 1, (entry(b"1").cohort,))
    hers = history(budgets, entry(b"2", modeller=EVE))
    assert (hers.nonce_used, hers.begun_today, hers.cohorts) == (False, 1, ())
    assert history(budgets, entry(b"2", source="lungs")).cohorts == ()
    again = history(budgets, entry(b"1"))
    assert (again.nonce_used, again.begun_today, again.cohorts) == (False, 0, ())
    budgets.close()


def test_a_budget_may_be_used_up_to_its_end_and_by_nothing_that_is_no_number(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    whole = epsilon(0.1, 1e-6)
    assert budgets.charge_privacy(Charge(b"a", "heart", 0.1), whole, 1e-6) == whole
    with pytest.raises(BudgetSpent):
        budgets.charge_privacy(Charge(b"b", "heart", 1e-9), whole, 1e-6)
    with pytest.raises(BudgetSpent):
        budgets.charge_privacy(Charge(b"a", "heart", 0.1), float("nan"), 1e-6)
    budgets.close()


@pytest.mark.parametrize(("plan", "cohort"), [("q", "c"), ("p", "d")])
def test_equal_counts_of_other_people_are_an_answer_of_their_own(
    tmp_path: Path, plan: str, cohort: str
) -> None:
    """Only the same question over the same cohort with the same numbers has been answered before."""
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts("", counted("p", "c", {"old": range(100)}, old=100), 11)
    budgets.admit_counts("", counted(plan, cohort, {"old": range(500, 600)}, old=100), 11)
    with pytest.raises(PolicyRefused):
        budgets.admit_counts("", counted("r", "e", {"few": range(500, 597)}, few=97), 11)
    budgets.close()


def test_nobody_is_remembered_behind_a_count_that_is_not_shown(tmp_path: Path) -> None:
    budgets = BudgetLedger(tmp_path)
    budgets.admit_counts(
        "", counted("p", members={"shown": range(50), "held": range(3)}, shown=50, held=0), 11
    )
    budgets.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        assert db.execute("select name from members").fetchall() == [("shown",)]


def test_eyes_that_ten_people_can_have_are_too_few_and_one_more_is_not() -> None:
    """Ten people have twenty eyes at most: behind twenty-one there are eleven or more."""
    before = counted("p", passed=200)
    for eyes, found in ((1, True), (20, True), (21, False)):
        after = replace(counted("q", passed=200 - eyes), units=2)
        assert (too_close(after, before, 11) is not None) is found


def test_where_only_one_of_two_answers_says_who_was_counted_their_cohorts_tell() -> None:
    known, unknown = counted("p", members={"a": range(100)}, a=100), counted("q", b=97)
    for new, old in ((known, unknown), (unknown, known)):
        assert too_close(new, old, 11) is not None
        assert too_close(new, replace(old, cohort="another"), 11) is None


@pytest.mark.parametrize(("last", "few"), [(107, True), (108, False)])
def test_people_who_left_and_people_who_came_are_counted_together(last: int, few: bool) -> None:
    """Three left; with seven who came they are ten, and with eight eleven: none of them can be told apart."""
    before = counted("p", members={"a": range(100)}, a=100)
    after = counted("q", members={"b": range(3, last)}, b=last - 3)
    for new, old in ((before, after), (after, before)):
        assert (too_close(new, old, 11) is not None) is few


@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.5, 0.9])
@pytest.mark.parametrize("budget", [0.1, 1.0, 4.0])
def test_the_largest_rho_uses_the_budget_and_never_more(budget: float, delta: float) -> None:
    found = epsilon(largest_rho(budget, delta), delta)
    assert found <= budget
    assert found == pytest.approx(budget)
