"""Pages into one collection with a statement of completeness (``Fetched``)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from typing import Any

from ehr.fhir.entries import SearchPage
from ehr.fhir.outcome import SearchFailed
from ehr.fhir.read import counted
from ehr.records.fetched import Fetched, Issue, Severity, State, joined, worst
from ehr.records.people import Resource

QUARANTINE_RATE = 0.2
"""More than this share set aside means that we and the server do not speak of the same thing."""

_QUARANTINE_FEW = 5
_ID = attrgetter("id")


@dataclass(slots=True, repr=False)
class Collection:
    """What a search has brought so far."""

    page_size: int | None = None
    quarantine_rate: float = QUARANTINE_RATE
    items: list[Any] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    totals: set[int | None] = field(default_factory=set)
    expected: int | None = None
    pages: int = 0
    received: int = 0
    repeats: int = 0
    quarantined: int = 0
    last_page: int = 0
    finished: bool = False

    def add(self, page: SearchPage) -> None:
        """Take in a page; a repeat replaces what is here only if its version is higher."""
        if page.restarted:
            self.issues.append(Issue("paging:restarted", Severity.INFORMATION))
            self.received = self.quarantined = self.repeats = 0
            self._forget()
        if self.pages == 0:
            self.expected = page.total
        self.pages += 1
        self.totals.add(page.total)
        self.received += page.received
        self.quarantined += page.quarantined
        self.last_page = page.received
        self.states += page.states
        self.issues += page.issues
        start, count = len(self.items), len(page.records)
        fresh = dict(zip(map(_ID, page.records), range(start, start + count), strict=True))
        if len(fresh) == count and None not in fresh and self.places.keys().isdisjoint(fresh):
            self.places.update(fresh)
            self.items += page.records
            return
        for record in page.records:
            self._add(record)

    def _forget(self) -> None:
        # What came before the restart is asked for again; it must not count as a repeat.
        self.items.clear()
        self.places.clear()
        self.states.clear()

    def _add(self, record: Any) -> None:
        key = record.id
        if key is None:
            self.items.append(record)
            return
        place = self.places.setdefault(key, len(self.items))
        if place == len(self.items):
            self.items.append(record)
            return
        self.repeats += 1
        if newer(record, self.items[place]):
            self.items[place] = record

    def fetched(self, fetched_at: datetime | None) -> Fetched[Any]:
        """The collection with its state."""
        self._count_against_total()
        return Fetched(
            tuple(self.items),
            self._state(),
            issues=counted(self.issues) if self.issues else (),
            fetched_at=fetched_at if self.pages else None,
            pages=self.pages,
            expected=self.expected,
            received=self.received,
            repeats=self.repeats,
            quarantined=self.quarantined,
            cut=any(state.passes for state in self.states),
        )

    def _state(self) -> State:
        if self.quarantined >= _QUARANTINE_FEW and self.quarantined > self.quarantine_rate * self.received:
            return State.ERROR
        state = worst(self.states) if self.states else State.EMPTY
        if state.complete:
            return State.OK if self.items else State.EMPTY
        return State.PARTIAL if self.items else state

    def _count_against_total(self) -> None:
        if not self.finished or self.expected is None:
            return
        distinct = self.received - self.repeats
        if distinct >= self.expected:
            return
        # Totals are often estimates. One that every page repeats, or that a full last page contradicts, says that
        # something is missing; so does any total beside nothing at all, which else would read as an empty record.
        steady = len(self.totals - {None}) == 1 and self.pages > 1
        full = self.page_size is not None and self.last_page >= self.page_size
        # Some servers count the outcome by which they say that there is nothing.
        silent = distinct == 0 and not any(issue.code.startswith("outcome:") for issue in self.issues)
        exact = steady or full or silent
        self.issues.append(Issue("fewer-than-total", Severity.ERROR if exact else Severity.WARNING))
        if exact:
            self.states.append(State.PARTIAL)


def newer(record: Resource, other: Resource) -> bool:
    """Whether a record is a later version of another; False where that cannot be told."""
    mine, theirs = record.meta, other.meta
    if mine is None or theirs is None:
        return False
    versions = (mine.version_id or "", theirs.version_id or "")
    if all(text.isdecimal() for text in versions):
        return int(versions[0]) > int(versions[1])
    return (mine.last_updated or "") > (theirs.last_updated or "")


async def collect(pages: AsyncIterator[SearchPage], collection: Collection) -> Collection:
    """Read to the end, or to where it fails: a failure midway leaves what came, never as if it were all."""
    try:
        async for page in pages:
            collection.add(page)
        collection.finished = True
    except SearchFailed as failed:
        collection.states.append(failed.meaning)
        collection.issues += failed.issues
    return collection


def merged(parts: Iterable[Fetched[Any]]) -> Fetched[Any]:
    """One collection out of several searches for one type; what came in more than one of them is kept once."""
    every = tuple(parts)
    if len(every) == 1:
        return every[0]
    whole = joined(every)
    unique = Collection()
    for record in whole.items:
        unique._add(record)
    repeats = whole.repeats + unique.repeats
    return replace(whole, items=tuple(unique.items), issues=counted(whole.issues), repeats=repeats)
