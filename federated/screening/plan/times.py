"""The calendar arithmetic of a plan: windows, ages and periods become integers once, here.

Only this module knows months. Everything after it compares seconds of the site's wall clock
(docs/write-a-trial.md, "Time"). Ends that do not belong to a window become closed by one second.
"""

from __future__ import annotations

from datetime import date
from math import ceil, floor
from typing import Literal

from ehr.dates import DAY_S, BadDate, Duration, day_start, shift
from federated.screening.plan.nodes import BEGINNING, END, Age, BirthPoint, Span
from federated.screening.trial import value_types

AgeUnit = Literal["a", "mo", "d"]


def day_end(day: date) -> int:
    """Last second of a day."""
    return day_start(day) + DAY_S - 1


def until(index: date) -> Span:
    """The implicit window: all time up to the index date."""
    return Span(BEGINNING, day_end(index), asked=False)


def span(window: value_types.Window | None, index: date) -> Span:
    """A window as seconds.

    Records after the index date never count, whatever the window says; only ``next`` looks forward.
    """
    if window is None:
        return until(index)
    lo, hi = BEGINNING, END if window.forward else day_end(index)
    lo_birth = hi_birth = None
    if window.start is not None:
        skipped = window.ends[0] == "("
        if window.start.anchor == "birth":
            lo_birth = BirthPoint(window.start.offset, window.start.sign, int(skipped))
        else:
            lo = day_start(day_of_point(window.start, index)) + (DAY_S if skipped else 0)
    if window.end is not None:
        skipped = window.ends[1] == ")"
        if window.end.anchor == "birth":
            hi_birth = BirthPoint(window.end.offset, window.end.sign, -int(skipped))
        else:
            hi = min(hi, day_end(day_of_point(window.end, index)) - (DAY_S if skipped else 0))
    return Span(lo, hi, True, lo_birth, hi_birth)


def day_of_point(point: value_types.Point, index: date) -> date:
    """The day of a point that is not counted from birth."""
    day = index if point.anchor == "index" or point.day is None else point.day
    return day if point.offset is None else shift(day, point.offset, point.sign)


def before(duration: Duration, index: date) -> int:
    """First second of the day that lies a duration before the index date."""
    return day_start(shift(index, duration, -1))


def periods(every: value_types.EveryPeriod, index: date) -> tuple[Span, ...]:
    """The windows of ``every``, newest first; the day on a border belongs to the newer one."""
    found: list[Span] = []
    hi, count = day_end(index), 1
    oldest = before(every.over, index)
    while hi >= oldest:
        length = Duration(every.period.count * count, every.period.unit)
        lo = max(before(length, index), oldest)
        found.append(Span(lo, hi))
        hi, count = lo - 1, count + 1
        if lo == oldest:
            break
    return tuple(found)


def age(predicate: value_types.Comparison, unit: AgeUnit, at: date, path: str) -> Age:
    """The days of birth that give an age, in completed units on a day.

    ``>= n`` is: born on or before ``at - n``; ``<= n`` is: born after ``at - (n + 1)``. With that, a birthday on
    the day counts, and 29 February completes on 1 March in common years.
    """
    low, high = _smallest(predicate), _largest(predicate)
    newest, oldest = day_end(at), BEGINNING
    if low is not None and low >= 0:
        last = _back(at, low, unit)
        newest = BEGINNING if last is None else day_end(last)
    if high is not None:
        too_old = _back(at, high + 1, unit) if high >= 0 else at
        oldest = BEGINNING if too_old is None else day_end(too_old) + 1
    words = {"a": "years", "mo": "months", "d": "days"}[unit]
    text = f"{predicate} {words}"
    return Age(path, Span(oldest, newest), predicate.negated, day_start(at), unit, low, high, text)


def _back(at: date, count: int, unit: AgeUnit) -> date | None:
    """The day ``count`` units earlier; None before the calendar begins."""
    try:
        return shift(at, Duration(count, unit), -1)
    except BadDate:
        return None


def _smallest(asked: value_types.Comparison) -> int | None:
    if asked.low is None:
        return None
    return ceil(asked.low) if asked.low_closed else floor(asked.low) + 1


def _largest(asked: value_types.Comparison) -> int | None:
    if asked.high is None:
        return None
    return floor(asked.high) if asked.high_closed else ceil(asked.high) - 1
