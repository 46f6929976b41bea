"""What was decided is what is kept for a resumed run, and what every file says (``trial-matching`` 7.1, 7.2)."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ehr.people.people_file import Row as PeopleRow
from ehr.reading.checkpoint import Checkpoint, Done
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Outcome, plain
from federated.screening.patients import ResumeState, StoredResult
from federated.screening.plan.trial_plan import Plan
from federated.screening.report import decisions_csv, json_documents
from federated.screening.report.heads import trial_head
from federated.screening.report.results import PatientResult, Run, SiteHead
from federated.screening.trial.criteria import Trial
from tests.federated.algorithms.test_criteria_match import FakeSite, person, run_of
from tests.federated.screening import (
    test_review_eyes,
    test_review_records,
    test_review_silence,
    test_review_time,
    test_review_values,
)
from tests.federated.screening.fhir_cases import Row, cond, obs, patient_record, plan_of, proc, trial_of
from tests.federated.screening.trial_texts import HEAD, read

MODULES = (test_review_eyes, test_review_records, test_review_silence, test_review_time, test_review_values)
TABLE = "{condition: {in: amd}}"
EYES = "grain: eye\nstudy_eye: [worse_acuity, right]\n"
LAB = "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%'}}"
REST = (
    f"  - {{id: lab, text: t, source: s, near: 10, where: {LAB}, applies_if: {{condition: {{in: dm}}}}}}\n"
    "exclusion:\n  - {id: done, text: t, source: s, where: {procedure: {in: injection}}}\n"
    "  - {id: allergic, text: t, source: s, where: {allergy: {in: penicillin}}, applies_if: {sex: {is: male}}}\n"
    "  - {id: off, text: t, source: s, where: {condition: {in: amd}}, enabled: false}\n"
)


def rows_of_all_tables() -> list[Row]:
    found: list[Row] = []
    for module in MODULES:
        for name in dir(module):
            for mark in getattr(getattr(module, name), "pytestmark", ()):
                if name.startswith("test_") and mark.name == "parametrize" and mark.args[0] == "case":
                    found += [param.values[0] for param in mark.args[1]]
    return found


def people() -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Patients of every kind: eligible, not, undecided, not applicable, near."""
    dm = cond("E11.9")
    male = {"patient": {"gender": "male"}}
    return [
        ([cond()], {}), ([], {}), ([cond(), dm, obs(7)], {}), ([cond(), dm, obs(5.7)], {}), ([cond(), dm], {}),
        ([cond(), proc()], {}), ([cond(clinicalStatus=None)], {}), ([cond()], male),
        ([cond()], {"states": {"procedure": "UNAVAILABLE"}}), ([cond()], {"patient": {"deceasedBoolean": True}}),
        ([cond("H35.3132"), dm, obs(7)], {}),
    ]  # fmt: skip


def a_run(trial: Trial) -> tuple[Run, list[Outcome], Plan]:
    plan = plan_of(trial, {})
    decide = compile_plan(plan)
    outcomes = [decide(patient_record(records, more)) for records, more in people()]
    results = [
        PatientResult(number, f"{number:016x}", outcome=one) for number, one in enumerate(outcomes, start=1)
    ]
    return Run("0", trial_head(trial, plan), SiteHead("site", "UTC"), "2024-06-30", results), outcomes, plan


def test_a_kept_outcome_is_the_outcome(tmp_path: Path) -> None:
    """A resumed run writes the bytes that a run in one go writes."""
    checkpoint = Checkpoint(tmp_path / "kept", {"trial": "x"}, StoredResult)
    checkpoint.start({})
    made: dict[int, StoredResult] = {}
    for number, case in enumerate(rows_of_all_tables()[::3], start=1):
        plan = plan_of(trial_of(case.node, case.more.get("head", "")), case.more)
        outcome = compile_plan(plan)(patient_record(case.records, case.more))
        made[number] = StoredResult(PatientResult(number, "0" * 16, outcome=outcome))
        checkpoint.add([Done(number, "k", made[number])])
    checkpoint.close(finished=False)
    again = Checkpoint(tmp_path / "kept", {"trial": "x"}, StoredResult)
    again.load()
    assert len(again.done) == len(made) > 150
    for number, (_, kept) in again.done.items():
        assert kept == made[number]
        # 3 and 3.0 are equal, and not the same bytes.
        assert json.dumps(plain(kept.result)) == json.dumps(plain(made[number].result))


