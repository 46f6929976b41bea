"""What the demo decides equals the truth that its generator wrote without the engine, row by row."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
import yaml

from federated.local import Decisions, Options, screen_async
from tests.end_to_end.clinics import TRIAL, clinic_ehr, make_pod, patients, ring_in, truth

CLINICS = ("north", "harbour")


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


@pytest.fixture(scope="module", params=CLINICS)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One clinic screened with its criteria in two orders."""
    clinic: str = request.param
    folder = tmp_path_factory.mktemp(clinic)
    made: dict[str, Any] = {"clinic": clinic}
    with clinic_ehr(clinic, ring_in(folder)) as ehr:
        pod = make_pod(folder, ehr.base_url, patients(clinic))
        for order in ("file", "shuffled"):
            trial = folder / f"{order}.yaml"
            trial.write_text(_order(order), encoding="utf-8")
            made[order] = asyncio.run(screen_async(pod.config, trial, Options()))
    return made


def test_the_demo_decides_each_row_and_criterion_as_the_truth_says(runs: dict[str, Any]) -> None:
    expected = truth(runs["clinic"])
    found = _verdicts(runs["file"])
    assert set(found) == set(expected["rows"])
    for row, wanted in expected["rows"].items():
        assert found[row]["decision"] == wanted["decision"], f"row {row}"
        if found[row]["criteria"] or wanted.get("criteria"):
            assert found[row]["criteria"] == wanted["criteria"], f"row {row}"


def test_the_demo_counts_are_those_of_the_truth(runs: dict[str, Any]) -> None:
    expected, summary = truth(runs["clinic"]), runs["file"].summary
    assert summary["counts"] == expected["counts"]
    for name, wanted in expected["criteria"].items():
        assert {key: summary["criteria"][name][key] for key in wanted} == wanted, name


def test_the_order_of_criteria_changes_no_decision(runs: dict[str, Any]) -> None:
    assert [head.id for head in runs["shuffled"].run.criteria] != [
        head.id for head in runs["file"].run.criteria
    ]
    assert _verdicts(runs["shuffled"]) == _verdicts(runs["file"])
    assert runs["shuffled"].summary["counts"] == runs["file"].summary["counts"]
    assert runs["shuffled"].summary["criteria"] == runs["file"].summary["criteria"]
