"""The JSON documents: numbers that add up, bytes that do not depend on the order of work."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from federated.errors import CheckFailed, InvalidArgument
from federated.screening.decide.evidence import Decision
from federated.screening.report import json_documents
from federated.screening.report.document_models import (
    DecisionsDocument,
    Mask,
    OverviewDocument,
    RunDocument,
    SummaryDocument,
)
from federated.screening.report.results import DecisionRow, Execution, MatchState, PatientResult, queue
from federated.screening.report.write import write_site
from tests.fakes import runs


def test_counts_add_up() -> None:
    """Against a count of the patients themselves."""
    run = runs.run(200)
    found = json_documents.summary(run)
    counts = found["counts"]
    told = Counter(patient.decision.value for patient in run.patients)
    assert all(told[name] == counts[name] for name in told)
    assert counts["input"] == 200
    assert counts["eligible"] + counts["undecided"] + counts["not_eligible"] == counts["evaluated"]
    assert counts["evaluated"] + counts["not_evaluated"] == counts["input"]
    for one in found["criteria"].values():
        parts = one["pass"] + one["fail"] + one["unknown"] + one["not_applicable"]
        assert parts == counts["evaluated"]
    assert sum(mask["count"] for mask in found["masks"]) == counts["evaluated"]
    assert found["funnel"]["ordered"][-1]["possible"] == counts["eligible"] + counts["undecided"]
    assert min(counts[name] for name in ("eligible", "undecided", "not_eligible", "not_evaluated")) > 0


def test_a_decision_that_its_criteria_do_not_give_is_refused() -> None:
    outcome = replace(runs.outcome("ppfpppppppp"), decision=Decision.ELIGIBLE)
    run = runs.run(0, patients=(PatientResult(1, "a" * 64, outcome=outcome),))
    with pytest.raises(CheckFailed, match="the verdicts of the criteria"):
        json_documents.summary(run)


def test_a_patient_evaluated_without_being_matched_is_refused() -> None:
    outcome = runs.outcome("p" * 11)
    run = runs.run(0, patients=(PatientResult(1, "a" * 64, MatchState.AMBIGUOUS, outcome),))
    with pytest.raises(CheckFailed, match="evaluated than matched"):
        json_documents.counts(run)


def test_an_outcome_of_another_trial_is_refused() -> None:
    outcome = runs.outcome("pp", heads=runs.CRITERIA[:2])
    with pytest.raises(CheckFailed, match="lists 3 criteria; expected the 12"):
        right = PatientResult(1, "a", outcome=runs.outcome("p" * 11))
        runs.run(0, patients=(right, PatientResult(2, "b", outcome=outcome)))


def test_a_criterion_that_is_switched_off_is_listed_and_not_counted(tmp_path: Path) -> None:
    off = tuple(replace(head, enabled=head.id != "risk") for head in runs.CRITERIA)
    base = runs.run(0)
    patient = PatientResult(1, "ab", outcome=runs.outcome("p-" + "p" * 9, heads=off))
    run = replace(base, trial=replace(base.trial, criteria=off), patients=(patient,))
    write_site(run, tmp_path)
    found = json_documents.summary(run)
    assert found["funnel"]["not_evaluated"] == ["risk"]
    assert "risk" not in found["criteria"]
    assert "risk" not in {step["criterion"] for step in found["funnel"]["ordered"]}
    assert "listed, not evaluated" in (tmp_path / "report.html").read_text("utf-8")
    assert ",not_evaluated,pass" in (tmp_path / "decisions.csv").read_text("utf-8")


def test_two_results_for_one_row_are_refused() -> None:
    with pytest.raises(CheckFailed, match="one result a row"):
        runs.run(0, patients=(PatientResult(1, "a"), PatientResult(1, "b")))


def test_outputs_are_identical_for_any_concurrency(tmp_path: Path) -> None:
    """Whatever order patients end in, and whenever they do, every file but run.json is the same bytes."""
    run = runs.run(80)
    shuffled = list(run.patients)
    random.Random(1).shuffle(shuffled)
    other = replace(run, patients=shuffled, execution=Execution("2027-01-01T00:00:00Z", None, {"read": 1.0}))
    first, second = write_site(run, tmp_path / "1"), write_site(other, tmp_path / "2")
    assert [path.name for path in first] == [path.name for path in second]
    for one, two in zip(first, second, strict=True):
        assert (one.read_bytes() == two.read_bytes()) is (one.name != "run.json"), one.name


def test_every_document_is_what_its_schema_says(tmp_path: Path) -> None:
    write_site(runs.run(60), tmp_path)
    models = {"decisions.json": DecisionsDocument, "summary.json": SummaryDocument, "run.json": RunDocument}
    for name, model in models.items():
        model.model_validate_json((tmp_path / name).read_text("utf-8"))
    both = json_documents.overview([runs.run(20), runs.run(30, seed=8, site="south")])
    OverviewDocument.model_validate_json(json_documents.text(both))


def in_order(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    assert names == sorted(names)
    return dict(pairs)


@pytest.mark.parametrize("count", [0, 1, 25])
def test_keys_are_sorted_at_every_depth(count: int) -> None:
    run = runs.run(count)
    text = "".join(json_documents.decisions_file(run))
    assert json.loads(text, object_pairs_hook=in_order) == json_documents.decisions(run)
    for made in (json_documents.summary(run), json_documents.execution(run), json_documents.overview([run])):
        assert json.loads(json_documents.text(made), object_pairs_hook=in_order) == made


def test_a_number_that_is_not_finite_is_never_written() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        json_documents.text({"value": float("nan")})


def test_many_patients_are_written_one_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head first; the same patients as in the one document; the other form is removed."""
    run = runs.run(12)
    write_site(run, tmp_path)
    whole = json.loads((tmp_path / "decisions.json").read_text("utf-8"))
    monkeypatch.setattr(json_documents, "LINES_ABOVE", 10)
    write_site(run, tmp_path)
    head, *lines = (tmp_path / "decisions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == whole.pop("patients")
    assert json.loads(head) == whole
    assert not (tmp_path / "decisions.json").exists()


def test_no_file_but_run_json_has_a_clock(tmp_path: Path) -> None:
    write_site(runs.run(10), tmp_path)
    clocked = [path.name for path in tmp_path.iterdir() if "T09:14" in path.read_text("utf-8")]
    assert clocked == ["run.json"]


def test_the_queue_follows_on_unknown_and_if_unknown() -> None:
    """hba1c says nothing, trial says note."""

    def of(letters: str, on_unknown: str) -> str:
        patient = PatientResult(1, "a", outcome=runs.outcome(letters))
        run = runs.run(0, patients=(patient,), on_unknown=on_unknown)
        return queue(run, DecisionRow(patient, patient.outcome))

    assert of("ppppppppppp", "review") == "contact"
    assert of("fpuppppppppp"[:11], "review") == "none"
    assert of("ppupppppppp", "review") == "review"
    assert of("ppupppppppp", "defer") == "deferred"
    assert of("ppuppppppp" + "u", "review") == "review"
    assert of("pppppppppp" + "u", "defer") == "contact"


def test_the_overview_adds_the_sites() -> None:
    north, south = runs.run(50), runs.run(30, seed=3, site="south")
    both = json_documents.overview([south, north])
    assert both == json_documents.overview([north, south])
    for name in json_documents.COUNTS:
        assert both["counts"][name] == sum(site["counts"][name] for site in both["sites"])
    assert both["funnel"]["evaluated"] == both["counts"]["evaluated"]
    assert sum(mask["count"] for mask in both["masks"]) == both["counts"]["evaluated"]


def test_sites_of_different_trials_are_not_added() -> None:
    north = runs.run(5)
    other = replace(north, trial=replace(north.trial, version="2"))
    with pytest.raises(InvalidArgument, match="all of one trial"):
        json_documents.overview([north, other])
    with pytest.raises(InvalidArgument, match="at least one"):
        json_documents.overview([])


def test_a_run_without_patients_has_all_files(tmp_path: Path) -> None:
    assert len(write_site(runs.run(0), tmp_path)) == 5
    assert "No patient was screened" in (tmp_path / "report.html").read_text("utf-8")


def test_a_key_that_no_schema_has_cannot_be_written() -> None:
    assert Mask.of(failed=1, unknown=0, not_applicable=0, count=2)["count"] == 2
    with pytest.raises(TypeError, match="Mask has no field who"):
        Mask.of(failed=1, unknown=0, not_applicable=0, count=2, who="Amy")
    with pytest.raises(AttributeError):
        Mask.of(failed=1, unknown=0, not_applicable=0)
