"""The calendar of a plan: what is open belongs to no window, and what is cut short is still asked."""

from __future__ import annotations

from datetime import date

import pytest

from ehr.dates import Duration, day_start, parse_duration
from federated.screening.plan.nodes import BEGINNING, BirthPoint, Span
from federated.screening.plan.times import day_end, periods, span
from federated.screening.trial import criteria as c
from federated.screening.trial import value_types
from tests.federated.screening.making import INDEX, age, between, patient, record, truth


@pytest.mark.parametrize(
    ("ends", "skipped"), [("[]", (0, 0)), ("(]", (1, 0)), ("[)", (0, 1)), ("()", (1, 1))]
)
def test_an_open_end_leaves_out_its_own_day(ends: str, skipped: tuple[int, int]) -> None:
    first, last = date(2020, 1, 10 + skipped[0]), date(2020, 1, 20 - skipped[1])
    asked = between(date(2020, 1, 10), date(2020, 1, 20), ends)
    assert span(asked, INDEX) == Span(day_start(first), day_end(last))
    years = parse_duration("18 a")
    childhood = value_types.Window(
        "range", value_types.Point("birth"), value_types.Point("birth", None, years, 1), ends
    )  # type: ignore[arg-type]
    points = BirthPoint(None, 1, skipped[0]), BirthPoint(years, 1, -skipped[1])
    assert span(childhood, INDEX) == Span(BEGINNING, day_end(INDEX), True, *points)


def test_the_oldest_of_some_periods_is_cut_where_the_question_ends() -> None:
    """Twelve months in pieces of five: the third has two, and none reaches further back."""
    found = periods(c.EveryPeriod(Duration(5, "mo"), 1, Duration(12, "mo")), INDEX)
    starts = [date(2024, 1, 30), date(2023, 8, 30), date(2023, 6, 30)]
    assert [one.lo for one in found] == [day_start(day) for day in starts]
    assert [one.hi for one in found] == [day_end(INDEX), *(one.lo - 1 for one in found[:-1])]


@pytest.mark.parametrize(
    ("asked", "born", "found"),
    [
        ("< 1", "2024-06-30", 2),
        ("< 1", "2023-07-01", 2),
        ("< 1", "2023-06-30", 0),
        ("<= 0", "2024-01-01", 2),
        (">= 0", "2024-06-30", 2),
        (">= 1", "2023-07-01", 0),
        (">= 1", "2023-06-30", 2),
        ("< 0", "2024-06-30", 0),
    ],
)
def test_an_infant_has_an_age_of_no_years(asked: str, born: str, found: int) -> None:
    assert truth(age(asked), record(person=patient(born))) == found
