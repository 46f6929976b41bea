"""What to look up next: the cheapest set, the order, and one errand for many leaves (3.7)."""

from __future__ import annotations

from itertools import product
from typing import Any

from ehr.records.fetched import Kind, State
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.missing_data import Shares, look_up_next
from federated.screening.plan.trial_plan import make_plan
from federated.screening.trial import criteria as c
from federated.screening.trial.value_types import At
from tests.federated.screening.making import (
    INDEX,
    codes,
    condition,
    done,
    facts,
    has,
    lab,
    record,
    rule,
    trial,
)


def place(node: Any, path: str) -> Any:
    from dataclasses import replace

    return replace(node, at=At(path))


def told(*rules: c.Criterion, patient: Any = None, shares: Shares | None = None, most: int = 5) -> Any:
    plan = make_plan(trial(*rules), facts(), INDEX)
    outcome = compile_plan(plan)(patient or record())
    return look_up_next(plan, outcome, shares or Shares({}, {}), most)


OTHER_LAB = lab(codes=codes("2345-7", system="loinc", name="glucose"))
OPEN = done(elsewhere_matters=True)


def test_the_cheaper_of_two_ways_is_taken() -> None:
    either = c.AnyOf(of=(place(lab(), "where.any[0]"), place(OPEN, "where.any[1]")))
    (only,) = told(rule(either))
    assert (only.do, only.kind, only.where) == ("read_chart", "procedure", "x:where.any[1]")
    assert (only.reason, only.criteria, only.could) == ("NOT_RECORDED", ("x",), "include")


def test_all_parts_are_needed_and_labs_are_one_errand() -> None:
    both = c.AllOf(
        of=(place(lab(), "where.all[0]"), place(OTHER_LAB, "where.all[1]"), place(OPEN, "where.all[2]"))
    )
    assert [look.do for look in told(rule(both))] == ["order_test", "read_chart"]


def test_at_least_takes_the_cheapest_ones() -> None:
    of = (place(lab(), "where.of[0]"), place(OPEN, "where.of[1]"), place(has("H40.11"), "where.of[2]"))
    assert [look.do for look in told(rule(c.AtLeastOf(n=2, of=of)))] == ["order_test", "read_chart"]
    assert [look.do for look in told(rule(c.AtLeastOf(n=1, of=of)))] == ["read_chart"]


def test_one_refetch_answers_two_criteria() -> None:
    states = {Kind.CONDITION: State.UNAVAILABLE}
    looks = told(rule(has(), name="a"), rule(has("H40.11"), "exclusion", "b"), patient=record(states=states))
    assert [(look.do, look.kind, look.criteria) for look in looks] == [("run_again", "condition", ("a", "b"))]


def test_an_exclusion_is_looked_up_to_be_ruled_out() -> None:
    (only,) = told(rule(OPEN, "exclusion"))
    assert only.could == "exclude"


def test_a_failed_patient_needs_nothing() -> None:
    assert told(rule(lab(), name="a"), rule(has(), name="b")) == ()
    assert told(rule(lab(), name="a"), rule(has(), name="b"), patient=record(condition())) != ()


def test_an_applies_if_may_be_the_cheaper_question() -> None:
    asked = rule(lab(), applies_if=OPEN)
    (only,) = told(asked)
    assert only.do == "read_chart"


def test_the_likely_failure_is_asked_first_and_cost_counts() -> None:
    rules = (rule(place(lab(), "a"), name="a"), rule(place(OPEN, "b"), name="b"))
    assert [look.criteria[0] for look in told(*rules)] == ["b", "a"]
    often = Shares({"a": 98}, {"b": 98})
    assert [look.criteria[0] for look in told(*rules, shares=often)] == ["a", "b"]
    assert [often.fails(name) for name in ("a", "b", "c")] == [0.99, 0.01, 0.5]


def test_at_most_five_are_given() -> None:
    rules = [rule(place(done(elsewhere_matters=True), f"p{n}"), name=f"x{n}") for n in range(8)]
    assert len(told(*rules)) == 5
    assert len(told(*rules, most=8)) == 8


def test_the_list_is_minimal() -> None:
    """Without any of its leaves some completion leaves the patient undecided; with all of them none does."""
    tree = ("all", ("any", 0, 1), ("not", ("all", 2, 3)), ("at_least", 2, 4, 5, 6))

    def value(node: Any, leaves: dict[int, int]) -> int:
        if isinstance(node, int):
            return leaves[node]
        parts = [value(child, leaves) for child in (node[2:] if node[0] == "at_least" else node[1:])]
        if node[0] == "not":
            return 2 - parts[0]
        if node[0] == "at_least":
            return 2 if parts.count(2) >= node[1] else 0 if len(parts) - parts.count(0) < node[1] else 1
        return min(parts) if node[0] == "all" else max(parts)

    def build(node: Any) -> Any:
        if isinstance(node, int):
            return place(OPEN, f"leaf{node}")
        if node[0] == "not":
            return c.NotOf(of=build(node[1]))
        if node[0] == "at_least":
            return c.AtLeastOf(n=node[1], of=tuple(build(child) for child in node[2:]))
        of = tuple(build(child) for child in node[1:])
        return c.AllOf(of=of) if node[0] == "all" else c.AnyOf(of=of)

    listed = [int(look.where[-1]) for look in told(rule(build(tree)), most=10)]

    def can_pass(answered: list[int]) -> bool:
        return any(
            value(tree, {n: dict(zip(answered, given, strict=True)).get(n, 1) for n in range(7)}) == 2
            for given in product((0, 2), repeat=len(answered))
        )

    assert can_pass(listed)
    assert not any(can_pass([n for n in listed if n != left_out]) for left_out in listed)
