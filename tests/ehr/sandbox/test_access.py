"""What a token opens: searches, later pages and included resources, each by its own type."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.sandbox import RegisteredClient, SandboxApp, Store, build_app, skin_named
from ehr.sandbox.scopes import AllowedScope, allows, common, parse_scope
from tests.ehr.sandbox.signing import CLIENT, claims, jwks, signed, token_form
from tests.ehr.sandbox.synthetic import FakeClock
from tests.ehr.sandbox.test_pages import link


@pytest.fixture
def app(store: Store, clock: FakeClock) -> SandboxApp:
    everything = RegisteredClient(jwks(), ("system/*.rs",))
    return build_app(
        store, clients={CLIENT: everything, "other": everything}, clock=clock, origin="http://ehr.test"
    )


async def bearer(
    app: SandboxApp, client: httpx.AsyncClient, scope: str, clock: FakeClock, who: str = CLIENT
) -> dict[str, str]:
    jti = f"{who} {scope}"
    form = token_form(signed(claims(app.token_url, clock(), iss=who, sub=who, jti=jti)), scope)
    answer = await client.post(app.token_url, data=form)
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def test_search_and_read_are_separate_rights(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    reading = await bearer(app, client, "system/Patient.r", clock)
    searching = await bearer(app, client, "system/Patient.s", clock)
    for path, allowed in (("Patient/ana", reading), ("Patient?_id=ana", searching)):
        for token in (reading, searching):
            expected = 200 if token is allowed else 403
            assert (await client.get(path, headers=token)).status_code == expected


@pytest.mark.parametrize(
    ("scope", "status"), [("Patient.rs", 200), ("Patient.r", 403), ("Patient.s", 403), ("Device.rs", 403)]
)
async def test_match_needs_both_rights_on_patients(
    store: Store, clock: FakeClock, scope: str, status: int
) -> None:
    skin = replace(skin_named("smarthealthit"), match_operation=True)
    app = build_app(
        store, skin, clients={CLIENT: RegisteredClient(jwks())}, clock=clock, origin="http://ehr.test"
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        token = await bearer(app, client, f"system/{scope}", clock)
        sent = {
            "parameter": [{"name": "resource", "resource": {"resourceType": "Patient", "gender": "male"}}]
        }
        assert (await client.post("Patient/$match", json=sent, headers=token)).status_code == status


async def test_a_resource_outside_the_scope_is_never_included(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    query = "Encounter?patient=ana&_include=Encounter:patient&_include=Encounter:practitioner"
    narrow = await bearer(app, client, "system/Encounter.rs system/Practitioner.rs", clock)
    entries = (await client.get(query, headers=narrow)).json()["entry"]
    assert [entry["resource"]["resourceType"] for entry in entries] == ["Encounter", "Practitioner"]


async def test_a_later_page_is_for_the_same_client_and_scope_only(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    mine = await bearer(app, client, "system/Observation.rs", clock)
    following = str(link(await client.get("Observation?patient=ana&_count=3", headers=mine), "next"))
    narrow = await bearer(app, client, "system/Patient.rs", clock)
    theirs = await bearer(app, client, "system/Observation.rs", clock, "other")
    assert (await client.get(following, headers=narrow)).status_code == 403
    assert (await client.get(following, headers=theirs)).status_code == 403
    assert (await client.get(following)).status_code == 401
    assert (await client.get(following, headers=mine)).status_code == 200


SCOPES = st.builds(
    AllowedScope,
    st.sampled_from(["*", "Patient", "Condition"]),
    st.sets(st.sampled_from("cruds"), min_size=1).map(frozenset),
    st.just("v2"),
)


@given(SCOPES)
def test_a_scope_reads_back_as_written(scope: AllowedScope) -> None:
    assert parse_scope(str(scope)) == scope


@given(SCOPES, st.lists(SCOPES, max_size=4))
def test_what_is_granted_in_part_is_both_asked_and_held(
    asked: AllowedScope, held: list[AllowedScope]
) -> None:
    granted = common(asked, held)
    for kind in ("Patient", "Condition", "Device"):
        for right in "cruds":
            both = allows([asked], kind, right) and allows(held, kind, right)
            assert allows(granted, kind, right) == both
    assert all(asked.covers(scope) for scope in granted)


@pytest.mark.parametrize(
    ("old", "new"),
    [("system/*.read", "rs"), ("system/Patient.write", "cud"), ("system/Patient.*", "cruds")],
)
def test_the_old_form_means_the_new_rights(old: str, new: str) -> None:
    scope = parse_scope(old)
    assert scope is not None
    assert scope.rights == frozenset(new)
    assert str(scope) == old
