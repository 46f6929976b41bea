"""The same session against the sandbox EHR on a socket: five pages of ten, and what can go wrong on the third.

The right answer is fifty, or a state that says that it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ehr.config import ProviderProfile
from ehr.fhir.find import find_patient
from ehr.fhir.session import FhirSession
from ehr.people.matching import Matched, NotFound, Person, Undetermined
from ehr.records.fetched import Fetched, Kind, State
from ehr.records.patient import PatientRef
from ehr.sandbox import Sandbox, Store, store_of
from ehr.sandbox.faults import (
    Action,
    Alien,
    Body,
    Duplicate,
    ExpireSession,
    Fault,
    LostPage,
    NextLink,
    Remark,
    Reset,
    Status,
    When,
    WrongTotal,
)
from ehr.transport.client import Transport
from tests.fakes.clock import FakeClock

PATIENT = {"patient", "category", "code"}
PROFILE = ProviderProfile(
    "sandbox",
    "Sandbox",
    page_size=10,
    post_search=True,
    search_parameters={
        "Patient": frozenset({"_id", "identifier", "family", "given", "birthdate"}),
        "Condition": frozenset(PATIENT),
        "Observation": frozenset(PATIENT),
    },
)
P3 = When(resource_type="Condition", page=3)


def _person(key: str, family: str, given: str, born: str) -> dict[str, Any]:
    name = [{"family": family, "given": given.split()}]
    return {"resourceType": "Patient", "id": key, "name": name, "birthDate": born}


def _condition(number: int, who: str) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "id": f"{who}-{number:02}",
        "subject": {"reference": f"Patient/{who}"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "H35.31"}]},
        "onsetDateTime": f"20{number:02}",
    }


@pytest.fixture(scope="module")
def store() -> Store:
    """One patient with fifty conditions, twins, and prefix neighbours."""
    return store_of(
        [
            _person("p1", "Shaw", "Amy", "1987-02-20"),
            _person("p2", "Shawson", "Amy", "1987-02-20"),
            _person("p3", "Núñez", "Ana", "1950-02-03"),
            _person("p4", "Núñez", "Eva", "1950-02-03"),
            *(_condition(number, "p1") for number in range(50)),
            *(_condition(number, "p2") for number in range(5)),
        ]
    )


@pytest.fixture(scope="module")
def ehr(store: Store) -> Iterator[Sandbox]:
    with Sandbox(store, login=False) as running:
        yield running


async def ask(ehr: Sandbox, *faults: Action, times: int | None = None, when: When = P3) -> Fetched[Any]:
    ehr.faults = tuple(Fault(action, when, times=times) for action in faults)
    clock = FakeClock().clock
    async with Transport(ehr.base_url, allow_http_loopback=True, clock=clock) as transport:
        session = FhirSession(transport, None, PROFILE, clock=clock, zone=ZoneInfo("UTC"))
        return await session.search(Kind.CONDITION, patient=PatientRef("p1"))


async def test_all_fifty_come_in_five_pages(ehr: Sandbox) -> None:
    """page_all_pages_collected_in_order_without_duplicates"""
    found = await ask(ehr)
    assert (found.state, len(found.items), found.pages, found.expected) == (State.OK, 50, 5, 50)
    assert [record.id for record in found.items] == [f"p1-{n:02}" for n in range(50)]
    assert found.issues == ()


@pytest.mark.parametrize(
    ("fault", "times", "pages"),
    [
        (Status(429, retry_after=1), 2, 5),
        (Status(503), 1, 5),
        (Reset(), 1, 5),
        (NextLink("relative"), None, 5),
        (Duplicate(), None, 5),
        (ExpireSession(), 1, 7),
        (Remark("warning"), None, 5),
        (WrongTotal(7), None, 5),
        (WrongTotal(None), None, 5),
    ],
)
async def test_what_can_be_overcome_gives_all_fifty(
    ehr: Sandbox, fault: Action, times: int | None, pages: int
) -> None:
    found = await ask(ehr, fault, times=times)
    assert (found.state, len(found.items), found.pages) == (State.OK, 50, pages)


@pytest.mark.parametrize(
    ("fault", "at_least"),
    [
        (Status(503), 20),
        (Status(403), 20),
        (Body("truncated"), 20),
        (Body("html"), 20),
        (Body("empty"), 20),
        (Body("deep"), 20),
        (Body("not-utf8"), 20),
        (NextLink("loop"), 30),
        (NextLink("first"), 30),
        (NextLink("foreign", "http://127.0.0.1:1"), 30),
        (NextLink("none"), 30),
        (Alien(), 50),
        (LostPage(), 40),
        (Remark("error"), 50),
        (ExpireSession(), 20),
    ],
)
async def test_what_cannot_be_overcome_is_partial_and_never_ok(
    ehr: Sandbox, fault: Action, at_least: int
) -> None:
    found = await ask(ehr, fault)
    assert found.state is State.PARTIAL
    assert len(found.items) >= at_least
    assert all(record.subject.target == ("patient", "p1") for record in found.items)
    assert found.issues


async def test_an_outage_from_the_start_is_unavailable(ehr: Sandbox) -> None:
    found = await ask(ehr, Status(503), when=When(resource_type="Condition"))
    assert (found.state, found.items) == (State.UNAVAILABLE, ())


async def find(ehr: Sandbox, person: Person, *faults: Fault) -> Any:
    ehr.faults = faults
    clock = FakeClock().clock
    async with Transport(ehr.base_url, allow_http_loopback=True, clock=clock) as transport:
        session = FhirSession(transport, None, PROFILE, clock=clock, zone=ZoneInfo("UTC"))
        return await find_patient(session, person)


async def test_people_are_found_among_neighbours_and_twins(ehr: Sandbox) -> None:
    """match_twins_not_confused, match_prefix_hits_filtered_locally"""
    for person, expected in [
        (Person("Shaw", "Amy", "1987-02-20"), "p1"),
        (Person("NUNEZ", "Ana", "1950-02-03"), "p3"),
        (Person("Núñez", "Eva", "1950-02-03"), "p4"),
        (Person(id="p2"), "p2"),
    ]:
        result = await find(ehr, person)
        assert isinstance(result, Matched), expected
        assert result.ref.id == expected
    assert isinstance(await find(ehr, Person("Shaw", "Amy", "1987-02-21")), NotFound)
    down = Fault(Status(503), When(resource_type="Patient"))
    assert isinstance(await find(ehr, Person("Shaw", "Amy", "1987-02-20"), down), Undetermined)
