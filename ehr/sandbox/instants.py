"""FHIR dates as intervals of microseconds since 0001-01-01 UTC, and the sandbox's clock.

Whole numbers instead of `datetime`: the end of 9999 and the start of 0001 with an offset stay countable.
Values without a zone count as UTC, as many servers do.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any

Clock = Callable[[], datetime]
Interval = tuple[int, int]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
EVER: Interval = (-(10**19), 10**19)

_PATTERN = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


def utc_now() -> datetime:
    """The machine's clock; the default where none is given."""
    return datetime.now(UTC)


def http_date(moment: datetime) -> str:
    """A moment as HTTP writes it, in whole seconds of GMT."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def microseconds(moment: datetime) -> int:
    """A moment on the scale of the intervals here."""
    elapsed = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    return (elapsed.days + 1) * _DAY + elapsed.seconds * _SECOND + elapsed.microseconds


def interval(text: str) -> Interval | None:
    """The half-open interval that a date, partial date or instant covers; None if it is none of them."""
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal() * _DAY
    except ValueError:
        return None
    if hour is None:
        return start, start + _days(int(year), month, day) * _DAY
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        return None
    start += (int(hour) * 3600 + int(minute) * 60 + int(second or 0)) * _SECOND - _offset(zone)
    if fraction is not None:
        start += int(fraction[:6].ljust(6, "0"))
        return start, start + max(10 ** (6 - len(fraction)), 1) if len(fraction) < 6 else start + 1
    return start, start + (_SECOND if second is not None else 60 * _SECOND)


def _days(year: int, month: str | None, day: str | None) -> int:
    if day is not None:
        return 1
    if month is not None:
        return calendar.monthrange(year, int(month))[1]
    return 366 if calendar.isleap(year) else 365


def _offset(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    return (hours * 60 + minutes) * 60 * _SECOND * (-1 if zone[0] == "-" else 1)


def interval_of(value: Any) -> Interval | None:
    """The interval of an element: a date, an instant, or a Period (open where it has no start or end)."""
    if isinstance(value, str):
        return interval(value)
    if not isinstance(value, dict) or not {"start", "end"} & value.keys():
        return None
    start, end = (interval(str(value.get(name, ""))) for name in ("start", "end"))
    return (start or EVER)[0], (end or EVER)[1]


def compare(prefix: str, asked: Interval, held: Interval, now: int) -> bool:
    """Whether a held interval answers a search, by the rules of FHIR R4 search (section 3.1.1.4.5)."""
    within = asked[0] <= held[0] and held[1] <= asked[1]
    if prefix == "ap":
        slack = abs(now - asked[0]) // 10
        return held[1] > asked[0] - slack and held[0] < asked[1] + slack
    return {
        "eq": within,
        "ne": not within,
        "gt": held[1] > asked[1],
        "lt": held[0] < asked[0],
        "ge": held[1] > asked[1] or within,
        "le": held[0] < asked[0] or within,
        "sa": held[0] >= asked[1],
        "eb": held[1] <= asked[0],
    }[prefix]
