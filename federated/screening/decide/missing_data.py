"""What to look up next for an undecided patient.

Per unknown criterion, the cheapest set of leaves that would make it pass; criteria in the order of the share that
fails them per cost, which is the best order for testing a conjunction. Leaves answered by one action are paid once.
Everything is read from the outcome's evidence, so a report and this list cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Final

from federated.screening.decide.evidence import CriterionOutcome, Evidence, Fact, LookUp, Outcome, Verdict
from federated.screening.plan.nodes import All, Any, AtLeast, Not, PlanLeaf, PlanNode, Rule, Unread
from federated.screening.plan.trial_plan import Plan

MOST: Final = 5

ACTIONS: Mapping[str, tuple[str, float]] = MappingProxyType(
    {
        "SOURCE_UNAVAILABLE": ("run_again", 1),
        "SOURCE_PARTIAL": ("run_again", 1),
        "SOURCE_FORBIDDEN": ("ask_administrator", 3),
        "SOURCE_UNSUPPORTED": ("read_chart", 3),
        "PATIENT_NOT_FOUND": ("resolve_identity", 2),
        "PATIENT_AMBIGUOUS": ("resolve_identity", 2),
        "NOT_RECORDED": ("read_chart", 3),
        "VALUE_MISSING": ("read_report", 3),
        "NOT_NUMERIC": ("read_report", 3),
        "UNIT_MISSING": ("read_report", 3),
        "UNIT_NOT_CONVERTIBLE": ("read_report", 3),
        "CODE_NOT_MAPPED": ("read_entry", 3),
        "DATE_UNCERTAIN": ("find_date", 3),
        "AGE_UNCERTAIN": ("find_date", 3),
        "BEFORE_CARE": ("read_chart", 3),
        "LATEST_AMBIGUOUS": ("compare_results", 3),
        "NOT_CONFIRMED": ("ask_clinician", 5),
        "EYE_UNKNOWN": ("read_note", 3),
        "FELLOW_EYE_MISSING": ("scan", 20),
        "STALE": ("repeat_test", 10),
        "NOT_MEASURED": ("scan", 20),
        "MODEL_CLASS_UNSUPPORTED": ("scan", 20),
        "LOW_COVERAGE": ("scan", 20),
        "FOVEA_NOT_FOUND": ("scan", 20),
        "MISSING_COLUMN": ("ask_data_owner", 5),
        "NOT_CODED": ("ask_person", 5),
    }
)
"""Reason to what a person does about it, and what that costs (a phone call is 5)."""

TEST: Final = ("order_test", 10.0)
"""For a result that is not recorded: there is no chart to read it from."""

MERGED = frozenset(
    {"run_again", "ask_administrator", "resolve_identity", "order_test", "repeat_test", "scan"}
)
"""Actions that answer every leaf of one kind at once."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How often a criterion was no and yes among the decided patients of this run; local to the site."""

    no: Mapping[str, int]
    yes: Mapping[str, int]

    def fails(self, criterion: str) -> float:
        """Share of no, smoothed: one more no, two more patients."""
        no = self.no.get(criterion, 0)
        return (no + 1) / (no + self.yes.get(criterion, 0) + 2)


UNSEEN: Final = Shares({}, {})


@dataclass(frozen=True, slots=True)
class JudgedLeaf:
    """A leaf with what evidence says of it."""

    leaf: PlanLeaf
    evidence: Evidence

    @property
    def kind(self) -> str:
        """The kind of record that it is about."""
        select = getattr(self.leaf, "select", None)
        if select is not None:
            return str(select.kind.value)
        if isinstance(self.leaf, Unread):
            return self.leaf.kind
        return "column" if getattr(self.leaf, "of", "") == "column" else "patient"

    @property
    def action(self) -> tuple[str, float]:
        """What to do, and its cost."""
        if self.evidence.reason == "NOT_RECORDED" and self.kind == "observation":
            return TEST
        return ACTIONS[self.evidence.reason]

    @property
    def errand(self) -> tuple[str, str]:
        """Leaves with one errand are answered by one action."""
        do = self.action[0]
        return (do, self.kind) if do in MERGED else (do, f"{self.evidence.criterion}:{self.evidence.path}")


