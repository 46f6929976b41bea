"""One node of a trial file against records in FHIR's own JSON, both written by hand from the design page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from ehr.fhir.read import Leniency, read_resource
from ehr.records.fetched import Fetched, Kind, State, complete
from ehr.records.patient import RESOURCES, Patient, PatientRecord, PatientRef
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Outcome
from federated.screening.plan.trial_plan import Plan, make_plan
from federated.screening.trial.criteria import Trial
from tests.federated.screening.making import INDEX, ZONE, broken, facts
from tests.federated.screening.trial_texts import HEAD, read

SETS = """value_sets:
  amd: {include: [{system: icd10cm, codes: ["H35.31*"]}], exclude: [{system: icd10cm, codes: ["H35.319*"]}]}
  dm: {include: [{system: icd10cm, codes: ["E11*"]}, {system: snomed, codes: ["44054006"]}]}
  wet: {include: [{system: icd10cm, codes: ["H35.32*"]}], text_hints: [wet amd]}
  a1c: {include: [{system: loinc, codes: ["4548-4"]}]}
  weight: {include: [{system: loinc, codes: ["29463-7"]}]}
  glucose: {include: [{system: loinc, codes: ["2345-7"]}]}
  bp: {include: [{system: loinc, codes: ["85354-9"]}]}
  systolic: {include: [{system: loinc, codes: ["8480-6"]}]}
  letters: {include: [{system: loinc, codes: ["98498-9"]}]}
  hcg: {include: [{system: loinc, codes: ["2106-3"]}]}
  positive: {include: [{system: snomed, codes: ["10828004"]}]}
  injection: {include: [{system: cpt, codes: ["67028"]}]}
  insulin: {include: [{system: rxnorm, codes: ["106892"]}]}
  penicillin: {include: [{system: snomed, codes: ["91936005"]}]}
  flu: {include: [{system: cvx, codes: ["140"]}]}
  visit: {include: [{system: snomed, codes: ["185349003"]}]}
  hospice: {include: [{system: "uri:http://terminology.hl7.org/CodeSystem/discharge-disposition", codes: [hosp]}]}
  consent: {include: [{system: loinc, codes: ["59284-0"]}]}
  scan: {include: [{system: snomed, codes: ["252886007"]}]}
