"""`FhirSession`: searches and reads on one FHIR R4 server, with a state for everything that comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime, tzinfo
from typing import Any, Protocol, TypeVar, overload

import httpx

from ehr.config import ProviderProfile
from ehr.errors import EHRError, ReadError
from ehr.fhir import capability as capabilities
from ehr.fhir.capability import Capability
from ehr.fhir.collect import QUARANTINE_RATE, Collection, collect, merged
from ehr.fhir.drugs import with_drugs
from ehr.fhir.entries import SearchPage
from ehr.fhir.match import candidates
from ehr.fhir.outcome import MERGED_CODE, from_error, from_status
from ehr.fhir.paging import Budget, Route, walk
from ehr.fhir.read import Leniency, Validation, read_resource
from ehr.fhir.search import Params, SearchPlan, plan
from ehr.gather import gather_or_cancel
from ehr.people.identity import Person
from ehr.records.fetched import Fetched, Issue, Kind, Severity, State, complete, joined, nothing
from ehr.records.patient import (
    MAY_BE_ABSENT,
    RESOURCES,
    Medication,
    MedicationRequest,
    MedicationStatement,
    PatientRef,
)
from ehr.records.people import Patient, Resource
from ehr.transport.client import Transport, outcome_codes

R = TypeVar("R", bound=Resource)

_SHAPES = {str(shape.__struct_config__.tag): shape for shapes in RESOURCES.values() for shape in shapes} | {
    "Medication": Medication
}
_DRUGS = (MedicationRequest, MedicationStatement)


class _Now(Protocol):
    @property
    def now(self) -> Callable[[], datetime]: ...


@dataclass(slots=True, repr=False, eq=False)
class FhirSession:
    """Typed reading of one server.

    Args:
        transport: pinned to the FHIR base.
        auth: logs in; its ``allows(type)``, if it has one, says which types the granted scopes cover.
        profile: the vendor.
        clock: has ``now()``.
        zone: the site's zone.
        strict: no repairs.
        validation: ``full`` validates every entry against the FHIR R4B models as well.
        capability: what the server says it can do, if that is known already.
        allowed: instead of the login's own answer, whether a type is covered by what was granted.
        budget: where a search stops.
        quarantine_rate: share of unreadable entries above which a collection is an ERROR.
        deadline_s: for each request.
    """

    transport: Transport
    auth: httpx.Auth | None
    profile: ProviderProfile
    _: KW_ONLY
    clock: _Now
    zone: tzinfo
    strict: bool = False
    validation: Validation = "light"
    capability: Capability | None = None
    allowed: Callable[[str], bool] | None = None
    budget: Budget = field(default_factory=Budget)
    quarantine_rate: float = QUARANTINE_RATE
    deadline_s: float | None = None
    _made_route: Route | None = field(default=None, init=False)
    _understood: dict[str, tuple[Capability | None, frozenset[str]]] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        return f"<FhirSession {self.profile.name}>"

    @property
    def capability_known(self) -> bool:
        """Whether a CapabilityStatement was read."""
        return self.capability is not None and self.capability.types is not None

    @property
    def _reading(self) -> Leniency:
        return Leniency(self.zone, self.strict, self.validation)

    @property
    def _route(self) -> Route:
        made = self._made_route
        if made is None or made.profile is not self.profile or made.budget is not self.budget:
            made = Route(self.transport, self.auth, self.profile, self._reading, self.budget, self.deadline_s)
            self._made_route = made
        return made

    def offers(self, type_name: str) -> bool:
        """Whether a resource type can be asked for, as far as profile and CapabilityStatement say."""
        return capabilities.offers(type_name, self.profile, self.capability)

    def understands(self, type_name: str) -> frozenset[str]:
        """Search parameters that are sent for a type; all others are the caller's to filter by."""
        known, found = self._understood.get(type_name, (None, None))
        if found is None or known is not self.capability:
            found = capabilities.parameters(type_name, self.profile, self.capability)
            self._understood[type_name] = (self.capability, found)
        return found

    def may(self, type_name: str) -> bool:
        """Whether the granted scopes cover a type; True where that is not known."""
        rule = self.allowed or getattr(self.auth, "allows", None)
        return rule is None or bool(rule(type_name))

    async def load_capability(self) -> Capability:
        """Ask the server what it can do; from now on types that it does not offer are unsupported.

        An unreadable or missing statement changes nothing: the profile alone decides.

        Raises:
            AuthError, TransportError: the server could not be asked.
        """
        response = await self.transport.request("GET", "metadata", expect="any", deadline_s=self.deadline_s)
        found = capabilities.read_capability(response.body) if 200 <= response.status < 300 else Capability()
        self.capability = found
        return found

    async def touch(self) -> None:
        """Log in by making one small request.

        Raises:
            AuthError: the login was refused.
            TransportError: no usable answer came.
        """
        await self.transport.request(
            "GET", "metadata", auth=self.auth, expect="any", deadline_s=self.deadline_s
        )

    async def sample(self, type_name: str, *, pages: int = 1) -> Fetched[Any]:
        """The first pages of a search without criteria, fully validated, for a probe; PARTIAL where there is more."""
        shape = _SHAPES[type_name]
        refused = self._refused(type_name)
        if refused is not None:
            return refused
        query = plan(shape, None, None, self.profile, self.understands(type_name)).queries[0]
        collection = Collection(query.page_size, self.quarantine_rate)
        route = replace(self._route, reading=replace(self._reading, validation="full"))
        taken = _first(walk(route, query), pages)
        await collect(taken, collection)
        collection.finished = False
        return collection.fetched(self.clock.now())

    @overload
    async def search(
        self, what: type[R], params: Params | None = None, *, patient: PatientRef | None = None
    ) -> Fetched[R]: ...

    @overload
    async def search(
        self, what: Kind | str, params: Params | None = None, *, patient: PatientRef | None = None
    ) -> Fetched[Any]: ...

    async def search(
        self, what: Any, params: Params | None = None, *, patient: PatientRef | None = None
    ) -> Fetched[Any]:
        """Everything that a search finds, with a state.

        Args:
            what: a record type, its FHIR name, or a kind with all its types.
            params: wished-for filters. Those that the server does not understand are not sent and are named
                by ``not-sent:`` issues: servers ignore filters, so the caller applies them again anyway.
            patient: whose records; entries about anyone else are dropped and counted.

        Returns:
            OK or EMPTY only where every page of every part was read to its end.
        """
        shapes = self._shapes(what)
        several = len(shapes) > 1
        asked = [s for s in shapes if not several or s not in MAY_BE_ABSENT or self.offers(_name(s))]
        parts = await gather_or_cancel([self._search(shape, params, patient) for shape in asked])
        return joined(parts) if len(parts) > 1 else parts[0]

    async def read(self, what: type[R] | str, resource_id: str) -> Fetched[R]:
        """One resource by its id: one item, or EMPTY where the server says that it is not there."""
        shape: Any = _SHAPES[what] if isinstance(what, str) else what
        name = _name(shape)
        refused = self._refused(name)
        if refused is not None:
            return refused
        if not _plain_id(resource_id):
            return nothing(State.ERROR, Issue("bad-id", Severity.ERROR))
        try:
            response = await self.transport.request(
                "GET",
                f"{name}/{resource_id}",
                auth=self.auth,
                endpoint_class=name,
                deadline_s=self.deadline_s,
            )
        except EHRError as error:
            state, issue = from_error(error, self.profile)
            return nothing(state, issue)
        if not 200 <= response.status < 300:
            state, issue = from_status(response.status, outcome_codes(response.body), self.profile, "read")
            return _absent(issue) if state.complete else nothing(state, issue)
        return self._one(response.body, shape, resource_id)

    async def match(self, person: Person) -> Fetched[Patient]:
        """Candidates of the server's own ``$match``; UNSUPPORTED where the profile has none."""
        if not self.profile.match_operation:
            return nothing(State.UNSUPPORTED, Issue("unsupported:$match", Severity.INFORMATION))
        refused = self._refused("Patient")
        if refused is not None:
            return refused
        return (await candidates(self._route, person)).fetched(self.clock.now())

    def _one(self, body: bytes, shape: type[R], resource_id: str) -> Fetched[R]:
        try:
            record, issues = read_resource(body, shape, self._reading)
        except ReadError as error:
            return nothing(State.ERROR, Issue("quarantined", Severity.ERROR, path=error.path))
        if record.id != resource_id:
            # Some servers take other numbers for an id; what comes then is another resource.
            return nothing(State.ERROR, Issue("security:other-id", Severity.SECURITY))
        return complete((record,), self.clock.now()).with_issues(issues)

    def _shapes(self, what: Any) -> tuple[type[Resource], ...]:
        if isinstance(what, Kind):
            return RESOURCES[what]
        return (_SHAPES[what],) if isinstance(what, str) else (what,)

    def _plan(self, shape: type[Resource], params: Params | None, patient: PatientRef | None) -> SearchPlan:
        return plan(shape, params, patient, self.profile, self.understands(_name(shape)))

    def _refused(self, type_name: str) -> Fetched[Any] | None:
        if not self.offers(type_name):
            return nothing(State.UNSUPPORTED, Issue(f"unsupported:{type_name}", Severity.INFORMATION))
        if not self.may(type_name):
            return nothing(State.FORBIDDEN, Issue(f"scope-missing:{type_name}", Severity.ERROR))
        return None

    async def _search(
        self, shape: type[Resource], params: Params | None, patient: PatientRef | None
    ) -> Fetched[Any]:
        refused = self._refused(_name(shape))
        if refused is not None:
            return refused
        asked = self._plan(shape, params, patient)
        if not asked.queries:
            return nothing(
                State.UNSUPPORTED, *asked.issues, Issue("nothing-narrows-the-search", Severity.ERROR)
            )
        plans = [asked, *(self._plan(shape, params, older) for older in _older(patient))]
        route = self._route
        collections = await gather_or_cancel(
            collect(walk(route, query), Collection(query.page_size, self.quarantine_rate))
            for one in plans
            for query in one.queries
        )
        parts = [one.fetched(self.clock.now()) for one in collections]
        own = len(asked.queries)
        kept = [*parts[:own], *(part for part in parts[own:] if not _moved_away(part))]
        whole = merged(kept).with_issues(asked.issues)
        return await with_drugs(self, whole) if shape in _DRUGS else whole


