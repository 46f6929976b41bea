"""Dates as intervals: FHIR's rules of comparison, by example and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.sandbox.instants import EVER, compare, interval, interval_of, microseconds

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(MOMENTS, OFFSETS)
def test_an_instant_covers_exactly_its_last_digit(moment: datetime, zone: timezone) -> None:
    aware = (
        moment.replace(tzinfo=UTC).astimezone(zone)
        if moment.year not in {1, 9999}
        else moment.replace(tzinfo=UTC)
    )
    whole = aware.replace(microsecond=0)
    assert interval(whole.isoformat()) == (microseconds(whole), microseconds(whole) + 1_000_000)
    fine = interval(aware.isoformat(timespec="microseconds"))
    assert fine == (microseconds(aware), microseconds(aware) + 1)


@given(MOMENTS)
def test_coarser_dates_contain_finer_ones(moment: datetime) -> None:
    texts = [moment.strftime("%Y").zfill(4), *(moment.isoformat()[:length] for length in (7, 10, 19))]
    spans = [interval(text) for text in texts]
    for coarse, fine in pairwise(spans):
        assert coarse is not None
        assert fine is not None
        assert coarse[0] <= fine[0] < fine[1] <= coarse[1]


@given(st.dates().map(str), st.dates().map(str))
def test_prefixes_agree_with_the_order_of_days(asked: str, held: str) -> None:
    one, other = interval(asked), interval(held)
    assert one is not None
    assert other is not None
    expected = {
        "eq": held == asked,
        "ne": held != asked,
        "gt": held > asked,
        "ge": held >= asked,
        "lt": held < asked,
        "le": held <= asked,
        "sa": held > asked,
        "eb": held < asked,
    }
    assert {prefix: compare(prefix, one, other, 0) for prefix in expected} == expected


NO_DATES = [
    *("19", "1950-2", "1950-00", "1950-13", "1950-02-30", "1950-02-03T", "1950-02-03T24:00:00Z", "0000"),
    *("02/03/1950", "١٩٥٠", "1950-02-03T10:60:00Z", "1950-02-03T10:00:00+1:00", "1950-02-03Z"),
]


@pytest.mark.parametrize("text", ["", "1950-02-03 10:00", *NO_DATES])
def test_what_is_no_fhir_date_has_no_interval(text: str) -> None:
    assert interval(text) is None


def test_an_open_period_has_no_end() -> None:
    start = interval("2020")
    assert start is not None
    assert interval_of({"start": "2020"}) == (start[0], EVER[1])
    assert interval_of({"end": "2020"}) == (EVER[0], start[1])
    assert interval_of({}) is None
    assert interval_of(5) is None


def test_the_ends_of_the_calendar_are_countable() -> None:
    first, last = interval("0001-01-01T00:00:00+14:00"), interval("9999")
    assert first is not None
    assert last is not None
    assert first[0] < 86_400_000_000 < last[1]


def test_approximately_widens_with_distance_from_now() -> None:
    asked, near, far = interval("2000"), interval("2001-12"), interval("2009")
    now = microseconds(datetime(2020, 1, 1, tzinfo=UTC))
    assert asked is not None
    assert near is not None
    assert far is not None
    assert compare("ap", asked, near, now)
    assert not compare("ap", asked, far, now)
