"""Every fault at every kind: what was decided before is decided alike or unknown, never the opposite (S35)."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ehr.errors import LoginRefused
from ehr.sandbox import store_of
from ehr.sandbox.faults import Action, Alien, Body, Fault, Hang, LostPage, Remark, Reset, Status, When
from ehr.sandbox.server import Sandbox
from ehr.site import ClockAndWire
from federated.screening.decide.evidence import Verdict
from federated.screening.report.results import Run
from federated.screening.run import Options, screen_async
from federated.screening.trial.criteria import Trial
from federated.screening.trial.load import read_trial
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


def _screen(pod: Pod, clock: FakeClock, trial: Path | Trial = TRIAL) -> Run:
    return asyncio.run(screen_async(pod.config, trial, Options(), ClockAndWire(clock=clock.clock))).run


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


def _assert_nothing_turned(before: Run, after: Run) -> None:
    known = _verdicts(before)
    for row, verdicts in _verdicts(after).items():
        for name, verdict in verdicts.items():
            if verdict in DECIDED:
                assert verdict is known[row][name], f"row {row}, {name}: {known[row][name]} became {verdict}"


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
    except LoginRefused:
        # Fresh tokens that are refused one after the other end the run: then nobody is decided at all. Whether they
        # come one after the other depends on which patients are asked for at a time.
        assert fault == "401"
        return
    finally:
        stage.ehr.faults = ()
    _assert_nothing_turned(stage.before, after)
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


OTHER_KINDS = {
    "MedicationRequest": (
        "medication",
        "medicationCodeableConcept",
        "subject",
        {"status": "active", "intent": "order"},
    ),
    "MedicationStatement": ("medication", "medicationCodeableConcept", "subject", {"status": "active"}),
    "AllergyIntolerance": ("allergy", "code", "patient", {}),
    "Immunization": ("immunization", "vaccineCode", "patient", {"status": "completed"}),
    "ServiceRequest": ("order", "code", "subject", {"status": "active", "intent": "order"}),
    "DeviceRequest": ("order", "codeCodeableConcept", "subject", {"status": "active", "intent": "order"}),
    "DocumentReference": ("document", "type", "subject", {"status": "current"}),
}
SYSTEM = "http://snomed.info/sct"


def _code(resource: str, wanted: bool) -> str:
    return f"{1000 + list(OTHER_KINDS).index(resource) * 10 + wanted}"


def _records(patient: str, wanted: bool) -> Iterator[dict[str, Any]]:
    """Five entries of each type: the one that counts is the last, on the third page."""
    confirmed = {
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
        "clinicalStatus": {"coding": [{"code": "active"}]},
    }
    for resource, (kind, element, about, rest) in OTHER_KINDS.items():
        for number in range(5):
            code = _code(resource, wanted and number == 4)
            yield {
                "resourceType": resource,
                "id": f"{patient}-{resource}-{number}",
                element: {"coding": [{"system": SYSTEM, "code": code}]},
                about: {"reference": f"Patient/{patient}"},
                **rest,
                **(confirmed if kind == "allergy" else {}),
            }


def _every_kind() -> Trial:
    """A trial that asks each kind for presence (inclusion) and for absence (exclusion)."""
    sets, asked = [], []
    for resource, (kind, _, _, _) in OTHER_KINDS.items():
        name = resource.lower()
        status = ", status: [active]" if kind == "medication" else ""
        key = "type" if kind == "document" else "in"
        sets.append(f"  {name}: {{include: [{{system: snomed, codes: ['{_code(resource, True)}']}}]}}")
        asked.append(f"  - {{id: {name}, text: T, source: S, where: {{{kind}: {{{key}: {name}{status}}}}}}}")
    text = "trialveil: 1\nid: every-kind\ntitle: T\nversion: '1'\nstatus: final\nindex_date: 2026-06-01\n"
    text += "value_sets:\n" + "\n".join(sets) + "\ninclusion:\n" + "\n".join(asked)
    text += "\nexclusion:\n" + "\n".join(asked).replace("{id: ", "{id: no_")
    return read_trial(text).require()


@dataclass(frozen=True, slots=True)
class OtherStage:
    ehr: Sandbox
    pod: Pod
    clock: FakeClock
    trial: Trial
    before: Run


@pytest.fixture(scope="module")
def other_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherStage]:
    folder: Path = tmp_path_factory.mktemp("others")
    clock = FakeClock()
    people = [
        {"resourceType": "Patient", "id": name, "birthDate": "1950-01-01"}
        for name in ("has", "has-not", "bare")
    ]
    records = [*people, *_records("has", True), *_records("has-not", False)]
    with clinic_ehr(store_of(records), ring_in(folder), page=2, clock=clock.now) as ehr:
        pod = make_pod(folder, ehr.base_url, "id\nhas\nhas-not\nbare\n", extra="  patient_seconds: 5\n")
        trial = _every_kind()
        yield OtherStage(ehr, pod, clock, trial, _screen(pod, clock, trial))


def test_every_other_kind_is_decided_both_ways_without_a_fault(other_stage: OtherStage) -> None:
    known = _verdicts(other_stage.before)
    for resource in OTHER_KINDS:
        assert known[1][resource.lower()] is Verdict.PASS
        assert known[1][f"no_{resource.lower()}"] is Verdict.FAIL
        closed = OTHER_KINDS[resource][0] in ("medication", "order")
        assert known[2][resource.lower()] is (Verdict.FAIL if closed else Verdict.UNKNOWN)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("resource", OTHER_KINDS)
def test_an_outage_of_any_other_kind_is_no_finding(
    other_stage: OtherStage, resource: str, fault: str
) -> None:
    action, page = FAULTS[fault]
    other_stage.ehr.faults = (Fault(action, When(resource_type=resource, page=page)),)
    try:
        after = _screen(other_stage.pod, other_stage.clock, other_stage.trial)
    finally:
        other_stage.ehr.faults = ()
    _assert_nothing_turned(other_stage.before, after)
    silent = _verdicts(after)[2][f"no_{resource.lower()}"]
    assert silent is Verdict.UNKNOWN, "what was not read proved that there is nothing"
