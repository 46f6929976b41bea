"""Derives every verdict and decision again, from evidence alone.

It knows the shape of the trial (which leaf stands where) and nothing of the patient. A leaf's outcome must follow
from what its evidence shows: the value and the threshold, the counts, what silence means, how the source was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import Any

from federated.screening.decide.evidence import CriterionOutcome, Evidence, Outcome

TRUTH = {"no": 0, "unknown": 1, "yes": 2}
COMPLETE = ("OK", "EMPTY")
COUNT = re.compile(r"(>=|<=|=) (\d+)")
BETWEEN = re.compile(r"between (-?[\d.]+) and (-?[\d.]+)")
ONE = re.compile(r"(>=|<=|!=|=|>|<) (-?[\d.]+)")


def decision(plan: Any, outcome: Outcome) -> str:
    """The decision that the evidence gives."""
    truths = [criterion(rule, one) for rule, one in zip(plan.rules, outcome.criteria, strict=True)]
    return {0: "not_eligible", 1: "undecided", 2: "eligible"}[min(truths)]


def criterion(rule: Any, outcome: CriterionOutcome) -> int:
    """0 fail, 1 unknown, 2 pass or neutral; checks each leaf on the way."""
    if not rule.enabled:
        return 2
    told = iter(outcome.evidence)
    applies = 2 if rule.applies_if is None else node(rule.applies_if, told)
    if applies == 0:
        return 2
    value = node(rule.where, told)
    value = 2 - value if rule.side == "exclusion" else value
    assert next(told, None) is None, "more evidence than leaves"
    return max(value, 1) if applies == 1 else value


def node(part: Any, told: Iterator[Evidence]) -> int:
    """The truth of a node."""
    name = type(part).__name__
    if name == "Not":
        return 2 - node(part.of, told)
    if name in ("All", "Any", "AtLeast"):
        values = [node(child, told) for child in part.of]
        if name == "AtLeast":
            return 2 if values.count(2) >= part.n else 0 if len(values) - values.count(0) < part.n else 1
        return min(values) if name == "All" else max(values)
    one = next(told)
    expected = leaf(name, part, one)
    assert expected is None or expected == TRUTH[one.outcome], (one.path, one.reason, expected)
    return TRUTH[one.outcome]


def leaf(name: str, part: Any, one: Evidence) -> int | None:
    """What a leaf's evidence proves; None where it shows no more than the outcome itself."""
    if name == "Unread":
        return 1
    if name == "Exists":
        return exists(one)
    if name in ("Count", "Every"):
        return counted(one, silent(one))
    if name == "Latest" and one.source_state not in COMPLETE:
        return 1
    if name == "Mean" and (one.source_state not in COMPLETE or one.considered.possible):
        return 1
    if name in ("Latest", "Mean", "Extreme", "Age", "Each") and one.outcome != "unknown":
        if name not in ("Age", "Each"):
            assert one.considered.definite > 0
        return placed(one)
    return None


def silent(one: Evidence) -> bool:
    """Whether finding nothing means no."""
    closed = one.world == "closed" or any(record.kind == "allergy" for record in one.records)
    return closed and one.source_state in COMPLETE and one.reason != "BEFORE_CARE"


def exists(one: Evidence) -> int | None:
    """Presence by counts, absence by what silence means."""
    if one.considered.definite:
        return 2
    if one.considered.possible:
        return 1
    if one.world != "closed" and one.outcome == "no":
        return None  # a coded statement of none
    return 0 if silent(one) else 1


def ends(one: Evidence) -> tuple[float, float]:
    """The numbers between which the value lies."""
    if isinstance(one.value, int | float):
        return float(one.value), float(one.value)
    return (
        -inf if one.value_low is None else one.value_low,
        inf if one.value_high is None else one.value_high,
    )


def counted(one: Evidence, closed: bool) -> int | None:
    """A count against its threshold."""
    found = COUNT.match(one.threshold or "")
    assert found is not None
    low, high = ends(one)
    high = high if closed else inf
    low = max(low, 0.0)
    return between(low, high, *bounds(found[1], float(found[2])))


def bounds(op: str, n: float) -> tuple[float, float, bool]:
    """Whole numbers that fit."""
    return {">=": (n, inf, False), "<=": (-inf, n, False), "=": (n, n, False), "!=": (n, n, True)}[op]


def between(low: float, high: float, first: float, last: float, negated: bool) -> int:
    """An interval of whole numbers against bounds."""
    truth = 0 if high < first or low > last else 2 if first <= low and high <= last else 1
    return 2 - truth if negated else truth


def placed(one: Evidence) -> int | None:
    """A number against its threshold; None for texts, codes, and several numbers on both sides."""
    if not isinstance(one.value, int | float):
        return None
    found = BETWEEN.match(one.threshold or "")
    if found is not None:
        return 2 if float(found[1]) <= one.value <= float(found[2]) else 0
    single = ONE.match(one.threshold or "")
    assert single is not None
    number, bound = float(one.value), float(single[2])
    fits = {">=": number >= bound, "<=": number <= bound, ">": number > bound, "<": number < bound,
            "=": number == bound, "!=": number != bound}[single[1]]  # fmt: skip
    return 2 if fits else 0
