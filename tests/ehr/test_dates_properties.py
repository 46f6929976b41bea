"""What holds for every date."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from ehr.dates import (
    DAY_S,
    BadDate,
    Duration,
    PartialDate,
    birthday,
    day_of,
    day_start,
    interval_of,
    is_time_text,
    parse_date,
    parse_time,
    shift,
)

DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))
ORDINARY = st.dates(date(1850, 1, 1), date(2150, 12, 31))


@st.composite
def partial_dates(draw: st.DrawFn) -> PartialDate:
    day = draw(ORDINARY)
    return draw(
        st.sampled_from(
            [
                PartialDate(day.year),
                PartialDate(day.year, day.month),
                PartialDate(day.year, day.month, day.day),
            ]
        )
    )


@given(partial_dates())
def test_a_date_is_read_back_as_it_is_shown(one: PartialDate) -> None:
    assert parse_date(str(one)) == one


@given(DAYS)
def test_a_day_is_the_day_of_each_of_its_seconds(day: date) -> None:
    assert day_of(day_start(day)) == day == day_of(day_start(day) + DAY_S - 1)


@given(partial_dates(), partial_dates())
def test_different_dates_share_no_day(left: PartialDate, right: PartialDate) -> None:
    days = lambda one: {one.first() + timedelta(n) for n in range((one.last() - one.first()).days + 1)}  # noqa: E731 - short
    shared = days(left) & days(right)
    same = left.same(right)
    assert (same is False) == (not shared)
    assert (same is True) == (left == right and left.day is not None)


@given(partial_dates())
def test_a_partial_date_is_never_certainly_itself(one: PartialDate) -> None:
    assert one.same(one) is (True if one.precision == "day" else None)


@given(
    st.datetimes(datetime(1900, 1, 2), datetime(2100, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Tokyo"]),
)
def test_an_instant_is_the_same_wall_clock_second_from_any_zone(moment: datetime, zone: str) -> None:
    aware = moment.replace(microsecond=0, tzinfo=UTC)
    site = ZoneInfo("America/Chicago")
    elsewhere = aware.astimezone(ZoneInfo(zone))
    if elsewhere.utcoffset() != timedelta(minutes=round(elsewhere.utcoffset().total_seconds() / 60)):  # type: ignore[union-attr]  # aware
        return  # local mean time has seconds, which FHIR cannot write
    assert parse_time(elsewhere.isoformat(), site) == parse_time(aware.isoformat(), site)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_time(text, UTC)
    except BadDate as refused:
        assert len(text) < 3 or text not in str(refused)
        assert interval_of(text, UTC) is None


@given(
    st.from_regex(
        r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,4})?)?(Z|[+-]\d{2}:\d{2})?)?)?)?", fullmatch=True
    )
)
def test_what_is_called_a_time_text_can_be_read(text: str) -> None:
    try:
        parse_time(text, UTC)
    except BadDate:
        assert not is_time_text(text) or text.startswith(("0001-01-01T", "9999-12-31T"))
    else:
        assert is_time_text(text)


@given(ORDINARY, st.integers(0, 400), st.sampled_from(["d", "wk", "mo", "a"]))
def test_moving_there_and_back_ends_near_where_it_began(day: date, count: int, unit: str) -> None:
    duration = Duration(count, unit)  # type: ignore[arg-type]  # drawn from the units
    there = shift(day, duration, 1)
    assert there >= day
    assert abs((shift(there, duration, -1) - day).days) <= 3
    assert there <= birthday(day, duration) <= there + timedelta(1)
