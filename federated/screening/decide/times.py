"""When a record happened, as an interval of seconds on the site's wall clock.

None means undated: no time, a sentinel such as 1900-01-01, or words. An interval may be as long as the source was
vague: a year, a month, or the days between the start and the end of a period.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ehr.dates import DAY_S, BadDate, Duration, Interval, birthday, day_of, day_start, interval_of
from ehr.records.elements import Quantity, RecordedTime
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.nodes import BEGINNING, END, BirthPoint, Span

CACHED = 65_536
_AGE_UNITS = {
    "a": "a",
    "year": "a",
    "years": "a",
    "mo": "mo",
    "month": "mo",
    "months": "mo",
    "d": "d",
    "wk": "wk",
}


class Clock(NamedTuple):
    """How texts become intervals at one site, and when this patient was born."""

    interval: Callable[[str | None], Interval | None]
    born: Interval | None = None


def clock_of(zone: tzinfo) -> Callable[[str | None], Interval | None]:
    """`ehr.dates.interval_of` in a zone, remembering what it has read."""

    @lru_cache(maxsize=CACHED)
    def interval(text: str | None) -> Interval | None:
        return interval_of(text, zone)

    return interval


def whole(time: RecordedTime | None, clock: Clock) -> Interval | None:
    """All of the time: a period from its first to its last second; without an end, its start."""
    if time is None:
        return None
    if time.at is not None:
        return clock.interval(time.at)
    if time.age is not None:
        return _at_age(time.age, clock.born)
    start, end = clock.interval(time.start), clock.interval(time.end)
    if start is None:
        return None if end is None else Interval(BEGINNING, end.hi)
    return start if end is None else Interval(start.lo, max(start.hi, end.hi))


def start(time: RecordedTime | None, clock: Clock) -> Interval | None:
    """The start of a period, the time itself otherwise."""
    if time is None or time.at is not None or time.age is not None:
        return whole(time, clock)
    first, end = clock.interval(time.start), clock.interval(time.end)
    if first is None and end is not None:
        return Interval(BEGINNING, end.hi)
    return first


def end(time: RecordedTime | None, clock: Clock) -> Interval | None:
    """The end of a period, the time itself otherwise."""
    if time is None or time.at is not None or time.age is not None:
        return whole(time, clock)
    return clock.interval(time.end)


def _at_age(age: Quantity, born: Interval | None) -> Interval | None:
    """The days on which a person had an age in completed units."""
    unit = _AGE_UNITS.get((age.unit_code or "").strip())
    if age.value is None or age.comparator is not None or unit is None or born is None:
        return None
    if not 0 <= age.value < 200_000:
        return None
    count = int(age.value)
    try:
        first = birthday(day_of(born.lo), Duration(count, unit))  # type: ignore[arg-type]  # a value of the table
        after = birthday(day_of(born.hi), Duration(count + 1, unit))  # type: ignore[arg-type]  # likewise
    except BadDate:
        return None
    return Interval(day_start(first), day_start(after) - 1)


def _onset(record: Any, clock: Clock) -> Interval | None:
    at = getattr(record, "onset_date_time", None)
    return clock.interval(at) if at is not None else start(record.onset, clock)


def _known(record: Any, clock: Clock) -> Interval | None:
    """Onset, else the day it was written down: the latest that a condition can have begun."""
    return _onset(record, clock) or whole(record.recorded, clock)


def _effective(record: Any, clock: Clock) -> Interval | None:
    at = record.effective_date_time
    return clock.interval(at) if at is not None else whole(record.effective, clock)


def _performed(record: Any, clock: Clock) -> Interval | None:
    at = record.performed_date_time
    return clock.interval(at) if at is not None else whole(record.performed, clock)


def _starts(record: Any, clock: Clock) -> Interval | None:
    period = getattr(record, "period", None)
    first = clock.interval(period.start) if period is not None else None
    return first or start(record.when, clock)


READERS: Mapping[str, Callable[[Any, Clock], Interval | None]] = MappingProxyType(
    {
        "known": _known,
        "onset": _onset,
        "recorded": lambda record, clock: whole(record.recorded, clock),
        "active": _onset,
        "performed": _performed,
        "authored": lambda record, clock: whole(record.authored, clock),
        "effective": _effective,
        "occurred": lambda record, clock: whole(record.occurred, clock),
        "when": _starts,
        "start": _starts,
        "whole": lambda record, clock: whole(record.when, clock),
    }
)
"""Which time of a record a rule is about, by the name in `nodes.TimeRule`."""

_RECORDED_AS = MappingProxyType({"active": "onset", "start": "when", "whole": "when"})


def recorded_time(of: str, record: Any) -> RecordedTime | None:
    """The same time as it was recorded, for evidence."""
    time: RecordedTime | None = getattr(record, "onset" if of == "known" else _RECORDED_AS.get(of, of))
    return time or record.recorded if of == "known" else time


def inside(time: Interval | None, window: Span, born: Interval | None = None) -> int:
    """Whether a time lies in a window; an undated one does where no window was asked."""
    if time is None:
        return UNKNOWN if window.asked else YES
    if window.lo_birth is None and window.hi_birth is None:
        if window.lo <= time.lo and time.hi <= window.hi:
            return YES
        return NO if time.hi < window.lo or time.lo > window.hi else UNKNOWN
    lo, hi = _ends(window, born)
    if lo.hi <= time.lo and time.hi <= hi.lo:
        return YES
    return NO if time.hi < lo.lo or time.lo > hi.hi else UNKNOWN


def covered(
    begun: Interval | None, ended: Interval | None, window: Span, born: Interval | None = None
) -> int:
    """Whether a stretch lies wholly in a window: its beginning does, and its end, which is later if not known."""
    if begun is not None and ended is not None and ended.hi < begun.lo:
        return UNKNOWN  # nobody can tell which of the two is wrong
    last = ended or Interval(BEGINNING if begun is None else begun.lo, END)
    return min(inside(begun, window, born), inside(last, window, born))


def overlaps(
    begun: Interval | None, ended: Interval | None, ongoing: bool, window: Span, born: Interval | None = None
) -> int:
    """Whether a stretch from an uncertain beginning to an uncertain end touches a window.

    Args:
        begun: when it began; None: not known.
        ended: when it ended; None: it goes on (``ongoing``), or the end is not known.
        window, born: see `inside`.
    """
    first, last = begun or Interval(BEGINNING, END), ended or Interval(BEGINNING, END)
    if last.hi < first.lo:
        return UNKNOWN  # nobody can tell which of the two is wrong
    if ongoing and ended is None:
        last = Interval(END, END)
    lo, hi = _ends(window, born)
    # It never ends before it begins.
    earliest_end = max(last.lo, first.lo)
    if lo.hi <= hi.lo and first.hi <= hi.lo and earliest_end >= lo.hi:
        return YES
    return NO if first.lo > hi.hi or last.hi < lo.lo else UNKNOWN


def _ends(window: Span, born: Interval | None) -> tuple[Interval, Interval]:
    """The first and last second of a window as intervals: they depend on a birth date that may be partial."""
    lo, hi = Interval(window.lo, window.lo), Interval(window.hi, window.hi)
    if window.lo_birth is not None:
        lo = _counted(window.lo_birth, born, 0)
    if window.hi_birth is not None:
        hi = _counted(window.hi_birth, born, DAY_S - 1)
        hi = Interval(min(hi.lo, window.hi), min(hi.hi, window.hi))
    return lo, hi


def _counted(point: BirthPoint, born: Interval | None, second: int) -> Interval:
    if born is None:
        return Interval(BEGINNING, END)
    days = [_moved(point, at) + point.days * DAY_S + second for at in (born.lo, born.hi)]
    return Interval(min(days), max(days))


def _moved(point: BirthPoint, second: int) -> int:
    day = day_of(second)
    try:
        if point.offset is not None:
            from_birth = Duration(point.offset.count * point.sign, point.offset.unit)
            day = birthday(day, from_birth)
    except BadDate:
        return BEGINNING if point.sign < 0 else END
    return day_start(day)
