"""People who do not exist, and what a hospital might have written about them; plain FHIR R4.

Their names, numbers and dates are canaries: rare strings that no output but the declared ones may hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ehr.people.identity import Person
from ehr.records.patient import PatientRef

Resource = dict[str, Any]

FAMILY, GIVEN, BORN, MRN = "Canaryfamily", "Canarygiven", "1950-02-03", "CANARY-4711"
CANARIES = (FAMILY, GIVEN, BORN, MRN)
NUMBERS = "urn:example:contract-kit:mrn"
WHO = "kit-ana"
ANA = PatientRef(WHO)
PERSON = Person(family=FAMILY, given=GIVEN, birth_date=BORN)

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_V3 = "http://terminology.hl7.org/CodeSystem"


def without(resource: Resource, *names: str) -> Resource:
    """The resource without some of its elements."""
    return {name: value for name, value in resource.items() if name not in names}


def patient(
    key: str = WHO,
    family: str | None = FAMILY,
    given: str | None = GIVEN,
    born: str | None = BORN,
    **more: Any,
) -> Resource:
    """A person with a record number; ``more`` adds or replaces elements."""
    name: dict[str, Any] = {"use": "official"}
    name |= {} if family is None else {"family": family}
    name |= {} if given is None else {"given": given.split()}
    made = {
        "resourceType": "Patient",
        "id": key,
        "identifier": [record_number(MRN if key == WHO else f"CANARY-{key}")],
        "name": [name],
        "gender": "female",
    }
    return made | ({} if born is None else {"birthDate": born}) | more


def record_number(value: str, **kind: Any) -> Resource:
    """A medical record number, marked as one."""
    marked = kind or {"coding": [{"system": f"{_V3}/v2-0203", "code": "MR"}], "text": "Medical Record Number"}
    return {"use": "usual", "type": marked, "system": NUMBERS, "value": value}


def concept(code: str, system: str = ICD, display: str | None = None) -> Resource:
    """A meaning in one coding."""
    return {"coding": [{"system": system, "code": code} | ({} if display is None else {"display": display})]}


def _about(kind: str, key: str, of: str) -> Resource:
    return {"resourceType": kind, "id": key, "subject": {"reference": f"Patient/{of}"}}


def condition(key: str, code: str | Resource = "E11.9", of: str = WHO, **more: Any) -> Resource:
    """A confirmed, active problem."""
    return {
        **_about("Condition", key, of),
        "clinicalStatus": concept("active", f"{_V3}/condition-clinical"),
        "verificationStatus": concept("confirmed", f"{_V3}/condition-ver-status"),
        "category": [concept("problem-list-item", f"{_V3}/condition-category")],
        "code": concept(code) if isinstance(code, str) else code,
        "onsetDateTime": "2019-05-06",
    } | more


def procedure(key: str, of: str = WHO, **more: Any) -> Resource:
    """A finished procedure."""
    return {
        **_about("Procedure", key, of),
        "status": "completed",
        "code": concept("73761001", SNOMED),
        "performedDateTime": "2021-04-05",
    } | more


def procedures(count: int, of: str = WHO) -> list[Resource]:
    """So many procedures, ``p1`` first."""
    stem = "" if of == WHO else f"{of}-"
    return [procedure(f"{stem}p{number}", of) for number in range(1, count + 1)]


def observation(key: str, of: str = WHO, **more: Any) -> Resource:
    """A final laboratory result."""
    value = {} if any(name.startswith("value") for name in more) else {"valueQuantity": quantity("6.1", "%")}
    when = {} if any(name.startswith("effective") for name in more) else {"effectiveDateTime": "2025-01-02"}
    return (
        {
            **_about("Observation", key, of),
            "status": "final",
            "category": [concept("laboratory", f"{_V3}/observation-category")],
            "code": concept("4548-4", LOINC),
        }
        | value
        | when
        | more
    )


def quantity(value: str, unit: str, **more: Any) -> Resource:
    """A number with a UCUM unit."""
    return {"value": float(value), "unit": unit, "system": "http://unitsofmeasure.org", "code": unit} | more


def allergy(key: str, of: str = WHO, **more: Any) -> Resource:
    """An allergy to penicillin."""
    return {
        "resourceType": "AllergyIntolerance",
        "id": key,
        "clinicalStatus": concept("active", f"{_V3}/allergyintolerance-clinical"),
        "verificationStatus": concept("confirmed", f"{_V3}/allergyintolerance-verification"),
        "code": concept("91936005", SNOMED),
        "patient": {"reference": f"Patient/{of}"},
    } | more


def encounter(key: str, of: str = WHO, **more: Any) -> Resource:
    """A finished visit."""
    return {
        **_about("Encounter", key, of),
        "status": "finished",
        "class": {"system": f"{_V3}/v3-ActCode", "code": "AMB"},
        "period": {"start": "2024-05-05T08:00:00Z", "end": "2024-05-05T08:30:00Z"},
    } | more


def appointment(key: str, start: str, status: str = "booked", of: str = WHO, **more: Any) -> Resource:
    """A visit of 20 minutes."""
    who = more.pop("practitioner", "Practitioner/kit-doctor")
    people = [
        {"actor": {"reference": f"Patient/{of}"}, "status": "accepted"},
        {"actor": {"reference": who}, "status": "accepted"},
    ]
    return {
        "resourceType": "Appointment",
        "id": key,
        "status": status,
        "start": start,
        "end": start.replace(":00:00", ":20:00"),
        "participant": people,
    } | more


def practitioner(key: str, family: str) -> Resource:
    """Someone who treats."""
    return {"resourceType": "Practitioner", "id": key, "active": True, "name": [{"family": family}]}


def medication_request(key: str, of: str = WHO, **more: Any) -> Resource:
    """An active order of metformin, unless another drug is given."""
    drug = {} if any(name.startswith("medication") for name in more) else {
        "medicationCodeableConcept": concept("6809", RXNORM)
    }  # fmt: skip
    return (
        {
            **_about("MedicationRequest", key, of),
            "status": "active",
            "intent": "order",
            "authoredOn": "2025-02-03",
        }
        | drug
        | more
    )


def outcome(severity: str, code: str = "processing", vendor: str | None = None) -> Resource:
    """An OperationOutcome with one issue."""
    details = {} if vendor is None else {"details": {"coding": [{"system": "urn:example", "code": vendor}]}}
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code} | details]}


def ids(records: Iterable[Any]) -> list[str]:
    """Ids of records, in order."""
    return [str(record.id) for record in records]
