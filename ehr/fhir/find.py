"""Find a person in the EHR: the searches around `ehr.people.matching`, which alone decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ehr.fhir.outcome import TOO_MANY_CODE
from ehr.fhir.read import counted
from ehr.people.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.people.matching import MATCH, choose, search_plans, survivors_to_read
from ehr.records.fetched import Fetched, Issue, Severity, State
from ehr.records.people import Patient

if TYPE_CHECKING:
    from ehr.fhir.session import FhirSession

_NO_OPERATION = (State.UNSUPPORTED, State.FORBIDDEN)
_GOING_ON_IS_USELESS = (State.UNAVAILABLE, State.QUOTA, State.FORBIDDEN)
_MERGES_FOLLOWED = 5
_NUMBERS = frozenset({"_id", "identifier"})


async def find_patient(session: FhirSession, person: Person, *, policy: Grade = Grade.B) -> MatchResult:
    """Find one person; never a guess.

    The profile's searches are made in their order until one settles who it is; ``$match`` has the place that the
    profile gives it, else comes before those by name. All pages are read, records that were merged away are
    followed to their survivors, and every candidate is compared here.

    Args:
        session: the server.
        person: what is known.
        policy: the least grade that is accepted.

    Returns:
        See `ehr.people.matching.choose`; `Undetermined` where a search failed and none settled it, and where the
        person or the profile gives nothing to search by (state UNSUPPORTED).
    """
    search = _Search(session, person, policy)
    for plan in search.plans():
        operation = MATCH in plan
        found = await (session.match(person) if operation else session.search(Patient, plan))
        if operation and found.state in _NO_OPERATION:
            continue  # a convenience, granted apart by some vendors; a search that is not there is a failure
        settled = await search.consider(found)
        if settled is not None:
            return settled
    return search.conclusion()


class _Search:
    def __init__(self, session: FhirSession, person: Person, policy: Grade) -> None:
        self.session = session
        self.person = person
        self.policy = policy
        self.candidates: dict[str, Patient] = {}
        self.failures: list[State] = []
        self.issues: list[Issue] = []
        self.too_many = False
        self.asked = False

    def plans(self) -> list[Mapping[str, str]]:
        """The searches that the server understands, in their order."""
        understood = self.session.understands("Patient") | {MATCH}
        plans = [plan for plan in search_plans(self.person, self.session.profile) if set(plan) <= understood]
        if any(MATCH in names for names in self.session.profile.patient_search):
            return plans
        by_number = [plan for plan in plans if set(plan) <= _NUMBERS]
        return [*by_number, {MATCH: ""}, *(plan for plan in plans if plan not in by_number)]

    async def consider(self, found: Fetched[Patient]) -> MatchResult | None:
        """The result, if these candidates settle it."""
        self.asked = True
        self.issues += found.issues
        if any(issue.code == TOO_MANY_CODE for issue in found.issues):
            self.too_many = True
            return None
        if not found.complete:
            self.failures.append(State.UNAVAILABLE if found.cut else found.state)
        if found.state in _GOING_ON_IS_USELESS:
            return self._undetermined(found.state)
        self.candidates.update((one.id, one) for one in found.items if one.id)
        failed = await self._follow_merges()
        if failed is not None:
            return self._undetermined(failed)
        return self._settled(self._chosen(), found)

    def _chosen(self) -> MatchResult:
        known, types = list(self.candidates.values()), self.session.profile.mrn_types
        return choose(self.person, known, policy=self.policy, mrn_types=types)

    def _settled(self, result: MatchResult, found: Fetched[Any]) -> MatchResult | None:
        sure = isinstance(result, Matched) and (_holds_all(found, result) or "id" in result.evidence)
        certain = isinstance(result, Ambiguous) and bool(result.grades) and result.grades[0] <= self.policy
        if sure or certain or isinstance(result, Undetermined):
            return replace(result, issues=(*result.issues, *counted(self.issues)))
        return None

    async def _follow_merges(self) -> State | None:
        """Read the survivors; the state of one that could not be read for now: that says nothing about the merge."""
        for _ in range(_MERGES_FOLLOWED):
            for one in survivors_to_read(self.candidates.values()):
                read = await self.session.read(Patient, one)
                if not read.items:
                    self.issues += read.issues
                    return read.state if read.state in _GOING_ON_IS_USELESS else None
                self.candidates[one] = read.items[0]
        return None

    def conclusion(self) -> MatchResult:
        """What holds after the last search."""
        if not self.asked:
            return Undetermined(State.UNSUPPORTED, (Issue("nothing-to-search-by", Severity.ERROR),))
        if self.too_many and set(self.failures) == {State.PARTIAL}:
            return Ambiguous(None, (), counted(self.issues))  # lists that were cut; more facts would help
        if self.failures:
            return self._undetermined(max(self.failures, key=list(State).index))
        issues = counted(self.issues)
        result = self._chosen()
        if isinstance(result, NotFound) and self.too_many:
            return Ambiguous(None, (), issues)
        return replace(result, issues=(*result.issues, *issues))

    def _undetermined(self, state: State) -> Undetermined:
        return Undetermined(state, counted(self.issues))


def _holds_all(found: Fetched[Any], result: Matched) -> bool:
    """Whether one complete search brought this person, so that a namesake would have come with them."""
    return found.complete and any(one.id in result.ref.ids for one in found.items)
