"""Dates as an EHR gives them, and calendar arithmetic."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from ehr.dates import (
    DAY_S,
    BadDate,
    Duration,
    Instant,
    Interval,
    PartialDate,
    birthday,
    day_of,
    day_start,
    interval_of,
    is_sentinel,
    is_time_text,
    parse_date,
    parse_duration,
    parse_time,
    shift,
    today,
)

LONDON = ZoneInfo("Europe/London")
NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("text", "parsed", "precision", "first", "last"),
    [
        ("1975", PartialDate(1975), "year", date(1975, 1, 1), date(1975, 12, 31)),
        ("1975-02", PartialDate(1975, 2), "month", date(1975, 2, 1), date(1975, 2, 28)),
        ("1976-02", PartialDate(1976, 2), "month", date(1976, 2, 1), date(1976, 2, 29)),
        ("1975-07-17", PartialDate(1975, 7, 17), "day", date(1975, 7, 17), date(1975, 7, 17)),
    ],
)
def test_dates_keep_their_precision(
    text: str, parsed: PartialDate, precision: str, first: date, last: date
) -> None:
    found = parse_date(text)
    assert found == parsed
    assert found.precision == precision
    assert (found.first(), found.last()) == (first, last)
    assert found.interval() == Interval(day_start(first), day_start(last) + DAY_S - 1)
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "75",
        "1975-7-17",
        "1975-13",
        "1975-00",
        "1975-02-29",
        "1975-02-30",
        "17/07/1975",
        "0000",
        "0000-01-01",
        "1975-07-17 ",
        " 1975",
        "1975-07-17\n",
        "1975-07-17T00:00:00",
        "１９７５",
        "1975-",
        "19750717",
    ],
)
def test_other_texts_are_no_dates(text: str) -> None:
    with pytest.raises(BadDate) as caught:
        parse_date(text)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("1975-07-17", "1975-07-17", True),
        ("1975-07-17", "1975-07-18", False),
        ("1975-07-17", "1975-07", None),
        ("1975-07-17", "1975", None),
        ("1975", "1975", None),
        ("1975-07", "1975-08", False),
        ("1975-12-31", "1976", False),
        ("1975-12-31", "1975", None),
        ("1976-01-01", "1975", False),
        ("1975-07-31", "1975-07", None),
    ],
)
def test_days_are_compared_with_the_precision_that_both_have(
    left: str, right: str, same: bool | None
) -> None:
    assert parse_date(left).same(parse_date(right)) is same
    assert parse_date(right).same(parse_date(left)) is same


@pytest.mark.parametrize(
    ("text", "local", "assumed"),
    [
        ("2020-06-01T12:00:00Z", datetime(2020, 6, 1, 13), False),
        ("2020-06-01T12:00:00z", datetime(2020, 6, 1, 13), False),
        ("2020-01-01T12:00:00Z", datetime(2020, 1, 1, 12), False),
        ("2020-06-01T23:30:00Z", datetime(2020, 6, 2, 0, 30), False),
        ("2020-06-01T12:00:00.999+02:00", datetime(2020, 6, 1, 11), False),
        ("2020-06-01T12:00:00+0200", datetime(2020, 6, 1, 11), False),
        ("2020-06-01T12:00:00-05:00", datetime(2020, 6, 1, 18), False),
        ("2020-06-01T12:00", datetime(2020, 6, 1, 12), True),
        ("2020-06-01t12:00:07", datetime(2020, 6, 1, 12, 0, 7), True),
        ("2020-06-01T24:00:00", datetime(2020, 6, 2), True),
        ("2020-06-01T24:00", datetime(2020, 6, 2), True),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59), False),
    ],
)
def test_times_move_to_the_zone_of_the_site(text: str, local: datetime, assumed: bool) -> None:
    assert parse_time(text, LONDON) == Instant(local, assumed)
    assert is_time_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "2020-06-01T25:00:00Z",
        "2020-02-30T10:00:00Z",
        "2020-06-01T10:60:00Z",
        "2020-06-01 10:00:00",
        "2020-06-01T10",
        "2020-06-01T101112",
        "9999-12-31T24:00:00",
        "0001-01-01T00:00:00+10:00",
        "2020-06-01T24:01:00",
        "2020-W10-3",
        "2020-06-01T10:00:00+99:00",
        "10:00",
        "yesterday",
    ],
)
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(BadDate) as caught:
        parse_time(text, NEW_YORK)
    assert text not in str(caught.value)


def test_a_time_is_one_second_of_the_wall_clock() -> None:
    at = Instant(datetime(1970, 1, 2, 3, 4, 5))
    second = 86_400 + 3 * 3600 + 4 * 60 + 5
    assert at.interval() == Interval(second, second)
    assert at.precision == "second"


def test_seconds_and_days_are_each_others_inverse() -> None:
    assert day_start(date(1970, 1, 1)) == 0
    assert day_start(date(1970, 1, 2)) == DAY_S
    assert day_start(date(1969, 12, 31)) == -DAY_S
    assert day_of(0) == date(1970, 1, 1)
    assert day_of(DAY_S - 1) == date(1970, 1, 1)
    assert day_of(DAY_S) == date(1970, 1, 2)
    assert day_of(-1) == date(1969, 12, 31)


@pytest.mark.parametrize(
    "text",
    ["1900-01-01", "0001-01-01", "1800-01-01", "1753-01-01", "9999-12-31", "1900-01-01T00:00:00", "1800"],
)
def test_placeholders_are_no_dates(text: str) -> None:
    assert is_sentinel(text)
    assert interval_of(text, LONDON) is None


def test_an_interval_is_known_only_from_a_readable_time() -> None:
    assert interval_of(None, LONDON) is None
    assert interval_of("", LONDON) is None
    assert interval_of("nonsense", LONDON) is None
    assert interval_of("1975", LONDON) == PartialDate(1975).interval()
    assert not is_sentinel("1900-01-02")
    assert interval_of("1900", LONDON) == PartialDate(1900).interval()


@pytest.mark.parametrize(
    "text", ["2020", "2020-06", "2020-06-01", "2020-02-29", "2020-06-01T12:00:00.123456789Z"]
)
def test_fhir_dates_are_time_texts(text: str) -> None:
    assert is_time_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "2021-02-29",
        "2020-13",
        "2020-1",
        "01/02/2020",
        "2020-06-01 12:00:00",
        "2020-06-01T101112",
        "2020-W10-3",
        "x",
        "2020-06-31T10:00:00Z",
        "20200601",
        "2020-06-01T",
    ],
)
def test_other_texts_are_not_time_texts(text: str) -> None:
    assert not is_time_text(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("6 mo", Duration(6, "mo")),
        ("12 Months", Duration(12, "mo")),
        ("1month", Duration(1, "mo")),
        (" 730 d ", Duration(730, "d")),
        ("24 h", Duration(24, "h")),
        ("1 hour", Duration(1, "h")),
        ("2 weeks", Duration(2, "wk")),
        ("3 a", Duration(3, "a")),
        ("50 years", Duration(50, "a")),
    ],
)
def test_durations(text: str, duration: Duration) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "6", "mo", "-6 mo", "6 m", "1.5 a", "1234567 d", "6 mo ago"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(BadDate):
        parse_duration(text)


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("h", "h hour hours"),
        ("d", "d day days"),
        ("wk", "wk week weeks"),
        ("mo", "mo month months"),
        ("a", "a year years"),
    ],
)
def test_units_have_codes_and_english_words(unit: str, words: str) -> None:
    assert [parse_duration(f"5 {word}").unit for word in words.split()] == [unit] * 3


def test_a_duration_shows_count_and_unit() -> None:
    assert str(Duration(6, "mo")) == "6 mo"


@pytest.mark.parametrize(
    ("day", "duration", "sign", "moved"),
    [
        (date(2020, 1, 31), Duration(1, "mo"), 1, date(2020, 2, 29)),
        (date(2021, 1, 31), Duration(1, "mo"), 1, date(2021, 2, 28)),
        (date(2020, 3, 31), Duration(1, "mo"), -1, date(2020, 2, 29)),
        (date(2020, 1, 15), Duration(1, "mo"), -1, date(2019, 12, 15)),
        (date(2020, 12, 15), Duration(1, "mo"), 1, date(2021, 1, 15)),
        (date(2020, 11, 15), Duration(1, "mo"), 1, date(2020, 12, 15)),
        (date(2020, 2, 29), Duration(1, "a"), 1, date(2021, 2, 28)),
        (date(2020, 2, 29), Duration(4, "a"), -1, date(2016, 2, 29)),
        (date(2020, 2, 28), Duration(2, "d"), 1, date(2020, 3, 1)),
        (date(2020, 3, 1), Duration(1, "wk"), -1, date(2020, 2, 23)),
        (date(2020, 3, 1), Duration(0, "d"), -1, date(2020, 3, 1)),
    ],
)
def test_days_move_by_calendar_units(day: date, duration: Duration, sign: int, moved: date) -> None:
    assert shift(day, duration, 1 if sign > 0 else -1) == moved


@pytest.mark.parametrize("duration", [Duration(9000, "a"), Duration(999_999, "mo"), Duration(5_000_000, "d")])
def test_the_calendar_ends(duration: Duration) -> None:
    for sign in (1, -1):
        with pytest.raises(BadDate, match="calendar"):
            shift(date(2020, 1, 1), duration, 1 if sign > 0 else -1)


def test_hours_move_no_day() -> None:
    with pytest.raises(BadDate, match="hours"):
        shift(date(2020, 1, 1), Duration(24, "h"), 1)


def test_someone_born_on_a_leap_day_completes_a_year_on_the_first_of_march() -> None:
    born = date(2000, 2, 29)
    assert birthday(born, Duration(18, "a")) == date(2018, 3, 1)
    assert birthday(born, Duration(20, "a")) == date(2020, 2, 29)
    assert birthday(date(2000, 1, 31), Duration(1, "mo")) == date(2000, 3, 1)
    assert birthday(date(2000, 1, 15), Duration(1, "mo")) == date(2000, 2, 15)
    assert birthday(date(2000, 1, 31), Duration(1, "d")) == date(2000, 2, 1)
    assert birthday(date(2000, 1, 31), Duration(1, "wk")) == date(2000, 2, 7)


def test_today_is_the_day_of_the_site() -> None:
    now = datetime(2020, 6, 1, 23, 30, tzinfo=UTC)
    assert today(LONDON, now) == date(2020, 6, 2)
    assert today(NEW_YORK, now) == date(2020, 6, 1)
    with pytest.raises(ValueError, match="zone"):
        today(LONDON, datetime(2020, 6, 1))
