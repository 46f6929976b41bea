"""Bad ways to search, to page, and to read what came."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import ehr.fhir.entries
import ehr.fhir.find
import ehr.fhir.outcome
import ehr.fhir.paging
import ehr.fhir.session
import ehr.reading.query
import ehr.records.clinical
from ehr.errors import ReadError
from ehr.fhir.collect import Collection
from ehr.fhir.outcome import SearchFailed, judge
from ehr.fhir.paging import walk
from ehr.fhir.read import read_page
from ehr.people.identity import Grade, Matched, MatchResult, Person
from ehr.people.matching import choose
from ehr.records.fetched import State
from ehr.records.patient import PatientRef
from ehr.records.people import Patient
from ehr.testing.specimens.specimen import Spoilt, part, parts


async def _first_page(route: Any, query: Any) -> AsyncGenerator[Any, None]:
    async for page in walk(route, query):
        yield page
        return


async def _until_an_empty_page(route: Any, query: Any) -> AsyncGenerator[Any, None]:
    async for page in walk(route, query):
        yield page
        if not page.records:
            return


async def _as_if_whole(pages: AsyncIterator[Any], collection: Collection) -> Collection:
    try:
        async for page in pages:
            collection.add(page)
    except SearchFailed:
        pass
    collection.finished = True
    return collection


def _all_or_nothing(*given: Any) -> Any:
    content = read_page(*given)
    if content.quarantined:
        raise ReadError("an entry of the Bundle cannot be read")
    return content


def _every_remark_is_an_error(outcome: Any, profile: Any) -> Any:
    verdict = judge(outcome, profile)
    verdict.states.append(State.ERROR)
    return verdict


def _whoever_comes(person: Person, candidates: Sequence[Patient], **named: Any) -> MatchResult:
    if not candidates:
        return choose(person, candidates, **named)
    one = candidates[0]
    return Matched(PatientRef(str(one.id)), one, Grade.B, ("birth_date", "family", "given"))


SPOILT: dict[str, tuple[int, Spoilt]] = {
    "the first page only": (66, part(ehr.fhir.session, "walk", _first_page)),
    "a search that fails midway read as whole": (72, part(ehr.fhir.session, "collect", _as_if_whole)),
    "a page without entries taken for the last": (68, part(ehr.fhir.session, "walk", _until_an_empty_page)),
    "a warning of no results read as an error": (
        49,
        part(ehr.fhir.entries, "judge", _every_remark_is_an_error),
    ),
    "another patient's entries kept": (108, part(ehr.fhir.entries, "_patient_fault", lambda *given: None)),
    "a whole page lost for one bad entry": (102, part(ehr.fhir.paging, "read_page", _all_or_nothing)),
    "the first of two values taken": (105, part(ehr.records.clinical, "one_choice", lambda *given: None)),
    "filters left to the server": (
        79,
        parts(
            part(ehr.fhir.find, "choose", _whoever_comes),
            part(ehr.fhir.entries, "_patient_fault", lambda *given: None),
        ),
    ),
    "an expired paging session given up": (
        71,
        part(ehr.fhir.outcome, "is_expired", lambda status, codes, profile: False),
    ),
    "what was entered in error counted": (86, part(ehr.reading.query, "_denied", lambda record: False)),
}
