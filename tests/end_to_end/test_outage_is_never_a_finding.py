"""Every fault at every kind: what was decided before is decided alike or unknown, never the opposite (S35)."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ehr.sandbox.faults import Action, Alien, Body, Fault, Hang, LostPage, Remark, Reset, Status, When
from ehr.sandbox.server import Sandbox
from ehr.site import Surroundings
from federated.local import Options, screen_async
from federated.reports.run import Run
from federated.screening.evidence import Verdict
from tests.end_to_end.clinics import TRIAL, Pod, clinic_ehr, make_pod, patients, ring_in, truth
from tests.fakes.clock import FakeClock

KINDS = ("Patient", "Condition", "Procedure", "Observation", "Encounter", "Appointment")
FAULTS: dict[str, tuple[Action, int | None]] = {
    "401": (Status(401), None),
    "403": (Status(403), None),
    "404": (Status(404), None),
    "429": (Status(429, retry_after=1), None),
    "500": (Status(500), None),
    "reset": (Reset(), None),
    "truncated JSON": (Body("truncated"), None),
    "HTML with 200": (Body("html"), None),
    "empty 200": (Body("empty"), None),
    "page 3 fails": (Status(500), 3),
    "page 3 lost": (LostPage(), 3),
    "wrong patient in the page": (Alien(), None),
    "OperationOutcome entry": (Remark("error"), None),
}
DECIDED = (Verdict.PASS, Verdict.FAIL, Verdict.NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class Stage:
    ehr: Sandbox
    pod: Pod
    clock: FakeClock
    before: Run
    by_id: set[int]


def _chosen() -> list[int]:
    """Two rows of each decision."""
    picked: dict[str, list[int]] = {}
    for row, found in truth("north")["rows"].items():
        picked.setdefault(found["decision"], []).append(int(row))
    return sorted(row for rows in picked.values() for row in rows[:2])


def _screen(pod: Pod, clock: FakeClock) -> Run:
    options = Options()
    return asyncio.run(screen_async(pod.config, TRIAL, options, Surroundings(clock=clock.clock))).run


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("pod")
    clock = FakeClock()
    with clinic_ehr("north", ring_in(folder), page=2, clock=clock.now) as ehr:
        pod = make_pod(folder, ehr.base_url, patients("north", _chosen()), extra="  patient_seconds: 5\n")
        with (pod.folder / "patients.csv").open(encoding="utf-8") as file:
            by_id = {number for number, row in enumerate(csv.DictReader(file), start=1) if row["id"]}
        yield Stage(ehr, pod, clock, _screen(pod, clock), by_id)


def _verdicts(run: Run) -> dict[int, dict[str, Verdict]]:
    return {
        patient.input_row: {criterion.id: criterion.verdict for criterion in patient.outcome.criteria}
        for patient in run.patients
        if patient.outcome is not None
    }


def test_without_a_fault_every_decision_occurs(stage: Stage) -> None:
    decisions = {patient.decision.value for patient in stage.before.patients}
    assert decisions == {"eligible", "undecided", "not_eligible", "not_evaluated"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_neither_admits_nor_excludes(stage: Stage, kind: str, fault: str) -> None:
    action, page = FAULTS[fault]
    stage.ehr.faults = (Fault(action, When(resource_type=kind, page=page)),)
    try:
        after = _screen(stage.pod, stage.clock)
    finally:
        stage.ehr.faults = ()
    before = _verdicts(stage.before)
    for row, verdicts in _verdicts(after).items():
        for name, verdict in verdicts.items():
            if verdict in DECIDED:
                assert verdict is before[row][name], (
                    f"row {row}, {name}: {before[row][name]} became {verdict}"
                )
    if kind == "Patient" and page is None:
        evaluated = {patient.input_row for patient in after.patients if patient.outcome is not None}
        # A fault inside a page cannot touch a patient who is read by id, and a stranger among the candidates
        # is told apart.
        allowed = {"OperationOutcome entry": stage.by_id, "wrong patient in the page": evaluated}
        assert evaluated <= allowed.get(fault, set())


def test_a_server_that_never_answers_leaves_everything_unknown(tmp_path: Path) -> None:
    with clinic_ehr("north", ring_in(tmp_path)) as ehr:
        pod = make_pod(tmp_path, ehr.base_url, patients("north", _chosen()), extra="  patient_seconds: 0.4\n")
        ehr.faults = (Fault(Hang(), When(resource_type="Condition")),)
        run = asyncio.run(screen_async(pod.config, TRIAL, Options())).run
    for patient in run.patients:
        if patient.outcome is not None:
            of_conditions = [c for c in patient.outcome.criteria if c.id in ("disease", "wet_amd", "stroke")]
            assert {criterion.verdict for criterion in of_conditions} == {Verdict.UNKNOWN}
            assert patient.fetched["condition"] == "UNAVAILABLE"
