"""A patients file that names one person in two rows: decided once, and said so."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ehr.sandbox.server import Sandbox
from federated.cli.exit_codes import ExitCode
from federated.cli.frame import run
from federated.screening.report.results import MatchState
from federated.screening.run import Decisions, Options, screen

TRIAL = """\
trialveil: 1
id: adults
title: Adults
version: "1"
nct: none
status: final
index_date: {index}
inclusion:
  - {{id: age, text: Adult, source: "18 or older", where: {{age: {{is: ">= 18", unit: a}}}}}}
"""
ROWS = """\
id,family,given,birth_date,day
demo-1,,,,2026-06-01
,Beispiel,Ada,1951-03-09,{second}
demo-2,,,,2026-06-01
"""


def _screened(folder: Path, index: str, second: str, rows: str = ROWS) -> Decisions:
    with Sandbox(login=False) as sandbox:
        assert run(["pod", "new", str(folder / "pod.yaml"), "-q"]) == ExitCode.DONE
        (folder / "pod.yaml").write_text(
            f"name: twice\nehr: {{provider: smarthealthit r4, base_url: '{sandbox.base_url}', "
            "allow_http: loopback, auth: none}\nsite: {time_zone: Europe/London, key: {file: site.key}}\n"
            "cohort: {patients: patients.csv}\n"
        )
        (folder / "patients.csv").write_text(rows.format(second=second))
        (folder / "trial.yaml").write_text(TRIAL.format(index=index))
        return screen(folder / "pod.yaml", folder / "trial.yaml", Options(out=folder / "out"))


def test_the_second_row_is_not_counted_and_names_the_reason(tmp_path: Path) -> None:
    decisions = _screened(tmp_path, "2026-06-01", "2026-06-01")
    counts = decisions.summary["counts"]
    assert (counts["input"], counts["eligible"], counts["not_evaluated"]) == (3, 2, 1)
    assert [patient.match for patient in decisions.run.patients] == [
        MatchState.MATCHED,
        MatchState.DUPLICATE,
        MatchState.MATCHED,
    ]
    assert not decisions.some_unread
    rows = list(csv.DictReader((tmp_path / "out" / "decisions.csv").read_text().splitlines()))
    assert rows[0]["patient_ref"] == rows[1]["patient_ref"]
    assert "the same person as an earlier row" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("second", "eligible"), [("2026-06-01", 2), ("2026-07-01", 3)])
def test_one_person_on_two_days_is_two_questions(tmp_path: Path, second: str, eligible: int) -> None:
    decisions = _screened(tmp_path, "{column: day}", second)
    assert decisions.summary["counts"]["eligible"] == eligible


@pytest.mark.parametrize(("number", "issues"), [("", ()), ("NOBODYS-7", ("NUMBER_NOT_CONFIRMED",))])
def test_a_row_whose_number_is_not_the_record_s_says_so(
    tmp_path: Path, number: str, issues: tuple[str, ...]
) -> None:
    """Name and birth date are enough (grade B), but readers must know that the number was not there."""
    rows = f"mrn,family,given,birth_date\n{number},Beispiel,Ada,1951-03-09\n"
    decisions = _screened(tmp_path, "2026-06-01", "", rows)
    assert [patient.issues for patient in decisions.run.patients] == [issues]
    said = "this record has another number than the row" in (tmp_path / "out" / "report.html").read_text()
    assert said is bool(issues)
