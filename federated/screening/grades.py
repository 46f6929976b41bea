"""How surely a record counts for a leaf: 0 no, 1 perhaps, 2 yes; the least of code, status, time, eye.

With 1 goes the reason, with 0 the word under which evidence counts the dropped ones (``trial-matching`` 3.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ehr.codes import Code
from ehr.dates import DAY_S, Interval
from ehr.elements import CodeableConcept, Coding
from ehr.fetched import Kind, State
from federated.screening import eyes
from federated.screening.cases import Case, Entry, counts
from federated.screening.eyes import Laterality
from federated.screening.logic import NO, UNKNOWN, YES
from federated.screening.moments import READERS, covered, inside, overlaps
from federated.screening.moments import end as end_of
from federated.screening.moments import start as start_of
from federated.screening.plan_nodes import BEGINNING, END, CodeSet, Select, Span, StatusRule, TimeRule

ACTIVE = frozenset({"active", "recurrence", "relapse"})
PRIORITY = (
    "SOURCE_UNAVAILABLE", "SOURCE_PARTIAL", "SOURCE_FORBIDDEN", "SOURCE_UNSUPPORTED", "CODE_NOT_MAPPED",
    "NOT_CONFIRMED", "DATE_UNCERTAIN", "EYE_UNKNOWN", "VALUE_MISSING", "NOT_NUMERIC", "UNIT_MISSING",
    "UNIT_NOT_CONVERTIBLE", "STALE", "LATEST_AMBIGUOUS", "BEFORE_CARE", "NOT_RECORDED",
)  # fmt: skip
"""Which reason is told where several apply; the first. Fixed, so that the order of records never shows."""

SOURCE: Mapping[State, str] = MappingProxyType(
    {
        State.PARTIAL: "SOURCE_PARTIAL",
        State.UNSUPPORTED: "SOURCE_UNSUPPORTED",
        State.FORBIDDEN: "SOURCE_FORBIDDEN",
        State.RESTRICTED: "SOURCE_FORBIDDEN",
        State.QUOTA: "SOURCE_UNAVAILABLE",
        State.UNAVAILABLE: "SOURCE_UNAVAILABLE",
        State.ERROR: "SOURCE_UNAVAILABLE",
    }
)
"""State of an incomplete fetch to the reason it gives."""

NO_KNOWN_ALLERGY = frozenset({"716186003", "no-known-allergies"})
"""SNOMED CT and International Patient Summary codes of the statement that there is no allergy at all."""

CodeOf = Callable[[Coding], Code | None]
Check = Callable[[Entry, Case], int]


class Grade(NamedTuple):
    """A record that may count, with its time."""

    sure: int
    entry: Entry
    time: Interval | None
    reason: str | None = None


class Gathered(NamedTuple):
    """The records that may count, and how many did not."""

    kept: list[Grade]
    candidates: int
    dropped: dict[str, int]

    @property
    def definite(self) -> int:
        """How many surely count."""
        return sum(grade.sure == YES for grade in self.kept)

    @property
    def reason(self) -> str:
        """Why the possible ones are only possible."""
        return first_reason(grade.reason for grade in self.kept if grade.sure == UNKNOWN)


def first_reason(reasons: Any) -> str:
    """The most telling reason of some; `PRIORITY` decides."""
    return min((reason for reason in reasons if reason), key=PRIORITY.index, default="NOT_RECORDED")


class Grader:
    """The checks of one selection, in order; each has the reason of its unknown and the word of its no."""

    def __init__(self, select: Select, code_of: CodeOf) -> None:
        self._times = [
            (READERS[rule.of], rule.span, _STRETCHES.get(rule.of), *_surely(rule)) for rule in select.times
        ]
        self._checks = list(_checks(select, code_of))

    def gather(self, case: Case, entries: list[Entry]) -> Gathered:
        """Grade every entry."""
        kept: list[Grade] = []
        dropped: dict[str, int] = {}
        for entry in entries:
            sure, reason = (UNKNOWN, "CODE_NOT_MAPPED") if entry.hint else (YES, None)
            for check, unsure, word in self._checks:
                found = check(entry, case)
                if found == YES:
                    continue
                if found == NO:
                    sure, reason = NO, word
                    break
                if sure == YES:
                    sure, reason = UNKNOWN, unsure
            if sure:
                sure, reason, time = self._timed(entry, case, sure, reason)
                if sure:
                    kept.append(Grade(sure, entry, time, reason))
                    continue
            dropped[reason or ""] = dropped.get(reason or "", 0) + 1
        return Gathered(kept, len(entries), dropped)

    def _timed(
        self, entry: Entry, case: Case, sure: int, reason: str | None
    ) -> tuple[int, str | None, Interval | None]:
        """The grade after the windows, and the record's time by the first of them."""
        first: Interval | None = None
        for place, (reader, span, stretch, lo, hi) in enumerate(self._times):
            moment = reader(entry.record, case.clock)
            if moment is not None and lo <= moment[0] and moment[1] <= hi:
                found = YES
            elif stretch is None:
                found = inside(moment, span, case.clock.born)
            else:
                found = stretch(entry, case, span)
            if found == NO:
                return NO, "window", moment
            if found == UNKNOWN and sure == YES:
                sure, reason = UNKNOWN, "DATE_UNCERTAIN"
            if place == 0:
                first = moment
        return sure, reason, first


