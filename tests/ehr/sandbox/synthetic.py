"""A few invented people and what a sandbox needs to hold them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ehr.sandbox import Store, store_of

ICD = "http://hl7.org/fhir/sid/icd-10-cm"
MRN = "urn:example:mrn"
NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def patient(key: str, family: str, given: str, born: str, *, sex: str = "female") -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": key,
        "identifier": [{"system": MRN, "value": f"M-{key}"}],
        "name": [{"family": family, "given": given.split()}],
        "gender": sex,
        "birthDate": born,
    }


def condition(key: str, of: str, code: str, onset: str, *, status: str = "active") -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": key,
        "clinicalStatus": {"coding": [{"system": "urn:example:status", "code": status}]},
        "category": [{"coding": [{"system": "urn:example:category", "code": "problem-list-item"}]}],
        "code": {"coding": [{"system": ICD, "code": code}]},
        "subject": {"reference": f"Patient/{of}"},
        "onsetDateTime": onset,
    }


def observation(key: str, of: str, when: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "category": [{"coding": [{"code": "exam"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "98498-9"}]},
        "subject": {"reference": f"Patient/{of}"},
        "effectiveDateTime": when,
        "valueQuantity": {"value": 0.2},
    }


def people() -> list[dict[str, Any]]:
    return [
        patient("ana", "Núñez", "Ana María", "1950-02-03"),
        patient("bea", "Nunezar", "Beate", "1950-02-03"),
        patient("cy", "van Dorn", "Cy", "1950-02", sex="male"),
        patient("di", "Óseth", "Di", "1961", sex="other"),
    ]


def records() -> list[dict[str, Any]]:
    return [
        condition("c1", "ana", "H35.3131", "2020-01-15"),
        condition("c2", "ana", "I10", "2018", status="resolved"),
        condition("c3", "ana", "E11.9", "2019-07"),
        condition("c4", "bea", "I10", "2021-03-04T05:06:07+02:00"),
        *(observation(f"o{day:02}", "ana", f"2024-01-{day:02}") for day in range(1, 8)),
        {
            "resourceType": "Encounter",
            "id": "e1",
            "status": "finished",
            "class": {"system": "urn:example:class", "code": "AMB"},
            "subject": {"reference": "Patient/ana"},
            "participant": [{"individual": {"reference": "Practitioner/doc"}}],
            "period": {"start": "2023-05-05T08:00:00Z"},
        },
        {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Probe"}]},
        {
            "resourceType": "Appointment",
            "id": "a1",
            "status": "booked",
            "start": "2026-06-10T09:00:00Z",
            "participant": [
                {"actor": {"reference": "Patient/ana"}},
                {"actor": {"reference": "Practitioner/doc"}},
            ],
        },
        {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf", "data": "JVBERg=="},
        {
            "resourceType": "Group",
            "id": "g1",
            "type": "person",
            "actual": True,
            "member": [{"entity": {"reference": "Patient/ana"}}],
        },
    ]


def small_store() -> Store:
    return store_of([*people(), *records()])