"""
SYSTEMS = {
    "icd": "http://hl7.org/fhir/sid/icd-10-cm", "snomed": "http://snomed.info/sct", "loinc": "http://loinc.org",
    "cpt": "http://www.ama-assn.org/go/cpt", "rxnorm": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "cvx": "http://hl7.org/fhir/sid/cvx", "clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "ver": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
    "act": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
}  # fmt: skip
READ = datetime(2024, 8, 15, 9, tzinfo=UTC)
"""When the records were read: after the index date, as with a date of the past."""

BY_NAME = {shape.__name__: (shape, kind) for kind, shapes in RESOURCES.items() for shape in shapes}


class Row(NamedTuple):
    """What the page says: the section, in words, the node, the records, and 0 no, 1 unknown, 2 yes."""

    section: str
    says: str
    node: str
    records: tuple[dict[str, Any], ...]
    expected: int
    more: Mapping[str, Any] = {}


def row(
    section: str, says: str, node: str, records: Iterable[dict[str, Any]], expected: int, **more: Any
) -> Row:
    return Row(section, says, node, tuple(records), expected, more)


def table(*rows: Row) -> pytest.MarkDecorator:
    """The rows as parameters, named by section and sentence."""
    return pytest.mark.parametrize(
        "case", [pytest.param(one, id=f"{one.section} {one.says}") for one in rows]
    )


def check(case: Row) -> None:
    """The node is as expected, for the fast way and for the one with evidence, however the records are ordered."""
    plan = plan_of(trial_of(case.node, case.more.get("head", "")), case.more)
    for records in (case.records, case.records[::-1]):
        who = patient_record(records, case.more)
        found = compile_plan(plan)(who)
        assert truth_in(found) == case.expected, found.criteria[0].evidence
        assert compile_verdicts(plan)(who)[0] == case.expected


def truth_in(found: Outcome) -> int:
    """The verdict of the first criterion, an inclusion, as a number."""
    return {"fail": 0, "unknown": 1, "pass": 2}[found.criteria[0].verdict.value]


def trial_of(node: str, head: str = "", rest: str = "") -> Trial:
    text = f"{HEAD}{head}{SETS}inclusion:\n  - {{id: x, text: t, source: s, where: {node}}}\n{rest}"
    checked = read(text)
    assert checked.trial is not None, [str(problem) for problem in checked.problems]
    return checked.trial


def plan_of(trial: Trial, more: Mapping[str, Any]) -> Plan:
    known = {name: more[name] for name in ("world", "care_since", "zone", "assume_complete") if name in more}
    return make_plan(trial, facts(**known), more.get("index", INDEX))


def patient_record(records: Iterable[dict[str, Any]], more: Mapping[str, Any] = {}) -> PatientRecord:
    """A patient whose every kind was read, but for those in ``states``."""
    person = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1960-05-05"}
    who: Patient = resource(person | more.get("patient", {}))
    held: dict[Kind, list[Any]] = {kind: [] for kind in RESOURCES}
    for number, one in enumerate(records):
        held[BY_NAME[one["resourceType"]][1]].append(resource({"id": f"r{number}"} | one))
    kinds: dict[Kind, Fetched[Any]] = {kind: complete(items, READ) for kind, items in held.items()}
    for name, state in more.get("states", {}).items():
        kinds[Kind(name)] = broken(tuple(held[Kind(name)]), State[state])
    kinds[Kind.PATIENT] = complete((who,), READ)
    ref = PatientRef("p", frozenset(more.get("aliases", ())))
    return PatientRecord(ref, who, kinds, more.get("columns", {}))


def resource(raw: dict[str, Any]) -> Any:
    """Read as from a server: decoded, with the repairs that are allowed."""
    shape = BY_NAME[raw["resourceType"]][0]
    bare = {name: value for name, value in raw.items() if value is not None}
    return read_resource(json.dumps(bare).encode(), shape, Leniency(ZONE, False, "light"))[0]


def coded(
    code: str | None = None, system: str = "icd", text: str | None = None, *others: dict[str, Any]
) -> Any:
    coding = [] if code is None else [{"system": SYSTEMS.get(system, system), "code": code}]
    made: dict[str, Any] = {"coding": [*coding, *others]} if coding or others else {}
    return made | ({"text": text} if text else {})


def cond(code: Any = "H35.3112", **more: Any) -> dict[str, Any]:
    """An active, confirmed condition that began on 2024-01-01."""
    made = {
        "resourceType": "Condition",
        "clinicalStatus": coded("active", "clinical"),
        "verificationStatus": coded("confirmed", "ver"),
        "code": coded(code) if isinstance(code, str) else code,
        "onsetDateTime": "2024-01-01",
    }
    return made | more


def obs(value: Any = None, code: str = "4548-4", unit: str | None = "%", **more: Any) -> dict[str, Any]:
    """A final result of 2024-06-01."""
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "final",
        "code": coded(code, "loinc"),
        "effectiveDateTime": "2024-06-01",
    }
    if value is not None:
        made["valueQuantity"] = {"value": value} | ({"unit": unit, "code": unit} if unit else {})
    return made | more


def proc(**more: Any) -> dict[str, Any]:
    """An injection, completed on 2024-06-01."""
    code = coded("67028", "cpt")
    return {
        "resourceType": "Procedure",
        "status": "completed",
        "code": code,
        "performedDateTime": "2024-06-01",
    } | more


def drug(**more: Any) -> dict[str, Any]:
    """An active prescription of insulin."""
    made = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "authoredOn": "2024-02-01",
    }
    if "medicationReference" not in more:
        made["medicationCodeableConcept"] = coded("106892", "rxnorm")
    return made | more


def visit(start: str | None, end: str | None = None, **more: Any) -> dict[str, Any]:
    """A finished visit."""
    period = {name: text for name, text in (("start", start), ("end", end)) if text}
    kind = {"system": SYSTEMS["act"], "code": "AMB"}
    return {"resourceType": "Encounter", "status": "finished", "class": kind, "period": period} | more


def booking(start: str | None, status: str | None = "booked", **more: Any) -> dict[str, Any]:
    """An appointment."""
    return {"resourceType": "Appointment", "status": status, "start": start} | more