def _surely(rule: TimeRule) -> tuple[int, int]:
    """Seconds within which a time counts without a closer look; none for stretches and ages."""
    span = rule.span
    if rule.of in _STRETCHES or span.lo_birth is not None or span.hi_birth is not None:
        return END, BEGINNING
    return span.lo, span.hi


def _active(entry: Entry, case: Case, window: Span) -> int:
    record = entry.record
    begun = READERS["active"](record, case.clock)
    return overlaps(begun, end_of(record.abatement, case.clock), record.clinical in ACTIVE, window)


def _whole(entry: Entry, case: Case, window: Span) -> int:
    when, clock = entry.record.when, case.clock
    return covered(start_of(when, clock), end_of(when, clock), window, clock.born)


_STRETCHES: Mapping[str, Callable[[Entry, Case, Span], int]] = MappingProxyType(
    {"active": _active, "whole": _whole}
)
"""Rules about a beginning and an end; the length of a stretch is no uncertainty about when it was."""


def _checks(select: Select, code_of: CodeOf) -> list[tuple[Check, str, str]]:
    made: list[tuple[Check, str, str]] = []
    for rule in select.statuses:
        made.append((_status(rule, select.index_end), "NOT_CONFIRMED", "status"))
    if select.sources:
        made.append((lambda entry, _: YES if entry.record.kind in select.sources else NO, "", "source"))
    if select.intents:
        made.append((_word(lambda record: record.intent, select.intents), "NOT_CONFIRMED", "intent"))
    if select.classes:
        made.append((_word(lambda record: record.class_code, select.classes), "CODE_NOT_MAPPED", "class"))
    if select.specimen:
        wanted = frozenset({select.specimen.lower()})
        made.append((_word(_specimen, wanted), "CODE_NOT_MAPPED", "specimen"))
    if select.categories:
        made.append(
            (_words(lambda record: record.categories, select.categories), "CODE_NOT_MAPPED", "category")
        )
    if select.types:
        made.append((_words(_type_words, select.types), "CODE_NOT_MAPPED", "type"))
    if select.locations:
        made.append((_words(_places, select.locations), "CODE_NOT_MAPPED", "location"))
    if select.discharge is not None:
        made.append((_discharge(select.discharge, code_of), "CODE_NOT_MAPPED", "discharge"))
    if select.eye is not None:
        made.append((_eye(select.eye, code_of), "EYE_UNKNOWN", "eye"))
    return made


def _status(rule: StatusRule, index_end: int) -> Check:
    if rule.of == "clinical" and rule.yes is None:
        return lambda entry, case: YES
    if rule.of == "clinical":
        return _clinical(rule, index_end)

    if rule.of == "verification":
        return lambda entry, case: _listed(entry.record.verification, rule)
    return lambda entry, case: _listed(entry.record.status, rule)


def _listed(status: str | None, rule: StatusRule) -> int:
    if rule.yes is None or status in rule.yes:
        return YES
    if status is None:
        return UNKNOWN
    word = status.strip().lower()
    if word in rule.yes:
        return YES
    return UNKNOWN if word in rule.maybe else NO


def _clinical(rule: StatusRule, index_end: int) -> Check:
    """The clinical status is that of the fetch; where the record says when it ended, the index date decides."""

    def check(entry: Entry, case: Case) -> int:
        record = entry.record
        stated = _listed(record.clinical, rule)
        ended = end_of(getattr(record, "abatement", None), case.clock)
        if ended is None or record.clinical is None:
            return stated
        asks_active = rule.yes is not None and not rule.yes.isdisjoint(ACTIVE)
        if record.clinical not in ACTIVE and asks_active and stated == NO and ended.hi > index_end:
            return YES if ended.lo > index_end else UNKNOWN
        if record.clinical in ACTIVE and stated == YES and ended.hi <= index_end:
            return UNKNOWN  # it says both that it is active and that it has ended
        return stated

    return check


