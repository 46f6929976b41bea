"""Times and windows against all the moments that they may stand for, and how a recorded time becomes an interval."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product

import pytest

from ehr.dates import DAY_S, Duration, Interval, day_start, parse_duration
from ehr.records.elements import Period, Quantity, RecordedTime
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import (
    READERS,
    Clock,
    clock_of,
    covered,
    end,
    inside,
    overlaps,
    start,
    whole,
)
from federated.screening.plan.nodes import BEGINNING, END, BirthPoint, Span
from federated.screening.plan.times import day_end
from federated.screening.trial import criteria as c
from tests.federated.screening.making import ZONE, at, between, condition, encounter, has, record, truth

LAST = 3
SPANS = [Interval(lo, hi) for lo in range(LAST + 1) for hi in range(lo, LAST + 1)]
CLOCK = Clock(clock_of(ZONE))


def days(first: str, last: str) -> Interval:
    return Interval(day_start(date.fromisoformat(first)), day_end(date.fromisoformat(last)))


def moments(time: Interval | None, far: int = 2) -> range:
    """Every second that it may have been; anywhere, a little outside all windows too, where it is not known."""
    return range(-far, LAST + far + 1) if time is None else range(time.lo, time.hi + 1)


def kleene(answers: Iterator[bool]) -> int:
    """What is so in every case, in none, or in some; unknown where there is no case at all."""
    seen = set(answers)
    return UNKNOWN if len(seen) != 1 else YES if seen.pop() else NO


@pytest.mark.parametrize("window", SPANS)
def test_a_time_lies_in_a_window_if_all_its_moments_do(window: Interval) -> None:
    for time in SPANS:
        expected = kleene(window.lo <= moment <= window.hi for moment in moments(time))
        assert inside(time, Span(*window)) == expected
    assert inside(None, Span(*window)) == UNKNOWN
    assert inside(None, Span(*window, asked=False)) == YES


@pytest.mark.parametrize("window", SPANS)
def test_a_stretch_touches_a_window_only_if_it_does_wherever_its_ends_were(window: Interval) -> None:
    """Decided only where every case says so; and always decided then, unless that takes both ends together."""
    for begun, ended in product([None, *SPANS], repeat=2):
        expected = kleene(
            first <= window.hi and last >= window.lo
            for first in moments(begun)
            for last in moments(ended)
            if first <= last
        )
        apart = begun is not None and (ended is None or begun.hi <= ended.lo)
        for ongoing in (False, True) if ended is not None else (False,):
            found = overlaps(begun, ended, ongoing, Span(*window))
            assert found == expected if apart else found in (expected, UNKNOWN), (begun, ended)
    for begun in SPANS:
        assert overlaps(begun, None, True, Span(*window)) == kleene(f <= window.hi for f in moments(begun))


@pytest.mark.parametrize("window", SPANS)
def test_a_stretch_lies_in_a_window_only_if_it_does_wherever_its_ends_were(window: Interval) -> None:
    """Decided only where every case says so; and always decided then, where no case is impossible."""
    for begun, ended in product([None, *SPANS], repeat=2):
        expected = kleene(
            window.lo <= first and last <= window.hi
            for first in moments(begun)
            for last in moments(ended)
            if first <= last
        )
        found = covered(begun, ended, Span(*window))
        assert found in (expected, UNKNOWN), (begun, ended)
        if begun is not None and ended is not None and begun.hi <= ended.lo:
            assert found == expected, (begun, ended)


def test_a_stretch_that_ends_before_it_begins_is_unknown_wherever_the_window_lies() -> None:
    begun, ended = Interval(20, 29), Interval(10, 19)
    for lo, hi in ((0, 9), (0, 100), (12, 27), (50, 60)):
        assert covered(begun, ended, Span(lo, hi)) == UNKNOWN
        assert overlaps(begun, ended, False, Span(lo, hi)) == UNKNOWN
    meeting = Interval(10, 20)
    assert covered(begun, meeting, Span(0, 100)) == YES
    assert covered(begun, meeting, Span(0, 5)) == NO
    assert overlaps(begun, meeting, False, Span(50, 60)) == NO


def test_a_visit_that_ends_before_it_begins_is_no_reason_for_or_against_anybody() -> None:
    leaf = c.Encounter(window=between(date(2024, 1, 1), date(2024, 1, 31)), whole=True, at=at())
    wrong = encounter("2024-03-20", "2024-03-10")
    assert truth(leaf, record(wrong)) == UNKNOWN
    assert truth(leaf, record(wrong), world={"encounter": "closed"}) == UNKNOWN
    assert truth(leaf, record(encounter("2024-01-20", "2024-01-10"))) == UNKNOWN
    assert truth(leaf, record(encounter("2024-03-10", "2024-03-20")), world={"encounter": "closed"}) == NO


def test_a_stretch_whose_end_is_not_known_ends_after_it_began() -> None:
    """So it lies in a window that never ends, and in no other for sure."""
    assert covered(Interval(5, 5), None, Span(5, END)) == YES
    assert covered(Interval(5, 5), None, Span(6, END)) == NO
    assert covered(Interval(5, 5), None, Span(0, 100)) == UNKNOWN
    assert covered(None, None, Span(5, END)) == UNKNOWN


def test_all_of_a_stay_is_its_first_to_its_last_day() -> None:
    stay = encounter("2024-01-30", "2024-02-02")
    assert READERS["whole"](stay, CLOCK) == days("2024-01-30", "2024-02-02")
    assert READERS["start"](stay, CLOCK) == days("2024-01-30", "2024-01-30")


def test_a_window_that_nothing_lies_in_is_touched_by_nothing() -> None:
    for begun, ended in product([None, *SPANS], repeat=2):
        assert overlaps(begun, ended, False, Span(2, 1)) != YES


BORN = [Interval(day * DAY_S, (day + more) * DAY_S + DAY_S - 1) for day in range(3) for more in range(2)]


@pytest.mark.parametrize("born", BORN)
def test_a_window_from_birth_to_birth_is_decided_for_every_possible_birthday(born: Interval) -> None:
    """From the day after birth to the second day after it: whole days, whatever the hour of birth is read as."""
    window = Span(BEGINNING, END, True, BirthPoint(None, 1, 1), BirthPoint(None, 1, 2))
    birthdays = range(born.lo // DAY_S, born.hi // DAY_S + 1)
    seconds = sorted({day * DAY_S + more for day in range(7) for more in (-1, 0, 1)})
    for lo, hi in ((lo, hi) for lo in seconds for hi in seconds if lo <= hi):
        time = Interval(lo, hi)
        inner = all((day + 1) * DAY_S <= lo and hi < (day + 3) * DAY_S for day in birthdays)
        outer = all(hi < (day + 1) * DAY_S or lo >= (day + 3) * DAY_S for day in birthdays)
        found = inside(time, window, born)
        if inner:
            assert found == YES, time
        elif len(birthdays) == 1:
            assert found == (NO if outer else UNKNOWN), time
        else:
            assert found != YES, time
            assert outer or found == UNKNOWN, time
    assert inside(Interval(0, 0), window, None) == UNKNOWN


def test_a_window_that_ends_by_birth_never_reaches_beyond_the_day_of_the_question() -> None:
    """Records after the index date never count, whatever an age allows."""
    window = Span(BEGINNING, 9 * DAY_S + DAY_S - 1, True, None, BirthPoint(parse_duration("18 a"), 1, 0))
    born = Interval(0, DAY_S - 1)
    assert inside(Interval(9 * DAY_S, 9 * DAY_S), window, born) == YES
    assert inside(Interval(10 * DAY_S, 10 * DAY_S), window, born) == NO
    assert overlaps(Interval(10 * DAY_S, 10 * DAY_S), None, True, window, born) == NO


@pytest.mark.parametrize(("sign", "found"), [(-1, (YES, NO)), (1, (NO, YES))])
def test_an_age_beyond_the_calendar_is_before_or_after_everything(sign: int, found: tuple[int, int]) -> None:
    point = BirthPoint(Duration(9000, "a"), sign, 0)
    born, time = Interval(0, DAY_S - 1), Interval(5 * DAY_S, 5 * DAY_S)
    assert inside(time, Span(BEGINNING, END, True, point, None), born) == found[0]
    assert inside(time, Span(BEGINNING, END, True, None, point), born) == found[1]


def test_an_offset_from_birth_may_look_back() -> None:
    window = Span(BEGINNING, END, True, BirthPoint(Duration(1, "mo"), -1, 0), BirthPoint(None, 1, 0))
    born = days("2000-03-15", "2000-03-15")
    assert inside(days("2000-02-15", "2000-02-15"), window, born) == YES
    assert inside(days("2000-02-14", "2000-02-14"), window, born) == NO


def test_a_period_is_an_interval_by_what_is_asked_of_it() -> None:
    def of(first: str | None, last: str | None) -> list[Interval | None]:
        time = RecordedTime(start=first, end=last)
        return [whole(time, CLOCK), start(time, CLOCK), end(time, CLOCK)]

    march = days("2024-03-01", "2024-03-31")
    day = days("2024-03-10", "2024-03-10")
    assert of("2024-03", "2024-03-10") == [march, march, day]  # the day may lie before the start
    assert of("2024-03-10", "2024-03") == [Interval(day.lo, march.hi), day, march]
    assert of("2024-03-10", None) == [day, day, None]
    assert of(None, "2024-03-10") == [Interval(BEGINNING, day.hi), Interval(BEGINNING, day.hi), day]
    assert of(None, None) == [None, None, None]
    assert [reader(RecordedTime(at="2024-03"), CLOCK) for reader in (whole, start, end)] == [march] * 3
    assert [reader(None, CLOCK) for reader in (whole, start, end)] == [None] * 3


@pytest.mark.parametrize(
    ("value", "unit", "born", "found"),
    [
        (40, "a", ("1960-05-05", "1960-05-05"), ("2000-05-05", "2001-05-04")),
        (40, "a", ("1960-01-01", "1960-12-31"), ("2000-01-01", "2001-12-30")),
        (0, "a", ("1960-05-05", "1960-05-05"), ("1960-05-05", "1961-05-04")),
        (3, "mo", ("1960-05-05", "1960-05-05"), ("1960-08-05", "1960-09-04")),
        (2, "wk", ("1960-05-05", "1960-05-05"), ("1960-05-19", "1960-05-25")),
        (1, "d", ("1960-05-05", "1960-05-05"), ("1960-05-06", "1960-05-06")),
    ],
)
def test_an_age_is_the_days_on_which_somebody_had_it(
    value: int, unit: str, born: tuple[str, str], found: tuple[str, str]
) -> None:
    clock = Clock(CLOCK.interval, days(*born))
    time = RecordedTime(age=Quantity(value=Decimal(value), code=unit))
    assert [reader(time, clock) for reader in (whole, start, end)] == [days(*found)] * 3


@pytest.mark.parametrize(
    "age",
    [
        Quantity(value=None, code="a"),
        Quantity(value=Decimal(40), code="a", comparator="<"),
        Quantity(value=Decimal(40), code="h"),
        Quantity(value=Decimal(40)),
        Quantity(value=Decimal(-1), code="a"),
        Quantity(value=Decimal(9000), code="a"),
        Quantity(value=Decimal(10) ** 30, code="d"),
    ],
)
def test_an_age_that_says_no_day_is_no_time(age: Quantity) -> None:
    born = days("1960-05-05", "1960-05-05")
    assert whole(RecordedTime(age=age), Clock(CLOCK.interval, born)) is None
    assert whole(RecordedTime(age=Quantity(value=Decimal(40), code="a")), CLOCK) is None


def test_a_condition_began_at_its_onset_and_only_without_one_by_the_day_it_was_noted() -> None:
    later = {"read": datetime(2025, 1, 1, tzinfo=UTC)}
    for onset, noted, found in (
        ("2024-05-01", "2024-09-01", YES),
        ("2024-09-01", "2024-05-01", NO),
        (None, "2024-05-01", YES),
        (None, "2024-09-01", NO),
    ):
        assert truth(has(), record(condition(onset=onset, recorded_date=noted), **later)) == found


def test_a_stay_lies_in_a_window_with_its_end() -> None:
    leaf = c.Encounter(window=between(date(2024, 1, 1), date(2024, 1, 31)), whole=True, at=at())
    assert truth(leaf, record(encounter("2024-01-30"))) == UNKNOWN
    assert truth(leaf, record(encounter(None, "2024-01-30"))) == UNKNOWN
    assert truth(leaf, record(encounter(None, "2023-01-30"))) == NO
    assert truth(leaf, record(encounter("2024-02-03"))) == NO
    assert (
        truth(
            leaf,
            record(encounter("2024-01-02", "2024-01-30", period=Period(start="2024-01-02", end="2024-02"))),
        )
        == NO
    )
