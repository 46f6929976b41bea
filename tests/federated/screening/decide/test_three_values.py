"""Three truth values: tables, laws, and what criteria do with them (tests 15, 16, 22, 23)."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import Decision, Verdict
from federated.screening.decide.three_values import (
    NO,
    UNKNOWN,
    YES,
    applied,
    at_least,
    both,
    counted,
    either,
    every,
    negated,
    opened,
    some,
)
from federated.screening.plan.trial_plan import make_plan
from federated.screening.trial import criteria as c
from tests.federated.screening.making import (
    INDEX,
    condition,
    facts,
    has,
    lab,
    patient,
    record,
    rule,
    trial,
    truth,
)

VALUES = (NO, UNKNOWN, YES)


def test_kleene_tables() -> None:
    assert [both(a, b) for a, b in ((2, 2), (2, 1), (2, 0), (1, 1), (1, 0), (0, 0))] == [2, 1, 0, 1, 0, 0]
    assert [either(a, b) for a, b in ((2, 2), (2, 1), (2, 0), (1, 1), (1, 0), (0, 0))] == [2, 2, 2, 1, 1, 0]
    assert [negated(a) for a in VALUES] == [YES, UNKNOWN, NO]
    assert (every([]), some([])) == (YES, NO)
    assert [opened(a) for a in VALUES] == [UNKNOWN, UNKNOWN, YES]


def test_de_morgan_and_double_negation() -> None:
    for a, b in product(VALUES, VALUES):
        assert negated(both(a, b)) == either(negated(a), negated(b))
        assert negated(either(a, b)) == both(negated(a), negated(b))
        assert (both(a, b), either(a, b)) == (both(b, a), either(b, a))
        assert negated(negated(a)) == a


def completions(values: list[int]) -> list[tuple[bool, ...]]:
    return list(product(*([bool(value)] if value != UNKNOWN else [False, True] for value in values)))


@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=6), st.integers(0, 7))
def test_at_least_is_what_all_completions_say(values: list[int], n: int) -> None:
    answers = {sum(row) >= n for row in completions(values)}
    expected = UNKNOWN if len(answers) == 2 else YES if True in answers else NO
    assert at_least(n, values.count(YES), values.count(UNKNOWN)) == expected


@pytest.mark.parametrize("operator", [">=", "<=", "="])
@given(values=st.lists(st.sampled_from(VALUES), max_size=6), n=st.integers(0, 7))
def test_counts_are_what_all_completions_say(operator: str, values: list[int], n: int) -> None:
    ask = {">=": lambda x: x >= n, "<=": lambda x: x <= n, "=": lambda x: x == n}[operator]
    answers = {ask(sum(row)) for row in completions(values)}
    expected = UNKNOWN if len(answers) == 2 else YES if True in answers else NO
    assert counted(operator, n, values.count(YES), values.count(UNKNOWN)) == expected


def test_a_count_has_three_operators() -> None:
    with pytest.raises(ValueError, match=">=, <= or ="):
        counted("!=", 1, 0, 0)


def test_applies_if_is_neutral_where_it_does_not_apply() -> None:
    assert [applied(NO, value) for value in VALUES] == [YES, YES, YES]
    assert [applied(YES, value) for value in VALUES] == list(VALUES)
    assert [applied(UNKNOWN, value) for value in VALUES] == [UNKNOWN, UNKNOWN, YES]


GLAUCOMA = has("H40.11")


def decided(*rules: c.Criterion, **more: Any) -> Any:
    return compile_plan(make_plan(trial(*rules, **more), facts(), INDEX))


def test_not_applicable_is_neutral_and_visible() -> None:
    asked = rule(lab(">= 5.7"), name="hba1c", applies_if=GLAUCOMA)
    outcome = decided(asked)(record())
    assert outcome.decision is Decision.ELIGIBLE
    assert outcome.criteria[0].verdict is Verdict.NOT_APPLICABLE
    assert [one.reason for one in outcome.criteria[0].evidence] == ["CODE_ABSENT"]
    assert outcome.masks()[2] == 1
    with_disease = decided(asked)(record(condition("H40.11")))
    assert with_disease.criteria[0].verdict is Verdict.UNKNOWN


def test_a_todo_is_never_passed() -> None:
    todo = c.Criterion(id="x", side="exclusion", text="t", source="s", todo="Read the chart.")
    outcome = decided(todo)(record())
    assert outcome.decision is Decision.UNDECIDED
    assert outcome.criteria[0].evidence[0].reason == "NOT_CODED"


def test_a_disabled_criterion_is_listed_and_decides_nothing() -> None:
    outcome = decided(rule(lab(), enabled=False))(record())
    assert (outcome.decision, outcome.criteria[0].verdict) == (Decision.ELIGIBLE, Verdict.NOT_EVALUATED)
    assert outcome.criteria[0].evidence == ()


def test_if_unknown_changes_the_queue_only() -> None:
    plain, noted = (decided(rule(lab(), if_unknown=queue))(record()) for queue in (None, "defer"))
    assert plain == noted


def test_an_exclusion_is_turned_round() -> None:
    ill = record(condition())
    assert decided(rule(has(), "exclusion"))(ill).decision is Decision.NOT_ELIGIBLE
    assert decided(rule(has(), "exclusion"))(record()).decision is Decision.ELIGIBLE


def test_the_dead_are_not_eligible_unless_the_trial_says_so() -> None:
    dead = record(condition(), person=patient(deceased_boolean=True))
    outcome = decided(rule(has()))(dead)
    assert (outcome.decision, outcome.criteria[-1].id) == (Decision.NOT_ELIGIBLE, "alive")
    assert decided(rule(has()), allow_deceased=True)(dead).decision is Decision.ELIGIBLE


@given(
    st.recursive(st.sampled_from(VALUES), lambda part: st.lists(part, min_size=1, max_size=3), max_leaves=8)
)
def test_nodes_are_the_functions_of_the_logic(tree: object) -> None:
    """Leaves with a known truth: present, absent, and an unrecorded lab."""
    leaf = {YES: has("H35.31"), NO: has("H40.11"), UNKNOWN: lab()}

    def node(part: object, flip: bool) -> object:
        if isinstance(part, int):
            return leaf[part]
        children = tuple(node(child, not flip) for child in part)  # type: ignore[attr-defined]
        return c.NotOf(of=c.AllOf(of=children) if flip else c.AnyOf(of=children))  # type: ignore[arg-type]

    def value(part: object, flip: bool) -> int:
        if isinstance(part, int):
            return part
        values = [value(child, not flip) for child in part]  # type: ignore[attr-defined]
        return YES - (min(values) if flip else max(values))

    assert truth(node(tree, True), record(condition())) == value(tree, True)


def test_at_least_of_nodes() -> None:
    nodes = (has("H35.31"), has("H40.11"), lab())
    patient = record(condition())
    assert [truth(c.AtLeastOf(n=n, of=nodes), patient) for n in (1, 2, 3)] == [YES, UNKNOWN, NO]  # type: ignore[arg-type]