def _word(read: Callable[[Any], str | None], wanted: frozenset[str]) -> Check:
    def check(entry: Entry, _: Case) -> int:
        word = read(entry.record)
        if word is None:
            return UNKNOWN
        return YES if word in wanted else NO

    return check


def _words(read: Callable[[Any], tuple[str, ...]], wanted: frozenset[str]) -> Check:
    def check(entry: Entry, _: Case) -> int:
        words = read(entry.record)
        if not words:
            return UNKNOWN
        return YES if any(word in wanted for word in words) else NO

    return check


def _specimen(record: Any) -> str | None:
    text = record.specimen.display if record.specimen is not None else None
    return None if text is None else text.strip().lower()


def _type_words(record: Any) -> tuple[str, ...]:
    found: list[str] = []
    for concept in record.concepts:
        found += [word for coding in concept.coding for word in (coding.code, coding.display) if word]
        found += [concept.text] if concept.text else []
    found += [record.description] if record.description else []
    return tuple(" ".join(word.lower().split()) for word in found)


def _places(record: Any) -> tuple[str, ...]:
    return (" ".join(record.location.lower().split()),) if record.location else ()


def _discharge(codes: CodeSet, code_of: CodeOf) -> Check:
    def check(entry: Entry, _: Case) -> int:
        concept: CodeableConcept | None = entry.record.discharge
        found = [] if concept is None else [code for c in concept.coding if (code := code_of(c)) is not None]
        if any(codes.has(code) for code in found):
            return YES
        # A stay without a disposition has not ended so; one in words, or in another system, may have.
        if concept is None:
            return NO
        return NO if any(code.system in codes.systems for code in found) else UNKNOWN

    return check


def laterality(entry: Entry, code_of: CodeOf) -> Laterality | None:
    """The eye of a record: body site, else the ICD-10-CM character, else a CPT modifier."""
    site = getattr(entry.record, "body_site", None) or ()
    sites = (site,) if isinstance(site, CodeableConcept) else site
    codes = [code for concept in sites for coding in concept.coding if (code := code_of(coding)) is not None]
    named = eyes.of_sites(sites, codes) if sites else None
    if named is None and entry.code is not None:
        named = eyes.of_code(entry.code)
    return named or eyes.of_modifier(entry.record.concepts)


def _eye(wanted: str, code_of: CodeOf) -> Check:
    def check(entry: Entry, case: Case) -> int:
        eye: eyes.Eye = "left" if wanted == "left" else "right"
        if wanted in ("this", "fellow") and case.eye is not None:
            eye = case.eye if wanted == "this" else eyes.other(case.eye)
        return eyes.about(laterality(entry, code_of), eye)

    return check


def same_day(time: Interval | None) -> int | None:
    """The day of a time that surely lies in one day."""
    if time is None or time.lo // DAY_S != time.hi // DAY_S:
        return None
    return time.lo // DAY_S


def silence(select: Select, span: Span, known_none: Callable[[Case], bool]) -> Callable[[Case], str | None]:
    """Why nothing found does not mean no; None where it does."""
    kind, before = select.kind, select.care_since
    early = span.asked and before is not None and (span.lo < before or span.lo_birth is not None)

    def why(case: Case) -> str | None:
        state = case.state(kind)
        if not state.complete:
            return SOURCE[state]
        if select.world != "closed" and not known_none(case):
            return "NOT_RECORDED"
        return "BEFORE_CARE" if early else None

    return why


def no_known(select: Select) -> Callable[[Case], bool]:
    """Whether a patient has the coded statement that there is no allergy."""
    if select.kind is not Kind.ALLERGY:
        return lambda case: False

    def stated(case: Case) -> bool:
        fetched = case.record.kinds.get(Kind.ALLERGY)
        return fetched is not None and any(
            _says_none(record) and counts(record, case.record.ref.ids) for record in fetched.items
        )

    return stated


def _says_none(record: Any) -> bool:
    codes = {coding.code for concept in record.concepts for coding in concept.coding}
    return (
        not codes.isdisjoint(NO_KNOWN_ALLERGY)
        and record.verification in (None, "confirmed")
        and record.clinical in (None, "active")
    )


__all__ = [
    "SOURCE",
    "Gathered",
    "Grade",
    "Grader",
    "TimeRule",
    "first_reason",
    "laterality",
    "no_known",
    "silence",
]
