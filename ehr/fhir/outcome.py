"""What a failure means: HTTP statuses, OperationOutcomes and exceptions become states and issues.

A status or code never becomes EMPTY unless a vendor's profile says that this is how it writes "no results".

======================================  ===========  =====================================================
what came                               state        why
======================================  ===========  =====================================================
401, 403, a refused login               FORBIDDEN    after the one renewal that the transport makes
404, 405, 501 on a search               UNSUPPORTED  the type is not there
408, 425, 429, 5xx, time-outs, breaker  UNAVAILABLE  after the repetitions that the transport makes
a spent quota, an empty 200 (profile)   QUOTA        go on tomorrow
HTML or an empty body with 200          UNAVAILABLE  a proxy, a login or maintenance page answers
not JSON, not a Bundle, too large       ERROR        the server is broken or we misread it
400, 422, other 4xx, redirects          ERROR        our mistake, or a wrong base
======================================  ===========  =====================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ehr.config import ProviderProfile
from ehr.errors import (
    AuthError,
    BadBody,
    BodyTooLarge,
    CountNotKept,
    DestinationRefused,
    EHRError,
    QuotaSpent,
    TransportError,
    Unavailable,
)
from ehr.records.elements import CodeableConcept, Element
from ehr.records.fetched import Issue, Severity, State, worst
from ehr.records.people import Resource
from ehr.transport.response import ISSUE_TYPES

Purpose = Literal["search", "read"]

TOO_MANY = "AMBIGUOUS"
"""Value in a profile's ``outcome_states``: too many patients fit a search, or too few elements were given."""

EXPIRED = "RESTART"
"""Value in a profile's ``outcome_states``: the paging session is over; the search is begun again once."""

ABSENT = "ABSENT"
"""Value in a profile's ``outcome_states``: the resource is not there (never was, or was deleted).

That answers a read. A search that meets it was asked about what does not exist, and has found out nothing.
"""

MERGED = "MERGED"
"""Value in a profile's ``outcome_states``: the record was merged into another one, which has to be asked."""

TOO_MANY_CODE = "too-many-matches"
MERGED_CODE = "merged"

_BAD = frozenset({"error", "fatal"})


class OutcomeIssue(Element, frozen=True):
    """One issue of an OperationOutcome."""

    severity: str | None = None
    code: str | None = None
    details: CodeableConcept | None = None


class OperationOutcome(Resource, frozen=True):
    """What a server says about a request."""

    issue: tuple[OutcomeIssue, ...] = ()


class SearchFailed(Unavailable):
    """A search ended before its last page.

    Attributes:
        state: name of the state that an empty-handed search has.
        issues: what was noticed; no patient data.
    """

    def __init__(self, state: State, issue: Issue) -> None:
        super().__init__(
            f"the search ended before its last page ({state.name}, {issue.code}). "
            "What was read so far is not everything.",
            state=state.name,
        )
        self.issues = (issue,)

    @property
    def meaning(self) -> State:
        """The state as a value."""
        return State[self.state]


@dataclass(slots=True)
class Verdict:
    """What outcomes say about a collection: states that it cannot be better than, and issues."""

    states: list[State] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    expired: bool = False


def judge(outcome: OperationOutcome, profile: ProviderProfile) -> Verdict:
    """Read an OperationOutcome that came among entries, or instead of a Bundle with HTTP 200.

    Information and warnings never make a result worse by themselves; a vendor's code can (``4119``: there
    may be more). Errors and fatal ones make it PARTIAL at best.
    """
    verdict = Verdict()
    for issue in outcome.issue:
        bad = (issue.severity or "").lower() in _BAD
        codes = _codes(issue)
        meaning = next(
            (profile.outcome_states[code] for code in codes if code in profile.outcome_states), None
        )
        severity = Severity.ERROR if bad else Severity.WARNING
        if meaning == State.EMPTY.name:
            severity = Severity.INFORMATION  # how this vendor writes "no results"
        verdict.issues.append(Issue(_shown(codes, profile), severity))
        if meaning == EXPIRED:
            verdict.expired = True
        elif meaning in (TOO_MANY, ABSENT, MERGED):
            verdict.states.append(State.ERROR)
            if meaning != ABSENT:
                code = TOO_MANY_CODE if meaning == TOO_MANY else MERGED_CODE
                verdict.issues.append(Issue(code, Severity.WARNING))
        elif meaning is not None and meaning in State.__members__:
            if not State[meaning].complete:
                verdict.states.append(State[meaning])
        elif bad:
            verdict.states.append(State.ERROR)
    return verdict


