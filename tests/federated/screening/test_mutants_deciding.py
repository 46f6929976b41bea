"""What survived the mutation proof once: margins, reasons and the side that a leaf speaks for."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ehr.dates import parse_duration
from ehr.records.elements import Quantity, Range
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import Evidence, Verdict
from federated.screening.plan.trial_plan import make_plan
from federated.screening.trial import criteria as c
from federated.screening.trial import value_types
from tests.federated.screening.making import (
    INDEX,
    SNOMED,
    age,
    at,
    codes,
    compare,
    concept,
    condition,
    done,
    encounter,
    evidence,
    facts,
    has,
    lab,
    observation,
    patient,
    procedure,
    record,
    rule,
    several,
    trial,
    truth,
)


@pytest.mark.parametrize(
    ("value", "near"), [("6.3", True), ("6.295", False), ("6.29", False), ("6.31", True)]
)
def test_a_near_miss_ends_exactly_at_its_percentage(value: str, near: bool) -> None:
    """Ten percent of 7 is 0.7: 6.3 is near, a hundredth less is not."""
    plan = make_plan(trial(rule(lab(">= 7"), near=Decimal(10))), facts(), INDEX)
    outcome = compile_plan(plan)(record(observation(value)))
    assert outcome.criteria[0].verdict is Verdict.FAIL
    assert outcome.criteria[0].near_miss is near


def test_what_a_criterion_applies_to_speaks_for_the_patient() -> None:
    for side in ("inclusion", "exclusion"):
        where = lab(">= 5.7") if side == "inclusion" else lab("> 9")
        plan = make_plan(trial(rule(where, side, applies_if=has())), facts(), INDEX)
        found = compile_plan(plan)(record(condition(), observation("6.0"))).criteria[0]
        assert found.verdict is Verdict.PASS
        assert found.evidence[0].verdict is Verdict.PASS


def _counted(op: str, n: int, days: int) -> Evidence:
    leaf = done(count=value_types.CountBound(op, n))  # type: ignore[arg-type]  # the parameter is a text here
    made = several(procedure(f"2024-05-{day:02}") for day in range(1, days + 1))
    return evidence(leaf, record(*made))


@pytest.mark.parametrize(
    ("op", "n", "days", "margin"),
    [(">=", 3, 5, 2), (">=", 3, 1, -2), ("<=", 2, 1, 1), ("<=", 2, 5, -3), ("=", 2, 2, 0), ("=", 2, 5, -3)],
)
def test_the_margin_of_a_count_is_the_distance_to_what_is_asked(
    op: str, n: int, days: int, margin: float
) -> None:
    assert _counted(op, n, days).margin == margin


@pytest.mark.parametrize(
    ("cell", "asked", "reason"),
    [
        ("5", ">= 3", "IN_RANGE"),
        ("2", ">= 3", "BELOW_MIN"),
        ("4", "<= 3", "ABOVE_MAX"),
        ("3", "<= 3", "IN_RANGE"),
        ("many", ">= 3", "NOT_NUMERIC"),
        ("", ">= 3", "MISSING_COLUMN"),
    ],
)
def test_a_number_in_a_column_has_its_reason(cell: str, asked: str, reason: str) -> None:
    leaf = c.Column(name="score", compare=compare(asked), at=at())
    assert evidence(leaf, record(score=cell)).reason == reason


@pytest.mark.parametrize("take", ["max", "min"])
def test_an_extreme_is_told_by_the_sure_value_that_decides_it(take: str) -> None:
    """A provisional result, and one without a value, are no evidence for the extreme."""
    sure = [observation("6.5", "2024-06-01"), observation("7.5", "2024-06-02")]
    other = [observation(None, "2024-06-03", status="final")]
    leaf = lab(">= 5.7", take=take)
    told = evidence(leaf, record(*several(sure)))
    assert told.value == (7.5 if take == "max" else 6.5)
    assert len(told.records) == 1
    with_a_gap = record(*several(sure + other))
    assert truth(leaf, with_a_gap) == (2 if take == "max" else 1)
    if take == "max":
        assert evidence(leaf, with_a_gap).value == 7.5


def test_values_without_a_unit_are_told_alike_in_any_order() -> None:
    one = observation("6.5", "2024-06-01", None)
    two = observation("6.5", "2024-06-01", "%")
    told = [evidence(lab(">= 5.7"), record(*several(order))) for order in ([one, two], [two, one])]
    assert (told[0].original_value, told[0].original_unit) == (told[1].original_value, told[1].original_unit)
    assert told[0].outcome == told[1].outcome == "unknown"


def test_a_result_of_unknown_status_is_no_evidence_for_the_highest() -> None:
    made = several([observation("6.5", "2024-06-01"), observation("9.0", "2024-06-02", status="unknown")])
    told = evidence(lab(">= 5.7", take="max"), record(*made))
    assert told.outcome == "yes"
    assert told.value == 6.5


def test_a_doubtful_result_alone_is_not_all_there_is() -> None:
    """Recorded: what is surely there is taken as all; one that may not count proves nothing."""
    doubtful = record(observation("4.0", status="unknown"))
    leaf = lab(">= 5.7", take="any")
    assert truth(leaf, doubtful) == 1
    assert truth(leaf, doubtful, world={"observation": "closed"}) == 0
    assert truth(leaf, record(observation("4.0"))) == 0


@pytest.mark.parametrize("same_day", ["lowest", "highest"])
def test_a_day_ends_before_the_next_one_begins(same_day: str) -> None:
    for before, after, expected in (("9.0", "5.0", 0), ("5.0", "9.0", 2)):
        made = [
            observation(before, "2024-06-01T23:59:59+02:00"),
            observation(after, "2024-06-02T00:00:00+02:00"),
        ]
        leaf = lab(">= 5.7", same_day=same_day)
        assert truth(leaf, record(*several(made))) == expected


def test_what_is_not_known_of_a_person_is_named() -> None:
    leaf = c.Sex(values=("female",), at=at())
    assert evidence(leaf, record(person=patient(gender=None))).reason == "NOT_RECORDED"
    assert evidence(leaf, record(person=patient(gender="unknown"))).reason == "NOT_RECORDED"
    assert evidence(leaf, record(person=patient(gender="male"))).reason == "NOT_EQUAL"


@pytest.mark.parametrize(
    ("died", "word"),
    [(None, "alive"), ("2024-06-29", "deceased"), ("2024-06-30", "deceased"), ("2024-07-02", "alive")],
)
def test_death_is_told_as_of_the_index_date(died: str | None, word: str) -> None:
    leaf = c.Deceased(value=False, at=at())
    told = evidence(leaf, record(person=patient(deceased_date_time=died)))
    assert told.value == word
    assert told.outcome == ("yes" if word == "alive" else "no")


def test_no_value_at_all_is_told_as_such_where_silence_means_no() -> None:
    leaf = lab(">= 5.7", take="any")
    told = evidence(leaf, record(), world={"observation": "closed"})
    assert (told.outcome, told.reason) == ("no", "CODE_ABSENT")
    assert evidence(leaf, record()).reason == "NOT_RECORDED"


def test_a_doubtful_record_is_the_reason_of_a_count_that_is_not_decided() -> None:
    made = several([procedure("2024-05-01"), procedure("2024-05-02", status="unknown")])
    told = evidence(done(count=value_types.CountBound(">=", 2)), record(*made))
    assert (told.outcome, told.reason) == ("unknown", "NOT_CONFIRMED")


def test_a_result_of_nought_is_the_lowest_of_its_day() -> None:
    made = several([observation("0.5", "2024-06-01T08:00:00Z"), observation("0", "2024-06-01T10:00:00Z")])
    assert truth(lab("<= 0.2", same_day="lowest"), record(*made)) == 2
    assert truth(lab("<= 0.2", same_day="highest"), record(*made)) == 0


def test_what_is_not_known_is_told_by_the_record_that_leaves_it_open() -> None:
    made = several([observation("4.0", "2024-06-01"), observation(None, "2024-06-02")])
    told = evidence(lab(">= 5.7", take="any"), record(*made))
    assert (told.outcome, told.reason) == ("unknown", "VALUE_MISSING")
    assert [used.date for used in told.records] == ["2024-06-02"]


def _visits(*starts: str, **more: Any) -> Evidence:
    every = value_types.EveryPeriod(parse_duration("12 mo"), 2, parse_duration("24 mo"))
    return evidence(c.Encounter(every=every, at=at()), record(*map(encounter, starts)), **more)


def test_visits_in_every_period_have_a_margin_where_their_number_is_known() -> None:
    both_years = ("2022-08-01", "2022-09-01", "2023-08-01", "2023-09-01", "2023-10-01")
    assert _visits(*both_years).margin == 0.0
    assert _visits(*both_years[1:]).margin == -1.0
    assert _visits(*both_years, world={"encounter": "open"}).margin is None
    assert _visits("2022-08-01", world={"encounter": "open"}).reason == "NOT_RECORDED"


@pytest.mark.parametrize(("unit", "reason"), [(None, "UNIT_MISSING"), ("furlong", "UNIT_NOT_CONVERTIBLE")])
def test_a_range_that_cannot_be_compared_says_why(unit: str | None, reason: str) -> None:
    ends = {"low": Quantity(value=Decimal("5.8"), unit=unit), "high": Quantity(value=Decimal(6), unit=unit)}
    told = evidence(lab(">= 5.7"), record(observation(None, value_range=Range(**ends))))
    assert (told.outcome, told.reason) == ("unknown", reason)


@pytest.mark.parametrize(("take", "asked", "outcome", "days"), [
    ("any", ">= 5.7", "yes", ["2024-06-02"]),
    ("all", ">= 5.7", "no", ["2024-06-01"]),
    ("any", ">= 9", "no", ["2024-06-02", "2024-06-01"]),
    ("all", ">= 4", "yes", ["2024-06-02", "2024-06-01"]),
])  # fmt: skip
def test_evidence_shows_the_values_that_decide(take: str, asked: str, outcome: str, days: list[str]) -> None:
    made = several([observation("5.0", "2024-06-01"), observation("6.0", "2024-06-02")])
    told = evidence(lab(asked, take=take), record(*made))
    assert told.outcome == outcome
    assert [used.date for used in told.records] == days


def test_a_doubtful_result_is_the_reason_where_no_extreme_is_known() -> None:
    for take in ("max", "min"):
        leaf = lab(">= 5.7", take=take)
        assert evidence(leaf, record(observation("6.0", status="unknown"))).reason == "NOT_CONFIRMED"
        assert evidence(leaf, record()).reason == "NOT_RECORDED"


def test_an_index_date_at_the_edge_of_the_calendar_is_no_crash() -> None:
    plan = make_plan(trial(rule(c.Sex(values=("female",), at=at()))), facts(), date(1, 6, 1))
    outcome = compile_plan(plan)(record(encounter("2020-01-01")))
    assert outcome.notes == ()


@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"low": Quantity(value=Decimal(6), unit="%"), "high": Quantity(value=Decimal(7), unit="mmol/mol")},
        {"low": Quantity(unit="%")},
        {"low": Quantity(value=Decimal(7), unit="%"), "high": Quantity(value=Decimal(6), unit="%")},
        {"low": Quantity(value=Decimal(6), unit="%", comparator="<")},
    ],
)
def test_a_range_that_is_none_is_a_missing_value(ends: dict[str, Quantity]) -> None:
    told = evidence(lab(">= 5.7"), record(observation(None, value_range=Range(**ends))))
    assert (told.outcome, told.reason) == ("unknown", "VALUE_MISSING")


def test_a_mean_next_to_the_bound_is_unknown_also_at_nought() -> None:
    assert truth(lab(">= 0", take="mean"), record(observation("0"))) == 1
    assert truth(lab(">= 0", take="mean"), record(observation("0.001"))) == 2
    assert truth(lab(">= 5.7", take="mean"), record(observation("5.7"))) == 1


@pytest.mark.parametrize(
    ("unit", "asked", "margin"),
    [("a", ">= 60", 4.0), ("mo", ">= 760", 9.0), ("d", ">= 23000", 432.0), ("mo", "<= 770", 1.0)],
)
def test_an_age_is_counted_in_completed_units(unit: str, asked: str, margin: float) -> None:
    """Born on 5 May 1960, on 30 June 2024: 64 years, 769 months, 23,432 days."""
    told = evidence(age(asked, unit=unit), record())
    assert (told.outcome, told.margin) == ("yes", margin)


def test_a_doubtful_visit_is_the_reason_of_periods_that_are_not_decided() -> None:
    every = value_types.EveryPeriod(parse_duration("12 mo"), 1, parse_duration("24 mo"))
    made = [encounter("2022-08-01", status="unknown"), encounter("2023-08-01")]
    told = evidence(c.Encounter(every=every, at=at()), record(*made))
    assert (told.outcome, told.reason) == ("unknown", "NOT_CONFIRMED")


@pytest.mark.parametrize("column", ["score", "other"])
def test_an_empty_or_missing_column_is_told_as_such(column: str) -> None:
    for leaf in (
        c.Column(name="score", texts=("yes",), dtype="text", at=at()),
        c.Column(name="score", compare=compare(">= 3"), at=at()),
    ):
        assert evidence(leaf, record(**{column: ""})).reason == "MISSING_COLUMN"
    for nothing in ("n/a", "Unknown", "?"):
        leaf = c.Column(name="score", texts=("yes",), dtype="text", at=at())
        assert evidence(leaf, record(score=nothing)).reason == "MISSING_COLUMN"


@pytest.mark.parametrize(("code", "reason"), [("373066001", "CODE_PRESENT"), ("373067005", "NOT_EQUAL")])
def test_a_coded_answer_has_its_reason(code: str, reason: str) -> None:
    answer = codes("373066001", system="snomed", name="answer")
    leaf = lab(None, code_in=answer, unit=None)
    told = evidence(leaf, record(observation(None, value_codeable_concept=concept(code, SNOMED))))
    assert told.reason == reason


def test_a_record_without_a_day_adds_none_for_sure_but_may_add_one() -> None:
    """Counted by days: an undated record may share the day of another; alone it is one day."""
    dated, sure = procedure("2024-05-01"), procedure(None)
    doubtful = procedure(None, status="unknown")
    for made, n, expected in (
        ([sure], 1, 2),
        ([sure, sure], 2, 1),
        ([dated, sure], 2, 1),
        ([dated, doubtful], 1, 2),
        ([dated, doubtful], 2, 1),
        ([doubtful], 1, 1),
        ([doubtful], 2, 0),
        ([dated, sure], 3, 0),
    ):
        leaf = done(count=value_types.CountBound(">=", n))
        assert truth(leaf, record(*several(made))) == expected, (len(made), n)


@pytest.mark.parametrize(
    "words",
    ["CF", "HM", "LP", "NLP", "FC", "count fingers", "counting fingers", "Finger Counting", "hand motion",
     "hand motions", "hand movement", "hand movements", "light perception", "no light perception"],
)  # fmt: skip
def test_each_word_for_less_than_a_letter_is_below_every_score(words: str) -> None:
    seen = observation(None, code="98498-9", value_string=words)
    for asked, expected in (("< 1", 2), (">= 1", 0)):
        leaf = lab(asked, codes=codes("98498-9", system="loinc", name="letters"), unit="{letters}")
        assert truth(leaf, record(seen)) == expected


@pytest.mark.parametrize(
    "cell", ["unknown", "unk", "not known", "na", "n/a", "nan", "null", "none", "missing", "?", "-", "."]
)
def test_each_word_for_nothing_known_leaves_a_column_open(cell: str) -> None:
    leaf = c.Column(name="score", texts=("yes",), dtype="text", at=at())
    assert evidence(leaf, record(score=cell)).reason == "MISSING_COLUMN"
    assert evidence(leaf, record(score=cell.upper())).reason == "MISSING_COLUMN"
