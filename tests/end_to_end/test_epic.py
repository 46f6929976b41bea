"""The same people at an EHR with Epic's ways and at a plain one: the same verdicts, and no outage is a finding."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from ehr.sandbox import Store
from ehr.sandbox.data import load
from ehr.sandbox.faults import Action, Body, ExpireSession, Fault, LostPage, Remark, Reset, Status, When
from ehr.sandbox.server import Sandbox
from ehr.site import ClockAndWire
from federated.screening.decide.evidence import Verdict
from federated.screening.run import Decisions, Options, screen_async
from tests.end_to_end.clinics import TRIAL as DEMO_TRIAL
from tests.end_to_end.clinics import Pod, clinic_ehr, make_pod, patients, ring_in
from tests.fakes.clock import FakeClock
from tests.repository.sources import ROOT

SYNTHEA = ROOT / "fixtures" / "synthea"
TRIAL = ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml"
PROVIDERS = {"smarthealthit": "smarthealthit r4", "epic": "epic r4"}
PEOPLE = 5
DECIDED = (Verdict.PASS, Verdict.FAIL, Verdict.NOT_APPLICABLE)


@cache
def synthea() -> Store:
    return load(SYNTHEA)


def everybody() -> str:
    """The forty people by record number, name and birth date, as a hospital would list them."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("mrn", "family", "given", "birth_date"))
    with gzip.open(SYNTHEA / "Patient.ndjson.gz") as lines:
        for number, line in enumerate(lines):
            one = json.loads(line)
            mrn = one["identifier"][0]["value"] if number % 2 else ""
            rows.writerow(
                (mrn, one["name"][0]["family"], " ".join(one["name"][0]["given"]), one["birthDate"])
            )
    return out.getvalue()


def screened(pod: Pod, clock: FakeClock, trial: Path) -> Decisions:
    return asyncio.run(screen_async(pod.config, trial, Options(), ClockAndWire(clock=clock.clock)))


def verdicts(decisions: Decisions) -> dict[tuple[int, str], Verdict]:
    return {
        (patient.input_row, criterion.id): criterion.verdict
        for patient in decisions.run.patients
        if patient.outcome is not None
        for criterion in patient.outcome.criteria
    }


def at(skin: str, data: Store | str, people: str, folder: Path, trial: Path) -> Decisions:
    clock = FakeClock()
    with clinic_ehr(data, ring_in(folder), clock=clock.now, skin=skin) as ehr:
        pod = make_pod(folder, ehr.base_url, people, provider=PROVIDERS[skin])
        found = screened(pod, clock, trial)
        ehr.witness.assert_tokens_stayed_home()
    return found


def test_the_same_people_get_the_same_verdicts_as_at_a_plain_server(tmp_path: Path) -> None:
    plain = at("smarthealthit", synthea(), everybody(), tmp_path / "plain", TRIAL)
    epic = at("epic", synthea(), everybody(), tmp_path / "epic", TRIAL)
    assert epic.summary["counts"] == plain.summary["counts"]
    assert epic.summary["counts"]["matched"] == 40
    assert epic.summary["criteria"] == plain.summary["criteria"]
    assert verdicts(epic) == verdicts(plain)
    assert len(set(verdicts(epic).values())) == 3
    assert not epic.some_unread


def test_what_epic_does_not_list_by_category_is_unknown_and_the_rest_is_alike(tmp_path: Path) -> None:
    """The clinic's acuities are of category ``exam``, which Epic does not have: never "no", always "not known"."""
    people = patients("north", range(1, 41))
    plain = at("smarthealthit", "north", people, tmp_path / "plain", DEMO_TRIAL)
    epic = at("epic", "north", people, tmp_path / "epic", DEMO_TRIAL)
    before, after = verdicts(plain), verdicts(epic)
    assert before.keys() == after.keys()
    other = {key for key in before if before[key] is not after[key]}
    assert other
    assert {name for _, name in other} == {"acuity"}
    assert {after[key] for key in other} == {Verdict.UNKNOWN}


# --- outages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stage:
    ehr: Sandbox
    pod: Pod
    clock: FakeClock
    before: dict[tuple[int, str], Verdict]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("epic")
    clock = FakeClock()
    few = "\n".join(everybody().splitlines()[: PEOPLE + 1]) + "\n"
    with clinic_ehr(synthea(), ring_in(folder), page=10, clock=clock.now, skin="epic") as ehr:
        extra = "  patient_seconds: 5\n"
        pod = make_pod(folder, ehr.base_url, few, extra=extra, provider="epic r4")
        yield Stage(ehr, pod, clock, verdicts(screened(pod, clock, TRIAL)))


CODES = ("4100", "4103", "4113", "4118", "4119", "4127", "4130", "4135", "59108", "59133", "59144", "59177")
FAULTS: dict[str, tuple[Action, int | None]] = {
    **{f"{code} with 400": (Status(400, vendor_code=code), None) for code in CODES},
    **{f"{code} among the entries": (Remark("warning", code), None) for code in (*CODES, "59204", "59100")},
    "4107 without a target": (Status(302, vendor_code="4107"), None),
    "503": (Status(503), None),
    "reset": (Reset(), None),
    "HTML with 200": (Body("html"), None),
    "page 2 fails": (Status(500), 2),
    "page 2 lost": (LostPage(), 2),
    "page 2 expired for good": (ExpireSession(), 2),
}


FEW = ("4118 with 400", "4119 among the entries", "59204 among the entries", "503", "page 2 lost")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        *(("Condition", fault) for fault in FAULTS),
        *((kind, fault) for kind in ("Observation", "Patient") for fault in FEW),
    ],
)
def test_an_outage_neither_admits_nor_excludes(stage: Stage, kind: str, fault: str) -> None:
    action, page = FAULTS[fault]
    # One of the searches that make up a kind fails, so that the others have something to show.
    every = kind == "Patient" or page is not None
    stage.ehr.faults = tuple(
        Fault(action, When("search", kind, page=page), skip=number, times=None if every else 1)
        for number in (range(1) if every else range(0, 5 * PEOPLE, 3))
    )
    try:
        after = verdicts(screened(stage.pod, stage.clock, TRIAL))
    finally:
        stage.ehr.faults = ()
    turned = {key for key in after if after[key] in DECIDED and after[key] is not stage.before[key]}
    assert not turned, f"{fault}: {turned}"


@pytest.mark.parametrize("category", range(3))
def test_a_failed_category_never_becomes_no_diagnosis(stage: Stage, category: int) -> None:
    """Of each patient's three categories one fails: exclusions by diagnosis are open, never passed."""
    passed = {key for key, verdict in stage.before.items() if key[1] == "stroke" and verdict is Verdict.PASS}
    assert passed
    rows = {row for row, _ in passed}
    failing = (Fault(Status(400, vendor_code="59177"), When("search", "Condition", page=1), skip=n, times=1)
               for n in range(category, 3 * PEOPLE, 3))  # fmt: skip
    stage.ehr.faults = tuple(failing)
    try:
        decisions = screened(stage.pod, stage.clock, TRIAL)
    finally:
        stage.ehr.faults = ()
    after = verdicts(decisions)
    states = {patient.fetched["condition"] for patient in decisions.run.patients if patient.input_row in rows}
    assert states <= {"PARTIAL", "UNAVAILABLE", "OK", "EMPTY"}
    failed = {
        patient.input_row
        for patient in decisions.run.patients
        if patient.fetched.get("condition") in ("PARTIAL", "UNAVAILABLE")
    }
    assert failed
    for row in failed & rows:
        assert after[row, "stroke"] is Verdict.UNKNOWN
