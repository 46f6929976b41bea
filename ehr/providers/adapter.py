"""What every adapter can be asked, whichever vendor stands behind it.

Designed against Epic, NextGen Enterprise (FHIR and REST), Nextech and SMART Health IT: each method returns one
complete, verified collection with its state, and says nothing of how many requests or interfaces that took.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from typing import Literal, Protocol, Self

from ehr.auth.discovery import Endpoints
from ehr.config import ProviderProfile
from ehr.dates import DAY_S, Interval, day_start
from ehr.people.identity import MatchResult, Person
from ehr.providers.probe import ProbeReport
from ehr.records.codes import Code
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
class Window:
    """From, to: calendar days in the site's zone, both inside; None is open."""

    first: date | None = None
    last: date | None = None

    def interval(self) -> Interval:
        """The same in seconds of the site's wall clock."""
        return Interval(day_start(self.first or date.min), day_start(self.last or date.max) + DAY_S - 1)


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

    async def patient(self, ref: PatientRef) -> Fetched[Patient]:
        """The demographic record; none or one item."""
        ...

    async def conditions(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Condition]:
        """Diagnoses and problems, over every category that the vendor keeps apart. ``window``: by onset."""
        ...

    async def procedures(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Procedure]:
        """What was done."""
        ...

    async def medications(self, ref: PatientRef) -> Fetched[MedicationRequest | MedicationStatement]:
        """Requests and statements."""
        ...

    async def allergies(self, ref: PatientRef) -> Fetched[AllergyIntolerance]:
        """Allergies, and coded statements that none is known."""
        ...

    async def observations(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Observation]:
        """Measurements and findings."""
        ...

    async def encounters(self, ref: PatientRef, *, window: Window | None = None) -> Fetched[Encounter]:
        """Visits and stays."""
        ...

    async def appointments(self, ref: PatientRef, *, window: Window | None = None) -> Fetched[Appointment]:
        """All appointments, past and future, today's included; labelled with where they were read."""
        ...

    async def reports(self, ref: PatientRef) -> Fetched[DiagnosticReport]:
        """Diagnostic reports."""
        ...

    async def imaging(self, ref: PatientRef) -> Fetched[ImagingStudy]:
        """Imaging studies."""
        ...

    async def documents(self, ref: PatientRef) -> Fetched[DocumentReference]:
        """References to documents; the content is opened apart."""
        ...

    async def immunizations(self, ref: PatientRef) -> Fetched[Immunization]:
        """Vaccinations."""
        ...

    async def orders(self, ref: PatientRef) -> Fetched[ServiceRequest | DeviceRequest]:
        """Orders of services and devices."""
        ...

    async def practitioner(self, ref: PatientRef) -> Fetched[Practitioner]:
        """Who saw the patient last, by the newest kept appointment, else by the record; none or one item."""
        ...

    def open_document(self, document: DocumentReference) -> AbstractAsyncContextManager[DocumentStream]:
        """Open a document's content."""
        ...

    def cohort(self, source: CohortRef) -> AsyncIterator[PatientRef]:
        """The patients that the EHR lists."""
        ...
