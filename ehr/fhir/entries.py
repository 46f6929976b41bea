"""Which entries of a page are the answer: of the type that was asked for, and about the patient asked for.

A server may ignore a parameter and return everyone, so each entry is looked at (S20). Other patients'
entries are dropped and counted, and then the collection is PARTIAL at best: the server did something else
than it was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from ehr.config import ProviderProfile
from ehr.dates import time_texts
from ehr.fhir.outcome import OperationOutcome, judge
from ehr.fhir.read import PageContent, counted
from ehr.fhir.search import Query
from ehr.records.elements import CodeableConcept, Element, Period, Reference
from ehr.records.fetched import Issue, Severity, State
from ehr.records.patient import (
    AllergyIntolerance,
    Appointment,
    Immunization,
    Medication,
    MedicationRequest,
    MedicationStatement,
)
from ehr.records.people import Patient, Resource

OTHER_PATIENT = "security:other-patient"


@dataclass(slots=True, repr=False)
class SearchPage:
    """What one page adds to a search.

    Args:
        records: matches that may be used, in the server's order; a repeat of an earlier page is still here.
        received: matches that came, unusable ones included.
        quarantined: entries that could not be read.
        states: states that the whole collection cannot be better than.
        issues: no patient data.
        total: the server's count, if it gave one.
        links: relation to URL, as sent.
        expired: an outcome said that the paging session is over.
    """

    records: list[Any]
    received: int = 0
    quarantined: int = 0
    states: list[State] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    total: int | None = None
    links: dict[str, str] = field(default_factory=dict)
    expired: bool = False
    restarted: bool = False


def sift(
    content: PageContent, query: Query, profile: ProviderProfile, *, lower_case: bool = True
) -> SearchPage:
    """Sort the entries of a page.

    Args:
        content: the page as it was read.
        query: what was asked.
        profile: the vendor.
        lower_case: whether status words may be mended; False in strict mode.
    """
    page = SearchPage([], total=content.total, links=dict(content.links), issues=list(content.issues))
    page.quarantined = len(content.quarantined)
    page.received = page.quarantined
    others = _matches(content, query, page)
    page.received += len(page.records)
    if others:
        _sort_others(others, content, query, page, profile)
    if content.quarantined:
        page.states.append(State.PARTIAL)
    _finish(page, query, content, lower_case)
    if page.issues:
        page.issues = list(counted(page.issues))
    return page


def _matches(content: PageContent, query: Query, page: SearchPage) -> list[Any]:
    """The plain case first: entries of the type, marked as match, about this patient by the usual reference."""
    if _all_plain(content, query):
        page.records = list(map(_RESOURCE, content.entries))
        return []
    shape, records, others = query.shape, page.records, []
    subject = None if query.patient is None else subject_of(shape)
    expected = None if query.patient is None else f"Patient/{query.patient.id}"
    for entry in content.entries:
        resource, search = entry.resource, entry.search
        if resource.__class__ is shape and (search is None or search.mode in _MATCH):
            reference = None if subject is None else subject(resource)
            if subject is None or (reference is not None and reference.reference == expected):
                records.append(resource)
                continue
        others.append(entry)
    return others


_MATCH = (None, "match")
_RESOURCE = attrgetter("resource")
_MODE = attrgetter("search.mode")


def _all_plain(content: PageContent, query: Query) -> bool:
    """Whether every entry is a plain match: looked at column by column, with no step of Python for each entry."""
    entries = content.entries
    try:
        if not {query.shape} >= set(map(type, map(_RESOURCE, entries))) or not {"match"} >= set(
            map(_MODE, entries)
        ):
            return False
        if query.patient is None or subject_of(query.shape) is None:
            return True
        column = _subject_column(query.shape)
        if column is None:
            return False
        return {column.prefix + query.patient.id} >= set(map(column.getter, map(_RESOURCE, entries)))
    except AttributeError:  # an entry without a mode, or a record without a subject
        return False


@dataclass(frozen=True, slots=True, repr=False)
class _Column:
    """Where records of a type say whose they are, and what stands before the id there."""

    getter: Callable[[Any], str | None]
    prefix: str


@cache
def _subject_column(shape: type[Resource]) -> _Column | None:
    if shape is Patient:
        return _Column(attrgetter("id"), "")
    if shape is Appointment:
        return None  # among the participants
    name = "patient" if shape in (AllergyIntolerance, Immunization) else "subject"
    return _Column(attrgetter(f"{name}.reference"), "Patient/")


@cache
def subject_of(shape: type[Resource]) -> Callable[[Any], Reference | None] | None:
    """How the patient of a record of this type is found; None for types without one."""
    if shape in (AllergyIntolerance, Immunization):
        return attrgetter("patient")
    if shape is Appointment:
        return _participating_patient
    if shape is Patient:
        return lambda patient: Reference(reference=patient.reference)
    return attrgetter("subject") if "subject" in shape.__struct_fields__ else None


def _participating_patient(appointment: Appointment) -> Reference | None:
    for part in appointment.participant:
        actor = part.actor
        if actor is None or actor.reference is None:
            continue
        # The usual form first: taking a reference apart costs more than the rest of an entry.
        kind, _, rest = actor.reference.partition("/")
        if kind == "Patient" and rest and "/" not in rest:
            return actor
        target = actor.target
        if target is not None and target[0] == "patient":
            return actor
    return None


def _sort_others(
    others: Sequence[Any], content: PageContent, query: Query, page: SearchPage, profile: ProviderProfile
) -> None:
    """Outcomes, includes, and matches whose patient is written in another way or is another one."""
    subject = None if query.patient is None else subject_of(query.shape)
    late: list[Any] = []
    for entry in others:
        mode = None if entry.search is None else entry.search.mode
        if isinstance(entry.resource, OperationOutcome):
            _note_outcome(entry.resource, page, profile)
        elif entry.resource.__class__ is query.shape and mode in _MATCH and subject is not None:
            page.received += 1
            fault = _patient_fault(subject(entry.resource), content, query)
            if fault is None:
                late.append(entry.resource)
            else:
                page.states.append(State.PARTIAL)
                page.issues.append(fault)
        elif mode == "match":
            page.issues.append(Issue("unexpected-type", Severity.INFORMATION))
    if late:
        _keep_order(page, content, late)


def _keep_order(page: SearchPage, content: PageContent, late: list[Any]) -> None:
    chosen = {id(record) for record in (*page.records, *late)}
    page.records = [entry.resource for entry in content.entries if id(entry.resource) in chosen]


def _note_outcome(outcome: OperationOutcome, page: SearchPage, profile: ProviderProfile) -> None:
    verdict = judge(outcome, profile)
    page.states.extend(verdict.states)
    page.issues.extend(verdict.issues)
    page.expired = page.expired or verdict.expired


def _patient_fault(reference: Reference | None, content: PageContent, query: Query) -> Issue | None:
    """None where the reference means the patient asked for, in whichever way it is written."""
    if query.patient is None:
        return None
    target = None if reference is None else reference.target
    other = Issue(OTHER_PATIENT, Severity.SECURITY)
    if target is not None:
        return None if target[0] == "patient" and target[1] in query.patient.ids else other
    text = "" if reference is None else reference.reference or ""
    if text.startswith("urn:"):
        for entry in content.entries:
            if entry.full_url == text and isinstance(entry.resource, Patient):
                return None if entry.resource.id in query.patient.ids else other
    return Issue("no-patient-reference", Severity.ERROR)


def _finish(page: SearchPage, query: Query, content: PageContent, lower_case: bool) -> None:
    if query.shape in (MedicationRequest, MedicationStatement):
        page.records = _with_drugs(page, content)
    if lower_case and "status" in query.shape.__struct_fields__:
        _lower_status(page)
    _note_bad_times(page, query.shape)


def _note_bad_times(page: SearchPage, shape: type[Resource]) -> None:
    texts, periods = _time_fields(shape)
    found = [(name, list(filter(None, map(getter, page.records)))) for name, getter in texts]
    for name, getter in periods:
        spans = filter(None, map(getter, page.records))
        found.append((name, [end for span in spans for end in (span.start, span.end) if end]))
    # A page repeats its times, in one field and in several: each is read once, and as a rule all are good.
    different = {text for _, column in found for text in column}
    if time_texts(different) == len(different):
        return
    for name, column in found:
        bad = len(column) - time_texts(column)
        if bad:
            page.issues.append(Issue("bad-date", Severity.WARNING, bad, f"$.{name}"))


_STATUS = attrgetter("status")


def _lower_status(page: SearchPage) -> None:
    if all(not status or status.islower() for status in set(map(_STATUS, page.records))):
        return
    for index, record in enumerate(page.records):
        status = record.status
        if status is not None and not status.islower() and status:
            page.records[index] = msgspec.structs.replace(record, status=status.lower())
            page.issues.append(Issue("repair:lower-case", Severity.WARNING))


_TIMES = frozenset({"start", "end", "started"})
Getters = tuple[tuple[str, Callable[[Any], Any]], ...]


@cache
def _time_fields(shape: type[Element]) -> tuple[Getters, Getters]:
    """(text fields that hold a time, period fields) of a type, by FHIR's naming."""
    fields = msgspec.structs.fields(shape)
    texts = [f for f in fields if f.type == (str | None) and _named_as_time(f.name)]
    periods = [f for f in fields if f.type == (Period | None)]
    return (
        tuple((f.encode_name, attrgetter(f.name)) for f in texts),
        tuple((f.encode_name, attrgetter(f.name)) for f in periods),
    )


