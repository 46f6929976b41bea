"""Whether a record's words are as asked: statuses, classes, categories, eye; each 0 no, 1 unknown, 2 yes.

A record whose word is in FHIR R4's own code list and is not asked for does not count. A word that is in no list is a
vendor's, or of another FHIR version: it may mean what is asked, so it gives unknown. Source: HL7 FHIR R4 value sets,
US Core 6.1 categories, HL7 v3 ActEncounterCode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept
from ehr.records.fetched import Kind
from federated.screening.decide.case import Case, CodedRecord
from federated.screening.decide.laterality import (
    Eye,
    Laterality,
    about,
    joined,
    of_code,
    of_modifier,
    of_sites,
    other,
)
from federated.screening.decide.quantities import CodeOf
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.decide.times import end as end_of
from federated.screening.plan.nodes import CodeSet, Select, StatusRule
from federated.screening.trial import predicates

ACTIVE = frozenset({"active", "recurrence", "relapse"})
Check = Callable[[CodedRecord, Case], int]


def checks(select: Select, code_of: CodeOf) -> list[tuple[Check, str, str]]:
    """The checks of a selection, in order; each with the reason of its unknown and the word of its no."""
    kind, made = select.kind, []
    for rule in select.statuses:
        made.append((_status(rule, select), "NOT_CONFIRMED", "status"))
    if select.sources:
        made.append((lambda entry, _: YES if entry.record.kind in select.sources else NO, "", "source"))
    if select.intents:
        made.append((_word(_intent, select.intents, INTENTS), "NOT_CONFIRMED", "intent"))
    if select.classes:
        made.append(
            (_word(lambda record: record.class_code, select.classes, CLASSES), "CODE_NOT_MAPPED", "class")
        )
    if select.specimen:
        made.append((_specimen(select.specimen), "CODE_NOT_MAPPED", "specimen"))
    if select.categories:
        check = _words(lambda record: record.categories, select.categories, CATEGORIES.get(kind))
        made.append((check, "CODE_NOT_MAPPED", "category"))
    if select.types:
        made.append((_words(_type_words, select.types), "CODE_NOT_MAPPED", "type"))
    if select.locations:
        made.append((_words(_places, select.locations), "CODE_NOT_MAPPED", "location"))
    if select.discharge is not None:
        made.append((_discharge(select.discharge, code_of), "CODE_NOT_MAPPED", "discharge"))
    if select.eye is not None:
        made.append((_eye(select.eye, code_of), "EYE_UNKNOWN", "eye"))
    if kind is Kind.OBSERVATION:
        made.append((_obtained, "VALUE_MISSING", "value"))
    return made


def _status(rule: StatusRule, select: Select) -> Check:
    if rule.of == "clinical":
        return (lambda entry, case: YES) if rule.yes is None else _clinical(rule.yes, select.index_end)
    if rule.of == "verification":
        return lambda entry, case: _listed(entry.record.verification, rule, VERIFICATION)
    known = STATUSES.get(select.kind, frozenset())
    return lambda entry, case: _listed(entry.record.status, rule, known)


def _listed(status: str | None, rule: StatusRule, known: frozenset[str]) -> int:
    if rule.yes is None or status in rule.yes:
        return YES
    if status is None:
        return UNKNOWN
    word = status.strip().lower()
    if word in rule.yes:
        return YES
    return NO if word in known and word not in rule.maybe else UNKNOWN


def _clinical(wanted: frozenset[str], index_end: int) -> Check:
    """The clinical status is that of the fetch; where the record says when it ended, the index date decides."""

    def check(entry: CodedRecord, case: Case) -> int:
        record = entry.record
        word = record.clinical
        if word not in CLINICAL:
            return YES if word in wanted else UNKNOWN
        ended = end_of(getattr(record, "abatement", None), case.clock)
        if ended is None:
            return _stated(word, wanted)
        truths = {_on_the_day(word, over, wanted) for over in (ended.lo <= index_end, ended.hi <= index_end)}
        return truths.pop() if len(truths) == 1 else UNKNOWN

    return check


def _on_the_day(word: str, over: bool, wanted: frozenset[str]) -> int:
    """Whether a status is wanted, knowing if the condition had ended by the index date."""
    stated = _stated(word, wanted)
    if over == (word not in ACTIVE):
        return stated
    if not over:  # it ended later: it was active then
        return YES if "active" in wanted else NO if wanted.isdisjoint(ACTIVE) else UNKNOWN
    # it says both that it is active and that it has ended
    ended = CLINICAL - ACTIVE
    return stated if (ended <= wanted if stated == YES else ended.isdisjoint(wanted)) else UNKNOWN


def _stated(word: str, wanted: frozenset[str]) -> int:
    """Whether one of FHIR's words is wanted; unknown where only a broader word is."""
    if word in wanted:
        return YES
    return NO if wanted.isdisjoint(BROADER.get(word, ())) else UNKNOWN


