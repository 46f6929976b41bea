"""Epic (R4): minimum sets, required categories, weighted patient search, outcome codes, merges by redirect.

Made from the captured CapabilityStatement ("May 2026"), smart-configuration and outcome-code list of the vendor's
public sandbox, not from a hospital's server. Where those are silent, what is served is our reading: HTTP 400 under a
fatal outcome, 302 for a merge, 15 minutes for a paging session, ``date`` as the parameter that is applied after
paging.

What common synthetic data lacks is put in, by these rules:

* A Condition without a category is a ``health-concern`` if the name of its code ends in "(finding)" or "(situation)";
  else a ``problem-list-item`` if it is active, recurring or relapsed; else an ``encounter-diagnosis``. Categories
  that are there stay.
* A Patient's number of type ``MR`` or "Medical Record Number" gets the text ``MRN``, Epic's name of that type.
* What is recorded about a patient who was merged away is about the survivor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ehr.sandbox.data import with_references
from ehr.sandbox.parameters import elements
from ehr.sandbox.skin import LoginRules, OutcomeCode, Paging, Searching, Situation, Skin
from ehr.sandbox.store import Store

SYSTEM = "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369"
CONDITION_CATEGORY = "http://terminology.hl7.org/CodeSystem/condition-category"
_ACTIVE = frozenset({"active", "recurrence", "relapse"})
_CONCERNS = ("(finding)", "(situation)")
_RECORD_NUMBER = frozenset({"MR", "Medical Record Number"})

OBSERVATION_CATEGORIES = frozenset(
    {
        *("laboratory", "vital-signs", "social-history", "core-characteristics", "survey", "sdoh", "imaging"),
        *("LDA", "LDA-property", "LDA-assessment", "functional-mental-status", "periodontal"),
        *("labor-delivery", "newborn-delivery", "obstetrics-gynecology"),
    }
)
CONDITION_CATEGORIES = frozenset(
    {
        *("problem-list-item", "encounter-diagnosis", "health-concern", "medical-history", "infection"),
        *("genomics", "dental-finding", "reason-for-visit"),
    }
)


def _code(vendor: str, kind: str, severity: str = "fatal") -> OutcomeCode:
    return OutcomeCode(kind, SYSTEM, vendor, severity)


OUTCOMES: Mapping[Situation, OutcomeCode] = MappingProxyType(
    {
        "no-results": _code("4101", "processing", "warning"),
        "missing-parameter": _code("59108", "required"),
        "too-few": _code("59133", "processing"),
        "unknown-parameter": _code("4122", "processing", "warning"),
        "bad-parameter": _code("59102", "invalid"),
        "bad-value": _code("59111", "value"),
        "not-found": _code("4102", "not-found"),
        "no-binary": _code("59144", "not-found"),
        "unknown-patient": _code("4100", "invalid"),
        "merged": _code("4107", "processing"),
        "session-expired": _code("4113", "expired"),
        "forbidden": _code("4118", "forbidden"),
        "too-many": _code("4127", "too-costly"),
        "fault": _code("59177", "exception"),
    }
)

_ABOUT = frozenset({"_id", "patient", "subject"})
PARAMETERS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Patient": frozenset(
            {"_id", "identifier", "family", "given", "name", "birthdate", "gender", "telecom"}
        ),
        "AllergyIntolerance": frozenset({"_id", "patient", "clinical-status"}),
        "Appointment": frozenset({"_id", "patient", "date", "identifier", "service-category", "status"}),
        "Binary": frozenset({"_id"}),
        "Condition": _ABOUT
        | {"category", "clinical-status", "code", "encounter", "onset-date", "recorded-date"},
        "Coverage": frozenset({"_id", "patient"}),
        "Device": frozenset({"_id", "patient"}),
        "DeviceRequest": frozenset({"_id", "patient", "status"}),
        "DiagnosticReport": _ABOUT | {"category", "code", "date", "identifier"},
        "DocumentReference": _ABOUT | {"author", "category", "date", "status", "type"},
        "Encounter": _ABOUT | {"class", "date", "identifier"},
        "Group": frozenset({"_id"}),
        "ImagingStudy": _ABOUT | {"identifier"},
        "Immunization": frozenset({"_id", "patient", "date", "status"}),
        "List": _ABOUT | {"code", "identifier"},
        "Location": frozenset({"_id"}),
        "Medication": frozenset({"_id"}),
        "MedicationRequest": _ABOUT | {"category", "intent", "status"},
        "Observation": _ABOUT | {"category", "code", "date"},
        "Organization": frozenset({"_id"}),
        "Practitioner": frozenset({"_id", "family", "given", "identifier", "name"}),
        "Procedure": _ABOUT | {"category", "code", "date", "identifier"},
        "ServiceRequest": _ABOUT | {"authored", "category", "code", "identifier", "requester", "status"},
    }
)


def dress(store: Store) -> Store:
    """The data as Epic would have it; see the module's rules."""
    survivors = {
        stored.id: survivor
        for stored in store.all_of("Patient")
        if (survivor := store.survivor(stored.id)) is not None
    }
    renamed = {f"Patient/{merged}": f"Patient/{kept}" for merged, kept in survivors.items()}
    found = Store()
    for kind in sorted(store.types()):
        for stored in store.all_of(kind):
            data = stored.data
            if kind != "Patient" and not survivors.keys().isdisjoint(stored.patients):
                data = with_references(data, renamed, ("reference",))
            if kind == "Condition" and not data.get("category"):
                data = {**data, "category": [_category(data)]}
            elif kind == "Patient":
                data = _with_number_types(data)
            if data is stored.data:
                found.take(stored)
            else:
                found.add(data)
    return found


