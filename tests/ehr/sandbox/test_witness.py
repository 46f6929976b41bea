"""The witness sees every request, knows tokens by hash only, and finds a token that went astray."""

from __future__ import annotations

import httpx
import pytest

from ehr.sandbox import RegisteredClient, Sandbox, SandboxApp, Store, TokenLeaked
from tests.ehr.sandbox.signing import CLIENT, claims, jwks, signed, token_form
from tests.ehr.sandbox.synthetic import FakeClock


def token_of(ehr: Sandbox, http: httpx.Client, clock: FakeClock) -> str:
    form = token_form(signed(claims(ehr.token_url, clock())))
    return str(http.post(ehr.token_url, data=form).json()["access_token"])


def test_requests_are_recorded_with_who_sent_them(store: Store, clock: FakeClock) -> None:
    with (
        Sandbox(store, clients={CLIENT: RegisteredClient(jwks())}, clock=clock) as ehr,
        httpx.Client() as http,
    ):
        token = token_of(ehr, http, clock)
        bearer = {"authorization": f"Bearer {token}", "prefer": "handling=strict"}
        http.get(f"{ehr.base_url}/Condition?patient=ana&_count=2", headers=bearer)
        http.get(f"{ehr.base_url}/Patient/ana", headers=bearer)
        http.get(f"{ehr.base_url}/elsewhere")
    witness = ehr.witness
    login, search, read, other = witness.requests
    assert (login.endpoint, login.client_id, login.tokens) == ("token", None, ())
    assert (search.endpoint, search.resource_type, search.patient, search.page) == (
        "search",
        "Condition",
        "ana",
        1,
    )
    assert (search.client_id, search.headers["prefer"]) == (CLIENT, "handling=strict")
    assert (read.endpoint, read.resource_type, read.method) == ("read", "Patient", "GET")
    assert (other.endpoint, other.number) == ("other", 4)
    assert witness.counts() == {"token": 1, "Condition": 1, "Patient": 1, "other": 1}
    assert witness.count("search") == witness.count(resource_type="Patient") == 1
    assert "authorization" not in search.headers
    assert token not in repr(witness.requests) + repr(vars(witness))
    assert witness.issued == {search.tokens[0]: CLIENT}
    assert witness.token_receivers() == {search.tokens[0]: frozenset({ehr.origin})}
    witness.assert_tokens_stayed_home()
    witness.forget()
    assert not witness.requests


LEAKS = {
    "as bearer": lambda token: ({"authorization": f"Bearer {token}"}, ""),
    "bare": lambda token: ({"authorization": token}, ""),
    "in another header": lambda token: ({"x-forwarded-auth": f"token={token}"}, ""),
    "in a cookie": lambda token: ({"cookie": f"a=b; t={token}"}, ""),
    "in the query": lambda token: ({}, f"?access_token={token}"),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_token_at_another_origin_is_found(store: Store, clock: FakeClock, leak: object) -> None:
    assert callable(leak)
    home = Sandbox(store, clients={CLIENT: RegisteredClient(jwks())}, clock=clock)
    shared = home.witness
    with home, Sandbox(store, login=False) as elsewhere, httpx.Client() as http:
        elsewhere.witness = shared
        token = token_of(home, http, clock)
        http.get(f"{home.base_url}/Patient", headers={"authorization": f"Bearer {token}"})
        http.get(f"{elsewhere.base_url}/Patient")
        shared.assert_tokens_stayed_home()
        headers, query = leak(token)
        http.get(f"{elsewhere.origin}/any/where{query}", headers=headers)
    with pytest.raises(TokenLeaked) as caught:
        shared.assert_tokens_stayed_home()
    assert token not in str(caught.value)
    assert len(shared.token_receivers()[shared.mark(token)]) == 2


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("Condition?patient=ana", "ana"),
        ("Condition?subject=Patient/ana", "ana"),
        ("Condition?subject=Group/g1", None),
        ("Appointment?actor=Practitioner/doc", None),
        ("Appointment?actor=Practitioner/doc&patient=ana", "ana"),
        ("Condition?patient=ana,bea", None),
        ("Patient?_id=ana", "ana"),
        ("Patient?family=x", None),
        ("Observation/o01", "ana"),
        ("Patient/nobody", None),
    ],
)
async def test_the_patient_asked_about_is_recognised(
    app: SandboxApp, client: httpx.AsyncClient, path: str, patient: str | None
) -> None:
    await client.get(path)
    assert app.witness.requests[-1].patient == patient
