"""Epic: what is not data. Merged records, patient lists by identifier, and R4 only; the rest is in the profile.

Epic answers a request for a record that was merged away with outcome 4107 and a redirect to the survivor. Redirects
are followed by nobody else (S14): here once, inside the pin, and to a Patient alone. What was asked about the older
id is then asked about the survivor, who keeps the older id as an alias.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import TypeVar, cast
from urllib.parse import urlsplit

from ehr.errors import ConfigurationError, DestinationRefused, EHRError
from ehr.fhir.outcome import MERGED, MERGED_CODE, from_error, from_status
from ehr.people.identity import Matched, MatchResult, Person, Undetermined
from ehr.providers.adapter import CohortRef, ServerInfo
from ehr.providers.generic import GenericAdapter
from ehr.providers.members import List, members
from ehr.records.patient import Fetched, Issue, Patient, PatientRef, Resource, Severity, State, nothing
from ehr.transport.client import Response, outcome_codes

T = TypeVar("T", bound=Resource)

_PATIENT_LIST = "patients"


class EpicAdapter(GenericAdapter):
    """The generic adapter with Epic's merges and lists."""

    async def discover(self) -> ServerInfo:
        """Ask the server what it is; see `GenericAdapter.discover`.

        Raises:
            ConfigurationError: the base is that of another FHIR version: Epic serves several side by side.
        """
        found = await super().discover()
        if found.fhir_version is not None and not found.fhir_version.startswith("4."):
            raise ConfigurationError(
                f"ehr.base_url: this address serves FHIR {_plain(found.fhir_version)}; epic r4 reads R4. "
                "Use the address that ends in /api/FHIR/R4."
            )
        return found

    async def find_patient(self, person: Person) -> MatchResult:
        """Find one person; an id that was merged away stands for its survivor.

        Raises:
            AuthError: the login failed.
        """
        match = await super().find_patient(person)
        if person.id is None or not _merged(match.issues):
            return match
        survivor = await self._survivor(person.id)
        if not survivor.items:
            return Undetermined(survivor.state, survivor.issues)
        match = await super().find_patient(replace(person, id=survivor.items[0].id))
        if not isinstance(match, Matched):
            return match
        return replace(match, ref=PatientRef(match.ref.id, (match.ref.ids | {person.id}) - {match.ref.id}))

    def cohort(self, source: CohortRef) -> AsyncIterator[PatientRef]:
        """The patients of a Group or List; a List also by its identifier, ``system|value``."""
        if source.source == "list" and "|" in source.id:
            return members(self._session, source, lambda: self._listed(source.id))
        return super().cohort(source)

    async def _listed(self, identifier: str) -> Fetched[List]:
        wanted = {"identifier": identifier, "code": _PATIENT_LIST}
        found = cast("Fetched[List]", await self._session.search(List, wanted))
        self._parts.authenticator.check()
        return found

    async def _record(self, resource: type[T], resource_id: str) -> Fetched[T]:
        found = await super()._record(resource, resource_id)
        if resource is not Patient or not _merged(found.issues):
            return found
        return cast("Fetched[T]", await self._survivor(resource_id))

    async def _search(self, resource: type[T], ref: PatientRef) -> Fetched[T]:
        found = await super()._search(resource, ref)
        if not _merged(found.issues):
            return found
        survivor = await self._survivor(ref.id)
        if not survivor.items:
            return nothing(survivor.state, *survivor.issues)
        kept = survivor.items[0].id or ""
        return await super()._search(resource, PatientRef(kept, ref.ids - {kept}))

    async def _survivor(self, merged_id: str) -> Fetched[Patient]:
        """The record that took the place of another one: one redirect, no further."""
        try:
            response = await self._parts.transport.request(
                "GET",
                f"Patient/{merged_id}",
                auth=self._parts.authenticator,
                endpoint_class="Patient",
            )
            survivor = self._redirected_to(response)
        except DestinationRefused:
            return nothing(State.ERROR, Issue("security:foreign-merge", Severity.SECURITY))
        except EHRError as error:
            self._parts.authenticator.check()
            return nothing(*from_error(error, self.profile))
        if survivor is None:
            return nothing(*self._no_redirect(response))
        found = await self._session.read(Patient, survivor)
        self._parts.authenticator.check()
        if found.items or not found.complete:
            return found
        return nothing(State.ERROR, Issue("merge-unresolved", Severity.ERROR))

    def _no_redirect(self, response: Response) -> tuple[State, Issue]:
        """Why a merge led nowhere: an outage or a refusal says nothing about the merge."""
        unresolved = State.ERROR, Issue("merge-unresolved", Severity.ERROR)
        if response.status < 400:
            return unresolved
        codes = outcome_codes(response.body)
        state, issue = from_status(response.status, codes, self.profile, "read")
        return unresolved if state.complete or issue.code == MERGED_CODE else (state, issue)

    def _redirected_to(self, response: Response) -> str | None:
        """The id of the Patient that a merge points to; None where the answer is no merge.

        Raises:
            DestinationRefused: it points elsewhere.
        """
        states = self.profile.outcome_states
        location = response.headers.get("location")
        says_so = any(states.get(code) == MERGED for code in outcome_codes(response.body))
        if not (300 <= response.status < 400 and says_so and location):
            return None
        path = urlsplit(self._parts.transport.resolve_link(response.url, location)).path
        base = urlsplit(self._parts.transport.resolve("Patient")).path
        folder, _, name = path.rpartition("/")
        return name if folder == base else None


def _merged(issues: Iterable[Issue]) -> bool:
    return any(issue.code == MERGED_CODE for issue in issues)


def _plain(version: str) -> str:
    return version if version.replace(".", "").isdecimal() and len(version) < 12 else "of another version"
