"""How surely a record counts for a leaf: 0 no, 1 perhaps, 2 yes; the least of code, status, time, eye.

With 1 goes the reason, with 0 the word under which evidence counts the dropped ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ehr.dates import DAY_S, Interval
from ehr.records.codes import Code
from ehr.records.fetched import Kind, State
from federated.screening.decide.case import Case, CodedRecord, counts, distinct
from federated.screening.decide.quantities import CodeOf
from federated.screening.decide.record_checks import ACTIVE, checks
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import READERS, covered, inside, overlaps
from federated.screening.decide.times import end as end_of
from federated.screening.decide.times import start as start_of
from federated.screening.plan.leaves import NEVER
from federated.screening.plan.nodes import BEGINNING, END, Select, Span, TimeRule

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

IPS = "uri:http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"
NO_KNOWN_ALLERGY = frozenset({Code("snomed", "716186003"), Code(IPS, "no-known-allergies")})
"""SNOMED CT and International Patient Summary codes of the statement that there is no allergy at all."""

NONE_OF_A_KIND = frozenset(
    {Code("snomed", code) for code in ("409137002", "428607008", "429625007")}
    | {Code(IPS, f"no-known-{of}-allergies") for of in ("medication", "environmental", "food")}
)
"""The same of drugs, surroundings, food: no allergies either, and no statement about all."""

OVER = frozenset({"inactive", "resolved"})


class Grade(NamedTuple):
    """A record that may count, with its time."""

    sure: int
    entry: CodedRecord
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
        self._checks = list(checks(select, code_of))
        self._kind = select.kind

    def gather(self, case: Case, entries: list[CodedRecord]) -> Gathered:
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
        self, entry: CodedRecord, case: Case, sure: int, reason: str | None
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
                if moment is None or moment.lo <= self._newest(case):
                    return NO, "window", moment
                found, moment = UNKNOWN, None  # later than the day it was read: the date is wrong
            if found == UNKNOWN and sure == YES:
                sure, reason = UNKNOWN, "DATE_UNCERTAIN"
            if place == 0:
                first = moment
        return sure, reason, first

    def _newest(self, case: Case) -> int:
        """The last second that a record can be about: a day after it was read, for clocks differ."""
        known = case.newest.get(self._kind)
        if known is None:
            known = case.newest[self._kind] = _newest(self._kind, case)
        return known


def _newest(kind: Kind, case: Case) -> int:
    fetched = case.record.kinds.get(kind)
    if kind is Kind.APPOINTMENT or fetched is None or fetched.fetched_at is None:
        return END
    read = case.clock.interval(fetched.fetched_at.isoformat())
    return END if read is None else read.hi + DAY_S


def _surely(rule: TimeRule) -> tuple[int, int]:
    """Seconds within which a time counts without a closer look; none for stretches and ages."""
    span = rule.span
    if rule.of in _STRETCHES or span.lo_birth is not None or span.hi_birth is not None:
        return END, BEGINNING
    return span.lo, span.hi


def _active(entry: CodedRecord, case: Case, window: Span) -> int:
    record = entry.record
    begun = READERS["active"](record, case.clock)
    ended = end_of(record.abatement, case.clock)
    return overlaps(begun, ended, record.clinical in ACTIVE, window, case.clock.born)


def _whole(entry: CodedRecord, case: Case, window: Span) -> int:
    when, clock = entry.record.when, case.clock
    return covered(start_of(when, clock), end_of(when, clock), window, clock.born)


_STRETCHES: Mapping[str, Callable[[CodedRecord, Case, Span], int]] = MappingProxyType(
    {"active": _active, "whole": _whole}
)
"""Rules about a beginning and an end; the length of a stretch is no uncertainty about when it was."""


def same_day(time: Interval | None) -> int | None:
    """The day of a time that surely lies in one day."""
    if time is None or time.lo // DAY_S != time.hi // DAY_S:
        return None
    return time.lo // DAY_S


def before_care(select: Select, span: Span) -> bool:
    """Whether a window that was asked begins before the site's care: what was then is not known here."""
    since = select.care_since
    return span.asked and since is not None and (span.lo < since or span.lo_birth is not None)


def silence(select: Select, span: Span, known_none: Callable[[Case], bool]) -> Callable[[Case], str | None]:
    """Why nothing found does not mean no; None where it does."""
    kind, early = select.kind, before_care(select, span)

    def why(case: Case) -> str | None:
        state = case.state(kind)
        if not state.complete:
            return SOURCE[state]
        if select.world != "closed" and not known_none(case):
            return "NOT_RECORDED"
        return "BEFORE_CARE" if early else None

    return why


def no_known(select: Select, code_of: CodeOf) -> Callable[[Case], bool]:
    """Whether a patient has the coded statement that there is no allergy, and none that contradicts it."""
    if select.kind is not Kind.ALLERGY:
        return lambda case: False

    def stated(case: Case) -> bool:
        fetched = case.record.kinds.get(Kind.ALLERGY)
        if fetched is None:
            return False
        found = False
        for record in distinct(fetched.items):
            if not counts(record, case.record.ref.ids) or record.verification in NEVER:
                continue
            codes = {code_of(coding) for concept in record.concepts for coding in concept.coding}
            if not codes.isdisjoint(NO_KNOWN_ALLERGY):
                found = found or (record.verification == "confirmed" and record.clinical in (None, "active"))
            elif codes.isdisjoint(NONE_OF_A_KIND) and record.clinical not in OVER:
                return False
        return found

    return stated
