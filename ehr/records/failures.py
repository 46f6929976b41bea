"""What failed, by stable names: the keys of ``failures`` in ``summary.json`` (S33).

Counted is one for each answer about a patient (their search, or one kind of their records) and each class that hurt
it. A name that is here keeps its meaning; new ones may come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ehr.records.fetched import Issue, Severity, State

CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "connection-failed": "no connection, or it broke: refused, reset, TLS, name resolution",
        "timed-out": "no answer in time, also after repetitions",
        "patient-deadline": "the patient's own time (`patient_seconds`) was over",
        "protocol-violation": "what came was not HTTP, or was cut short",
        "breaker-open": "not asked: the server had failed too often in a row and was left alone",
        "quota-spent": "not asked, or refused: the quota for the day is used up",
        "count-not-kept": "not asked: the day's count of requests could not be kept; see to the output folder",
        "http-<status>": "the server answered with this status, also after repetitions",
        "outcome:<code>": "an OperationOutcome with this code, of severity error or fatal",
        "body-empty": "HTTP 200 without a body",
        "body-html": "HTTP 200 with a page for people: a login or maintenance page",
        "body-not-json": "HTTP 200 with something that is no JSON, or cut short",
        "body-wrong-type": "HTTP 200 with another document than was asked for",
        "body-bad-encoding": "HTTP 200 with a content coding that was not asked for or is damaged",
        "body-too-large": "more bytes, levels or entries than are read",
        "paging:loop": "a link to the next page that was followed already",
        "paging:no-progress": "many pages in a row without anything new",
        "paging:page-limit": "more pages than are followed",
        "paging:entry-limit": "more entries than are read",
        "paging:session-expired": "the server forgot where the paging was, twice",
        "fewer-than-total": "fewer entries than the server itself says there are",
        "quarantined": "entries that cannot be read were set aside",
        "no-patient-reference": "entries that do not say whose they are were dropped",
        "security:other-patient": "entries about another patient were dropped",
        "security:other-id": "another resource came than the one that was asked for",
        "security:patient-parameter-ignored": "the server says that it did not look for this patient alone",
        "security:foreign-next-link": "a link to the next page led to another server",
        "security:foreign-merge": "a merged record that was said to live on another server",
        "security:destination-refused": "an address outside the EHR's base was refused",
        "merge-unresolved": "a merged record whose survivor could not be found",
        "scope-missing": "the login does not cover this type",
        "login-refused": "the login was refused",
        "clock-wrong": "the login was refused because the clocks differ",
        "token-response-malformed": "the login's answer cannot be used",
        "login-not-kept": "the store of logins cannot be read or written",
        "nothing-narrows-the-search": "the search would have returned everyone, so it was not sent",
        "bad-id": "an id that cannot be put into an address",
        "read-error": "a resource that cannot be read",
        "row-names-nobody": "the row has no id, no record number, and no name with a birth date",
        "medication-not-resolved": "a prescription points to a drug that could not be read",
        "nothing-to-search-by": "nothing is known of the person that the server can be asked by",
        "internal": "a fault of this program or of a plug-in; `issues` has its class",
        "unsupported": "the server does not offer this type",
        "forbidden": "the server does not allow it",
        "restricted": "withheld under the server's rules for sensitive records",
        "partial": "incomplete for another reason; see `issues`",
        "error": "failed for another reason; see `issues`",
        "unavailable": "not to be had for another reason; see `issues`",
        "quota": "a quota for another reason; see `issues`",
    }
)
"""Name to meaning. ``<status>`` and ``<code>`` stand for a number and a known code."""

_WHOLE = ("security:", "paging:", "outcome:")


def classes_of(state: State, issues: Iterable[Issue]) -> tuple[str, ...]:
    """What hurt an answer that is not complete: each class once; the state's own name where no issue says more."""
    severe = (Severity.ERROR, Severity.SECURITY)
    found = dict.fromkeys(_class_of(issue.code) for issue in issues if issue.severity in severe)
    return tuple(found) or (state.name.lower(),)


def _class_of(code: str) -> str:
    # What stands behind the colon elsewhere is a resource type or the class of an error.
    return code if code.startswith(_WHOLE) else code.partition(":")[0]
