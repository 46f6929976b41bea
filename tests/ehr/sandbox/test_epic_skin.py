"""The skin that answers as Epic does: asked by hand, without the client of this package."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from ehr.sandbox import SandboxApp, Store, build_app, skin_named, store_of
from ehr.sandbox.skins.epic import SYSTEM, dress
from tests.ehr.sandbox.synthetic import FakeClock, condition, patient

BORN = "1987-02-20"
NAME = "family=Shaw&given=Amy"


def _number(value: str) -> list[dict[str, Any]]:
    return [{"type": {"coding": [{"code": "MR"}]}, "system": "urn:oid:1.2.3", "value": value}]


def _measured(key: str, when: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "subject": {"reference": "Patient/amy"},
        "effectiveDateTime": when,
    }


def bare(key: str, of: str, name: str, status: str = "active") -> dict[str, Any]:
    """A Condition without a category."""
    made = condition(key, of, "I10", "2020", status=status)
    del made["category"]
    made["code"]["coding"][0]["display"] = name
    return made


HELD: list[dict[str, Any]] = [
    {**patient("amy", "Shaw", "Amy", BORN), "identifier": _number("700")},
    patient("amz", "Shawe", "Amy", BORN, sex="male"),
    patient("far", "Shaweeee", "Amy", BORN),
    {
        **patient("old", "Jones", "Eve", "1960-06-06"),
        "link": [{"type": "replaced-by", "other": {"reference": "Patient/new"}}],
    },
    patient("new", "Smith", "Eve", "1960-06-06"),
    *(patient(f"pat{n}", "Many", "Pat", "1980-08-08") for n in range(101)),
    bare("problem", "amy", "Hypertension (disorder)"),
    bare("past", "amy", "Sinusitis (disorder)", "resolved"),
    bare("concern", "amy", "Stress (finding)"),
    condition("kept", "amy", "I10", "2020"),
    condition("moved", "old", "I10", "2020"),
    *(_measured(f"o{n}", f"20{n:02}-01-01") for n in range(10)),
    {"resourceType": "Binary", "id": "b1", "contentType": "application/pdf", "data": "JVBERg=="},
]


@pytest.fixture(scope="module")
def store() -> Store:
    return store_of(HELD)


@pytest.fixture
def app(store: Store, clock: FakeClock) -> SandboxApp:
    return build_app(store, "epic", clock=clock, origin="http://ehr.test")


@pytest.fixture
async def client(app: SandboxApp) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=app.base_url) as made:
        yield made


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    entries = answer.json().get("entry", [])
    return [entry["resource"]["id"] for entry in entries if entry["search"]["mode"] == "match"]


def vendor(document: dict[str, Any]) -> tuple[str, str]:
    """(severity, code) of an OperationOutcome with one issue, in Epic's own system."""
    (issue,) = document["issue"]
    (coding,) = issue["details"]["coding"]
    assert coding["system"] == SYSTEM
    return issue["severity"], coding["code"]


def remarks(answer: httpx.Response) -> list[tuple[str, str]]:
    entries = answer.json().get("entry", [])
    return [vendor(entry["resource"]) for entry in entries if entry["search"]["mode"] == "outcome"]


# --- patients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["Patient?_id=amy", "Patient?identifier=MRN|700", "Patient?identifier=urn:oid:1.2.3|700",
     "Patient?identifier=700", f"Patient?{NAME}&birthdate={BORN}"],
)  # fmt: skip
async def test_each_minimum_set_finds(client: httpx.AsyncClient, query: str) -> None:
    assert "amy" in ids(await client.get(query))


@pytest.mark.parametrize(
    "query", ["Patient?", f"Patient?birthdate={BORN}", f"Patient?{NAME}", f"Patient?family=Shaw&birthdate={BORN}",
              f"Patient?{NAME}&gender=female", "Patient?name=Amy"],
)  # fmt: skip
async def test_less_than_a_minimum_set_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "59133"))


async def test_hits_are_weighted_and_may_be_wrong(client: httpx.AsyncClient) -> None:
    assert ids(await client.get(f"Patient?{NAME}&birthdate={BORN}")) == ["amy", "amz"]
    both = await client.get(f"Patient?{NAME}&birthdate={BORN}&gender=male")
    assert ids(both) == ["amy", "amz"]


