"""``Patient/$match``: the server's own matching, as one more source of candidates.

Its grades are not believed; every candidate is compared again in `ehr.people.matching`.
"""

from __future__ import annotations

from typing import Any

from ehr.errors import EHRError
from ehr.fhir.collect import Collection
from ehr.fhir.entries import sift
from ehr.fhir.outcome import from_error, from_status
from ehr.fhir.paging import Route
from ehr.fhir.read import read_page
from ehr.fhir.search import Query
from ehr.people.identity import Person
from ehr.people.matching import known_date
from ehr.records.fetched import Issue, Severity, State
from ehr.records.people import Patient
from ehr.transport.client import outcome_codes

MOST_CANDIDATES = 50
"""How many candidates are asked for."""


async def candidates(route: Route, person: Person) -> Collection:
    """Whom the server thinks of; a failure is in the collection's states."""
    collection = Collection(MOST_CANDIDATES)
    try:
        response = await route.transport.request(
            "POST",
            "Patient/$match",
            json=parameters(person),
            auth=route.auth,
            endpoint_class="Patient",
            deadline_s=route.deadline_s,
        )
        if not 200 <= response.status < 300:
            codes = outcome_codes(response.body)
            _fail(collection, *from_status(response.status, codes, route.profile))
            return collection
        content = read_page(response.body, Patient, route.reading)
    except EHRError as error:
        _fail(collection, *from_error(error, route.profile))
        return collection
    query = Query(Patient, (), None, "POST")
    page = sift(content, query, route.profile, lower_case=not route.reading.strict)
    if "next" in page.links or page.received >= MOST_CANDIDATES:
        page.states.append(State.PARTIAL)
        page.issues.append(Issue("more-candidates", Severity.WARNING))
    collection.add(page)
    return collection


def _fail(collection: Collection, state: State, issue: Issue) -> None:
    collection.states.append(state)
    collection.issues.append(issue)


def parameters(person: Person) -> dict[str, Any]:
    """The body of the request: what is known about the person, and nothing that is not."""
    born = known_date(person.birth_date)
    system, _, number = (person.mrn or "").strip().rpartition("|")
    name = {"family": person.family, "given": person.given.split() if person.given else None}
    identifier = {"system": system, "value": number}
    resource = {
        "resourceType": "Patient",
        "name": [_filled(name)] if any(name.values()) else None,
        "birthDate": None if born is None else str(born),
        "gender": person.sex,
        "identifier": [_filled(identifier)] if number else None,
    }
    return {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "resource", "resource": _filled(resource)},
            {"name": "onlyCertainMatches", "valueBoolean": False},
            {"name": "count", "valueInteger": MOST_CANDIDATES},
        ],
    }


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
