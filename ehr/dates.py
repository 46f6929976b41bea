"""Dates as an EHR gives them: partial, with or without a zone; and the calendar arithmetic over them.

Every time becomes an `Interval` of whole seconds on the site's wall clock, so a year, a month, a day and an
instant are compared in one way. The numbers are seconds since 1970-01-01 00:00:00 *local*: they are not Unix
time and never cross a zone again (docs/write-a-trial.md, "Time"; HL7 FHIR R4, date and dateTime).
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()

Precision = Literal["year", "month", "day", "second"]
Unit = Literal["h", "d", "wk", "mo", "a"]

SENTINELS = frozenset({"0001-01-01", "1753-01-01", "1800-01-01", "1800", "1900-01-01", "9999-12-31", "9999"})
"""Days that systems write for "unknown"; a date of these is not a date (S38)."""

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?\Z", re.ASCII)
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?([Zz]|[+-]\d{2}:?\d{2})?\Z",
    re.ASCII,
)
_SEPARATORS = frozenset({"--T:", "--"})
_DURATION = re.compile(r"(\d{1,6})\s*([a-z]+)\Z", re.ASCII)
_WORDS: dict[str, Unit] = {
    "h": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
    "wk": "wk", "week": "wk", "weeks": "wk",
    "mo": "mo", "month": "mo", "months": "mo",
    "a": "a", "year": "a", "years": "a",
}  # fmt: skip


class BadDate(ValueError):
    """A text is not a FHIR date, dateTime or duration. The message never repeats it."""


class Interval(NamedTuple):
    """A closed stretch of the site's wall clock: ``lo <= hi``, both inside, in seconds."""

    lo: int
    hi: int


@dataclass(frozen=True, slots=True, order=True)
class PartialDate:
    """A calendar date of which the day, or the month and the day, may be missing."""

    year: int
    month: int | None = None
    day: int | None = None

    @property
    def precision(self) -> Precision:
        """What is known: ``year``, ``month`` or ``day``."""
        if self.month is None:
            return "year"
        return "month" if self.day is None else "day"

    def first(self) -> date:
        """The earliest day it can be."""
        return date(self.year, self.month or 1, self.day or 1)

    def last(self) -> date:
        """The latest day it can be."""
        month = self.month or 12
        return date(self.year, month, self.day or monthrange(self.year, month)[1])

    def interval(self) -> Interval:
        """From the first second of the first day to the last second of the last."""
        return Interval(day_start(self.first()), day_start(self.last()) + DAY_S - 1)

    def same(self, other: PartialDate) -> bool | None:
        """Whether both name the same day: True, False, or None when the precision does not tell."""
        if self.interval().hi < other.interval().lo or other.interval().hi < self.interval().lo:
            return False
        return True if self.day is not None and other.day is not None else None

    def __str__(self) -> str:
        parts = [f"{self.year:04}"] + [f"{part:02}" for part in (self.month, self.day) if part is not None]
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class Instant:
    """A time of day on the site's wall clock.

    Args:
        local: naive local time, cut to whole seconds.
        zone_assumed: True where the source gave no zone and the site's was taken.
    """

    local: datetime
    zone_assumed: bool = False

    @property
    def precision(self) -> Precision:
        """Always ``second``."""
        return "second"

    def interval(self) -> Interval:
        """One second."""
        at = (
            day_start(self.local.date()) + self.local.hour * 3600 + self.local.minute * 60 + self.local.second
        )
        return Interval(at, at)


def day_start(day: date) -> int:
    """First second of a day."""
    return (day.toordinal() - _EPOCH) * DAY_S


