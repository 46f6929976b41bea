"""What the demo decides equals the truth that its generator wrote without the engine, row by row."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from ehr.sandbox.server import Sandbox
from federated.demo.pods import CLINICS, SMART, Clinic, register, write_pod
from federated.screening.run import Decisions, Options, screen_async
from tests.end_to_end.clinics import CLINICS as SMALL
from tests.end_to_end.clinics import DEMO_CLINICS, TRIAL, truth


def _order(name: str) -> str:
    """The demo's trial with its criteria in another order."""
    text = TRIAL.read_text(encoding="utf-8")
    if name == "file":
        return text
    document: dict[str, Any] = yaml.load(text, yaml.BaseLoader)
    for side in ("inclusion", "exclusion"):
        random.Random(name).shuffle(document[side])
    # JSON is YAML, and quotes keep every scalar the text that it was.
    return json.dumps(document, ensure_ascii=False, indent=1)


def _verdicts(decisions: Decisions) -> dict[str, dict[str, Any]]:
    found = {}
    for patient in decisions.run.patients:
        criteria = (
            {} if patient.outcome is None else {c.id: c.verdict.value for c in patient.outcome.criteria}
        )
        criteria.pop("alive", None)
        found[str(patient.input_row)] = {"decision": patient.decision.value, "criteria": criteria}
    return found


def _screened(clinic: Clinic, folder: Path, *orders: str) -> dict[str, Decisions]:
    """One clinic screened by a pod as the demo writes it, with its criteria in each of these orders."""
    clients = {clinic.client_id: register(clinic, folder)}
    own = (SMALL if clinic in FIXTURES else DEMO_CLINICS) / clinic.name
    made = {}
    with Sandbox(own / "fhir", clinic.ways.skin, clients=clients) as ehr:
        pod = write_pod(clinic, folder, ehr.base_url, own / "patients.csv")
        for order in orders:
            trial = folder / f"{order}.yaml"
            trial.write_text(_order(order), encoding="utf-8")
            made[order] = asyncio.run(screen_async(pod, trial, Options()))
    return made


FIXTURES = (Clinic("north", "North", SMART), Clinic("harbour", "Harbour", SMART))
"""Small clinics of the same maker, with one person for each unusual case."""


@pytest.fixture(scope="module", params=[*CLINICS, *FIXTURES], ids=lambda clinic: clinic.name)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Decisions]:
    clinic: Clinic = request.param
    return clinic.name, _screened(clinic, tmp_path_factory.mktemp(clinic.name), "file")["file"]


def test_the_demo_decides_each_row_and_criterion_as_the_truth_says(run: tuple[str, Decisions]) -> None:
    expected = truth(run[0])
    found = _verdicts(run[1])
    assert set(found) == set(expected["rows"])
    for row, wanted in expected["rows"].items():
        assert found[row]["decision"] == wanted["decision"], f"row {row}"
        if found[row]["criteria"] or wanted.get("criteria"):
            assert found[row]["criteria"] == wanted["criteria"], f"row {row}"


def test_the_demo_counts_are_those_of_the_truth(run: tuple[str, Decisions]) -> None:
    expected, summary = truth(run[0]), run[1].summary
    assert summary["counts"] == expected["counts"]
    for name, wanted in expected["criteria"].items():
        assert {key: summary["criteria"][name][key] for key in wanted} == wanted, name


def test_the_demo_has_two_clinics_of_each_provider() -> None:
    assert sorted(clinic.ways.provider for clinic in CLINICS) == ["epic r4"] * 2 + ["smarthealthit r4"] * 2
    assert all(truth(clinic.name)["counts"]["evaluated"] >= 60 for clinic in CLINICS)


@pytest.mark.parametrize("clinic", FIXTURES, ids=lambda clinic: clinic.name)
def test_the_order_of_criteria_changes_no_decision(clinic: Clinic, tmp_path: Path) -> None:
    runs = _screened(clinic, tmp_path, "file", "shuffled")
    assert [head.id for head in runs["shuffled"].run.criteria] != [
        head.id for head in runs["file"].run.criteria
    ]
    assert _verdicts(runs["shuffled"]) == _verdicts(runs["file"])
    assert runs["shuffled"].summary["counts"] == runs["file"].summary["counts"]
    assert runs["shuffled"].summary["criteria"] == runs["file"].summary["criteria"]
