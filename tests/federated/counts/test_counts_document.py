"""Counts of a finished run: what leaves the pod, what its ledger remembers, what the modeller writes down."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from ehr.reading.query import pseudonym
from federated.counts.counts_document import CountsDocument, cells_of, counts_of, csv_text, document, text
from federated.counts.summed_counts import totals
from federated.errors import InvalidArgument, PolicyRefused
from federated.owner.budgets import BudgetLedger
from federated.screening.decide.evidence import CriterionOutcome, Decision, Outcome, Verdict
from federated.screening.report.results import CriterionHead, PatientResult, Run, SiteHead, TrialHead
from federated.screening.trial.criteria import Trial
from federated.screening.trial.load import read_trial

TRIAL = """\
trialveil: 1
id: near
title: Near
version: "1"
nct: none
status: final
index_date: 2026-06-01
inclusion:
  - {{id: age, text: Old enough, source: "age", where: {{age: {{is: ">= {age}", unit: a}}}}}}
  - {{id: off, text: Not asked, source: "x", enabled: false, where: {{sex: {{is: female}}}}}}
exclusion:
  - {{id: man, text: A man, source: "men", where: {{sex: {{is: male}}}}}}
"""


def trial(age: int = 50) -> Trial:
    return read_trial(TRIAL.format(age=age)).require()


def outcome(age: int, sex: str, limit: int) -> Outcome:
    verdicts = {
        "age": Verdict.PASS if age >= limit else Verdict.FAIL,
        "off": Verdict.NOT_EVALUATED,
        "man": {"m": Verdict.FAIL, "f": Verdict.PASS}.get(sex, Verdict.UNKNOWN),
        "alive": Verdict.PASS,
    }
    sides = {"man": "exclusion", "alive": "implicit"}
    found = [
        CriterionOutcome(name, sides.get(name, "inclusion"), verdict) for name, verdict in verdicts.items()
    ]
    states = set(verdicts.values())
    decision = Decision.ELIGIBLE
    if Verdict.FAIL in states:
        decision = Decision.NOT_ELIGIBLE
    elif Verdict.UNKNOWN in states:
        decision = Decision.UNDECIDED
    return Outcome(decision, tuple(found))


PEOPLE = [(40 + number % 40, "fmmf?"[number % 5]) for number in range(200)]


OLD = [(80, "f")] * 60 + [(41, "m")] * 3


def run(limit: int = 50, people: list[tuple[int, str]] = PEOPLE) -> Run:
    patients = [
        PatientResult(number, pseudonym(b"k" * 32, f"Patient/{number}"), outcome=outcome(age, sex, limit))
        for number, (age, sex) in enumerate(people, start=1)
    ]
    heads = (
        CriterionHead("age", "inclusion", ""),
        CriterionHead("off", "inclusion", "", enabled=False),
        CriterionHead("man", "exclusion", ""),
    )
    asked = TrialHead("near", "1", "Near", f"plan{limit}", heads)
    return Run("0", asked, SiteHead("site-1", "Europe/London"), "2026-06-01", patients)


def test_two_near_trials_do_not_reveal_one_patient(tmp_path: Path) -> None:
    """Test 64: the second of two trials that differ in a year of age is refused over the same people."""
    budgets = BudgetLedger(tmp_path)
    first = counts_of(run(50), trial(50), 11)
    budgets.admit_counts("", first.ledger, 11)
    budgets.admit_counts("", counts_of(run(50), trial(50), 11).ledger, 11)
    near = counts_of(run(51), trial(51), 11)
    known, new = first.ledger.counts, near.ledger.counts
    assert 0 < known["criterion/age/passed"] - new["criterion/age/passed"] < 11, (
        "they would tell of few people"
    )
    with pytest.raises(PolicyRefused, match="Nothing was sent"):
        budgets.admit_counts("", near.ledger, 11)
    far = counts_of(run(70), trial(70), 11)
    budgets.admit_counts("", far.ledger, 11)
    fewer = counts_of(run(50, PEOPLE[1:]), trial(50), 11)
    with pytest.raises(PolicyRefused):
        budgets.admit_counts("", fewer.ledger, 11)


def test_the_same_people_and_trial_leave_the_same_numbers() -> None:
    first, again = (counts_of(run(), trial(), 11) for _ in range(2))
    assert first.vector.named() == again.vector.named()
    assert first.ledger == again.ledger
    assert cells_of(trial()).criteria == ("age", "man", "alive"), "what is not evaluated has no cell"


def test_a_pod_with_few_patients_takes_no_part() -> None:
    with pytest.raises(InvalidArgument, match="not counted"):
        counts_of(run(50, PEOPLE[:10]), trial(), 11)
    assert counts_of(run(50, PEOPLE[:11]), trial(), 11).vector.named()["evaluated"] == 11


def test_two_eyes_are_one_patient() -> None:
    """A count of eleven eyes may be six people: twice as many eyes are needed."""
    whole = run()
    patients = [
        replace(one, outcome=replace(one.outcome, eyes={"right": one.outcome, "left": one.outcome}))
        for one in whole.patients
        if one.outcome is not None
    ]
    eyes = replace(whole, trial=replace(whole.trial, grain="eye"), patients=patients[:60])
    found = counts_of(eyes, trial(), 11)
    assert found.vector.named()["evaluated"] == 120
    assert all(count == 0 or count >= 21 for count in found.ledger.counts.values())
    with pytest.raises(InvalidArgument):
        counts_of(replace(eyes, patients=patients[:10]), trial(), 11)


def test_documents_say_at_least_and_how_many_held_back() -> None:
    asked = trial()
    vectors = [counts_of(run(50, people), asked, 11).vector for people in (PEOPLE, PEOPLE[:60], OLD)]
    found = totals(cells_of(asked), sum(one.numbers for one in vectors), 3, 11)
    made = document(found, asked, ("bath", "hull", "york"))
    read = CountsDocument.model_validate(json.loads(json.dumps(made)))
    assert read.evaluated.at_least == 323
    assert read.evaluated.held_back == 0
    assert [step.criterion for step in read.funnel] == ["age", "man", "alive"]
    assert any(step.lost.held_back for step in read.funnel)
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [row["count"] for row in rows] == list(cells_of(asked).names)
    assert "evaluated" in text(found)
    assert "pods held back" in text(found)
