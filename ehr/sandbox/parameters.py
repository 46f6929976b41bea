"""Search parameters of FHIR R4 that the sandbox knows, as data.

Source: HL7 FHIR R4 (4.0.1), search parameter registry; only the types and parameters a trial screen asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

Kind = Literal["token", "string", "date", "reference"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one search parameter reads a resource.

    Args:
        kind: how values are compared.
        paths: elements it reads, dotted; lists are walked through.
        target: for references, the only resource type that counts.
    """

    kind: Kind
    paths: tuple[str, ...]
    target: str | None = None


def _parameter(kind: Kind, paths: str, target: str | None = None) -> Parameter:
    return Parameter(kind, tuple(paths.split()), target)


_token, _string = partial(_parameter, "token"), partial(_parameter, "string")
_date, _reference = partial(_parameter, "date"), partial(_parameter, "reference")


def _tokens(*names: str) -> dict[str, Parameter]:
    """Tokens that are called as their element is, but for hyphens instead of capitals."""
    return {name: _token(re.sub("-(.)", lambda found: found[1].upper(), name)) for name in names}


def _about(path: str) -> dict[str, Parameter]:
    """``patient``, and ``subject`` where the element is called so."""
    found = {"patient": _reference(path, "Patient")}
    if path == "subject":
        found["subject"] = _reference(path)
    return found


_EVERY_TYPE = {
    "_id": _token("id"),
    "_lastUpdated": _date("meta.lastUpdated"),
    "identifier": _token("identifier"),
}

_BY_TYPE: Mapping[str, Mapping[str, Parameter]] = {
    "Patient": {
        "name": _string("name.text name.family name.given name.prefix name.suffix"),
        "family": _string("name.family"),
        "given": _string("name.given"),
        "birthdate": _date("birthDate"),
        **_tokens("gender", "active", "telecom"),
    },
    "Condition": {
        **_about("subject"),
        **_tokens("code", "clinical-status", "verification-status", "category"),
        "onset-date": _date("onsetDateTime onsetPeriod"),
        "recorded-date": _date("recordedDate"),
        "encounter": _reference("encounter", "Encounter"),
    },
    "Procedure": {
        **_about("subject"),
        **_tokens("code", "status", "category"),
        "date": _date("performedDateTime performedPeriod"),
        "encounter": _reference("encounter", "Encounter"),
    },
    "Observation": {
        **_about("subject"),
        **_tokens("code", "category", "status"),
        "date": _date("effectiveDateTime effectivePeriod effectiveInstant"),
        "encounter": _reference("encounter", "Encounter"),
    },
    "Encounter": {
        **_about("subject"),
        "date": _date("period"),
        **_tokens("class", "status", "type"),
        "practitioner": _reference("participant.individual", "Practitioner"),
        "location": _reference("location.location", "Location"),
    },
    "Appointment": {
        "patient": _reference("participant.actor", "Patient"),
        "actor": _reference("participant.actor"),
        "practitioner": _reference("participant.actor", "Practitioner"),
        "location": _reference("participant.actor", "Location"),
        "date": _date("start"),
        **_tokens("status", "service-category"),
    },
    "MedicationRequest": {
        **_about("subject"),
        "code": _token("medicationCodeableConcept"),
        "medication": _reference("medicationReference", "Medication"),
        **_tokens("status", "intent", "category"),
        "authoredon": _date("authoredOn"),
        "requester": _reference("requester"),
    },
    "MedicationStatement": {
        **_about("subject"),
        "code": _token("medicationCodeableConcept"),
        "medication": _reference("medicationReference", "Medication"),
        "status": _token("status"),
        "effective": _date("effectiveDateTime effectivePeriod"),
    },
    "AllergyIntolerance": {
        **_about("patient"),
        "code": _token("code reaction.substance"),
        **_tokens("clinical-status", "verification-status", "category"),
        "date": _date("recordedDate"),
    },
    "Immunization": {
        **_about("patient"),
        **_tokens("vaccine-code", "status"),
        "date": _date("occurrenceDateTime"),
    },
    "DiagnosticReport": {
        **_about("subject"),
        **_tokens("code", "category", "status"),
        "date": _date("effectiveDateTime effectivePeriod"),
        "result": _reference("result", "Observation"),
    },
    "DocumentReference": {
        **_about("subject"),
        **_tokens("type", "category", "status"),
        "date": _date("date"),
        "author": _reference("author"),
    },
    "ServiceRequest": {
        **_about("subject"),
        **_tokens("code", "category", "status", "intent"),
        "authored": _date("authoredOn"),
        "requester": _reference("requester"),
    },
    "DeviceRequest": {
        **_about("subject"),
        "code": _token("codeCodeableConcept"),
        **_tokens("status", "intent"),
        "authored-on": _date("authoredOn"),
        "requester": _reference("requester"),
    },
    "ImagingStudy": {
        **_about("subject"),
        "status": _token("status"),
        "started": _date("started"),
        "modality": _token("modality series.modality"),
        "bodysite": _token("series.bodySite"),
    },
    "Practitioner": {
        "name": _string("name.text name.family name.given name.prefix name.suffix"),
        "family": _string("name.family"),
        "given": _string("name.given"),
        "active": _token("active"),
    },
    "Organization": {"name": _string("name alias"), "active": _token("active")},
    "Location": {"name": _string("name alias"), "status": _token("status")},
    "Group": {
        **_tokens("code", "type", "actual"),
        "member": _reference("member.entity"),
    },
    "List": {
        **_about("subject"),
        **_tokens("code", "status"),
        "item": _reference("entry.item"),
    },
    "Device": {**_about("patient"), "type": _token("type"), "status": _token("status")},
    "Coverage": {"patient": _reference("beneficiary", "Patient"), "status": _token("status")},
    "Medication": {"code": _token("code"), "status": _token("status")},
    "Binary": {},
}

KNOWN_TYPES = frozenset(_BY_TYPE)


def parameters_of(resource_type: str) -> dict[str, Parameter]:
    """Search parameters of a type, by name; types not in the table have the general ones only."""
    return {**_EVERY_TYPE, **_BY_TYPE.get(resource_type, {})}


def elements(resource: Mapping[str, Any], paths: tuple[str, ...]) -> Iterator[Any]:
    """Every value that lies at one of the dotted paths; lists on the way are walked through."""
    for path in paths:
        yield from _walk(resource, path.split("."))


def _walk(value: Any, names: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, names)
    elif not names:
        if value is not None:
            yield value
    elif isinstance(value, dict) and names[0] in value:
        yield from _walk(value[names[0]], names[1:])


_PATIENT_PATHS = ("subject", "patient", "beneficiary", "participant.actor")


def patients_of(resource: Mapping[str, Any]) -> frozenset[str]:
    """Ids of the patients a resource is about; a Patient is about itself."""
    if resource.get("resourceType") == "Patient":
        return frozenset({str(resource.get("id"))})
    targets = (target_of(value) for value in elements(resource, _PATIENT_PATHS))
    return frozenset(name for kind, name in filter(None, targets) if kind == "Patient")


def target_of(reference: Any) -> tuple[str, str] | None:
    """Type and id that a Reference points to; relative and absolute addresses, versions ignored."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str) or text.startswith("#"):
        return None
    parts = text.split("/_history/")[0].rsplit("/", 2)
    if len(parts) < 2:
        return None
    return parts[-2].capitalize() if parts[-2].islower() else parts[-2], parts[-1]
