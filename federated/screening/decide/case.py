"""One patient, made ready: the records of a kind sorted by the code sets that the plan asks for.

Most records of a patient match nothing, so a coding is looked up once per plan, and a record without a match costs
one dictionary access per coding. What does not exist for the engine is dropped here: entered in error, not to be
performed, family history, another patient's, older versions and repeats of one record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept, Coding
from ehr.records.fetched import Kind, State
from ehr.records.patient import Condition, PatientRecord
from federated.screening.decide.laterality import Eye
from federated.screening.decide.quantities import CodeOf
from federated.screening.decide.times import Clock
from federated.screening.plan.nodes import CodeSet

MEMO = 200_000
FAMILY_HISTORY = frozenset({"family-history", "familyhistory", "family history", "57177007", "416471007"})
UNREAD = State.UNAVAILABLE


class CodedRecord(NamedTuple):
    """A record that a code set is about.

    Args:
        record: the resource.
        coding: the coding that matched, as sent; None where any code will do, or none could be read.
        code: the same, normalised.
        hint: only words, or an unread reference, point here: it can make unknown, never yes.
    """

    record: Any
    coding: Coding | None = None
    code: Code | None = None
    hint: bool = False


Known = tuple[tuple[int, ...], Code | None]
"""Places of the sets that a coding belongs to, and the coding normalised."""


class Case:
    """One patient while a plan is decided.

    Attributes:
        found: what each leaf found.
        newest: the last second that records of a kind can be about, once it was asked for.
    """

    __slots__ = ("buckets", "clock", "eye", "found", "newest", "record")

    def __init__(self, record: PatientRecord, clock: Clock, leaves: int) -> None:
        self.record = record
        self.clock = clock
        self.buckets: dict[Kind, Sequence[list[CodedRecord]]] = {}
        self.newest: dict[Kind, int] = {}
        self.eye: Eye | None = None
        self.found: list[Any] = [None] * leaves

    def state(self, kind: Kind) -> State:
        """State in which a kind was fetched; a kind that was not asked for is unavailable."""
        fetched = self.record.kinds.get(kind)
        return UNREAD if fetched is None else fetched.state


class Shelf:
    """The code sets that a plan asks of one kind, and which codings belong to them."""

    def __init__(self, code_of: CodeOf) -> None:
        self.sets: list[CodeSet | None] = []
        self._places: dict[tuple[str, tuple[str, ...]] | None, int] = {}
        self._code_of = code_of
        self._memo: dict[tuple[str | None, str | None], Known] = {}
        self._hints: list[tuple[int, frozenset[str], re.Pattern[str]]] = []

    def place(self, codes: CodeSet | None) -> int:
        """Where the entries of a set will be; None is all records."""
        key = None if codes is None else (codes.digest, codes.hints)
        if key not in self._places:
            self._places[key] = len(self.sets)
            self.sets.append(codes)
            if codes is not None and codes.hints:
                words = "|".join(re.escape(hint) for hint in codes.hints)
                pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
                self._hints.append((self._places[key], codes.systems, pattern))
        return self._places[key]

    def sort(self, items: Iterable[Any], ids: frozenset[str]) -> Sequence[list[CodedRecord]]:
        """The entries of every set, in the order of the records."""
        buckets: list[list[CodedRecord]] = [[] for _ in self.sets]
        own = frozenset(f"Patient/{identity}" for identity in ids)
        memo, everything = self._memo, self._places.get(None)
        if self.sets == [None]:
            return ([CodedRecord(record) for record in distinct(items) if counts(record, ids, own)],)
        plain = everything is None and not self._hints
        for record in distinct(items):
            found: dict[int, CodedRecord] | None = None
            concepts = record.concepts
            for concept in concepts:
                for coding in concept.coding:
                    known = memo.get((coding.system, coding.code)) or self._learn(coding)
                    if known[0]:
                        found = found or {}
                        for place in known[0]:
                            if place not in found:
                                found[place] = CodedRecord(record, coding, known[1])
            parts = getattr(record, "component", ())
            if found is None and plain and not parts and concepts and concepts[0].coding:
                continue  # most records: no set of the plan is about them
            found = found or {}
            self._hinted(record, concepts, found)
            if everything is not None:
                found.setdefault(everything, CodedRecord(record))
            inside = [entry for entry in self._inside(record, parts) if entry[0] not in found]
            if (found or inside) and counts(record, ids, own):
                for place, entry in (*found.items(), *inside):
                    buckets[place].append(entry)
        return buckets

    def _inside(self, record: Any, parts: Iterable[Any]) -> Iterator[tuple[int, CodedRecord]]:
        """Results that a panel holds as parts; each is read as a result of its own."""
        for part in parts:
            for coding in () if part.code is None else part.code.coding:
                places, code = self._memo.get((coding.system, coding.code)) or self._learn(coding)
                if places:
                    own = msgspec.structs.replace(
                        record, component=(), **{name: getattr(part, name) for name in part.__struct_fields__}
                    )
                    yield from ((place, CodedRecord(own, coding, code)) for place in places)

    def _learn(self, coding: Coding) -> Known:
        code = self._code_of(coding)
        places = (
            () if code is None else tuple(n for n, known in enumerate(self.sets) if known and known.has(code))
        )
        if len(self._memo) < MEMO:
            self._memo[(coding.system, coding.code)] = (places, code)
        return places, code

    def _hinted(
        self, record: Any, concepts: Sequence[CodeableConcept], found: dict[int, CodedRecord]
    ) -> None:
        """Entries that only words point to, and those that do not say what they are about."""
        if not found and not any(_says(concept) for concept in concepts):
            for place, known in enumerate(self.sets):
                if known is not None:
                    found[place] = CodedRecord(record, hint=True)
        for place, systems, pattern in self._hints:
            if place in found:
                continue
            codes = [self._code_of(coding) for concept in concepts for coding in concept.coding]
            if any(code is not None and code.system in systems for code in codes):
                continue
            if any(pattern.search(text) for text in _texts(concepts)):
                found[place] = CodedRecord(record, hint=True)


def _texts(concepts: Iterable[CodeableConcept]) -> Iterator[str]:
    for concept in concepts:
        if concept.text:
            yield concept.text
        for coding in concept.coding:
            if coding.display:
                yield coding.display


def _says(concept: CodeableConcept) -> bool:
    """Whether a concept says anything; a record of which none does may be about anything."""
    return bool(concept.text) or any(coding.code or coding.display for coding in concept.coding)


class Traits(NamedTuple):
    """What records of one type have, so that it is asked once per type and not once per record."""

    status: bool
    of_content: bool
    verification: bool
    forbids: bool
    categories: bool
    subject: str | None


@cache
def traits(kind: Hashable) -> Traits:
    """The traits of a resource type."""
    names = set(getattr(kind, "__struct_fields__", ()))
    return Traits(
        status="status" in names,
        of_content="doc_status" in names,
        verification="verification_status" in names,
        forbids="do_not_perform" in names,
        categories=kind is Condition,
        subject=next((name for name in ("subject", "patient") if name in names), None),
    )


def counts(record: Any, ids: frozenset[str], own: frozenset[str] = frozenset()) -> bool:
    """Whether a record exists for the engine at all.

    Args:
        ids: the patient's ids.
        own: references that are surely the patient's, to save reading them.
    """
    has: Traits = traits(record.__class__)
    if has.status and record.status == "entered-in-error":
        return False
    if has.of_content and (record.doc_status or "").lower() == "entered-in-error":
        return False
    if (
        has.verification
        and record.verification_status is not None
        and record.verification == "entered-in-error"
    ):
        return False
    if has.forbids and record.do_not_perform:
        return False
    subject = getattr(record, has.subject) if has.subject is not None else None
    if subject is not None and subject.reference not in own:
        target = subject.target
        if target is not None and target[0] == "patient" and target[1] not in ids:
            return False
    return not (has.categories and record.category) or FAMILY_HISTORY.isdisjoint(record.categories)


def distinct(items: Iterable[Any]) -> Iterable[Any]:
    """Each record once, in its highest version."""
    every = tuple(items)
    if len({item.id for item in every}) == len(every):
        return every
    newest: dict[Any, Any] = {}
    for item in every:
        key = (item.type_name, item.id) if item.id is not None else item
        if key not in newest or _version(item) > _version(newest[key]):
            newest[key] = item
    return newest.values()


def _version(record: Any) -> tuple[int, str, str, bytes]:
    """Numbers before words, then the time of change, then the content, so that order never decides."""
    content = msgspec.json.encode(record)
    if record.meta is None:
        return (0, "", "", content)
    version = record.meta.version_id or ""
    number = int(version) if version.isdecimal() else 0
    return (number, record.meta.last_updated or "", version, content)


Sorter = Callable[[Case], list[CodedRecord]]


def sorter(shelves: dict[Kind, Shelf], kind: Kind, codes: CodeSet | None, code_of: CodeOf) -> Sorter:
    """How a leaf gets its entries; the kind is sorted once per patient, when the first leaf asks."""
    shelf = shelves.setdefault(kind, Shelf(code_of))
    place = shelf.place(codes)

    def entries(case: Case) -> list[CodedRecord]:
        buckets = case.buckets.get(kind)
        if buckets is None:
            fetched = case.record.kinds.get(kind)
            buckets = shelf.sort(() if fetched is None else fetched.items, case.record.ref.ids)
            case.buckets[kind] = buckets
        return buckets[place]

    return entries
