"""Search: what matches, in which order, and what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ehr.sandbox import SandboxApp, Skin, build_app, skin_named, store_of
from ehr.sandbox.handlers import Service
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.skin import OutcomeCode, Searching, Situation
from tests.ehr.sandbox.synthetic import FakeClock, condition, patient, small_store


def ids(answer: httpx.Response, mode: str = "match") -> list[str]:
    assert answer.status_code == 200, answer.text
    entries = answer.json().get("entry", [])
    return [entry["resource"].get("id", "") for entry in entries if entry["search"]["mode"] == mode]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Patient?family=nune", "ana bea"),
        ("Patient?family=NÚÑEZ", "ana bea"),
        ("Patient?family:exact=Núñez", "ana"),
        ("Patient?family:exact=núñez", ""),
        ("Patient?family:contains=seth", "di"),
        ("Patient?family=seth", ""),
        ("Patient?given=maria", "ana"),
        ("Patient?name=van d", "cy"),
        ("Patient?name=ana&family=nunez", "ana"),
        ("Patient?given=ana,di", "ana di"),
        ("Patient?birthdate=1950-02-03", "ana bea"),
        ("Patient?birthdate=eq1950-02-03&given=beate", "bea"),
        ("Patient?birthdate=1950-02", "ana bea cy"),
        ("Patient?birthdate=1950", "ana bea cy"),
        ("Patient?birthdate=ge1961", "di"),
        ("Patient?birthdate=lt1950-02-02", "cy"),
        ("Patient?birthdate=ne1950", "di"),
        ("Patient?birthdate=1950-02-03,1961", "ana bea di"),
        ("Patient?birthdate=ge1950&birthdate=lt1951", "ana bea cy"),
        ("Patient?gender=male", "cy"),
        ("Patient?gender:not=female", "cy di"),
        ("Patient?_id=ana", "ana"),
        ("Patient?_id=ana,cy", "ana cy"),
        ("Patient?_id=nobody", ""),
        ("Patient?identifier=M-ana", "ana"),
        ("Patient?identifier=urn:example:mrn|M-ana", "ana"),
        ("Patient?identifier=urn:other|M-ana", ""),
        ("Patient?identifier=|M-ana", ""),
        ("Patient?identifier=urn:example:mrn|", "ana bea cy di"),
        ("Patient?identifier:missing=true", ""),
        ("Condition?patient=ana", "c1 c2 c3"),
        ("Condition?patient=Patient/ana", "c1 c2 c3"),
        ("Condition?patient=http://ehr.test/v/r4/fhir/Patient/ana", "c1 c2 c3"),
        ("Condition?subject=Patient/ana", "c1 c2 c3"),
        ("Condition?subject:Patient=bea", "c4"),
        ("Condition?subject=Group/ana", ""),
        ("Condition?patient=ana,bea&code=I10", "c2 c4"),
        ("Condition?code=http://hl7.org/fhir/sid/icd-10-cm|I10", "c2 c4"),
        ("Condition?patient=ana&clinical-status=active", "c1 c3"),
        ("Condition?patient=ana&clinical-status=active,resolved&code=I10", "c2"),
        ("Condition?category=problem-list-item&onset-date=ge2020", "c1 c4"),
        ("Condition?onset-date=2021-03-04T03:06:07Z", "c4"),
        ("Condition?onset-date=sa2021-03-03", "c4"),
        ("Condition?onset-date=eb2019", "c2"),
        ("Condition?onset-date=le2018", "c2"),
        ("Observation?patient=ana&code=98498-9&category=exam&date=gt2024-01-05", "o06 o07"),
        ("Observation?patient=ana&_sort=-date&date=le2024-01-03", "o03 o02 o01"),
        ("Condition?patient=ana&_sort=onset-date", "c2 c3 c1"),
        ("Condition?_sort=-code,onset-date", "c2 c4 c1 c3"),
        ("Patient?_sort=birthdate,family", "cy ana bea di"),
        ("Encounter?patient=ana&class=AMB&status=finished", "e1"),
        ("Encounter?patient=ana&date=ge2026", "e1"),
        ("Encounter?patient=ana&date=2023-05-05", ""),
        ("Appointment?patient=ana&date=ge2026-06-01&status=booked", "a1"),
        ("Appointment?actor=Practitioner/doc", "a1"),
        ("Appointment?practitioner=ana", ""),
        ("Appointment?patient=doc", ""),
        ("Appointment?patient=ana&status:not=cancelled&status:not=noshow", "a1"),
        ("Practitioner?_id=doc", "doc"),
        ("Group?member=Patient/ana", "g1"),
        ("Procedure?patient=ana", ""),
        ("MedicationRequest?patient=ana", ""),
    ],
)
async def test_search_finds(client: httpx.AsyncClient, query: str, found: str) -> None:
    answer = await client.get(query)
    assert ids(answer) == found.split()
    assert answer.json()["total"] == len(found.split())
    assert answer.headers["content-type"] == "application/fhir+json"


@pytest.mark.parametrize(
    "query",
    [
        "Patient?birthdate=03/02/1950",
        "Patient?birthdate=1950-13",
        "Patient?birthdate=1950-02-30",
        "Patient?birthdate=",
        "Patient?birthdate=xx1950",
        "Patient?family:fuzzy=x",
        "Patient?identifier:missing=maybe",
        "Patient?_count=-1",
        "Patient?_count=many",
        "Patient?_count=" + "9" * 5000,
    ],
)
async def test_a_malformed_search_is_refused(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(query)
    assert answer.status_code == 400
    assert answer.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    "path", ["Nothing", "Nothing/1", "Patient/nobody", "Patient/ana/_history", "patient"]
)
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


async def test_an_unknown_parameter_is_ignored_and_said_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("Condition?patient=ana&favourite=x&_has:x:y:z=1")
    assert ids(answer) == ["c1", "c2", "c3"]
    (remark,) = [entry for entry in answer.json()["entry"] if entry["search"]["mode"] == "outcome"]
    assert remark["resource"]["issue"][0]["severity"] == "warning"
    own = next(link["url"] for link in answer.json()["link"] if link["relation"] == "self")
    assert own == "http://ehr.test/v/r4/fhir/Condition?patient=ana"


async def test_strict_handling_refuses_an_unknown_parameter(client: httpx.AsyncClient) -> None:
    answer = await client.get("Condition?patient=ana&favourite=x", headers={"prefer": "handling=strict"})
    assert answer.status_code == 400


async def test_post_search_equals_get_search(client: httpx.AsyncClient) -> None:
    sent = {"family": "nune", "birthdate": "1950-02-03", "_sort": "-family"}
    posted = await client.post("Patient/_search", data=sent)
    assert ids(posted) == ids(await client.get("Patient", params=sent)) == ["bea", "ana"]
    both = await client.post("Patient/_search?given=beate", data={"family": "nune"})
    assert ids(both) == ["bea"]


async def test_names_never_stand_in_a_next_link(client: httpx.AsyncClient) -> None:
    answer = await client.post("Patient/_search", data={"family": "nune", "_count": "1"})
    following = next(link["url"] for link in answer.json()["link"] if link["relation"] == "next")
    assert "nune" not in following


async def test_summary_count_gives_only_the_total(client: httpx.AsyncClient) -> None:
    for query in ("Condition?patient=ana&_summary=count", "Condition?patient=ana&_count=0"):
        body = (await client.get(query)).json()
        assert body["total"] == 3
        assert "entry" not in body


async def test_included_resources_are_no_matches(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "Encounter?patient=ana&_include=Encounter:practitioner&_include=Encounter:patient"
    )
    assert ids(answer) == ["e1"]
    assert ids(answer, "include") == ["doc", "ana"]
    assert answer.json()["total"] == 1


def other(**changed: Any) -> Skin:
    plain = skin_named("smarthealthit")
    codes: dict[Situation, OutcomeCode] = {
        "no-results": OutcomeCode("not-found", "urn:v", "4101", "warning"),
        "unknown-parameter": OutcomeCode("not-supported", "urn:v", "4122", "warning"),
    }
    return Skin(
        name="other",
        title="Other",
        fhir_path="/fhir",
        token_path="/token",
        paging=plain.paging,
        searching=Searching(**changed),
        outcome_codes=codes,
    )


def app_with(**changed: Any) -> httpx.AsyncClient:
    app = build_app(small_store(), other(**changed), clock=FakeClock(), origin="http://ehr.test")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url)


async def test_a_skin_may_require_parameters() -> None:
    required = {"Condition": (frozenset({"category"}), frozenset({"patient", "code"}))}
    async with app_with(required=required) as client:
        refused = await client.get("Condition?patient=ana")
        assert refused.status_code == 400
        assert refused.json()["issue"][0]["code"] == "required"
        assert ids(await client.get("Condition?patient=ana&category=problem-list-item")) == ["c1", "c2", "c3"]
        assert ids(await client.get("Condition?patient=ana&code=I10")) == ["c2"]


async def test_a_skin_may_know_fewer_parameters_and_no_sorting() -> None:
    async with app_with(parameters={"Condition": frozenset({"patient"})}, sorts=False) as client:
        answer = await client.get("Condition?patient=ana&code=I10&_sort=-onset-date")
        assert ids(answer) == ["c1", "c2", "c3"]
        remark = answer.json()["entry"][-1]["resource"]["issue"][0]
        assert remark["details"]["coding"][0]["code"] == "4122"


async def test_a_skin_may_warn_of_an_empty_answer() -> None:
    async with app_with(no_results_outcome=True) as client:
        body = (await client.get("Procedure?patient=ana")).json()
        assert (body["total"], body["entry"][0]["search"]["mode"]) == (0, "outcome")
        assert body["entry"][0]["resource"]["issue"][0]["details"]["coding"][0]["code"] == "4101"


async def test_a_skin_may_ignore_name_beside_family() -> None:
    async with app_with(name_yields=True) as client:
        assert ids(await client.get("Patient?name=zzz&family=nune")) == ["ana", "bea"]


async def test_a_skin_may_refuse_too_many_patients_and_post() -> None:
    async with app_with(max_patients=3, post="none") as client:
        assert (await client.get("Patient?gender=female")).status_code == 200
        assert (await client.get("Patient")).json()["issue"][0]["severity"] == "fatal"
        assert (await client.post("Patient/_search", data={"family": "nune"})).status_code == 404


async def test_a_skin_may_read_only_the_body_of_a_post() -> None:
    async with app_with(post="body", unknown="reject") as client:
        assert ids(await client.post("Patient/_search?given=beate", data={"family": "nune"})) == [
            "ana",
            "bea",
        ]
        assert (await client.get("Patient?favourite=x")).status_code == 400


async def test_headers_can_be_required_and_forbidden() -> None:
    skin = Skin(
        name="x",
        title="X",
        fhir_path="/f",
        token_path="/t",
        required_headers=("X-Practice",),
        forbidden_headers=("X-Other",),
    )
    app = build_app(small_store(), skin)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        assert (await client.get("Patient")).status_code == 403
        assert (await client.get("Patient", headers={"x-practice": "1"})).status_code == 200
        assert (await client.get("Patient", headers={"x-practice": "1", "x-other": "1"})).status_code == 403


async def test_a_binary_comes_raw_or_as_json(client: httpx.AsyncClient) -> None:
    raw = await client.get("Binary/b1", headers={"accept": "application/pdf"})
    assert (raw.content, raw.headers["content-type"]) == (b"%PDF", "application/pdf")
    wrapped = await client.get("Binary/b1", headers={"accept": "application/fhir+json"})
    assert wrapped.json()["data"] == "JVBERg=="


async def test_resources_are_read_by_id(client: httpx.AsyncClient) -> None:
    assert (await client.get("Patient/ana")).json()["name"][0]["family"] == "Núñez"
    assert (await client.get("Group/g1")).json()["type"] == "person"


@pytest.fixture
def matching_app() -> SandboxApp:
    skin = Skin(name="m", title="M", fhir_path="/f", token_path="/t", match_operation=True)
    return build_app(small_store(), skin, origin="http://ehr.test")


def wanted(**changed: Any) -> dict[str, Any]:
    resource = {
        "resourceType": "Patient",
        "name": [{"family": "Nunez", "given": ["Ana"]}],
        "birthDate": "1950-02-03",
        **changed,
    }
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": resource}]}


async def test_match_grades_its_candidates(matching_app: SandboxApp) -> None:
    transport = httpx.ASGITransport(app=matching_app)
    async with httpx.AsyncClient(transport=transport, base_url=matching_app.base_url) as client:
        entry = (await client.post("Patient/$match", json=wanted())).json()["entry"][0]
        assert entry["resource"]["id"] == "ana"
        assert (entry["search"]["score"], entry["search"]["extension"][0]["valueCode"]) == (1, "certain")
        near = (await client.post("Patient/$match", json=wanted(birthDate="1950-02-04"))).json()["entry"][0]
        assert near["search"]["extension"][0]["valueCode"] == "possible"
        nobody = wanted(name=[{"family": "Zz"}], birthDate="1900-01-01")
        assert (await client.post("Patient/$match", json=nobody)).json()["total"] == 0
        assert (await client.post("Patient/$match", json={"parameter": 5})).status_code == 400


async def test_match_is_absent_where_the_skin_has_none(client: httpx.AsyncClient) -> None:
    assert (await client.post("Patient/$match", json=wanted())).status_code == 404


async def test_the_exact_index_loses_nobody() -> None:
    born = [patient(f"p{n}", "Same", "Name", f"19{n:02}-01-01") for n in range(60)]
    born += [patient("day", "Same", "Name", "1955-01-01"), patient("year", "Same", "Name", "1955")]
    store = store_of([*born, condition("c", "day", "X1", "2020")])
    app = build_app(store, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        assert ids(await client.get("Patient?birthdate=1955-01-01&name=same")) == ["p55", "day"]
        assert ids(await client.get("Patient?birthdate=1955&name=same")) == ["p55", "day", "year"]
        assert ids(await client.get("Condition?code=X1,X2")) == ["c"]
        store.add(condition("later", "day", "X1", "2021"))
        assert ids(await client.get("Condition?code=X1")) == ["c", "later"]


async def test_a_skin_may_answer_beside_fhir() -> None:
    def rest(request: Request, service: Service) -> Answer | None:
        stored = service.store.get("Patient", request.path.rpartition("/")[2])
        return Answer(200, stored.body, "application/json") if stored is not None else None

    app = build_app(small_store(), Skin(name="n", title="N", fhir_path="/f", token_path="/t", beside=rest))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.origin) as client:
        assert (await client.get("/api/persons/ana")).json()["id"] == "ana"
        assert (await client.get("/api/persons/nobody")).status_code == 404
        assert (await client.post("/t", data={"a": "b"})).status_code == 404
    closed = build_app(small_store(), app.skin, clients={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=closed), base_url=app.origin) as client:
        assert (await client.get("/api/persons/ana")).status_code == 401
