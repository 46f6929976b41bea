"""The tables: columns as promised, cells that stay text."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from federated.screening.decide.evidence import Decision
from federated.screening.report import decisions_csv, json_documents
from federated.screening.report.decisions_csv import Contact
from federated.screening.report.results import PatientResult, Run
from tests.fakes import runs


def read(pieces: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO("".join(pieces)), strict=True))  # type: ignore[call-overload]  # pieces


def one(letters: str, **more: object) -> Run:
    outcome = runs.outcome(letters, **more)
    return runs.run(
        0, patients=(PatientResult(4, "ab" * 32, outcome=outcome, next_appointment="2026-12-01"),)
    )


def test_columns_are_those_that_were_promised() -> None:
    ids = [f"c_{head.id}" for head in runs.CRITERIA]
    assert list(decisions_csv.columns(runs.run(3))) == [
        *("patient_ref", "input_row", "eye", "visit_date", "decision", "queue", "first_failed", "failed"),
        *("unknown", "not_applicable", "near_miss", "lookup_1", "lookup_2", "lookup_3", "next_appointment"),
        *(*ids, "c_alive", "states", "index_date", "plan_digest"),
    ]


def test_a_row_says_what_was_decided() -> None:
    (row,) = read(decisions_csv.decisions(one("pfuxpppfppp")))
    assert row["decision"] == "not_eligible"
    assert row["queue"] == "none"
    assert (row["first_failed"], row["failed"]) == ("risk", "risk;stroke")
    assert (row["unknown"], row["not_applicable"]) == ("hba1c", "bmi")
    verdicts = [row[f"c_{name}"] for name in ("age", "risk", "hba1c", "bmi")]
    assert verdicts == ["pass", "fail", "unknown", "not_applicable"]
    assert (row["input_row"], row["next_appointment"]) == ("4", "2026-12-01")
    assert row["states"] == "condition=OK;observation=OK;patient=OK"


def test_a_patient_who_was_not_found_has_a_row_without_verdicts() -> None:
    (row,) = read(decisions_csv.decisions(runs.run(0, patients=(PatientResult(1, "ab"),))))
    assert (row["decision"], row["queue"], row["c_age"]) == ("not_evaluated", "none", "not_evaluated")


def test_every_eye_has_a_row_after_its_patient() -> None:
    eyes = {"left": runs.outcome("fpppppppppp"), "right": runs.outcome("p" * 11)}
    run = one("p" * 11, eyes=eyes, study_eye=("right", "worse_acuity"))
    rows = read(decisions_csv.decisions(replace(run, trial=replace(run.trial, grain="eye"))))
    assert [(row["eye"], row["decision"]) for row in rows] == [
        ("", "eligible"),
        ("right", "eligible"),
        ("left", "not_eligible"),
    ]


def test_eyes_that_only_explain_a_patient_are_no_rows_and_no_units() -> None:
    """With ``eye: same`` both eyes are looked at, and the patient is still one."""
    eyes = {"left": runs.outcome("fpppppppppp"), "right": runs.outcome("p" * 11)}
    run = one("p" * 11, eyes=eyes)
    assert [row["eye"] for row in read(decisions_csv.decisions(run))] == [""]
    assert json_documents.summary(run)["funnel"]["evaluated"] == 1
    assert json_documents.summary(run)["criteria"]["age"]["fail"] == 0
    by_eye = replace(run, trial=replace(run.trial, grain="eye"))
    assert json_documents.summary(by_eye)["funnel"]["evaluated"] == 2
    assert json_documents.summary(by_eye)["criteria"]["age"]["fail"] == 1
    assert json_documents.summary(by_eye)["counts"]["evaluated"] == 1


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_cells_cannot_be_formulas(start: str) -> None:
    """Every cell of every table, also those with quotes, commas and line breaks in it."""
    evil = f'{start}HYPERLINK("http://a.example","x"),\r\n1'
    patient = PatientResult(1, evil, outcome=runs.outcome("p" * 11), next_appointment=evil, visit_date=evil)
    base = runs.run(0, patients=(patient,))
    run = replace(base, trial=replace(base.trial, plan_digest=evil), index_date=evil)
    tables = [
        decisions_csv.decisions(run),
        decisions_csv.reference(run),
        decisions_csv.contacts(run, {1: Contact(evil, evil, evil, evil, evil)}),
    ]
    seen = 0
    for table in tables:
        (row,) = read(table)
        for value in row.values():
            assert not value.startswith(decisions_csv.FORMULA_STARTS)
            seen += value == "'" + evil
    assert seen == 5 + 1 + 6


def test_lines_end_as_in_rfc_4180_and_quotes_are_doubled() -> None:
    run = runs.run(0, patients=(PatientResult(1, 'a"b,c'),))
    text = "".join(decisions_csv.decisions(run))
    assert text.count("\r\n") == 2
    assert text.replace("\r\n", "").count("\n") == 0
    assert '"a""b,c"' in text


def test_the_reference_columns_are_a_rendering() -> None:
    """Three words of the reference; the undecided stay apart."""
    run = runs.run(120)
    rows = read(decisions_csv.reference(run))
    words = {"eligible": "Eligible", "not_eligible": "Not eligible", "undecided": "Undecided"}
    for row, patient in zip(rows, run.patients, strict=True):
        assert row["Eligibility"] == words.get(patient.decision.value, "Not evaluated")
        assert (row["Matches all criteria"] == "True") is (patient.decision is Decision.ELIGIBLE)
        assert bool(row["Reasons for exclusion"]) is (row["Eligibility"] in {"Not eligible", "Undecided"})


def test_reasons_use_the_opposite_sign_and_say_what_was_not_found() -> None:
    (row,) = read(decisions_csv.reference(one("ppfuppppppp")))
    assert row["Reasons for exclusion"] == "hba1c < 5.7, bmi not found"


def test_a_contact_does_not_show_itself() -> None:
    shown = repr([Contact("4711", "Shaw", "Amy", "1987-02-20", "555")])
    assert shown == "[Contact()]"


def test_many_rows_come_in_pieces_and_read_as_one_table() -> None:
    run = runs.run(900)
    pieces = list(decisions_csv.decisions(run))
    assert len(pieces) > 2
    assert [int(row["input_row"]) for row in read(pieces)] == list(range(1, 901))
