"""Time: windows, partial dates, ages (tests 34 to 40)."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.dates import Duration, day_start, interval_of, parse_duration
from ehr.records.elements import Period
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import inside
from federated.screening.plan.nodes import BEGINNING, END, Age, Span
from federated.screening.plan.times import age as age_leaf
from federated.screening.plan.times import day_end, periods, span, until
from federated.screening.plan.trial_plan import PlanRefused
from federated.screening.trial import criteria as c
from federated.screening.trial import value_types
from tests.federated.screening.making import (
    INDEX,
    NOW,
    ZONE,
    age,
    at,
    between,
    compare,
    condition,
    done,
    encounter,
    evidence,
    has,
    lab,
    observation,
    patient,
    plan_of,
    procedure,
    record,
    truth,
    within,
)

DAYS = st.dates(date(2019, 12, 1), date(2021, 2, 28))


def partial(day: date, precision: str) -> str:
    return day.isoformat()[: {"year": 4, "month": 7, "day": 10}[precision]]


def days_of(text: str) -> list[date]:
    """Every day that a partial date may be: the slow way."""
    parts = [int(part) for part in text.split("-")]
    first = date(parts[0], parts[1] if len(parts) > 1 else 1, parts[2] if len(parts) > 2 else 1)
    if len(parts) == 3:
        return [first]
    last_month = parts[1] if len(parts) > 1 else 12
    last = date(parts[0], last_month, monthrange(parts[0], last_month)[1])
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


@given(DAYS, st.sampled_from(["year", "month", "day"]), DAYS, DAYS)
def test_partial_dates_equal_brute_force(day: date, precision: str, one: date, two: date) -> None:
    first, last = min(one, two), max(one, two)
    text = partial(day, precision)
    answers = {first <= possible <= last for possible in days_of(text)}
    expected = UNKNOWN if len(answers) == 2 else YES if True in answers else NO
    window = Span(day_start(first), day_end(last))
    assert inside(interval_of(text, ZONE), window) == expected


@given(
    DAYS,
    DAYS,
    st.integers(0, 400),
    st.sampled_from(["a", "mo", "d"]),
    st.sampled_from([">=", "<=", "=", "!=", ">", "<"]),
)
def test_ages_equal_counting_birthdays(born: date, later: date, n: int, unit: str, op: str) -> None:
    on = max(born, later)
    leaf = age_leaf(compare(f"{op} {n}"), unit, on, "x")  # type: ignore[arg-type]
    done_units = 0
    while completes(born, done_units + 1, unit) <= on:
        done_units += 1
    ask = {">=": done_units >= n, "<=": done_units <= n, "=": done_units == n, "!=": done_units != n,
           ">": done_units > n, "<": done_units < n}  # fmt: skip
    found = inside(interval_of(born.isoformat(), ZONE), leaf.born)
    assert (YES - found if leaf.negated else found) == (YES if ask[op] else NO)


def completes(born: date, count: int, unit: str) -> date:
    """The day on which ``count`` units are complete: the day after, where the calendar lacks the day."""
    if unit == "d":
        return born + timedelta(days=count)
    months = born.year * 12 + born.month - 1 + count * (12 if unit == "a" else 1)
    year, month = divmod(months, 12)
    if born.day <= monthrange(year, month + 1)[1]:
        return date(year, month + 1, born.day)
    return date(year, month + 1, monthrange(year, month + 1)[1]) + timedelta(days=1)


def test_a_birthday_on_the_index_date_counts() -> None:
    def of(asked: str, born: str) -> int:
        return truth(age(asked), record(person=patient(born)))

    assert [of(">= 40", born) for born in ("1984-06-30", "1984-07-01")] == [YES, NO]
    assert [of("<= 85", born) for born in ("1938-06-30", "1938-07-01")] == [NO, YES]
    assert [of("40..85", born) for born in ("1938-07-01", "1984-06-30", "1984-07-01")] == [YES, YES, NO]
    assert [of("!= 40", born) for born in ("1984-06-30", "1983-06-30")] == [NO, YES]
    assert of(">= 40", "1984") == UNKNOWN
    assert of(">= 40", "1984-06") == YES
    assert of(">= 40", "1983") == YES


def test_the_evidence_of_an_age_shows_the_age() -> None:
    one = evidence(age(">= 40"), record(person=patient("1984-07-01")))
    assert (one.value, one.unit, one.reason, one.margin) == (39.0, "a", "BELOW_MIN", -1.0)
    assert one.text == "Age 39; 40 years or more is asked: not met."
    vague = evidence(age(">= 40"), record(person=patient("1984")))
    assert (vague.value, vague.value_low, vague.value_high, vague.reason) == (
        None,
        39.0,
        40.0,
        "AGE_UNCERTAIN",
    )
    assert evidence(age("<= 30"), record(person=patient("1984"))).reason == "ABOVE_MAX"
    assert evidence(age("<= 30"), record(person=patient(None))).reason == "NOT_RECORDED"
    assert evidence(age("<= 30"), record(person=patient("1900-01-01"))).reason == "AGE_UNCERTAIN"


def test_leap_day_birthdays() -> None:
    def of(index: date) -> int:
        return truth(age(">= 18"), record(person=patient("2004-02-29")), index)

    assert [of(date(2022, 2, 28)), of(date(2022, 3, 1))] == [NO, YES]
    in_a_leap_year = record(person=patient("2004-02-29"))
    assert [truth(age(">= 20"), in_a_leap_year, date(2024, 2, day)) for day in (28, 29)] == [NO, YES]


def test_six_months_before_the_last_of_august() -> None:
    index = date(2023, 8, 31)
    leaf = done(performed=within("6 mo"))
    assert [truth(leaf, record(procedure(day)), index) for day in ("2023-02-27", "2023-02-28")] == [NO, YES]


def test_both_ends_of_a_window_are_in() -> None:
    leaf = done(performed=within("6 mo"))
    days = ("2023-12-29", "2023-12-30", "2024-06-30", "2024-07-01")
    assert [truth(leaf, record(procedure(day))) for day in days] == [NO, YES, YES, NO]
    opened = done(performed=between(date(2024, 1, 1), date(2024, 1, 31), "()"))
    inner = ("2024-01-01", "2024-01-02", "2024-01-30", "2024-01-31")
    assert [truth(opened, record(procedure(day))) for day in inner] == [NO, YES, YES, NO]
    assert evidence(leaf, record()).window == ("2023-12-30", "2024-06-30")


def test_next_looks_forward_and_leaves_out_the_index_date() -> None:
    point = value_types.Point("index", None, parse_duration("6 mo"), 1)
    booked = value_types.Window("next", value_types.INDEX, point, "(]")
    from ehr.records.care import Appointment

    leaf = c.Appointment(window=booked, status=("booked",), at=at())

    def of(day: str) -> int:
        return truth(leaf, record(Appointment(id="a", status="booked", start=day)))

    assert [of(day) for day in ("2024-06-30", "2024-07-01", "2024-12-30", "2024-12-31")] == [NO, YES, YES, NO]


def test_the_site_zone_decides_the_day() -> None:
    leaf = done(performed=between(date(2024, 6, 1), date(2024, 6, 1)))
    late = record(procedure("2024-05-31T22:30:00Z"))
    from zoneinfo import ZoneInfo

    assert truth(leaf, late) == YES
    assert truth(leaf, late, zone=ZoneInfo("UTC")) == NO
    assert truth(leaf, record(procedure("2024-06-01T23:30:00"))) == YES


def test_records_after_the_index_date_do_not_count() -> None:
    assert truth(has(), record(condition(onset="2024-07-01"))) == NO
    assert truth(has(), record(condition(onset="2024-06-30"))) == YES
    assert truth(has(), record(condition(onset="2024"))) == UNKNOWN
    assert truth(has(), record(condition(onset=None))) == YES
    assert truth(has(), record(condition(onset=None, recorded_date="2024-07-01"))) == NO
    assert truth(lab(), record(observation(9, "2024-07-01"))) == UNKNOWN
    assert truth(lab(), record(observation(9, "2024-07-01", id="a"), observation(5, id="b"))) == NO
    wide = done(performed=between(date(2024, 1, 1), date(2025, 1, 1)))
    assert truth(wide, record(procedure("2024-07-01"))) == NO


@pytest.mark.parametrize("text", ["0001-01-01", "1800", "1900-01-01", "9999-12-31", "no date", None])
def test_a_sentinel_is_no_date(text: str | None) -> None:
    windowed = has(onset=within("12 mo"))
    one = evidence(windowed, record(condition(onset=text)))
    assert (one.outcome.value, one.reason, one.records[0].date) == ("unknown", "DATE_UNCERTAIN", None)


def test_a_procedure_over_a_period_is_not_guessed() -> None:
    leaf = done(performed=within("6 mo"))
    long = procedure(None, performed_period=Period(start="2023-10-01", end="2024-02-01"))
    assert truth(leaf, record(long)) == UNKNOWN
    assert truth(leaf, record(procedure(None, performed_period=Period(start="2024-02-01")))) == YES
    assert truth(leaf, record(procedure(None, performed_period=Period(end="2023-02-01")))) == NO
    assert truth(leaf, record(procedure(None, performed_period=Period(end="2024-02-01")))) == UNKNOWN


def test_an_encounter_begins_or_lies_wholly_in_a_window() -> None:
    window = between(date(2024, 1, 1), date(2024, 1, 31))
    stay = encounter("2024-01-30", "2024-02-02")
    assert truth(c.Encounter(window=window, at=at()), record(stay)) == YES
    assert truth(c.Encounter(window=window, whole=True, at=at()), record(stay)) == NO
    assert (
        truth(c.Encounter(window=window, whole=True, at=at()), record(encounter("2024-01-30", "2024-01-31")))
        == YES
    )


def test_a_window_may_be_counted_from_birth() -> None:
    child = value_types.Window(
        "range", value_types.Point("birth"), value_types.Point("birth", None, parse_duration("18 a"), 1), "[)"
    )
    leaf = has(onset=child)

    def of(onset: str, born: str | None = "2000-02-29") -> int:
        return truth(leaf, record(condition(onset=onset), person=patient(born)))

    assert [of(day) for day in ("2000-02-28", "2000-02-29", "2018-02-28", "2018-03-01")] == [NO, YES, YES, NO]
    assert of("2010-01-01", None) == UNKNOWN
    assert [of(day, "2000") for day in ("2000-06-01", "2001-01-01", "2018-06-01", "2019-01-01")] == [
        UNKNOWN, YES, UNKNOWN, NO,
    ]  # fmt: skip


def test_windows_are_two_integers() -> None:
    assert until(INDEX) == Span(BEGINNING, day_end(INDEX), asked=False)
    assert span(within("1 d"), INDEX) == Span(day_start(date(2024, 6, 29)), day_end(INDEX))
    every = c.EveryPeriod(Duration(12, "mo"), 2, Duration(24, "mo"))
    assert periods(every, INDEX) == (
        Span(day_start(date(2023, 6, 30)), day_end(INDEX)),
        Span(day_start(date(2022, 6, 30)), day_end(date(2023, 6, 29))),
    )
    plan = plan_of(age("< 18"))
    leaf = plan.rules[0].where
    assert isinstance(leaf, Age)
    assert leaf.born == Span(day_start(date(2006, 7, 1)), day_end(INDEX))
    assert leaf.born.hi < END


def test_a_window_out_of_the_calendar_is_refused() -> None:
    with pytest.raises(PlanRefused, match="calendar"):
        plan_of(done(performed=within("3000 a")))
    assert truth(age("<= 3000"), record()) == YES
    assert truth(age(">= 3000"), record()) == NO


@given(st.lists(st.tuples(st.dates(date(2024, 1, 1), date(2024, 6, 30)), st.integers(4, 8)), min_size=1, max_size=4),
       st.integers(-3000, 3000))  # fmt: skip
def test_shifting_all_days_changes_nothing(results: list[tuple[date, int]], days: int) -> None:
    """P9: the engine knows distances, not dates."""

    def of(by: int) -> int:
        moved = [
            observation(value, (day + timedelta(days=by)).isoformat(), id=f"{n}")
            for n, (day, value) in enumerate(results)
        ]
        who = record(*moved, read=NOW + timedelta(days=by))
        return truth(lab(window=within("60 d")), who, INDEX + timedelta(days=by))

    assert of(0) == of(days)
