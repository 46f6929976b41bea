"""Leaves over the mere presence of records: exists, count, every (``trial-matching`` 3.2).

Finding none means no only where silence does: the kind is closed, complete, and in care by then.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

from federated.screening.decide.certainty import Gathered, Grade, same_day
from federated.screening.decide.finding import Found, Gatherer, Run, Tools
from federated.screening.decide.three_values import NO, UNKNOWN, YES, at_least, counted, every
from federated.screening.plan.nodes import Count, Every, Exists, TimeRule


def exists(leaf: Exists, tools: Tools) -> Run:
    """At least one record."""
    gather = Gatherer(leaf.select, tools)

    def run(case: Any) -> Found:
        gathered = gather(case)
        best = max((grade.sure for grade in gathered.kept), default=NO)
        if best == YES:
            return Found(YES, "CODE_PRESENT", gathered, gathered.kept)
        if best == UNKNOWN:
            return Found(UNKNOWN, gathered.reason, gathered, gathered.kept)
        reason = gather.why_silent(case)
        if reason is None:
            return Found(NO, "DATE_OUTSIDE" if "window" in gathered.dropped else "CODE_ABSENT", gathered)
        return Found(UNKNOWN, reason, gathered)

    return run


def count(leaf: Count, tools: Tools) -> Run:
    """How many records, or days with one."""
    gather = Gatherer(leaf.select, tools)

    def run(case: Any) -> Found:
        gathered = gather(case)
        yes, perhaps = groups(gathered.kept, leaf.distinct)
        silent = gather.why_silent(case)
        if silent is None:
            truth = counted(leaf.op, leaf.n, yes, perhaps)
        else:
            truth = _unproved(leaf, yes)
        found = Found(truth, "", gathered, gathered.kept, low=yes, high=None if silent else yes + perhaps)
        found.reason = _count_reason(found, leaf, silent, perhaps)
        found.margin = _distance(leaf, yes) if yes + perhaps == yes else None
        return found

    return run


def _unproved(leaf: Count, yes: int) -> int:
    """A count of which only the lower end is known."""
    if leaf.op == ">=":
        return YES if yes >= leaf.n else UNKNOWN
    return NO if yes > leaf.n else UNKNOWN


def _count_reason(found: Found, leaf: Count, silent: str | None, perhaps: int) -> str:
    if found.truth == YES:
        return "IN_RANGE"
    if found.truth == NO:
        return "COUNT_HIGH" if found.low is not None and found.low > leaf.n else "COUNT_LOW"
    if perhaps and found.gathered is not None and any(grade.reason for grade in found.gathered.kept):
        return found.gathered.reason
    return silent or "DATE_UNCERTAIN"


def _distance(leaf: Count, yes: int) -> float:
    return float(yes - leaf.n if leaf.op == ">=" else leaf.n - yes if leaf.op == "<=" else -abs(yes - leaf.n))


def groups(kept: list[Grade], distinct: str) -> tuple[int, int]:
    """How many groups surely, and how many more perhaps.

    By days, a record whose day is not known may share the day of any other: it adds nothing for sure, except
    that one such record alone is one day.
    """
    best: dict[Hashable, int] = {}
    vague_sure = vague = 0
    for number, grade in enumerate(kept):
        if distinct == "records":
            key: Hashable = identity(grade) or number
        else:
            day = same_day(grade.time)
            if day is None:
                vague, vague_sure = vague + 1, vague_sure + (grade.sure == YES)
                continue
            key = day
        best[key] = max(best.get(key, NO), grade.sure)
    yes = sum(sure == YES for sure in best.values())
    perhaps = len(best) - yes + vague
    if not yes and vague_sure:
        return 1, perhaps - 1
    return yes, perhaps


def identity(grade: Grade) -> Hashable:
    """What two records share that are one fact under two ids: codes, instant, value, site; None if undated.

    Only an instant says so: two procedures of one day, without a time, may be two.
    """
    time, record = grade.time, grade.entry.record
    if time is None or time.lo != time.hi:
        return None
    codes = tuple((coding.system, coding.code) for concept in record.concepts for coding in concept.coding)
    if not codes:
        return None
    value = getattr(record, "value", None)
    return (
        record.type_name,
        codes,
        time,
        value,
        getattr(record, "component", None),
        getattr(record, "body_site", None),
    )


def each_period(leaf: Every, tools: Tools) -> Run:
    """At least so many records in each window."""
    parts: list[Gatherer] = []
    for span in leaf.spans:
        times = tuple(TimeRule(rule.of, span) for rule in leaf.select.times)
        parts.append(Gatherer(replace(leaf.select, times=times), tools, span))
    whole = Gatherer(leaf.select, tools)

    def run(case: Any) -> Found:
        truths, lows, highs = [], [], []
        silent: str | None = None
        for gather in parts:
            yes, perhaps = groups(gather(case).kept, "records")
            why = gather.why_silent(case)
            silent = silent or why
            truths.append(max(at_least(leaf.times, yes, perhaps), UNKNOWN if why else NO))
            lows.append(yes)
            highs.append(yes + perhaps)
        gathered = whole(case)
        truth = every(truths)
        reason = {YES: "IN_RANGE", NO: "COUNT_LOW"}.get(truth) or _vague(gathered, silent)
        low, high = min(lows), None if silent else min(highs)
        margin = float(low - leaf.times) if low == high else None
        return Found(truth, reason, gathered, gathered.kept, low=low, high=high, margin=margin)

    return run


def _vague(gathered: Gathered, silent: str | None) -> str:
    return gathered.reason if any(grade.reason for grade in gathered.kept) else silent or "DATE_UNCERTAIN"