def _older(patient: PatientRef | None) -> Iterator[PatientRef]:
    """The patient under their other ids: after a merge, some servers leave entries with the older record."""
    if patient is not None:
        for older in sorted(patient.aliases - {patient.id}):
            yield PatientRef(older, patient.ids - {older})


def _moved_away(part: Fetched[Any]) -> bool:
    """Whether nothing is left under an older id, because the server moved all of it to the survivor."""
    return not part.items and any(issue.code == MERGED_CODE for issue in part.issues)


async def _first(pages: AsyncGenerator[SearchPage, None], count: int) -> AsyncIterator[SearchPage]:
    taken = 0
    async with aclosing(pages):
        async for page in pages:
            taken += 1
            if taken == count and "next" in page.links:
                page.states.append(State.PARTIAL)
            yield page
            if taken == count:
                return


def _absent(issue: Issue) -> Fetched[Any]:
    gone: Fetched[Any] = complete(())
    return gone.with_issues((Issue(issue.code, Severity.INFORMATION),))


def _plain_id(text: str) -> bool:
    return (
        bool(text) and text.isascii() and all(c.isalnum() or c in "-._~" for c in text) and set(text) != {"."}
    )


def _name(shape: type[Resource]) -> str:
    return str(shape.__struct_config__.tag)