def _word(read: Callable[[Any], str | None], wanted: frozenset[str], known: frozenset[str]) -> Check:
    tells = not wanted <= known  # an author who lists own words knows the site's

    def check(entry: CodedRecord, _: Case) -> int:
        word = read(entry.record)
        if word in wanted:
            return YES
        if word is None or not (tells or word in known):
            return UNKNOWN
        return _stated(word, wanted)

    return check


def _words(
    read: Callable[[Any], tuple[str, ...]], wanted: frozenset[str], known: frozenset[str] | None = None
) -> Check:
    tells = known is None or not wanted <= known

    def check(entry: CodedRecord, _: Case) -> int:
        words = read(entry.record)
        if not wanted.isdisjoint(words):
            return YES
        return NO if words and (tells or known is None or not known.isdisjoint(words)) else UNKNOWN

    return check


def _intent(record: Any) -> str | None:
    return None if record.intent is None else str(record.intent).strip().lower()


def _specimen(wanted: str) -> Check:
    """Only the same words say that it is the same; other words may name it too."""
    name = " ".join(wanted.lower().split())

    def check(entry: CodedRecord, _: Case) -> int:
        specimen = entry.record.specimen
        text = None if specimen is None else specimen.display
        return YES if text is not None and " ".join(text.lower().split()) == name else UNKNOWN

    return check


def _obtained(entry: CodedRecord, _: Case) -> int:
    """A result with the reason why there is none was not obtained, unless its parts were."""
    record = entry.record
    return UNKNOWN if record.data_absent_reason is not None and not record.component else YES


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
    def check(entry: CodedRecord, _: Case) -> int:
        concept: CodeableConcept | None = entry.record.discharge
        found = [] if concept is None else [code for c in concept.coding if (code := code_of(c)) is not None]
        if any(codes.has(code) for code in found):
            return YES
        # A visit without a disposition has not ended so; a stay in a bed has one that nobody wrote down, and one in
        # words, or in another system, may be meant.
        if concept is None:
            return UNKNOWN if entry.record.class_code in STAYS else NO
        return NO if any(code.system in codes.systems for code in found) else UNKNOWN

    return check


def laterality(entry: CodedRecord, code_of: CodeOf) -> Laterality | None:
    """The eye of a record: body site, else the ICD-10-CM characters of all its codings, else a CPT modifier."""
    site = getattr(entry.record, "body_site", None) or ()
    sites = (site,) if isinstance(site, CodeableConcept) else site
    named = of_sites(sites, _codes(sites, code_of)) if sites else None
    if named is None:
        sides = map(of_code, _codes(entry.record.concepts, code_of))
        named = joined(side for side in sides if side is not None)
    return named or of_modifier(entry.record.concepts)


def _codes(concepts: Iterable[CodeableConcept], code_of: CodeOf) -> list[Code]:
    return [
        code for concept in concepts for coding in concept.coding if (code := code_of(coding)) is not None
    ]


def _eye(wanted: str, code_of: CodeOf) -> Check:
    def check(entry: CodedRecord, case: Case) -> int:
        eye: Eye = "left" if wanted == "left" else "right"
        if wanted in ("this", "fellow") and case.eye is not None:
            eye = case.eye if wanted == "this" else other(case.eye)
        return about(laterality(entry, code_of), eye)

    return check


CLINICAL: Final = frozenset(predicates.CLINICAL)
VERIFICATION: Final = frozenset({*predicates.VERIFICATION, "refuted", "entered-in-error"})
INTENTS: Final = frozenset(predicates.INTENTS)
CLASSES: Final = frozenset(
    {"AMB", "EMER", "FLD", "HH", "IMP", "ACUTE", "NONAC", "OBSENC", "PRENC", "SS", "VR"}
)
STAYS: Final = frozenset({"IMP", "ACUTE", "NONAC", "OBSENC", "SS"})
"""Classes of encounters that end with a discharge."""
BROADER: Mapping[str, frozenset[str]] = MappingProxyType(
    dict.fromkeys(("recurrence", "relapse"), frozenset({"active"}))
    | dict.fromkeys(("remission", "resolved"), frozenset({"inactive"}))
    | dict.fromkeys(("original-order", "reflex-order", "filler-order"), frozenset({"order"}))
    | {"instance-order": frozenset({"order", "filler-order"})}
    | dict.fromkeys(("ACUTE", "NONAC"), frozenset({"IMP"}))
)
"""Words that are kinds of others: asked for the broader word alone, nobody can tell whether they were meant too."""

# "unknown" is FHIR's word for a status that nobody knows: it says nothing.
STATUSES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        kind: frozenset({*words, "entered-in-error"} - {"unknown"})
        for kind, words in predicates.STATUSES.items()
    }
)
CATEGORIES: Mapping[Kind, frozenset[str]] = MappingProxyType(
    {
        Kind.CONDITION: frozenset({"problem-list-item", "encounter-diagnosis", "health-concern"}),
        Kind.OBSERVATION: frozenset(
            {"social-history", "vital-signs", "imaging", "laboratory", "procedure", "survey", "exam", "therapy",
             "activity"}
        ),
    }
)  # fmt: skip
