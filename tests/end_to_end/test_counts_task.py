"""Counts of a screening, added up over hospitals by the command: what is written, and what never is."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ehr.sandbox.server import Sandbox
from federated.cli.frame import run
from federated.demo.pods import CLINICS, SMART, register, write_pod
from federated.demo.shared_tasks import Keys, federation_section, make_keys, screening_policy
from federated.screening.trial.criteria import Trial
from federated.screening.trial.load import load_trial
from federated.screening.trial.lock import lock
from tests.end_to_end.clinics import CLINICS as DATA
from tests.end_to_end.clinics import TRIAL, patients

THREE = tuple(replace(clinic, ways=SMART) for clinic in CLINICS[:3])


def opened(held: ExitStack, folder: Path, trial: Trial, keys: Keys) -> list[Path]:
    """Three clinics with the same thirty people each, their EHRs and their pods."""
    people = folder / "patients.csv"
    people.write_text(patients("north"))
    found = []
    for clinic in THREE:
        client = register(clinic, folder / clinic.name)
        ehr = held.enter_context(Sandbox(DATA / "north" / "fhir", clients={clinic.client_id: client}))
        sections = screening_policy(trial, len(THREE)) + federation_section(keys, clinic.name)
        found.append(write_pod(clinic, folder / clinic.name, ehr.base_url, people, sections))
    return found


def write_task(folder: Path, trial: Trial, keys: Keys) -> Path:
    (folder / "trial.yaml").write_text(lock(trial))
    lines = "".join(f"  - {{name: {name}, key: {key}}}\n" for name, key in keys.pods.items())
    task = folder / "task.yaml"
    task.write_text(
        "name: counts\nprotocol: ResultsOnly\n"
        "algorithm: {name: TrialInclusionCriteriaMatchAlgorithm, arguments: {trial: trial}}\n"
        "trial: trial.yaml\naggregator: {minimum_survivors: 3}\n"
        f"pods:\n{lines}modeller: {{name: study-office, key: {{file: modeller.key}}}}\n"
    )
    return task


def test_only_what_passed_the_small_cell_rule_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))
    trial, keys = load_trial(TRIAL), make_keys(tmp_path, [clinic.name for clinic in THREE])
    out = tmp_path / "out"
    with ExitStack() as held:
        pods = opened(held, tmp_path, trial, keys)
        given = [part for pod in pods for part in ("--pod", str(pod))]
        task = write_task(tmp_path, trial, keys)
        assert run(["-q", "task", "run", str(task), *given, "--out", str(out)]) == 0
    shown_there = capsys.readouterr().out
    assert (
        out / "counts.txt"
    ).read_text() in shown_there and "3 pods, no number below 11 is shown" in shown_there
    assert "only the sum over 3 of 3 pods could be read" in (out / "report.html").read_text(encoding="utf-8")
    counts = json.loads((out / "counts.json").read_text())
    assert counts["schema"] == "trialveil/counts/1"
    shown = [number for number in _numbers(counts) if number is not None]
    assert shown, "thirty people a clinic are enough for some numbers"
    assert all(number == 0 or number >= 11 for number in shown)
    result = json.loads((out / "result.json").read_text())
    assert result["sum"]["values"] == {}
    assert result["sum"]["files"] == ["counts.csv", "counts.json", "counts.txt", "report.html"]
    # Each pod has its own whole report, and nobody else has it.
    assert len(list((tmp_path / "results").rglob("report.html"))) == 3


def _numbers(document: object) -> list[int | None]:
    if isinstance(document, dict):
        own = [document["at_least"]] if "at_least" in document else []
        return own + [number for part in document.values() for number in _numbers(part)]
    return [number for part in document for number in _numbers(part)] if isinstance(document, list) else []
