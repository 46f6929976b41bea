"""The golden result over 100 synthetic patients: every cell, and what is still possible after each step."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ehr.records.fetched import Kind, complete
from ehr.records.patient import RESOURCES, PatientRecord, PatientRef
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Decision, Outcome, Verdict
from federated.screening.plan.trial_plan import SiteFacts, make_plan
from federated.screening.trial.load import load_trial

ROOT = Path(__file__).parents[3]
DATA = ROOT.parent / "shared" / "data" / "synthea-r4-100"
TRIAL = ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml"
NOW = datetime(2020, 5, 6, 12, tzinfo=UTC)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data/synthea-r4-100")

YES = [46, 52, 25, 59, 32, 92, 99, 100, 98, 86]
UNKNOWN = [0, 0, 74, 10, 67, 0, 0, 0, 0, 0]
NO = [54, 48, 1, 31, 1, 8, 1, 0, 2, 14]
POSSIBLE = [46, 34, 33, 32, 32, 32, 32, 32, 32, 22]


def resources(kind: type[Any]) -> Iterator[Any]:
    path = DATA / f"{kind.__struct_config__.tag}.ndjson.gz"
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(kind)
    with gzip.open(path) as lines:
        for line in lines:
            yield decoder.decode(line)


def owner(resource: Any) -> str | None:
    subject = getattr(resource, "subject", None) or getattr(resource, "patient", None)
    return None if subject is None or subject.target is None else subject.target[1]


@pytest.fixture(scope="module")
def records() -> list[PatientRecord]:
    kinds = [kind for kind in Kind if kind not in (Kind.PATIENT, Kind.PRACTITIONER)]
    found: dict[Kind, dict[str, list[Any]]] = {kind: defaultdict(list) for kind in kinds}
    for kind in kinds:
        for resource_type in RESOURCES[kind]:
            for resource in resources(resource_type):
                found[kind][owner(resource) or ""].append(resource)
    return [
        PatientRecord(
            PatientRef(patient.id),
            patient,
            {Kind.PATIENT: complete((patient,), NOW)}
            | {kind: complete(found[kind][patient.id], NOW) for kind in kinds},
        )
        for patient in resources(RESOURCES[Kind.PATIENT][0])
    ]


@pytest.fixture(scope="module")
def plan() -> Any:
    facts = SiteFacts(ZoneInfo("UTC"), key=b"a key of a test site")
    return make_plan(load_trial(TRIAL), facts, date(2020, 5, 6))


@pytest.fixture(scope="module")
def outcomes(records: list[PatientRecord], plan: Any) -> list[Outcome]:
    decide = compile_plan(plan)
    return [decide(record) for record in records]


def test_the_golden_synthea_result(outcomes: list[Outcome]) -> None:
    decisions = Counter(outcome.decision for outcome in outcomes)
    assert (
        decisions[Decision.ELIGIBLE],
        decisions[Decision.UNDECIDED],
        decisions[Decision.NOT_ELIGIBLE],
    ) == (13, 9, 78)


def test_every_cell_of_the_golden_table_is_met(outcomes: list[Outcome]) -> None:
    for verdict, expected in ((Verdict.PASS, YES), (Verdict.UNKNOWN, UNKNOWN), (Verdict.FAIL, NO)):
        cells = [sum(outcome.criteria[n].verdict is verdict for outcome in outcomes) for n in range(10)]
        assert cells == expected, verdict


def test_the_golden_funnel_is_met(outcomes: list[Outcome]) -> None:
    possible = [
        sum(
            all(one.verdict is not Verdict.FAIL for one in outcome.criteria[: step + 1])
            for outcome in outcomes
        )
        for step in range(10)
    ]
    assert possible == POSSIBLE


def test_the_criteria_that_fail_alone_are_counted(outcomes: list[Outcome]) -> None:
    alone: Counter[str] = Counter()
    for outcome in outcomes:
        failed = [one.id for one in outcome.criteria if one.verdict is Verdict.FAIL]
        if len(failed) == 1:
            alone[failed[0]] += 1
    assert alone == {"age": 11, "risk": 8, "colonoscopy": 10}


def test_verdicts_and_outcomes_come_from_the_same_closures(
    records: list[PatientRecord], plan: Any, outcomes: list[Outcome]
) -> None:
    truth = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}
    verdicts = compile_verdicts(plan)
    for record, outcome in zip(records, outcomes, strict=True):
        assert verdicts(record) == tuple(truth[one.verdict] for one in outcome.criteria)


def test_the_undecided_get_something_to_look_up(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        assert bool(outcome.lookups) == (outcome.decision is Decision.UNDECIDED)
