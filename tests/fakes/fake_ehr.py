"""An EHR in memory that does what a test says: answers, waits, fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from ehr.people.identity import Grade, Matched, MatchResult, Person
from ehr.providers.adapter import EHRAdapter
from ehr.records.patient import Fetched, Kind, PatientRef, complete
from tests.ehr.people.patients import patient

Answer = Callable[[str], Awaitable[Any]]


async def nobody_waits() -> None:
    """Let others run."""
    await asyncio.sleep(0)


@dataclass
class FakeEHR:
    """Finds everyone by MRN and has nothing about them, unless told otherwise.

    ``finding`` and ``reading`` may raise, wait or answer; ``reading`` is keyed by kind.
    """

    finding: Callable[[Person], Awaitable[MatchResult | None]] | None = None
    reading: dict[Kind, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    reads: Counter[Kind] = field(default_factory=Counter)
    at_work: int = 0
    most_at_work: int = 0

    @property
    def adapter(self) -> EHRAdapter:
        """Itself, as what it stands for."""
        return cast("EHRAdapter", self)

    async def find_patient(self, person: Person) -> MatchResult:
        mrn = person.mrn or ""
        self.asked.append(mrn)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            await nobody_waits()
            found = None if self.finding is None else await self.finding(person)
        finally:
            self.at_work -= 1
        return found or Matched(PatientRef(mrn), patient(mrn), Grade.A, ("mrn",))

    async def read(self, kind: Kind, ref: PatientRef) -> Fetched[Any]:
        self.reads[kind] += 1
        await nobody_waits()
        answer = self.reading.get(kind)
        found: Fetched[Any] = complete(()) if answer is None else await answer(ref.id)
        return found