def _codes(issue: OutcomeIssue) -> tuple[str, ...]:
    vendor = () if issue.details is None else tuple(c.code for c in issue.details.coding if c.code)
    return (*vendor, issue.code) if issue.code else vendor


def _shown(codes: Iterable[str], profile: ProviderProfile) -> str:
    # A code is text from the server: only words that are known beforehand are repeated.
    known = next((code for code in codes if code in profile.outcome_states or code in ISSUE_TYPES), "other")
    return f"outcome:{known}"


def from_status(
    status: int, codes: Iterable[str], profile: ProviderProfile, purpose: Purpose = "search"
) -> tuple[State, Issue]:
    """State and issue of an error status.

    Args:
        status: 300 to 599.
        codes: codes of the OperationOutcome in the body; a vendor's code says more than the status.
        profile: the vendor.
        purpose: a 404 on ``read`` says that the resource is not there, if the body is an OperationOutcome.
    """
    known = tuple(codes)
    found = [meant for code in known if (meant := _meant(code, profile, purpose)) is not None]
    bad = [meant for meant in found if not meant[0].complete]
    if bad:
        grave = worst(state for state, _ in bad)
        return next(meant for meant in bad if meant[0] is grave)
    if found and all(code in profile.outcome_states or code in ISSUE_TYPES for code in known):
        return found[0]  # "no results" is believed only where nothing else is said that we do not know
    state = _plain(status)
    if purpose == "read" and (status == 410 or (status == 404 and known)):
        state = State.EMPTY
    return state, Issue(f"http-{status}", Severity.ERROR)


def _meant(code: str, profile: ProviderProfile, purpose: Purpose) -> tuple[State, Issue] | None:
    """What a vendor's code says by itself; None where it says nothing about the whole."""
    meaning = profile.outcome_states.get(code)
    if meaning in (TOO_MANY, MERGED):
        return State.ERROR, Issue(TOO_MANY_CODE if meaning == TOO_MANY else MERGED_CODE)
    if meaning == ABSENT:
        gone = State.EMPTY if purpose == "read" else State.ERROR
        return gone, Issue(f"outcome:{code}", Severity.ERROR)
    if meaning is not None and meaning in State.__members__ and meaning != State.OK.name:
        return State[meaning], Issue(f"outcome:{code}", Severity.ERROR)
    return None


def _plain(status: int) -> State:
    if status in (401, 403):
        return State.FORBIDDEN
    if status in (404, 405, 501):
        return State.UNSUPPORTED
    if status in (408, 425, 429) or status >= 500:
        return State.UNAVAILABLE
    return State.ERROR


def is_expired(status: int, codes: Iterable[str], profile: ProviderProfile) -> bool:
    """Whether the answer to a ``next`` link says that the paging session is over."""
    return status in (404, 410) or any(profile.outcome_states.get(code) == EXPIRED for code in codes)


def from_error(error: EHRError, profile: ProviderProfile) -> tuple[State, Issue]:
    """State and issue of an exception of the transport or the login."""
    code = error_word(error)
    if isinstance(error, QuotaSpent):
        return State.QUOTA, Issue("quota-spent", Severity.ERROR)
    if isinstance(error, CountNotKept):
        return State.UNAVAILABLE, Issue(code, Severity.ERROR)
    if isinstance(error, DestinationRefused):
        return State.ERROR, Issue("security:destination-refused", Severity.SECURITY)
    if isinstance(error, AuthError):
        return State.FORBIDDEN, Issue(code, Severity.ERROR)
    if isinstance(error, BadBody):
        return _bad_body(error, profile)
    if isinstance(error, BodyTooLarge) or not isinstance(error, TransportError):
        return State.ERROR, Issue(code, Severity.ERROR)
    return State.UNAVAILABLE, Issue(code, Severity.ERROR)


def _bad_body(error: BadBody, profile: ProviderProfile) -> tuple[State, Issue]:
    issue = Issue(f"body-{error.reason}", Severity.ERROR)
    # NextGen Enterprise answers so when the day's calls are used up, by all programs of the site (public clients).
    if error.reason == "empty" and profile.empty_body_is_quota:
        return State.QUOTA, issue
    return (State.UNAVAILABLE if error.reason in ("empty", "html") else State.ERROR), issue


def error_word(error: EHRError) -> str:
    """The stable name of a class of errors, such as ``timed-out``."""
    name = type(error).__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