def _named_as_time(name: str) -> bool:
    return name.endswith(("date", "date_time", "instant", "_on", "asserted")) or name in _TIMES


def _with_drugs(page: SearchPage, content: PageContent) -> list[Any]:
    """Records whose drug is only pointed to get it from inside the record or from the same page."""
    if not any(record.medication_reference is not None or record.contained for record in page.records):
        return page.records
    offered = {
        key: entry.resource.code
        for entry in content.entries
        if isinstance(entry.resource, Medication)
        for key in (f"medication/{entry.resource.id}", entry.full_url)
        if key
    }
    out = []
    for record in page.records:
        pointer = record.medication_reference
        concept = None if pointer is None else _drug(pointer, record, offered)
        if concept is not None:
            record = msgspec.structs.replace(
                record, medication_codeable_concept=concept, medication_reference=None, contained=()
            )
        elif record.contained:
            record = msgspec.structs.replace(record, contained=())
        out.append(record)
    return out


def _drug(
    pointer: Reference, record: Any, offered: dict[str, CodeableConcept | None]
) -> CodeableConcept | None:
    text = pointer.reference or ""
    if text.startswith("#"):
        return next((drug.code for drug in contained_drugs(record) if drug.id == text[1:]), None)
    found = offered.get(text)
    if found is None and pointer.target is not None:
        found = offered.get("/".join(pointer.target))
    return found


def contained_drugs(record: Any) -> list[Medication]:
    """The Medications inside a record; others and unreadable ones are passed over."""
    found = []
    for raw in record.contained:
        try:
            found.append(_CONTAINED.decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found


_CONTAINED = msgspec.json.Decoder(Medication)