def test_a_row_whose_cells_changed_is_decided_anew(tmp_path: Path) -> None:
    """2.4: a ``column`` decides, so a corrected cell must count in a resumed run."""
    where = '{column: {name: consented, is: "yes"}}'
    text = f"{HEAD}index_date: 2026-06-01\ninclusion:\n  - {{id: x, text: t, source: s, where: {where}}}\n"
    site, trial = FakeSite({1: person(1)}), read(text).require()

    def start(answer: str) -> str:
        checkpoint = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
        checkpoint.load()
        checkpoint.start({})
        who = person(1)
        assert who.row.person is not None and who.record is not None
        row = PeopleRow(1, who.row.person, {"consented": answer})
        record = type(who.record)(who.record.ref, who.record.patient, who.record.kinds, row.columns)
        site.readings_of[1] = type(who)(row, who.match, record)
        found = run_of(site, [row], trial, ResumeState(checkpoint))
        checkpoint.close(finished=False)
        return found.patients[0].decision.value

    assert start("yes") == "eligible"
    assert start("no") == "not_eligible"
    assert start("no") == "not_eligible"
    assert len(site.asked) == 2


def test_table_and_documents_say_what_was_decided() -> None:
    for head in ("", EYES):
        run, outcomes, _ = a_run(trial_of(TABLE, head, REST))
        lines = list(csv.DictReader(io.StringIO("".join(decisions_csv.decisions(run)))))
        patients = [line for line in lines if not line["eye"]]
        told = json.loads("".join(json_documents.decisions_file(run)))["patients"]
        assert len(patients) == len(told) == len(outcomes)
        for line, document, outcome in zip(patients, told, outcomes, strict=True):
            assert line["decision"] == document["decision"] == outcome.decision.value
            verdicts = {one.id: one.verdict.value for one in outcome.criteria}
            assert {name: line[f"c_{name}"] for name in verdicts} == verdicts
            assert set(filter(None, line["failed"].split(";"))) == {
                n for n, v in verdicts.items() if v == "fail"
            }
            assert set(filter(None, line["unknown"].split(";"))) == {
                n for n, v in verdicts.items() if v == "unknown"
            }
            assert (line["queue"] == "contact") == (outcome.decision.value == "eligible")
            assert [bool(line["lookup_1"])] == [outcome.decision.value == "undecided"]
        for line in lines:
            decided = {line[f"c_{name}"] for name in ("x", "lab", "done", "allergic", "alive")}
            worst = next((v for v in ("fail", "unknown") if v in decided), "pass")
            assert (
                line["decision"]
                == {"fail": "not_eligible", "unknown": "undecided", "pass": "eligible"}[worst]
            )


def test_the_summary_counts_what_was_decided() -> None:
    run, outcomes, _ = a_run(trial_of(TABLE, "", REST))
    summary = json_documents.summary(run)
    decided = Counter(outcome.decision.value for outcome in outcomes)
    assert decided == {"eligible": 3, "undecided": 4, "not_eligible": 4}
    assert {name: summary["counts"][name] for name in decided} == decided
    for name, counted in summary["criteria"].items():
        verdicts = Counter(
            one.verdict.value for outcome in outcomes for one in outcome.criteria if one.id == name
        )
        shown = {
            verdict: counted.get(verdict, 0) for verdict in ("pass", "fail", "unknown", "not_applicable")
        }
        assert shown == {verdict: verdicts.get(verdict, 0) for verdict in shown}, name


def test_the_fast_way_decides_alike() -> None:
    for head in ("", EYES):
        trial = trial_of(TABLE, head, REST)
        _, outcomes, plan = a_run(trial)
        fast = compile_verdicts(plan)
        for (records, more), outcome in zip(people(), outcomes, strict=True):
            word = ("not_eligible", "undecided", "eligible")[min(fast(patient_record(records, more)))]
            assert word == outcome.decision.value
