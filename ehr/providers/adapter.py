"""What every adapter can be asked, whichever vendor stands behind it.

Designed against Epic, NextGen Enterprise (FHIR and REST), Nextech and SMART Health IT: reading a kind
returns one complete, verified collection with its state, and says nothing of how many requests or interfaces that
took.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, overload

from ehr.auth.discovery import Endpoints
from ehr.config import ProviderProfile
from ehr.people.identity import MatchResult, Person
from ehr.providers.probe import ProbeReport
from ehr.records.patient import (
    AllergyIntolerance,
    Appointment,
    Condition,
    DeviceRequest,
    DiagnosticReport,
    DocumentReference,
    Encounter,
    Fetched,
    ImagingStudy,
    Immunization,
    Kind,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Patient,
    PatientRef,
    Practitioner,
    Procedure,
    ServiceRequest,
)


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a kind can be read here.

    Args:
        answer: ``yes``, ``no`` or ``unknown``.
        reason: why not, in our words.
    """

    answer: Literal["yes", "no", "unknown"]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says about itself, merged with configuration.

    Args:
        endpoints: see `ehr.auth.discovery`.
        fhir_version: such as ``4.0.1``, or None.
        software: name of the server's software, or None.
        types: resource types it says it can search; None where it did not say.
    """

    endpoints: Endpoints
    fhir_version: str | None = None
    software: str | None = None
    types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class CohortRef:
    """Patients that the EHR itself lists.

    Args:
        source: ``group`` or ``list``.
        id: its logical id.
    """

    source: Literal["group", "list"]
    id: str


class DocumentStream(Protocol):
    """An open document: its type, and its bytes piece by piece."""

    @property
    def content_type(self) -> str:
        """As the document or the server declares it."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, in order, bounded in total size."""
        ...


class EHRAdapter(Protocol):
    """One EHR, opened. Close it, or use it with ``async with``."""

    @property
    def profile(self) -> ProviderProfile:
        """The vendor's ways."""
        ...

    @property
    def counters(self) -> Mapping[str, int]:
        """Requests, retries and failures so far, by class; no patient data."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

    async def discover(self) -> ServerInfo:
        """Ask the server what it is and can do."""
        ...

    async def probe(self) -> ProbeReport:
        """Try login, clock, scopes, one search and its second page; no patient data in the report."""
        ...

    def supports(self, kind: Kind) -> Support:
        """Whether a kind can be read, as far as is known now."""
        ...

    async def find_patient(self, person: Person) -> MatchResult:
        """Find one person; never a guess."""
        ...

    @overload
    async def read(self, kind: Literal[Kind.PATIENT], ref: PatientRef) -> Fetched[Patient]: ...

    @overload
    async def read(self, kind: Literal[Kind.CONDITION], ref: PatientRef) -> Fetched[Condition]: ...

    @overload
    async def read(self, kind: Literal[Kind.PROCEDURE], ref: PatientRef) -> Fetched[Procedure]: ...

    @overload
    async def read(
        self, kind: Literal[Kind.MEDICATION], ref: PatientRef
    ) -> Fetched[MedicationRequest | MedicationStatement]: ...

    @overload
    async def read(self, kind: Literal[Kind.ALLERGY], ref: PatientRef) -> Fetched[AllergyIntolerance]: ...

    @overload
    async def read(self, kind: Literal[Kind.OBSERVATION], ref: PatientRef) -> Fetched[Observation]: ...

    @overload
    async def read(self, kind: Literal[Kind.ENCOUNTER], ref: PatientRef) -> Fetched[Encounter]: ...

    @overload
    async def read(self, kind: Literal[Kind.APPOINTMENT], ref: PatientRef) -> Fetched[Appointment]: ...

    @overload
    async def read(self, kind: Literal[Kind.REPORT], ref: PatientRef) -> Fetched[DiagnosticReport]: ...

    @overload
    async def read(self, kind: Literal[Kind.IMAGE], ref: PatientRef) -> Fetched[ImagingStudy]: ...

    @overload
    async def read(self, kind: Literal[Kind.DOCUMENT], ref: PatientRef) -> Fetched[DocumentReference]: ...

    @overload
    async def read(self, kind: Literal[Kind.IMMUNIZATION], ref: PatientRef) -> Fetched[Immunization]: ...

    @overload
    async def read(
        self, kind: Literal[Kind.ORDER], ref: PatientRef
    ) -> Fetched[ServiceRequest | DeviceRequest]: ...

    @overload
    async def read(self, kind: Literal[Kind.PRACTITIONER], ref: PatientRef) -> Fetched[Practitioner]: ...

    @overload
    async def read(self, kind: Kind, ref: PatientRef) -> Fetched[Any]: ...

    async def read(self, kind: Kind, ref: PatientRef) -> Fetched[Any]:
        """All records of one kind: past and future, over every category and type that the vendor keeps apart.

        The patient's own record and the practitioner are none or one item. The practitioner is who saw the patient
        last, by the newest kept appointment, else by the record. Appointments are labelled with where they were
        read. Documents come as references; their content is opened apart.

        Raises:
            AuthError: the login failed.
        """
        ...

    def open_document(self, document: DocumentReference) -> AbstractAsyncContextManager[DocumentStream]:
        """Open a document's content."""
        ...

    def cohort(self, source: CohortRef) -> AsyncIterator[PatientRef]:
        """The patients that the EHR lists."""
        ...
