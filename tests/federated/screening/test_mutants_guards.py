"""Guards of the decision that no other test needed: the better eye, near misses, one fact twice, last contact."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ehr.dates import DAY_S, Interval, parse_duration
from ehr.records.elements import CodeableConcept
from ehr.records.fetched import Kind, State
from federated.screening.decide.case import CodedRecord
from federated.screening.decide.certainty import Grade
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Decision, Verdict
from federated.screening.decide.exists import groups
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.trial_plan import make_plan
from federated.screening.trial import criteria as c
from federated.screening.trial import value_types
from tests.federated.screening.making import (
    INDEX,
    age,
    at,
    codes,
    concept,
    condition,
    done,
    encounter,
    evidence,
    facts,
    has,
    lab,
    observation,
    outcome,
    patient,
    pressure,
    procedure,
    record,
    rule,
    several,
    trial,
    truth,
)

ACUITY: dict[str, Any] = {"codes": codes("98498-9", system="loinc"), "unit": "{letters}"}


def letters(value: float | None, eye: str, **more: Any) -> Any:
    site = CodeableConcept(text=eye)
    return observation(value, unit="{letters}", code="98498-9", body_site=site, **more)


@pytest.mark.parametrize(("known", "open_eye"), [("left eye", "right eye"), ("right eye", "left eye")])
def test_an_eye_that_is_eligible_comes_before_one_that_is_not_known(known: str, open_eye: str) -> None:
    """Whichever it is: the outcome, its evidence and the quick truths are those of the eligible eye."""
    plan = make_plan(trial(rule(lab(">= 24", eye="same", **ACUITY))), facts(), INDEX)
    person = record(letters(50, known, id="a"), letters(None, open_eye, id="b", day="2024-06-02"))
    found = compile_plan(plan)(person)
    assert found.decision is Decision.ELIGIBLE
    assert found.eyes[open_eye.split()[0]].decision is Decision.UNDECIDED
    assert found.criteria == found.eyes[known.split()[0]].criteria
    assert compile_verdicts(plan)(person) == (YES, YES)


def test_the_outcome_is_that_of_the_study_eye_and_not_of_the_better_one() -> None:
    either = rule(has("H35.3112", "H35.3122", eye="this"))
    plan = make_plan(trial(either, grain="eye", study_eye=("left",)), facts(), INDEX)
    found = compile_plan(plan)(record(condition("H35.3112", id="r"), condition("H35.3122", id="l")))
    assert found.study_eye is not None and found.study_eye[0] == "left"
    assert found.criteria == found.eyes["left"].criteria != found.eyes["right"].criteria
    assert found.notes == ("NO_RECENT_CONTACT",)


def test_an_acuity_that_is_only_bounded_makes_no_eye_the_worse_one() -> None:
    plan = make_plan(
        trial(rule(has("H35.3132", eye="this")), grain="eye", study_eye=("worse_acuity", "left")), facts(), INDEX
    )  # fmt: skip
    both = condition("H35.3132", body_site=(CodeableConcept(text="OU"),))

    def chosen(**right: Any) -> Any:
        pair = (letters(30, "OD", id="a", **right), letters(50, "OS", id="b"))
        return compile_plan(plan)(record(both, *pair)).study_eye

    assert chosen() == ("right", "worse_acuity")
    assert chosen(comparator="<") == chosen(comparator=">") == ("left", "left")


def _near(where: Any, *items: Any, percent: int = 10) -> tuple[Verdict, bool]:
    plan = make_plan(trial(rule(where, near=Decimal(percent))), facts(), INDEX)
    found = compile_plan(plan)(record(*items)).criteria[0]
    return found.verdict, found.near_miss


def test_a_near_miss_is_a_failure_in_which_every_number_is_near() -> None:
    high = lab(">= 50", codes=codes("1-1", system="loinc"))
    other = lab(">= 50", codes=codes("2-2", system="loinc"))

    def values(one: float | None, two: float | None) -> list[Any]:
        return [observation(one, code="1-1", id="a"), observation(two, code="2-2", id="b")]

    assert _near(c.AllOf(of=(high, other)), *values(49, 49)) == (Verdict.FAIL, True)
    assert _near(c.AllOf(of=(high, other)), *values(49, 10)) == (Verdict.FAIL, False)
    assert _near(c.AnyOf(of=(high, other)), *values(49, None)) == (Verdict.UNKNOWN, False)
    assert _near(c.AnyOf(of=(high, other)), *values(49, 60)) == (Verdict.PASS, False)


def test_a_count_may_miss_nearly_and_a_forbidden_value_may_not() -> None:
    nine = several(procedure(f"2024-05-{day:02}") for day in range(1, 10))
    assert _near(done(count=value_types.CountBound(">=", 10)), *nine) == (Verdict.FAIL, True)
    assert _near(done(count=value_types.CountBound("<=", 8)), *nine, percent=13) == (Verdict.FAIL, True)
    assert _near(done(count=value_types.CountBound("<=", 8)), *nine, percent=12) == (Verdict.FAIL, False)
    assert _near(lab("!= 6"), observation(6)) == (Verdict.FAIL, False)


def test_the_last_contact_is_a_visit_of_this_patient_that_may_have_been_since_then() -> None:
    def notes(*visits: Any, **more: Any) -> tuple[str, ...]:
        return outcome(has(), record(*visits, **more)).notes

    quiet = ("NO_RECENT_CONTACT",)
    assert notes(encounter("2022-06-30T00:00:00+02:00")) == ()
    assert notes(encounter("2022-06-29T23:59:59+02:00")) == quiet
    assert notes(encounter("2022-06")) == ()
    assert notes(encounter("2022-05")) == quiet
    assert notes(encounter("2024-06-01", status="entered-in-error")) == quiet
    assert notes(person=patient(deceased_date_time="2023-01-01")) == ()
    assert notes(person=patient(deceased_boolean=False)) == () != quiet


def _facts_once(*records: Any) -> int:
    instant = Interval(7 * DAY_S + 60, 7 * DAY_S + 60)
    return groups([Grade(YES, CodedRecord(one), instant, None) for one in several(records)], "records")[0]


def test_records_are_one_fact_only_if_all_that_they_say_is_the_same() -> None:
    first = observation(5, code="4548-4")
    other_part = pressure("2024-06-01", 120)
    assert _facts_once(first, first) == 1
    assert _facts_once(other_part, other_part) == 1
    for different in (
        observation(6, code="4548-4"),
        observation(5, code="17856-6"),
        observation(5, code="4548-4", body_site=concept("x", "urn:site")),
        procedure(code=first.code),
    ):
        assert _facts_once(first, different) == 2
    assert _facts_once(other_part, pressure("2024-06-01", 130)) == 2
    done_once = procedure()
    assert _facts_once(done_once, condition(concept=done_once.code)) == 2
    nameless = msgspec.structs.replace(first, code=CodeableConcept(text="words alone"))
    assert _facts_once(nameless, nameless) == 2
    days = Interval(7 * DAY_S, 8 * DAY_S - 1)
    assert groups([Grade(YES, CodedRecord(first), days, None)] * 2, "records") == (2, 0)


def _days(*graded: tuple[int, Interval | None]) -> tuple[int, int]:
    return groups([Grade(sure, CodedRecord(observation(5)), time, None) for sure, time in graded], "days")


def test_days_are_counted_by_the_best_record_of_each_and_vague_ones_add_nothing_for_sure() -> None:
    one, two = (Interval(day * DAY_S, day * DAY_S + DAY_S - 1) for day in (1, 2))
    month = Interval(0, 30 * DAY_S)
    assert _days((YES, one), (UNKNOWN, one)) == _days((UNKNOWN, one), (YES, one)) == (1, 0)
    assert _days((YES, one), (UNKNOWN, two)) == (1, 1)
    assert _days((YES, month)) == (1, 0)
    assert _days((YES, month), (YES, None)) == (1, 1)
    assert _days((UNKNOWN, month)) == (0, 1)
    assert _days((UNKNOWN, month), (UNKNOWN, one)) == (0, 2)
    assert _days((YES, one), (YES, month)) == (1, 1)


def test_a_count_has_a_margin_only_where_its_number_is_known() -> None:
    two = several([procedure("2024-05-01"), procedure("2024-05-02")])
    doubtful = several([procedure("2024-05-01"), procedure("2024-05-02", status="unknown")])
    assert evidence(done(count=value_types.CountBound(">=", 2)), record(*two)).margin == 0.0
    assert evidence(done(count=value_types.CountBound(">=", 2)), record(*doubtful)).margin is None
    at_least = evidence(
        done(count=value_types.CountBound(">=", 2)), record(*two), world={"procedure": "open"}
    )
    assert (at_least.outcome.value, at_least.margin) == ("yes", 0.0)
    assert (at_least.value, at_least.value_low, at_least.value_high) == (None, 2, None)


def test_the_newest_period_is_judged_by_itself_where_care_began_after_the_oldest() -> None:
    """Before care nobody knows; since then a year without visits is a year without visits."""
    leaf = c.Encounter(
        every=value_types.EveryPeriod(parse_duration("12 mo"), 1, parse_duration("24 mo")), at=at()
    )
    since = date(2023, 6, 30)
    assert truth(leaf, record(), care_since=since) == NO
    assert truth(leaf, record(encounter("2024-01-01")), care_since=since) == UNKNOWN
    assert truth(leaf, record(encounter("2024-01-01"), encounter("2023-01-01")), care_since=since) == YES


def test_a_part_that_is_not_there_is_not_read_from_the_whole() -> None:
    leaf = lab(
        "> 100",
        codes=codes("85354-9", system="loinc"),
        unit="mm[Hg]",
        component=codes("8480-6", system="loinc"),
    )
    whole = observation(150, unit="mm[Hg]", code="85354-9")
    assert truth(leaf, record(whole)) == UNKNOWN
    assert evidence(leaf, record(whole)).reason == "VALUE_MISSING"


@pytest.mark.parametrize(
    ("asked", "at_17", "at_18"),
    [(">= 17.5", NO, YES), ("> 17.5", NO, YES), ("<= 17.5", YES, NO), ("< 17.5", YES, NO)],
)
def test_an_age_between_two_birthdays_is_rounded_to_the_safe_side(asked: str, at_17: int, at_18: int) -> None:
    """Ages are completed years: who is seventeen is not yet seventeen and a half, as far as anybody can say."""
    assert truth(age(asked), record(person=patient("2006-07-01"))) == at_17
    assert truth(age(asked), record(person=patient("2006-06-30"))) == at_18


def test_the_earliest_is_any_that_may_lie_before_all_others() -> None:
    """A month may have been before its tenth: which of both came first cannot be told."""
    vague, exact = observation(9, "2024-03", id="a"), observation(5, "2024-03-10", id="b")
    assert truth(lab(take="earliest"), record(vague, exact)) == UNKNOWN
    assert truth(lab(take="earliest"), record(vague, observation(5, "2024-04-01", id="b"))) == YES


def test_doubtful_results_alone_are_shown_as_what_was_found() -> None:
    told = evidence(lab(), record(observation(9, status="unknown")))
    assert (told.outcome.value, told.reason) == ("unknown", "NOT_CONFIRMED")
    assert len(told.records) == 1


def test_a_result_without_a_date_may_be_stale() -> None:
    stale = lab(stale_after=parse_duration("6 mo"))
    assert truth(lab(), record(observation(9, None))) == YES
    told = evidence(stale, record(observation(9, None)))
    assert (told.outcome.value, told.reason) == ("unknown", "DATE_UNCERTAIN")


@pytest.mark.parametrize("pick", ["lowest", "highest"])
def test_the_lowest_or_highest_of_a_day_is_taken_only_of_sure_numbers_of_one_day(pick: str) -> None:
    def of(*items: Any, asked: str = ">= 5.7") -> int:
        return truth(lab(asked, same_day=pick), record(*several(items)))

    assert of(observation(5, "2024-06-01"), observation(9, "2024-06-01")) == (NO if pick == "lowest" else YES)
    assert of(observation(5, "2024-06"), observation(9, "2024-06")) == UNKNOWN
    assert of(observation(5, "2024-06-01"), observation(9, "2024-06")) == UNKNOWN
    doubtful = observation(5 if pick == "lowest" else 9, "2024-06-01", status="unknown")
    sure = observation(9 if pick == "lowest" else 5, "2024-06-01")
    assert of(doubtful, sure) == UNKNOWN
    bounded = observation(8, "2024-06-01", comparator="<")
    assert of(observation(6, "2024-06-01"), bounded, asked=">= 7") == UNKNOWN
    assert (
        of(observation(5, "2024-06-01"), observation(9, "2024-06-01"), observation(None, "2024-06-01"))
        == UNKNOWN
    )


def test_values_that_are_told_together_are_told_as_the_stretch_that_holds_them() -> None:
    def told(leaf: Any, *items: Any) -> tuple[Any, ...]:
        found = evidence(leaf, record(*several(items)))
        return found.value, found.value_low, found.value_high, found.original_value, found.original_unit

    two = observation(6.5), observation(7.5)
    assert told(lab(), *two) == (None, 6.5, 7.5, None, None)
    assert told(lab(), two[0], observation(None)) == (None, None, None, None, None)
    assert told(lab(), two[0], two[0]) == (6.5, None, None, "6.5", "%")
    words = lab(None, "latest", unit=None, texts=("not detected", "negative"))
    said = [observation(None, value_string=text) for text in ("Negative", "not detected")]
    assert told(words, said[0])[0] == "negative"
    assert truth(words, record(*several(said))) == YES
    assert told(words, *said)[0] is None


def test_all_results_are_never_so_by_doubtful_ones_or_by_none() -> None:
    closed = {"observation": "closed"}
    every = lab(take="all")
    assert truth(every, record(observation(9)), world=closed) == YES
    assert truth(every, record(observation(9, status="unknown")), world=closed) == UNKNOWN
    none = evidence(every, record(), world=closed)
    assert (none.outcome.value, none.reason) == ("unknown", "NOT_RECORDED")


def test_an_extreme_is_never_proved_by_a_doubtful_result() -> None:
    closed = {"observation": "closed"}
    doubtful = observation(9, "2024-06-02", status="unknown", id="d")
    sure = observation(5, "2024-06-01", id="s")
    for leaf, alone, beside in (
        (lab("<= 9.5", "max"), UNKNOWN, YES),
        (lab("<= 8", "max"), UNKNOWN, UNKNOWN),
        (lab(">= 8", "max"), UNKNOWN, UNKNOWN),
        (lab(">= 4", "min"), UNKNOWN, YES),
        (lab("<= 4", "min"), UNKNOWN, NO),
    ):
        assert truth(leaf, record(doubtful), world=closed) == alone
        assert truth(leaf, record(doubtful, sure), world=closed) == beside


def test_an_extreme_that_was_not_reached_may_have_been_in_what_was_not_read() -> None:
    part = record(observation(5), states={Kind.OBSERVATION: State.PARTIAL})
    assert truth(lab(">= 8", "max"), part) == UNKNOWN
    assert truth(lab("<= 8", "max"), part) == UNKNOWN
    assert truth(lab(">= 4", "max"), part) == YES
    assert truth(lab("<= 4", "max"), part) == NO
    assert truth(lab(">= 8", "max"), record(observation(5))) == NO


def test_a_mean_is_of_numbers_that_are_all_known() -> None:
    known, missing = observation(9, "2024-06-01", id="a"), observation(None, "2024-06-02", id="b")
    for asked in (">= 5.7", "<= 5.7"):
        assert truth(lab(asked, "mean"), record(known, missing)) == UNKNOWN
        assert truth(lab(asked, "mean"), record(missing)) == UNKNOWN
        bounded = observation(9, "2024-06-02", comparator="<", id="b")
        assert truth(lab(asked, "mean"), record(known, bounded)) == UNKNOWN
        doubtful = observation(9, "2024-06-02", status="unknown", id="b")
        assert truth(lab(asked, "mean"), record(known, doubtful)) == UNKNOWN
    assert truth(lab(">= 5.7", "mean"), record(known)) == YES


def test_a_mean_may_be_asked_to_be_another_number() -> None:
    assert truth(lab("!= 5", "mean"), record(observation(9))) == YES
    assert truth(lab("= 5", "mean"), record(observation(9))) == NO
    assert truth(lab("!= 9", "mean"), record(observation(9))) == UNKNOWN


def test_evidence_of_any_result_is_the_sure_ones_that_decide() -> None:
    sure, doubtful = (
        observation(9, "2024-06-01", id="a"),
        observation(8, "2024-06-02", status="unknown", id="b"),
    )
    told = evidence(lab(take="any"), record(sure, doubtful))
    assert (told.outcome.value, told.value, [used.date for used in told.records]) == (
        "yes",
        9.0,
        ["2024-06-01"],
    )


def test_the_best_acuity_of_some_is_the_lowest_number_where_numbers_fall_as_sight_rises() -> None:
    """0.3 logMAR are 70 letters and 1.1 are 30: the most letters are 70, whatever unit they came in."""
    values = several(observation(value, unit="logMAR", code="98498-9") for value in ("0.3", "1.1"))
    for asked, take, found in (
        (">= 60", "max", YES),
        (">= 80", "max", NO),
        ("<= 80", "max", YES),
        ("<= 60", "max", NO),
        ("<= 40", "min", YES),
        ("<= 20", "min", NO),
        (">= 20", "min", YES),
        (">= 40", "min", NO),
    ):
        assert truth(lab(asked, take, **ACUITY), record(*values)) == found, (asked, take)
