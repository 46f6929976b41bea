"""Evidence: what one object says about one leaf, and that it says no more (3.8)."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import Any

import pytest

from ehr.records.fetched import Kind, State
from federated.screening.decide import evidence_text
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import plain
from federated.screening.decide.evidence_text import stretch, templates
from federated.screening.decide.missing_data import ACTIONS
from federated.screening.trial import criteria as c
from tests.federated.screening.making import (
    KEY,
    at,
    codes,
    concept,
    condition,
    done,
    encounter,
    evidence,
    has,
    lab,
    observation,
    outcome,
    patient,
    plan_of,
    procedure,
    record,
    within,
)

HBA1C: dict[str, Any] = {"codes": codes("4548-4", system="loinc", name="HbA1c"), "window": within("24 mo")}


def test_a_met_value_tells_value_day_number_and_threshold() -> None:
    made = [observation(value, day, id=day) for value, day in ((6.1, "2024-03-02"), (7, "2023-03-02"))]
    one = evidence(lab(**HBA1C), record(*made))
    assert (
        one.text == "HbA1c 6.1 % on 2024-03-02 (latest of 2 since 2022-06-30); 5.7 % or more is asked: met."
    )
    assert (one.value, one.unit, one.margin, one.reason) == (6.1, "%", 0.4, "IN_RANGE")
    assert (one.original_value, one.original_unit, one.threshold) == ("6.1", "%", ">= 5.7 %")
    assert (one.window, one.world, one.source_state) == (("2022-06-30", "2024-06-30"), "recorded", "OK")
    assert (one.considered.candidates, one.considered.definite, one.considered.possible) == (2, 2, 0)


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (">= 55 years", "55 years or more"),
        ("<= 12 %", "12 % or less"),
        ("> 180 mm[Hg]", "more than 180 mm[Hg]"),
        ("< 5", "less than 5"),
        ("= 2", "exactly 2"),
        ("!= 2", "other than 2"),
        ("between 20 and 80 {letters}", "between 20 and 80 {letters}"),
        (">= 2 in each of 3 periods", "2 or more in each of 3 periods"),
        ("is positive or 1+", "positive or 1+"),
        ("in dry AMD", "a code of dry AMD"),
        ("female", "female"),
    ],
)
def test_a_threshold_is_spoken_in_words(threshold: str, words: str) -> None:
    assert evidence_text.asked(threshold) == words


def test_a_text_of_the_table_is_repeated_as_it_is() -> None:
    one = evidence(c.Column(name="stage", texts=("in stock",), at=at()), record(stage="in stock"))
    assert one.text == "Column stage in stock; in stock is asked: met."


def test_a_missing_test_is_told_as_not_known() -> None:
    one = evidence(lab(**HBA1C), record())
    assert one.text == "No HbA1c since 2022-06-30: not known; a missing test is not a normal test."
    assert one.source_state == "EMPTY"


def test_a_record_is_shown_by_a_keyed_reference() -> None:
    ill = condition(concept=concept("H35.31", display="Nonexudative AMD"), id="secret-id")
    shown = evidence(has(), record(ill)).records[0]
    assert shown.ref == hmac.new(KEY, b"Condition/secret-id", sha256).hexdigest()[:16]
    assert (shown.kind, shown.resource, shown.system, shown.code) == (
        "condition",
        "Condition",
        "icd10cm",
        "H35.31",
    )
    assert (shown.display, shown.date, shown.precision) == ("Nonexudative AMD", "2024-01-01", "day")
    assert (shown.status, shown.match, shown.eye) == ("active", "definite", None)


@pytest.mark.parametrize(
    ("day", "precision"),
    [
        ("2024", "year"),
        ("2024-01", "month"),
        ("2024-01-01", "day"),
        ("2024-01-01T10:00:00Z", "second"),
        (None, None),
    ],
)
def test_a_date_is_shown_as_recorded(day: str | None, precision: str | None) -> None:
    shown = evidence(has(), record(condition(onset=day))).records[0]
    assert (shown.date, shown.precision) == (day, precision)


def test_records_are_ordered_and_at_most_five() -> None:
    days = [f"2024-01-0{n}" for n in range(1, 8)]
    made = [condition(onset=day, id=day) for day in days]
    maybe = condition(onset="2024-06-01", verification="provisional", id="maybe")
    shown = evidence(has(), record(maybe, *made)).records
    assert [one.date for one in shown] == list(reversed(days))[:5]
    few = evidence(has(), record(maybe, made[0], condition(onset=None, id="undated"))).records
    assert [(one.match, one.date) for one in few] == [
        ("definite", "2024-01-01"), ("definite", None), ("possible", "2024-06-01"),
    ]  # fmt: skip


def test_dropped_records_are_counted_by_why() -> None:
    made = [
        procedure("2020-01-01", id="a"),
        procedure(status="preparation", id="b"),
        procedure("2024-06-01", id="c"),
        procedure(status="not-done", id="d"),
    ]
    one = evidence(done(performed=within("6 mo")), record(*made))
    assert plain(one.considered) == {
        "candidates": 4, "definite": 1, "dropped": {"status": 2, "window": 1}, "possible": 0,
    }  # fmt: skip


def test_absence_tells_whether_there_was_something_at_another_time() -> None:
    old = evidence(done(performed=within("6 mo")), record(procedure("2020-01-01")))
    assert (old.reason, old.text) == ("DATE_OUTSIDE", "Dx on record, none since 2023-12-30.")
    assert evidence(done(), record()).reason == "CODE_ABSENT"


def test_counts_tell_the_number_and_the_threshold() -> None:
    seen = c.Encounter(window=within("12 mo"), count=c.CountBound(">=", 2), at=at())
    one = evidence(seen, record(encounter("2024-06-01")))
    assert (one.value, one.threshold, one.reason, one.margin) == (1.0, ">= 2", "COUNT_LOW", -1.0)
    assert one.text == "Encounter: 1 counted since 2023-06-30; 2 or more is asked: not met."
    most = c.Encounter(window=within("12 mo"), count=c.CountBound("<=", 1), at=at())
    many = evidence(most, record(encounter("2024-06-01"), encounter("2024-05-01")))
    assert (many.reason, many.margin) == ("COUNT_HIGH", -1.0)
    exactly = c.Encounter(window=within("12 mo"), count=c.CountBound("=", 2), at=at())
    assert evidence(exactly, record(encounter("2024-06-01"), encounter("2024-05-01"))).reason == "IN_RANGE"


def test_days_are_counted_once_and_vague_days_only_perhaps() -> None:
    twice = done(count=c.CountBound(">=", 2))
    same_day = [procedure("2024-06-01", id="a"), procedure("2024-06-01", id="b")]
    assert evidence(twice, record(*same_day)).value == 1.0
    assert evidence(done(count=c.CountBound(">=", 2), distinct="records"), record(*same_day)).value == 2.0
    vague = [procedure("2024-06-01", id="a"), procedure("2024-06", id="b")]
    one = evidence(twice, record(*vague))
    assert (one.outcome.value, one.value_low, one.value_high, one.reason) == (
        "unknown",
        1.0,
        2.0,
        "DATE_UNCERTAIN",
    )
    assert evidence(done(count=c.CountBound(">=", 2)), record(vague[1])).outcome.value == "no"


def test_an_exclusion_turns_the_verdict_and_not_the_fact() -> None:
    from federated.screening.plan.trial_plan import make_plan
    from tests.federated.screening.making import INDEX, facts, rule, trial

    plan = make_plan(trial(rule(has(), "exclusion")), facts(), INDEX)
    one = compile_plan(plan)(record(condition())).criteria[0].evidence[0]
    assert (one.outcome.value, one.verdict.value) == ("yes", "fail")
    negated = outcome(c.NotOf(of=has()), record(condition())).criteria[0].evidence[0]
    assert (negated.outcome.value, negated.verdict.value) == ("yes", "fail")


def test_evidence_holds_no_free_text_and_no_identity() -> None:
    secret = "Ana Secret"
    ill = condition(concept=concept("H35.31", text=secret), id="id-secret")
    result = observation(6, id="o-secret")
    who = record(ill, result, person=patient("1960-05-05"))
    written = json.dumps(plain(outcome(c.AllOf(of=(has(), lab())), who)))
    for word_ in (secret, "secret", "1960-05-05"):
        assert word_ not in written


def test_every_reason_has_a_sentence_and_an_action() -> None:
    unknown = templates()["unknown"]
    assert set(ACTIONS) <= set(unknown)
    assert set(unknown) - set(ACTIONS) == {"NO_TEST"}


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1.0, 1.0, "1"),
        (1.5, 2.0, "1.5 to 2"),
        (None, 5.0, "below 5"),
        (200.0, None, "above 200"),
        (None, None, ""),
    ],
)
def test_numbers_are_written_without_noise(low: float | None, high: float | None, text: str) -> None:
    assert stretch(low, high) == text


def test_states_name_the_kinds_that_decide() -> None:
    found = outcome(c.AllOf(of=(has(), lab())), record(states={Kind.OBSERVATION: State.FORBIDDEN}))
    assert dict(found.states) == {"condition": "EMPTY", "observation": "FORBIDDEN", "patient": "OK"}


def test_the_plan_names_the_kinds_it_reads() -> None:
    assert plan_of(has()).kinds == {Kind.PATIENT, Kind.CONDITION}


def test_words_of_the_record_are_never_repeated() -> None:
    from ehr.records.elements import CodeableConcept, Extension

    secret = "ana secret"
    spoken = observation(None, value_string=secret)
    written = observation(None, value_codeable_concept=CodeableConcept(text=secret))
    acuity: dict[str, Any] = {"codes": codes("4548-4", system="loinc"), "unit": "{letters}"}
    sexes = patient(extension=(Extension(url="http://x/us-core-birthsex", value_string=secret),))
    for found in (
        evidence(lab(None, unit=None, texts=("detected",)), record(spoken)),
        evidence(lab(None, unit=None, texts=("detected",)), record(written)),
        evidence(lab(None, unit=None, code_in=codes("1", system="snomed")), record(written)),
        evidence(lab(">= 0", **acuity), record(spoken)),
        evidence(c.Column(name="arm", texts=("A",), at=at()), record(arm=secret)),
        evidence(c.Sex(values=("male",), which="birth", at=at()), record(person=sexes)),
        evidence(done(), record(procedure(status=secret.upper()))),
    ):
        assert "secret" not in json.dumps(plain(found)).lower()
    assert evidence(lab(None, unit=None, texts=(secret,)), record(spoken)).value == secret