Choice = tuple[float, tuple[JudgedLeaf, ...]]
IMPOSSIBLE: Choice = (inf, ())
FREE: Choice = (0.0, ())


def look_up_next(
    plan: Plan, outcome: Outcome, shares: Shares = UNSEEN, most: int = MOST
) -> tuple[LookUp, ...]:
    """The facts to look up, the best first.

    Args:
        plan: the plan that decided.
        outcome: of one patient (or eye); its evidence is all that is read.
        shares: counts of this run, for the order only.
        most: how many to give.

    Returns:
        Nothing for a decided patient. Otherwise at least one; when all that is unknown turns out in the patient's
        favour they decide, and any other answer decides or leads to a shorter list.
    """
    wanted: list[tuple[float, int, Choice]] = []
    for place, (rule, criterion) in enumerate(zip(plan.rules, outcome.criteria, strict=True)):
        if criterion.verdict is not Verdict.UNKNOWN:
            continue
        choice = cheapest(rule, criterion)
        wanted.append((-shares.fails(rule.id) / max(_paid(choice[1]), 1e-9), place, choice))
    if not wanted or any(criterion.verdict is Verdict.FAIL for criterion in outcome.criteria):
        return ()
    errands: dict[tuple[str, str], list[JudgedLeaf]] = {}
    for _, _, choice in sorted(wanted, key=lambda one: one[:2]):
        for part in choice[1]:
            errands.setdefault(part.errand, []).append(part)
    return tuple(_look_up(parts, plan) for parts in list(errands.values())[:most])


def _paid(parts: tuple[JudgedLeaf, ...]) -> float:
    return sum({part.errand: part.action[1] for part in parts}.values())


def _look_up(parts: list[JudgedLeaf], plan: Plan) -> LookUp:
    first = parts[0]
    where = f"{first.evidence.criterion}:{first.evidence.path}"
    criteria = tuple(dict.fromkeys(part.evidence.criterion for part in parts))
    sides = {rule.id: rule.side for rule in plan.rules}
    could = "include" if sides[criteria[0]] == "inclusion" else "exclude"
    return LookUp(first.action[0], first.kind, where, first.evidence.reason, criteria, could)


def cheapest(rule: Rule, criterion: CriterionOutcome) -> Choice:
    """The cheapest unknown leaves that, answered well, make a criterion pass."""
    found = iter(criterion.evidence)
    choices: list[Choice] = []
    if rule.applies_if is not None:
        choices.append(_choose(rule.applies_if, False, found))
    choices.append(_choose(rule.where, rule.side != "exclusion", found))
    return min(choices, key=lambda choice: choice[0])


def _choose(node: PlanNode, wanted: bool, found: Iterator[Evidence]) -> Choice:
    """The cheapest way to make a node what is wanted; the evidence is taken leaf by leaf, in tree order."""
    if isinstance(node, Not):
        return _choose(node.of, not wanted, found)
    if isinstance(node, All | Any | AtLeast):
        choices = [_choose(child, wanted, found) for child in node.of]
        return _some(choices, _needed(node, wanted))
    evidence = next(found)
    if evidence.outcome is Fact.UNKNOWN:
        part = JudgedLeaf(node, evidence)
        return part.action[1], (part,)
    return FREE if (evidence.outcome is Fact.YES) == wanted else IMPOSSIBLE


def _needed(node: All | Any | AtLeast, wanted: bool) -> int:
    """How many children must be as wanted."""
    every = len(node.of)
    yes = every if isinstance(node, All) else 1 if isinstance(node, Any) else node.n
    return yes if wanted else every - yes + 1


def _some(choices: list[Choice], needed: int) -> Choice:
    best = sorted(choices, key=lambda choice: choice[0])[:needed]
    parts = tuple(part for choice in choices if any(choice is one for one in best) for part in choice[1])
    return sum(choice[0] for choice in best), parts
