"""Made-up patients for tests, short to write."""

from __future__ import annotations

from typing import Any

import msgspec

from ehr.records.people import Patient


def patient(
    record_id: str = "p1", family: str | None = "Shaw", given: str | None = "Amy", **more: Any
) -> Patient:
    """A record; ``given`` is split at spaces; further elements by their FHIR names."""
    name: dict[str, Any] = {}
    if family is not None:
        name["family"] = family
    if given is not None:
        name["given"] = given.split()
    raw = {
        "resourceType": "Patient",
        "id": record_id,
        "name": [name] if name else [],
        "birthDate": "1987-02-20",
        **more,
    }
    return msgspec.convert({key: value for key, value in raw.items() if value is not None}, Patient)


def number(value: str, **more: Any) -> dict[str, Any]:
    """An identifier marked as a medical record number by its type's code."""
    return {"value": value, "type": {"coding": [{"code": "MR"}]}, **more}


def replaced_by(other: str) -> list[dict[str, Any]]:
    """The link of a record that was merged away."""
    return [{"type": "replaced-by", "other": {"reference": f"Patient/{other}"}}]
