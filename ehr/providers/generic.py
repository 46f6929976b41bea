"""The adapter for any FHIR R4 server that keeps to US Core: everything it does differs by profile alone.

SMART Health IT needs nothing else, which proves that this file is generic. An adapter of a vendor wraps or
replaces single methods of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Self, TypeVar, cast

from ehr.auth.authenticator import Authenticator
from ehr.auth.discovery import Endpoints
from ehr.config import ProviderProfile
from ehr.dates import interval_of
from ehr.errors import ConfigurationError
from ehr.fhir.find import find_patient
from ehr.fhir.search import Params
from ehr.fhir.session import FhirSession
from ehr.gather import gather_or_cancel
from ehr.people.identity import MatchResult, Person
from ehr.providers.adapter import CohortRef, ServerInfo, Support, Window
from ehr.providers.contents import OpenDocument, open_content
from ehr.providers.members import members
from ehr.providers.probe import ProbeReport, run_probe
from ehr.records.codes import Code, code_of
from ehr.records.elements import RecordedTime, Reference
from ehr.records.patient import (
    MAY_BE_ABSENT,
    RESOURCES,
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
    Issue,
    Kind,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Patient,
    PatientRef,
    Practitioner,
    Procedure,
    Resource,
    ServiceRequest,
    Severity,
    State,
    complete,
    joined,
    nothing,
    worst,
)
from ehr.transport.client import Transport

T = TypeVar("T", bound=Resource)

_DAY = timedelta(days=1)
# Conditions and procedures are often undated, and a server's date filter would leave those out.
_DATE_PARAMETER: Mapping[type[Resource], str] = {
    Observation: "date",
    Encounter: "date",
    Appointment: "date",
}
_MOMENT: Mapping[type[Resource], Callable[[Any], RecordedTime | None]] = {
    Condition: lambda record: record.onset,
    Procedure: lambda record: record.performed,
    Observation: lambda record: record.effective,
    Encounter: lambda record: record.when,
    Appointment: lambda record: record.when,
}


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """What an adapter is built from; made in `ehr.site`, in one place for all.

    Args:
        profile: the vendor's ways.
        transport: pinned to the FHIR base.
        authenticator: logs in.
        session: searches and reads, over both of them.
        endpoints: what discovery found.
    """

    profile: ProviderProfile
    transport: Transport
    authenticator: Authenticator
    session: FhirSession
    endpoints: Endpoints


class GenericAdapter:
    """See `ehr.providers.adapter.EHRAdapter`."""

    def __init__(self, parts: AdapterParts) -> None:
        self._parts = parts
        self._session = parts.session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.profile.name}>"

    @property
    def profile(self) -> ProviderProfile:
        """The vendor's ways."""
        return self._parts.profile

    @property
    def counters(self) -> Mapping[str, int]:
        """Requests, retries and failures so far, by class; no patient data."""
        return self._parts.transport.counters

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._parts.transport.aclose()

    async def discover(self) -> ServerInfo:
        """Ask the server what it is and can do; from now on types that it does not offer are unsupported."""
        offered = await self._session.load_capability()
        return ServerInfo(
            endpoints=self._parts.endpoints,
            fhir_version=offered.fhir_version,
            software=offered.software,
            types=offered.types,
        )

    async def probe(self) -> ProbeReport:
        """Try each step that a screening run needs; see `ehr.providers.probe`."""
        return await run_probe(self._parts.session, self._parts.authenticator, self._parts.endpoints)

    def supports(self, kind: Kind) -> Support:
        """Whether a kind can be read, as far as is known now."""
        names = [resource.__name__ for resource in RESOURCES[kind]]
        offered = [name for name in names if self._session.offers(name)]
        if not offered:
            return Support("no", f"neither the profile nor the server offers {' or '.join(names)}")
        if not any(self._parts.authenticator.allows(name) for name in offered):
            return Support("no", f"the granted scopes do not cover {' or '.join(offered)}")
        return Support("yes" if self._session.capability_known else "unknown")

    async def find_patient(self, person: Person) -> MatchResult:
        """Find one person; never a guess.

        Raises:
            AuthError: the login failed; so do the methods below.
        """
        match = await find_patient(self._session, person)
        self._parts.authenticator.check()
        return match

    async def patient(self, ref: PatientRef) -> Fetched[Patient]:
        """The demographic record; none or one item."""
        return await self._read(Patient, ref.id)

    async def conditions(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Condition]:
        """Diagnoses and problems, over every category that the vendor keeps apart. ``window``: by onset."""
        return await self._search(Condition, ref, codes, window)

    async def procedures(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Procedure]:
        """What was done."""
        return await self._search(Procedure, ref, codes, window)

    async def medications(self, ref: PatientRef) -> Fetched[MedicationRequest | MedicationStatement]:
        """Requests and statements."""
        found = await self._kind(Kind.MEDICATION, ref)
        return cast("Fetched[MedicationRequest | MedicationStatement]", found)

    async def allergies(self, ref: PatientRef) -> Fetched[AllergyIntolerance]:
        """Allergies, and coded statements that none is known."""
        return await self._search(AllergyIntolerance, ref)

    async def observations(
        self, ref: PatientRef, *, codes: Iterable[Code] | None = None, window: Window | None = None
    ) -> Fetched[Observation]:
        """Measurements and findings."""
        return await self._search(Observation, ref, codes, window)

    async def encounters(self, ref: PatientRef, *, window: Window | None = None) -> Fetched[Encounter]:
        """Visits and stays."""
        return await self._search(Encounter, ref, None, window)

    async def appointments(self, ref: PatientRef, *, window: Window | None = None) -> Fetched[Appointment]:
        """All appointments, past and future, today's included."""
        return await self._search(Appointment, ref, None, window)

    async def reports(self, ref: PatientRef) -> Fetched[DiagnosticReport]:
        """Diagnostic reports."""
        return await self._search(DiagnosticReport, ref)

    async def imaging(self, ref: PatientRef) -> Fetched[ImagingStudy]:
        """Imaging studies."""
        return await self._search(ImagingStudy, ref)

    async def documents(self, ref: PatientRef) -> Fetched[DocumentReference]:
        """References to documents; the content is opened apart."""
        return await self._search(DocumentReference, ref)

    async def immunizations(self, ref: PatientRef) -> Fetched[Immunization]:
        """Vaccinations."""
        return await self._search(Immunization, ref)

    async def orders(self, ref: PatientRef) -> Fetched[ServiceRequest | DeviceRequest]:
        """Orders of services and devices."""
        found = await self._kind(Kind.ORDER, ref)
        return cast("Fetched[ServiceRequest | DeviceRequest]", found)

    async def practitioner(self, ref: PatientRef) -> Fetched[Practitioner]:
        """Who saw the patient last, by the newest kept appointment, else by the record; none or one item."""
        work: list[Coroutine[Any, Any, Fetched[Any]]] = [
            self._search(Appointment, ref),
            self._read(Patient, ref.id),
        ]
        visits, people = await gather_or_cancel(work)
        sources = [part for part in (visits, people) if part.state is not State.UNSUPPORTED]
        issue = Issue("practitioner:source-incomplete", Severity.WARNING)
        sure, cut = all(part.complete for part in sources), any(part.again for part in sources)
        for reference in self._seen_by(visits.items, people.items):
            target = reference.target
            if target is not None and target[0] == "practitioner":
                found = await self._read(Practitioner, target[1])
                if sure or not found.items:
                    return found
                return Fetched(found.items, State.PARTIAL, (issue,), cut=cut)
        if sure:
            return complete(())
        return replace(nothing(worst(part.state for part in sources), issue), cut=cut)

    def _seen_by(self, visits: Iterable[Appointment], people: Iterable[Patient]) -> Iterator[Reference]:
        # Times are compared as moments: as text, two offsets would be out of order.
        kept = [
            (span, visit.practitioner)
            for visit in visits
            if visit.status in ("fulfilled", "arrived", "checked-in")
            and visit.practitioner is not None
            and (span := interval_of(visit.start, self._session.zone)) is not None
        ]
        yield from (who for _, who in sorted(kept, key=lambda pair: pair[0], reverse=True))
        yield from (general for person in people for general in person.general_practitioner)

    @asynccontextmanager
    async def open_document(self, document: DocumentReference) -> AsyncIterator[OpenDocument]:
        """Open a document's content: inline, or the Binary it points to."""
        parts = self._parts
        async with open_content(parts.transport, parts.authenticator, document, parts.profile) as content:
            yield content

    def cohort(self, source: CohortRef) -> AsyncIterator[PatientRef]:
        """The patients that the EHR lists in a Group or List."""
        return members(self._session, source)

    async def _kind(self, kind: Kind, ref: PatientRef) -> Fetched[Resource]:
        types = [
            resource
            for resource in RESOURCES[kind]
            if self._session.offers(resource.__name__) or resource not in MAY_BE_ABSENT
        ]
        return joined(await gather_or_cancel(self._search(resource, ref) for resource in types))

    async def _read(self, resource: type[T], resource_id: str) -> Fetched[T]:
        found = await self._session.read(resource, resource_id)
        self._parts.authenticator.check()
        return found

    async def _search(
        self,
        resource: type[T],
        ref: PatientRef,
        codes: Iterable[Code] | None = None,
        window: Window | None = None,
    ) -> Fetched[T]:
        wanted = None if codes is None else frozenset(codes)
        found = await self._asked(resource, ref, self._date_params(resource, window))
        return self._narrowed(found, resource, wanted, window)

    async def _asked(self, resource: type[T], ref: PatientRef, params: Params) -> Fetched[T]:
        found = await self._session.search(resource, params, patient=ref)
        self._parts.authenticator.check()
        return found

    def _date_params(self, resource: type[Resource], window: Window | None) -> list[tuple[str, str]]:
        # A day wider on either side: servers compare in zones of their own. What is outside is dropped here.
        if window is None or resource not in _DATE_PARAMETER:
            return []
        name, params = _DATE_PARAMETER[resource], []
        if window.first is not None and window.first > date.min:
            params.append((name, f"ge{window.first - _DAY}"))
        if window.last is not None and window.last < date.max:
            params.append((name, f"le{window.last + _DAY}"))
        return params

    def _narrowed(
        self, found: Fetched[T], resource: type[T], codes: frozenset[Code] | None, window: Window | None
    ) -> Fetched[T]:
        # Servers ignore filters silently, so each one is applied here too. Undated entries stay.
        if codes is None and window is None:
            return found
        kept = [
            record
            for record in found.items
            if (codes is None or self._has_code(record, codes)) and self._inside(record, resource, window)
        ]
        if len(kept) == len(found.items):
            return found
        return found.keep(kept)

    def _has_code(self, record: Any, codes: frozenset[Code]) -> bool:
        extra = self.profile.code_systems
        return any(
            code_of(coding.system, coding.code, extra) in codes
            for concept in record.concepts
            for coding in concept.coding
        )

    def _inside(self, record: Any, resource: type[Resource], window: Window | None) -> bool:
        if window is None or resource not in _MOMENT:
            return True
        moment, zone, bounds = _MOMENT[resource](record), self._session.zone, window.interval()
        if moment is None:
            return True
        begun = interval_of(moment.at or moment.start, zone)
        ended = interval_of(moment.at or moment.end, zone)  # a period without an end still goes on
        return (begun is None or begun.lo <= bounds.hi) and (ended is None or ended.hi >= bounds.lo)


def generic_adapter(parts: AdapterParts) -> GenericAdapter:
    """The adapter of a provider that needs no code of its own.

    Raises:
        ConfigurationError: the profile names no resource types.
    """
    if not parts.profile.search_parameters:
        raise ConfigurationError("the provider's profile lists no search_parameters; nothing could be asked.")
    return GenericAdapter(parts)