async def test_name_counts_for_nothing_beside_family_or_given(client: httpx.AsyncClient) -> None:
    assert ids(await client.get(f"Patient?{NAME}&birthdate={BORN}&name=Somebody")) == ["amy", "amz"]


async def test_a_number_of_another_type_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.get("Patient?identifier=EPI|700")
    assert (ids(answer), remarks(answer)) == ([], [("warning", "4101")])


async def test_more_than_a_hundred_patients_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("Patient?family=Many&given=Pat&birthdate=1980-08-08")
    assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "4127"))


async def test_a_post_search_counts_its_body_alone(client: httpx.AsyncClient) -> None:
    form = {"family": "Shaw", "given": "Amy", "birthdate": BORN}
    assert ids(await client.post("Patient/_search?family=Jones", data=form)) == ["amy", "amz"]
    answer = await client.post(f"Patient/_search?{NAME}&birthdate={BORN}")
    assert answer.status_code == 400


async def test_matching_brings_graded_candidates(client: httpx.AsyncClient) -> None:
    wanted = {"resourceType": "Patient", "name": [{"family": "Shaw", "given": ["Amy"]}], "birthDate": BORN}
    body = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": wanted}]}
    answer = await client.post("Patient/$match", content=json.dumps(body))
    entries = {entry["resource"]["id"]: entry["search"] for entry in answer.json()["entry"]}
    assert entries["amy"]["score"] == 1
    assert entries["amz"]["extension"][0]["valueCode"] == "possible"
    wanted["name"] = [{"family": "Jones", "given": ["Eve"]}]
    answer = await client.post("Patient/$match", content=json.dumps(body))
    assert "old" not in {entry["resource"]["id"] for entry in answer.json()["entry"]}


# --- merges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("Patient/old", "Patient/new"),
        ("Patient?_id=old", "Patient?_id=new"),
        (
            "Condition?patient=old&category=problem-list-item",
            "Condition?patient=new&category=problem-list-item",
        ),
    ],
)
async def test_who_was_merged_away_redirects_to_the_survivor(
    client: httpx.AsyncClient, app: SandboxApp, query: str, target: str
) -> None:
    answer = await client.get(query)
    assert (answer.status_code, vendor(answer.json())) == (302, ("fatal", "4107"))
    assert answer.headers["location"] == f"{app.base_url}/{target}"


async def test_records_of_the_older_record_are_with_the_survivor(client: httpx.AsyncClient) -> None:
    assert ids(await client.get("Condition?patient=new&category=problem-list-item")) == ["moved"]
    assert ids(await client.get("Patient?family=Jones&given=Eve&birthdate=1960-06-06")) == []


# --- categories --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["Condition?patient=amy", "Observation?patient=amy"])
async def test_a_search_without_a_category_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "59108"))


@pytest.mark.parametrize("kind", ["Condition", "Observation"])
async def test_a_category_that_epic_does_not_have_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    for category in ("labresults", "procedure", "therapy", "activity"):
        answer = await client.get(f"{kind}?patient=amy&category={category}")
        assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "59111"))


async def test_an_observation_may_be_asked_for_by_code(client: httpx.AsyncClient) -> None:
    answer = await client.get("Observation?patient=amy&code=http://loinc.org|718-7")
    assert (ids(answer), remarks(answer)) == ([], [("warning", "4101")])


@pytest.mark.parametrize(
    ("category", "found"),
    [
        ("problem-list-item", ["problem", "kept"]),
        ("encounter-diagnosis", ["past"]),
        ("health-concern", ["concern"]),
    ],
)
async def test_a_condition_without_a_category_gets_one_by_the_stated_rule(
    client: httpx.AsyncClient, category: str, found: list[str]
) -> None:
    assert ids(await client.get(f"Condition?patient=amy&category={category}")) == found


def test_dressing_leaves_the_data_that_was_given_alone(store: Store) -> None:
    before = [dict(one.data) for kind in sorted(store.types()) for one in store.all_of(kind)]
    dressed = dress(store)
    assert before == [one.data for kind in sorted(store.types()) for one in store.all_of(kind)]
    assert len(dressed) == len(store)
    kept = store.get("Condition", "kept")
    assert dressed.get("Condition", "kept") is kept
    assert len(dress(dressed)) == len(dressed)


