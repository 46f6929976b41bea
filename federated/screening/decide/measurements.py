"""Leaves over results: latest, earliest, any, all, min, max, mean.

None of them reads "no result" as an answer, and none guesses which of two uncertain times was later.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from math import fsum, inf
from typing import Any, NamedTuple

from ehr.dates import DAY_S, Interval
from federated.screening.decide.case import Case
from federated.screening.decide.certainty import SOURCE, Gathered, Grade, before_care, first_reason, same_day
from federated.screening.decide.exists import identity
from federated.screening.decide.finding import Found, Gatherer, Run, Tools
from federated.screening.decide.quantities import Judged, NumberRange, compared, judge
from federated.screening.decide.three_values import UNKNOWN, YES, both, either, every, opened, some
from federated.screening.plan.nodes import BEGINNING, END, Asked, Each, Extreme, Latest, Mean, Scale, Select

Judge = Callable[[Any], Judged]
ALWAYS = Interval(BEGINNING, END)
RELATIVE = 1e-9
"""A mean closer to its bound than this share of it is unknown: float64 sums cannot tell."""


class Read(NamedTuple):
    """A graded record with what its value says."""

    grade: Grade
    judged: Judged


def reader(asked: Asked, tools: Tools) -> Judge:
    """How the value of a record, or of its component, is judged."""
    component = asked.component
    if component is None:
        return lambda record: judge(record.value, asked, tools.code_of)

    def read(record: Any) -> Judged:
        parts = [
            judge(part.value if part.data_absent_reason is None else None, asked, tools.code_of)
            for part in record.component
            if part.code is not None
            and any(
                (code := tools.code_of(coding)) is not None and component.has(code)
                for coding in part.code.coding
            )
        ]
        if not parts:
            return Judged(UNKNOWN, "VALUE_MISSING")
        if len({part.truth for part in parts}) > 1:
            return Judged(UNKNOWN, "LATEST_AMBIGUOUS")
        return min(parts, key=lambda part: (part.low is None, part.low or 0.0, part.original or ""))

    return read


def decided(judged: Judged, asked: Asked) -> str:
    """The reason code of a value that is decided."""
    if asked.codes is not None or asked.texts:
        return "CODE_PRESENT" if judged.truth == YES else "NOT_EQUAL"
    if judged.truth == YES:
        return "IN_RANGE"
    if asked.negated:
        return "NOT_EQUAL"
    return "ABOVE_MAX" if judged.side > 0 else "BELOW_MIN"


def margin(judged: Judged, asked: Asked) -> float | None:
    """Signed distance of a plain number to the nearest bound; positive where it is met."""
    if judged.low is None or judged.low != judged.high or not asked.scales or asked.negated:
        return None
    own = asked.own
    ends = [judged.low - own.low] if own.low != -inf else []
    ends += [own.high - judged.low] if own.high != inf else []
    return round(min(ends), 9) if ends else None


def latest(leaf: Latest, tools: Tools) -> Run:
    """The newest (oldest) value, where every value that may be the newest says the same."""
    gather, read, kind = Gatherer(leaf.select, tools), reader(leaf.asked, tools), leaf.select.kind

    def run(case: Case) -> Found:
        gathered = gather(case)
        possible = candidates(gathered.kept, leaf)
        values = [Read(grade, _aged(read(grade.entry.record), grade, leaf)) for grade in possible]
        values = _of_the_day(values, leaf)
        found = _common(values, gathered, leaf.asked)
        state = case.state(kind)
        if not state.complete:
            # A newer one may be among what was not read, whatever was.
            found.truth, found.reason = UNKNOWN, SOURCE[state]
        elif gathered.definite == 0:
            found.truth = UNKNOWN
            found.reason = gathered.reason if gathered.kept else "NOT_RECORDED"
        elif leaf.earliest and before_care(leaf.select, leaf.select.span):
            found.truth, found.reason = UNKNOWN, "BEFORE_CARE"
        return found

    return run


def candidates(kept: list[Grade], leaf: Latest) -> list[Grade]:
    """The records of which one is the newest: those that may lie at or after the newest sure one."""
    times = [_day_wide(grade.time, leaf) for grade in kept]
    sure = [time for grade, time in zip(kept, times, strict=True) if grade.sure == YES]
    if not sure:
        return kept
    if leaf.earliest:
        limit = min(time.hi for time in sure)
        return [grade for grade, time in zip(kept, times, strict=True) if time.lo <= limit]
    limit = max(time.lo for time in sure)
    return [grade for grade, time in zip(kept, times, strict=True) if time.hi >= limit]


def _day_wide(time: Interval | None, leaf: Latest) -> Interval:
    if time is None:
        return ALWAYS
    if leaf.same_day == "time":
        return time
    return Interval(time.lo // DAY_S * DAY_S, time.hi // DAY_S * DAY_S + DAY_S - 1)


def _aged(judged: Judged, grade: Grade, leaf: Latest) -> Judged:
    """A value that is too old counts as unknown."""
    if leaf.stale_before is None or judged.truth == UNKNOWN:
        return judged
    if grade.time is None or grade.time.lo < leaf.stale_before <= grade.time.hi:
        return judged._replace(truth=UNKNOWN, reason="DATE_UNCERTAIN")
    return judged if grade.time.lo >= leaf.stale_before else judged._replace(truth=UNKNOWN, reason="STALE")


def _of_the_day(values: list[Read], leaf: Latest) -> list[Read]:
    """The lowest (highest) of sure numbers on one day, where the author asks for it; else all of them."""
    if leaf.same_day == "time" or len(values) < 2:
        return values
    days = {same_day(value.grade.time) for value in values}
    plain = all(
        value.grade.sure == YES and value.judged.low == value.judged.high is not None for value in values
    )
    if len(days) != 1 or None in days or not plain:
        return values
    pick = min if leaf.same_day == "lowest" else max
    return [pick(values, key=lambda value: (value.judged.low or 0.0, value.judged.original or ""))]


def _common(values: list[Read], gathered: Gathered, asked: Asked) -> Found:
    """The truth that all values share."""
    used = [value.grade for value in values]
    truths = {value.judged.truth for value in values}
    merged = _hull([value.judged for value in values])
    if len(truths) == 1 and truths != {UNKNOWN}:
        return Found(
            truths.pop(), decided(merged, asked), gathered, used, merged, margin=margin(merged, asked)
        )
    reasons = {value.judged.reason for value in values if value.judged.reason}
    reason = first_reason(reasons) if truths == {UNKNOWN} else "LATEST_AMBIGUOUS"
    return Found(UNKNOWN, reason, gathered, used, merged if values else None)


def _hull(values: list[Judged]) -> Judged:
    """One value for evidence: the only one, or the stretch that holds them all."""
    first = min(
        values, key=lambda one: (one.original or "", one.shown or "", one.unit or ""), default=Judged(UNKNOWN)
    )
    if all((one.low, one.high, one.shown, one.original, one.unit) == first[2:7] for one in values):
        return first
    lows, highs = [one.low for one in values], [one.high for one in values]
    low = min((one for one in lows if one is not None), default=None) if None not in lows else None
    high = max((one for one in highs if one is not None), default=None) if None not in highs else None
    shown = first.shown if all(one.shown == first.shown for one in values) else None
    return first._replace(low=low, high=high, shown=shown, original=None, unit=None)


def _shortness(select: Select, case: Case, gathered: Gathered) -> str | None:
    """Why there may be more values than were found; None where what is recorded is all there is."""
    state = case.state(select.kind)
    if not state.complete:
        return SOURCE[state]
    if select.world == "open" or (select.world == "recorded" and gathered.definite == 0):
        return "NOT_RECORDED"
    return "BEFORE_CARE" if before_care(select, select.span) else None


def each(leaf: Each, tools: Tools) -> Run:
    """Any, or all, of the values."""
    gather, read = Gatherer(leaf.select, tools), reader(leaf.asked, tools)

    def run(case: Case) -> Found:
        gathered = gather(case)
        values = [Read(grade, read(grade.entry.record)) for grade in gathered.kept]
        short = _shortness(leaf.select, case, gathered)
        if leaf.all:
            truth, reason = _all(values, short)
        else:
            truth = some(both(value.grade.sure, value.judged.truth) for value in values)
            silent = short or (None if values else gather.why_silent(case))
            truth, reason = (opened(truth), silent) if silent else (truth, None)
        return _with_used(truth, reason, values, gathered, leaf.asked)

    return run


def _all(values: list[Read], short: str | None) -> tuple[int, str | None]:
    """All values; never by there being none."""
    if not values:
        return UNKNOWN, short or "NOT_RECORDED"
    truth = every(either(YES - value.grade.sure, value.judged.truth) for value in values)
    if not any(value.grade.sure == YES for value in values):
        return both(truth, UNKNOWN), short
    return (UNKNOWN, short) if short and truth == YES else (truth, short)


def _with_used(truth: int, why: str | None, values: list[Read], gathered: Gathered, asked: Asked) -> Found:
    """A finding that shows the values which decide it."""
    deciding = [
        value for value in values if value.judged.truth == truth and value.grade.sure == YES
    ] or values
    if truth == UNKNOWN:
        deciding = [value for value in values if UNKNOWN in (value.judged.truth, value.grade.sure)] or values
        reasons = [
            reason for value in deciding for reason in (value.judged.reason, value.grade.reason) if reason
        ]
        merged = _hull([value.judged for value in deciding]) if deciding else None
        return Found(
            UNKNOWN, first_reason(reasons or [why]), gathered, [one.grade for one in deciding], merged
        )
    if not deciding:
        return Found(truth, "CODE_ABSENT", gathered)
    merged = _hull([value.judged for value in deciding])._replace(truth=truth)
    used = [value.grade for value in deciding]
    return Found(truth, decided(merged, asked), gathered, used, merged, margin=margin(merged, asked))


def extreme(leaf: Extreme, tools: Tools) -> Run:
    """The largest (smallest) value: one bound by some value, the other by all."""
    gather = Gatherer(leaf.select, tools)
    asked = replace(leaf.asked, negated=False)
    whole, above, below = (
        reader(one, tools) for one in (asked, _one_sided(asked, low=True), _one_sided(asked, low=False))
    )
    one_by, all_by = (above, below) if leaf.which == "max" else (below, above)
    # A bound that was not asked is met by any value, even by one that is missing.
    sides = (asked.own.low != -inf, asked.own.high != inf)
    reaching, keeping = sides if leaf.which == "max" else sides[::-1]

    def run(case: Case) -> Found:
        gathered = gather(case)
        if not gathered.definite:
            missing = _shortness(leaf.select, case, gathered) or "NOT_RECORDED"
            return Found(UNKNOWN, gathered.reason if gathered.kept else missing, gathered, gathered.kept)
        short = _shortness(leaf.select, case, gathered)
        reached = kept_to = YES
        if reaching:
            reached = some(both(grade.sure, one_by(grade.entry.record).truth) for grade in gathered.kept)
            reached = opened(reached) if short else reached
        if keeping:
            kept_to = every(
                either(YES - grade.sure, all_by(grade.entry.record).truth) for grade in gathered.kept
            )
            kept_to = both(kept_to, UNKNOWN) if short else kept_to
        truth = both(reached, kept_to)
        truth = YES - truth if leaf.asked.negated else truth
        values = [Read(grade, whole(grade.entry.record)) for grade in gathered.kept]
        return _extreme_found(truth, short, values, gathered, leaf)

    return run


def _one_sided(asked: Asked, low: bool) -> Asked:
    """The same question with one of its bounds, in every unit."""

    def cut(scale: Scale) -> Scale:
        keeps_low = low == (scale.slope > 0)
        return (
            replace(scale, high=inf, high_closed=True)
            if keeps_low
            else replace(scale, low=-inf, low_closed=True)
        )

    return replace(asked, scales={unit: cut(scale) for unit, scale in asked.scales.items()})


def _extreme_found(
    truth: int, short: str | None, values: list[Read], gathered: Gathered, leaf: Extreme
) -> Found:
    sure = [
        one
        for one in values
        if one.grade.sure == YES and one.judged.low is not None and one.judged.high is not None
    ]
    if truth == UNKNOWN or not sure:
        return _with_used(truth, short, values, gathered, leaf.asked)
    pick = max if leaf.which == "max" else min
    best = pick(sure, key=lambda one: (one.judged.low or 0.0, one.judged.original or ""))
    judged = best.judged._replace(truth=truth)
    return Found(
        truth, decided(judged, leaf.asked), gathered, [best.grade], judged, margin=margin(judged, leaf.asked)
    )


def mean(leaf: Mean, tools: Tools) -> Run:
    """The arithmetic mean of all values, summed exactly; unknown next to the bound."""
    gather, read = Gatherer(leaf.select, tools), reader(leaf.asked, tools)

    def run(case: Case) -> Found:
        gathered = gather(case)
        values = list(_once([Read(grade, read(grade.entry.record)) for grade in gathered.kept]).values())
        short = _shortness(leaf.select, case, gathered)
        vague = [
            value for value in values if value.grade.sure != YES or value.judged.low != value.judged.high
        ]
        missing = [value for value in values if value.judged.low is None]
        if short or vague or missing or not values:
            return _with_used(UNKNOWN, short, values, gathered, leaf.asked)
        average = fsum(sorted(value.judged.low or 0.0 for value in values)) / len(values)
        judged = _against(average, leaf.asked)
        reason = judged.reason or decided(judged, leaf.asked)
        used = [value.grade for value in values]
        return Found(judged.truth, reason, gathered, used, judged, margin=margin(judged, leaf.asked))

    return run


def _once(values: list[Read]) -> dict[Hashable, Read]:
    return {identity(value.grade) or number: value for number, value in enumerate(values)}


def _against(average: float, asked: Asked) -> Judged:
    own = asked.own
    for end in (own.low, own.high):
        if abs(end) != inf and abs(average - end) <= RELATIVE * max(abs(end), abs(average)):
            return Judged(UNKNOWN, "VALUE_MISSING", average, average)
    truth, side = compared(NumberRange(average, average), own, asked.negated)
    return Judged(truth, None, average, average, side=side)
