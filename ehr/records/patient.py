"""Records of one patient: the types an adapter returns and the criteria engine reads.

The resources themselves are in `ehr.records.people`, `ehr.records.clinical` and `ehr.records.care`; this is the one
place to import them from. They are FHIR R4 resources as frozen structs, decoded straight from JSON and never
converted. Adapters for interfaces that are not FHIR build the same structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ehr.records.care import (
    AllergyIntolerance,
    Appointment,
    Attachment,
    DeviceRequest,
    DiagnosticReport,
    DocumentReference,
    Encounter,
    ImagingStudy,
    Immunization,
    Medication,
    MedicationRequest,
    MedicationStatement,
    ServiceRequest,
)
from ehr.records.clinical import Condition, Observation, ObservationComponent, Procedure, Value
from ehr.records.fetched import Fetched, Issue, Kind, Severity, State, complete, joined, nothing, worst
from ehr.records.people import Patient, Practitioner, Resource

__all__ = [
    "MAY_BE_ABSENT",
    "RESOURCES",
    "AllergyIntolerance",
    "Appointment",
    "Attachment",
    "Condition",
    "DeviceRequest",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Fetched",
    "ImagingStudy",
    "Immunization",
    "Issue",
    "Kind",
    "Medication",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "ObservationComponent",
    "Patient",
    "PatientRecord",
    "PatientRef",
    "Practitioner",
    "Procedure",
    "Resource",
    "ServiceRequest",
    "Severity",
    "State",
    "Value",
    "complete",
    "joined",
    "nothing",
    "worst",
]

RESOURCES: Mapping[Kind, tuple[type[Resource], ...]] = MappingProxyType(
    {
        Kind.PATIENT: (Patient,),
        Kind.CONDITION: (Condition,),
        Kind.PROCEDURE: (Procedure,),
        Kind.MEDICATION: (MedicationRequest, MedicationStatement),
        Kind.ALLERGY: (AllergyIntolerance,),
        Kind.OBSERVATION: (Observation,),
        Kind.ENCOUNTER: (Encounter,),
        Kind.APPOINTMENT: (Appointment,),
        Kind.REPORT: (DiagnosticReport,),
        Kind.IMAGE: (ImagingStudy,),
        Kind.DOCUMENT: (DocumentReference,),
        Kind.IMMUNIZATION: (Immunization,),
        Kind.ORDER: (ServiceRequest, DeviceRequest),
        Kind.PRACTITIONER: (Practitioner,),
    }
)
"""Which resource types make up a kind."""

MAY_BE_ABSENT: frozenset[type[Resource]] = frozenset({MedicationStatement})
"""Types without which a kind is whole on a server that does not offer them: statements repeat what was ordered or
what patients say. Any other type that is not offered leaves a gap: nobody can say that there is none."""


@dataclass(frozen=True, slots=True)
class PatientRef:
    """Whose records are asked for.

    Args:
        id: the EHR's logical id; case-sensitive, of any length.
        aliases: ids of records merged into this one, whose entries count as this patient's.
    """

    id: str
    aliases: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return "<PatientRef>"

    @property
    def ids(self) -> frozenset[str]:
        """All ids under which this person's entries may come."""
        return self.aliases | {self.id}


@dataclass(frozen=True, slots=True)
class PatientRecord:
    """One patient as the criteria engine sees them.

    Args:
        ref: whose record it is.
        patient: the demographic record; its own state is ``kinds[Kind.PATIENT]``.
        kinds: what was fetched; a kind that is not here was not asked for and counts as unavailable.
        columns: the other columns of the patient's row of the input table, for ``column`` predicates.
    """

    ref: PatientRef
    patient: Patient | None
    kinds: Mapping[Kind, Fetched[Any]] = field(default_factory=lambda: MappingProxyType({}))
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        states = ", ".join(f"{kind}={fetched.state.name}" for kind, fetched in sorted(self.kinds.items()))
        return f"<PatientRecord {states}>"