# --- searches ----------------------------------------------------------------------------------------------


async def test_what_is_asked_about_an_unknown_patient_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("Procedure?patient=nobody")
    assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "4100"))


@pytest.mark.parametrize("parameter", ["_sort=date", "_lastUpdated=ge2024", "zzzzzz=1", "status:not=final"])
async def test_parameters_that_epic_does_not_know_are_ignored_with_a_warning(
    client: httpx.AsyncClient, parameter: str
) -> None:
    answer = await client.get(f"Observation?patient=amy&category=laboratory&{parameter}")
    assert len(ids(answer)) == 10
    assert remarks(answer) == [("warning", "4122")]


@pytest.mark.parametrize("prefix", ["ne", "sa", "eb", "ap"])
async def test_other_date_prefixes_are_refused(client: httpx.AsyncClient, prefix: str) -> None:
    answer = await client.get(f"Observation?patient=amy&category=laboratory&date={prefix}2004")
    assert (answer.status_code, vendor(answer.json())) == (400, ("fatal", "59102"))


async def test_a_date_is_applied_after_the_pages_were_cut(client: httpx.AsyncClient) -> None:
    url = "Observation?patient=amy&category=laboratory&date=ge2004&date=le2005-12-31&_count=3"
    pages = []
    while url:
        answer = await client.get(url)
        pages.append(ids(answer))
        assert "total" not in answer.json()
        url = next((one["url"] for one in answer.json()["link"] if one["relation"] == "next"), "")
    assert pages == [[], ["o4", "o5"], [], []]


async def test_a_paging_session_ends(client: httpx.AsyncClient, clock: FakeClock) -> None:
    answer = await client.get("Observation?patient=amy&category=laboratory&_count=3")
    link = next(one["url"] for one in answer.json()["link"] if one["relation"] == "next")
    clock.forward(899)
    assert ids(await client.get(link)) == ["o3", "o4", "o5"]
    clock.forward(2)
    late = await client.get(link)
    assert (late.status_code, vendor(late.json())) == (400, ("fatal", "4113"))


@pytest.mark.parametrize(("path", "code"), [("Condition/none", "4102"), ("Binary/none", "59144")])
async def test_a_read_of_what_is_not_there(client: httpx.AsyncClient, path: str, code: str) -> None:
    answer = await client.get(path, headers={"accept": "application/fhir+json"})
    assert (answer.status_code, vendor(answer.json())) == (404, ("fatal", code))


# --- what it says about itself -----------------------------------------------------------------------------


async def test_metadata_is_xml_unless_json_is_asked_for(client: httpx.AsyncClient) -> None:
    plain = await client.get("metadata")
    assert plain.headers["content-type"].startswith("application/fhir+xml")
    root = ElementTree.fromstring(plain.content)
    space = {"f": "http://hl7.org/fhir"}
    assert root.tag == "{http://hl7.org/fhir}CapabilityStatement"
    named = [one.get("value") for one in root.findall("f:rest/f:resource/f:type", space)]
    asked = await client.get("metadata", headers={"accept": "application/fhir+json"})
    assert named == [one["type"] for one in asked.json()["rest"][0]["resource"]]
    assert asked.json() == (await client.get("metadata?_format=json")).json()
    assert "MedicationStatement" not in named
    assert asked.json()["fhirVersion"].startswith("4.0")


async def test_the_smart_configuration_lacks_what_epic_s_lacks(store: Store) -> None:
    app = build_app(store, "epic", clients={}, origin="http://ehr.test")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=app.base_url) as client:
        found = (await client.get(".well-known/smart-configuration")).json()
    assert found["token_endpoint"] == app.token_url
    assert "client_secret_post" in found["token_endpoint_auth_methods_supported"]
    assert {"permission-v1", "permission-v2"} <= set(found["capabilities"])
    assert not [scope for scope in found["scopes_supported"] if scope.startswith("system/")]
    for absent in (
        "token_endpoint_auth_signing_alg_values_supported",
        "introspection_endpoint",
        "revocation_endpoint",
    ):
        assert absent not in found


def test_scope_may_be_left_out() -> None:
    assert skin_named("epic").login.scope_required is False