def day_of(second: int) -> date:
    """The calendar day in which a second lies."""
    return date.fromordinal(second // DAY_S + _EPOCH)


def is_sentinel(text: str) -> bool:
    """Whether the text is one of the dates that stand for "unknown" (S38): those of the list, and any of 1800."""
    return text[:10] in SENTINELS or text[:5] == "1800-"


def time_texts(texts: Iterable[str]) -> int:
    """How many of the texts are times (see `is_time_text`)."""
    found, read = 0, datetime.fromisoformat
    for text in texts:
        # The quick way covers what servers send as a rule; separators first, because Python reads more forms.
        if text[4:14:3] in _SEPARATORS:
            try:
                read(text)
            except ValueError:
                pass
            else:
                found += 1
                continue
        found += _is_variant(text)
    return found


def is_time_text(text: str) -> bool:
    """Whether a text is a FHIR date, dateTime or instant, or one of the variants that are read here."""
    return time_texts((text,)) == 1


def _is_variant(text: str) -> bool:
    try:
        parse_time(text, UTC)
    except BadDate:
        return False
    return True


def parse_date(text: str) -> PartialDate:
    """Read a FHIR ``date``: ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``.

    Raises:
        BadDate: the text has another form, or names no day of the calendar.
    """
    found = _DATE.match(text)
    if found is None:
        raise BadDate(
            f"a text of {len(text)} characters is not a date of the form YYYY, YYYY-MM or YYYY-MM-DD"
        )
    year, month, day = (None if part is None else int(part) for part in found.groups())
    parsed = PartialDate(year or 0, month, day)
    try:
        date(parsed.year, 1 if month is None else month, 1 if day is None else day)
    except ValueError:
        raise BadDate("a date names a day that the calendar does not have") from None
    return parsed


def parse_time(text: str, zone: tzinfo) -> PartialDate | Instant:
    """Read a FHIR ``date``, ``dateTime`` or ``instant`` and move it to the site's zone.

    Args:
        text: as the source wrote it.
        zone: the site's zone; a time without one is taken to be in it.

    Raises:
        BadDate: the text has another form, or names no time of the calendar.
    """
    found = _TIME.match(text)
    if found is None:
        return parse_date(text)
    day, hour, minute, second, offset = found.groups()
    seconds = min(int(second or 0), 59)  # a leap second is the last second that a clock here can show
    try:
        if (hour, minute) == ("24", "00"):  # some vendors write midnight so
            naive = datetime.fromisoformat(day) + timedelta(days=1)
        else:
            naive = datetime.fromisoformat(f"{day}T{hour}:{minute}:{seconds:02}")
        if offset is None:
            return Instant(naive, zone_assumed=True)
        aware = datetime.fromisoformat(f"{naive.isoformat()}{_offset(offset)}")
        return Instant(aware.astimezone(zone).replace(tzinfo=None))
    except (ValueError, OverflowError):
        raise BadDate("a dateTime names a time that the calendar does not have") from None


def _offset(text: str) -> str:
    if text in ("Z", "z"):
        return "+00:00"
    return text if ":" in text else f"{text[:3]}:{text[3:]}"


def interval_of(text: str | None, zone: tzinfo) -> Interval | None:
    """The interval of a date or time, or None where nothing can be known from it.

    None for a missing text, a sentinel and a text that is no date: such an entry is *undated*.
    """
    if not text or is_sentinel(text):
        return None
    try:
        return parse_time(text, zone).interval()
    except BadDate:
        return None


@dataclass(frozen=True, slots=True)
class Duration:
    """A count of calendar units: hours, days, weeks, months or years."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


def parse_duration(text: str) -> Duration:
    """Read ``6 mo``, ``12 months``, ``730 d``, ``24 h``.

    Raises:
        BadDate: the text is not a count and a unit (h, d, wk, mo, a, or their English words).
    """
    found = _DURATION.match(text.strip().lower())
    if found is None or found[2] not in _WORDS:
        raise BadDate('expected a count and a unit, such as "6 mo"; units: h, d, wk, mo, a')
    return Duration(int(found[1]), _WORDS[found[2]])


def shift(day: date, duration: Duration, sign: Literal[1, -1]) -> date:
    """A day moved by a duration of days, weeks, months or years.

    Months and years are calendar ones: the 31st moved to a shorter month is that month's last day, and
    29 February moved to a common year is 28 February (`birthday` has the other rule for ages).

    Raises:
        BadDate: hours were given, or the calendar ends.
    """
    count = sign * duration.count
    try:
        if duration.unit == "d":
            return day + timedelta(days=count)
        if duration.unit == "wk":
            return day + timedelta(weeks=count)
        if duration.unit in ("mo", "a"):
            return _months_later(day, count * (12 if duration.unit == "a" else 1))
    except (ValueError, OverflowError):
        raise BadDate("the duration leads out of the calendar") from None
    raise BadDate("hours cannot move a day")


def _months_later(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def birthday(born: date, completed: Duration) -> date:
    """The day on which an age is completed.

    Someone born on 29 February completes years and months on 1 March where there is no 29th.

    Raises:
        BadDate: hours were given, or the calendar ends.
    """
    moved = shift(born, completed, 1)
    if completed.unit in ("mo", "a") and moved.day < born.day:
        return moved + timedelta(days=1)
    return moved


def today(zone: tzinfo, now: datetime) -> date:
    """The site's calendar day at an instant.

    Raises:
        ValueError: ``now`` has no zone; "today" would depend on the machine (S37).
    """
    if now.tzinfo is None:
        raise ValueError("now has no zone; give an aware time")
    return now.astimezone(zone).date()