def _category(condition: Mapping[str, Any]) -> dict[str, Any]:
    names = [*elements(condition, ("code.coding.display", "code.text"))]
    status = [*elements(condition, ("clinicalStatus.coding.code",))]
    if any(str(name).endswith(_CONCERNS) for name in names):
        code = "health-concern"
    else:
        code = "encounter-diagnosis" if _ACTIVE.isdisjoint(status) else "problem-list-item"
    return {"coding": [{"system": CONDITION_CATEGORY, "code": code}]}


def _with_number_types(patient: dict[str, Any]) -> dict[str, Any]:
    held = patient.get("identifier")
    if not isinstance(held, list):
        return patient
    changed = [_with_type(one) for one in held]
    return patient if changed == held else {**patient, "identifier": changed}


def _with_type(identifier: Any) -> Any:
    marks = [*elements(identifier, ("type.coding.code", "type.text"))] if isinstance(identifier, dict) else []
    if not _RECORD_NUMBER & {str(mark) for mark in marks}:
        return identifier
    return {**identifier, "use": "usual", "type": {**identifier["type"], "text": "MRN"}}


SKIN = Skin(
    name="epic",
    title="Epic (R4)",
    fhir_path="/interconnect/api/FHIR/R4",
    token_path="/interconnect/oauth2/token",  # noqa: S106 - a path, not a secret
    types=frozenset(PARAMETERS),
    paging=Paging(
        default_count=100,
        max_count=1000,
        session_life_s=900,
        links_at="type",
        expired_status=400,
        total=False,
    ),
    searching=Searching(
        parameters=PARAMETERS,
        required={
            "Patient": (
                frozenset({"identifier"}),
                frozenset({"family", "given", "birthdate"}),
                frozenset({"family", "given", "gender", "telecom"}),
            ),
            "Condition": (frozenset({"category"}),),
            "Observation": (frozenset({"category"}), frozenset({"code"})),
        },
        values={
            ("Condition", "category"): CONDITION_CATEGORIES,
            ("Observation", "category"): OBSERVATION_CATEGORIES,
        },
        prefixes=frozenset({"eq", "gt", "lt", "ge", "le"}),
        strings="weighted",
        weighs=frozenset({"gender"}),
        typed_identifiers=True,
        post_filters={
            "Observation": frozenset({"date"}),
            "Encounter": frozenset({"date", "class"}),
            "Procedure": frozenset({"date"}),
            "Appointment": frozenset({"date", "status"}),
        },
        post="body",
        knows_patients=True,
        unknown="ignore",
        name_yields=True,
        sorts=False,
        modifiers=frozenset(),
        no_results_outcome=True,
        max_patients=100,
    ),
    login=LoginRules(
        scope_required=False,
        token_life_s=3600,
        announced={
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "client_secret_basic",
                "private_key_jwt",
            ],
            "token_endpoint_auth_signing_alg_values_supported": None,
            "grant_types_supported": [
                "authorization_code",
                "refresh_token",
                "client_credentials",
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ],
            "scopes_supported": ["openid", "fhirUser", "launch", "profile", "epic.scanning.dmsusername"],
            "introspection_endpoint": None,
            "revocation_endpoint": None,
        },
    ),
    match_operation=True,
    merged="redirect",
    metadata="xml",
    dress=dress,
    outcome_codes=OUTCOMES,
)
