"""The adapter for any FHIR R4 server that keeps to US Core: everything it does differs by profile alone.

SMART Health IT needs nothing else, which proves that this file is generic. An adapter of a vendor wraps or
replaces single methods of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from ehr.auth.authenticator import Authenticator
from ehr.auth.discovery import Endpoints
from ehr.config import ProviderProfile
from ehr.dates import interval_of
from ehr.errors import ConfigurationError
from ehr.fhir.find import find_patient
from ehr.fhir.session import FhirSession
from ehr.gather import gather_or_cancel
from ehr.people.identity import MatchResult, Person
from ehr.providers.adapter import CohortRef, ServerInfo, Support
from ehr.providers.contents import OpenDocument, open_content
from ehr.providers.members import members
from ehr.providers.probe import ProbeReport, run_probe
from ehr.records.elements import Reference
from ehr.records.patient import (
    MAY_BE_ABSENT,
    RESOURCES,
    Appointment,
    DocumentReference,
    Fetched,
    Issue,
    Kind,
    Patient,
    PatientRef,
    Practitioner,
    Resource,
    Severity,
    State,
    complete,
    joined,
    nothing,
    worst,
)
from ehr.transport.client import Transport

T = TypeVar("T", bound=Resource)


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

    async def read(self, kind: Kind, ref: PatientRef) -> Fetched[Any]:
        """All records of one kind; see `EHRAdapter.read`."""
        if kind is Kind.PATIENT:
            return await self._record(Patient, ref.id)
        if kind is Kind.PRACTITIONER:
            return await self._practitioner(ref)
        types = RESOURCES[kind]
        if len(types) == 1:
            return await self._search(types[0], ref)
        offered = [one for one in types if self._session.offers(one.__name__) or one not in MAY_BE_ABSENT]
        return joined(await gather_or_cancel(self._search(one, ref) for one in offered))

    async def _practitioner(self, ref: PatientRef) -> Fetched[Practitioner]:
        work: list[Coroutine[Any, Any, Fetched[Any]]] = [
            self._search(Appointment, ref),
            self._record(Patient, ref.id),
        ]
        visits, people = await gather_or_cancel(work)
        sources = [part for part in (visits, people) if part.state is not State.UNSUPPORTED]
        issue = Issue("practitioner:source-incomplete", Severity.WARNING)
        sure, cut = all(part.complete for part in sources), any(part.again for part in sources)
        for reference in self._seen_by(visits.items, people.items):
            target = reference.target
            if target is not None and target[0] == "practitioner":
                found = await self._record(Practitioner, target[1])
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

    async def _record(self, resource: type[T], resource_id: str) -> Fetched[T]:
        found = await self._session.read(resource, resource_id)
        self._parts.authenticator.check()
        return found

    async def _search(self, resource: type[T], ref: PatientRef) -> Fetched[T]:
        found = await self._session.search(resource, (), patient=ref)
        self._parts.authenticator.check()
        return found


def generic_adapter(parts: AdapterParts) -> GenericAdapter:
    """The adapter of a provider that needs no code of its own.

    Raises:
        ConfigurationError: the profile names no resource types.
    """
    if not parts.profile.search_parameters:
        raise ConfigurationError("the provider's profile lists no search_parameters; nothing could be asked.")
    return GenericAdapter(parts)
