"""People log in at the sandbox: each rule of the authorization and token endpoints refuses what it is for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from ehr.errors import ConfigurationError
from ehr.sandbox import RegisteredApp, SandboxApp, Store, Who, build_app
from ehr.sandbox.skin import LoginRules, Skin
from tests.ehr.sandbox.signing import claims, jwks, signed
from tests.ehr.sandbox.synthetic import FakeClock

APP, OTHER, SECRET_APP, KEY_APP = "my-app", "other-app", "secret-app", "screener"
BACK = "http://127.0.0.1:50123/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPE = "user/Condition.rs offline_access"


def who(**more: Any) -> Who:
    apps = {
        APP: RegisteredApp(("http://127.0.0.1/callback", "https://app.example/back?x=1")),
        OTHER: RegisteredApp(),
        SECRET_APP: RegisteredApp(secret="s3cret"),
        KEY_APP: RegisteredApp(jwks=jwks()),
        "narrow": RegisteredApp(scopes=("user/Patient.rs", "patient/Patient.rs", "launch/patient")),
    }
    return Who(apps=apps, **more)


@pytest.fixture
def app(store: Store, clock: FakeClock) -> SandboxApp:
    return build_app(store, who=who(), clock=clock, origin="http://ehr.test")


@pytest.fixture
async def http(app: SandboxApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as made:
        yield made


def wish(app: SandboxApp, **changed: str | None) -> dict[str, str]:
    said = {
        "response_type": "code",
        "client_id": APP,
        "redirect_uri": BACK,
        "scope": SCOPE,
        "state": "s-1",
        "aud": app.base_url,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changed,
    }
    return {name: value for name, value in said.items() if value is not None}


async def asked(app: SandboxApp, http: httpx.AsyncClient, **changed: str | None) -> httpx.Response:
    return await http.get(app.authorize_url, params=wish(app, **changed))


def back(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 303
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


async def code(app: SandboxApp, http: httpx.AsyncClient, **changed: str | None) -> str:
    return back(await asked(app, http, **changed))["code"]


async def redeemed(
    app: SandboxApp, http: httpx.AsyncClient, code: str, headers: dict[str, str] | None = None, **changed: Any
) -> httpx.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": APP,
        "code": code,
        "redirect_uri": BACK,
        "code_verifier": VERIFIER,
        **changed,
    }
    kept = {name: value for name, value in form.items() if value is not None}
    return await http.post(app.token_url, data=kept, headers=headers)


async def renewed(app: SandboxApp, http: httpx.AsyncClient, token: str, **changed: Any) -> httpx.Response:
    form = {"grant_type": "refresh_token", "client_id": APP, "refresh_token": token, **changed}
    return await http.post(app.token_url, data=form)


async def works(app: SandboxApp, http: httpx.AsyncClient, token: str, path: str = "Condition/c1") -> int:
    answer = await http.get(f"{app.base_url}/{path}", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code


async def test_a_login_gives_a_code_a_token_and_a_refresh_token(
    app: SandboxApp, http: httpx.AsyncClient
) -> None:
    answer = await asked(app, http)
    assert answer.headers["location"].startswith(BACK + "?")
    said = back(answer)
    assert set(said) == {"code", "state", "iss"}
    assert (said["state"], said["iss"]) == ("s-1", "http://ehr.test/v/r4/auth")
    given = await redeemed(app, http, said["code"])
    assert given.status_code == 200
    assert given.headers["cache-control"] == "no-store"
    assert set(given.json()) == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert given.json()["scope"] == SCOPE
    assert await works(app, http, given.json()["access_token"]) == 200
    assert await works(app, http, given.json()["access_token"], "Observation/o1") == 403


async def test_discovery_says_what_a_browser_needs_only_where_people_may_log_in(
    app: SandboxApp, http: httpx.AsyncClient, store: Store
) -> None:
    said = (await http.get(app.base_url + "/.well-known/smart-configuration")).json()
    assert said["authorization_endpoint"] == app.authorize_url
    assert said["issuer"] == "http://ehr.test/v/r4/auth"
    assert said["authorization_response_iss_parameter_supported"] is True
    assert "refresh_token" in said["grant_types_supported"]
    pods = build_app(store, clients={}, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=pods)) as client:
        plain = (await client.get(pods.base_url + "/.well-known/smart-configuration")).json()
        assert "authorization_endpoint" not in plain
        assert (await client.get(pods.authorize_url)).status_code == 404
        refused = await client.post(
            pods.token_url, data={"grant_type": "refresh_token", "refresh_token": "x"}
        )
        assert refused.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:50123/callback/"},
        {"redirect_uri": "http://127.0.0.1:50123/callback?more=1"},
        {"redirect_uri": "http://127.0.0.1:50123/callback#part"},
        {"redirect_uri": "http://localhost:50123/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example/callback"},
        {"redirect_uri": "http://a@127.0.0.1:50123/callback"},
        {"redirect_uri": "http://127.0.0.1:99999/callback"},
        {"redirect_uri": "https://127.0.0.1:50123/callback"},
        {"redirect_uri": "https://app.example:8443/back?x=1"},
        {"redirect_uri": "https://app.example/back"},
    ],
)
async def test_the_browser_is_never_sent_where_nobody_vouches_for(
    app: SandboxApp, http: httpx.AsyncClient, changed: dict[str, str | None]
) -> None:
    answer = await asked(app, http, **changed)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "cannot go on" in answer.text


@pytest.mark.parametrize("uri", [BACK, "http://127.0.0.1/callback", "https://app.example/back?x=1"])
async def test_a_registered_address_is_taken_to_the_letter_but_for_a_loopback_port(
    app: SandboxApp, http: httpx.AsyncClient, uri: str
) -> None:
    answer = await asked(app, http, redirect_uri=uri)
    assert answer.headers["location"].startswith(uri + ("&" if "?" in uri else "?"))
    given = await redeemed(app, http, back(answer)["code"], redirect_uri=uri)
    assert given.status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"aud": None}, "invalid_request"),
        ({"aud": "https://other.example/fhir"}, "invalid_request"),
        ({"state": None}, "invalid_request"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": "system/*.rs"}, "invalid_scope"),
    ],
)
async def test_a_request_that_is_not_in_order_goes_back_with_its_error(
    app: SandboxApp, http: httpx.AsyncClient, changed: dict[str, str | None], error: str
) -> None:
    said = back(await asked(app, http, **changed))
    assert said["error"] == error
    assert "code" not in said
    assert said["iss"] == "http://ehr.test/v/r4/auth"


async def test_a_repeated_parameter_is_refused(app: SandboxApp, http: httpx.AsyncClient) -> None:
    query = urlencode([*wish(app).items(), ("redirect_uri", "https://evil.example")])
    answer = await http.get(f"{app.authorize_url}?{query}")
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code": "guessed"}, "invalid_grant"),
        ({"client_id": OTHER}, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:50124/callback"}, "invalid_grant"),
        ({"redirect_uri": None}, "invalid_grant"),
        ({"code_verifier": None}, "invalid_grant"),
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": CHALLENGE}, "invalid_grant"),
        ({"code_verifier": "v" * 42}, "invalid_grant"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": None}, "invalid_client"),
        ({"client_id": SECRET_APP}, "invalid_client"),
        ({"client_id": KEY_APP}, "invalid_client"),
    ],
)
async def test_a_code_is_bound_to_application_address_and_verifier(
    app: SandboxApp, http: httpx.AsyncClient, changed: dict[str, str | None], error: str
) -> None:
    given = await redeemed(app, http, **{"code": await code(app, http), **changed})
    assert given.json()["error"] == error


async def test_a_code_is_good_for_a_minute(
    app: SandboxApp, http: httpx.AsyncClient, clock: FakeClock
) -> None:
    first, second = await code(app, http), await code(app, http)
    clock.now += timedelta(seconds=59)
    assert (await redeemed(app, http, first)).status_code == 200
    clock.now += timedelta(seconds=1)
    assert (await redeemed(app, http, second)).json()["error"] == "invalid_grant"


async def test_a_code_used_twice_ends_what_came_from_it(app: SandboxApp, http: httpx.AsyncClient) -> None:
    used = await code(app, http)
    given = (await redeemed(app, http, used)).json()
    assert (await redeemed(app, http, used)).json()["error"] == "invalid_grant"
    assert await works(app, http, given["access_token"]) == 401
    assert (await renewed(app, http, given["refresh_token"])).json()["error"] == "invalid_grant"


async def test_refresh_tokens_rotate_and_a_used_one_ends_the_family(
    app: SandboxApp, http: httpx.AsyncClient
) -> None:
    first = (await redeemed(app, http, await code(app, http))).json()
    second = (await renewed(app, http, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == SCOPE
    assert await works(app, http, second["access_token"]) == 200
    again = await renewed(app, http, first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    for token in (first["access_token"], second["access_token"]):
        assert await works(app, http, token) == 401
    assert (await renewed(app, http, second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_another_login_of_the_same_application_lives_on(
    app: SandboxApp, http: httpx.AsyncClient
) -> None:
    one, other = [(await redeemed(app, http, await code(app, http))).json() for _ in range(2)]
    await renewed(app, http, one["refresh_token"])
    await renewed(app, http, one["refresh_token"])
    assert await works(app, http, other["access_token"]) == 200
    assert (await renewed(app, http, other["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"client_id": OTHER}, "invalid_grant"),
        ({"refresh_token": "guessed"}, "invalid_grant"),
        ({"refresh_token": ""}, "invalid_grant"),
        ({"scope": "user/*.cruds"}, "invalid_scope"),
    ],
)
async def test_a_refresh_token_is_bound_to_its_application_and_grant(
    app: SandboxApp, http: httpx.AsyncClient, changed: dict[str, str], error: str
) -> None:
    given = (await redeemed(app, http, await code(app, http))).json()
    assert (await renewed(app, http, given["refresh_token"], **changed)).json()["error"] == error


async def test_without_a_wish_to_stay_there_is_no_refresh_token(
    app: SandboxApp, http: httpx.AsyncClient
) -> None:
    given = await redeemed(app, http, await code(app, http, scope="user/Condition.rs"))
    assert "refresh_token" not in given.json()


async def test_what_is_granted_is_narrowed_to_what_is_registered(
    app: SandboxApp, http: httpx.AsyncClient
) -> None:
    scope = "user/*.rs user/Patient.cruds openid offline_access system/*.rs"
    got = await code(app, http, client_id="narrow", scope=scope)
    given = await redeemed(app, http, got, client_id="narrow")
    assert given.json()["scope"] == "user/Patient.rs"


@pytest.mark.parametrize(
    ("headers", "form", "status"),
    [
        ({"Authorization": "Basic " + base64.b64encode(b"secret-app:s3cret").decode()}, {}, 200),
        ({"Authorization": "Basic " + base64.b64encode(b"secret-app:wrong").decode()}, {}, 401),
        ({"Authorization": "Basic ###"}, {}, 401),
        ({}, {"client_id": SECRET_APP, "client_secret": "s3cret"}, 200),
        ({}, {"client_id": SECRET_APP, "client_secret": "wrong"}, 401),
        ({}, {"client_id": SECRET_APP}, 401),
    ],
)
async def test_a_confidential_application_proves_itself(
    app: SandboxApp, http: httpx.AsyncClient, headers: dict[str, str], form: dict[str, str], status: int
) -> None:
    got = await code(app, http, client_id=SECRET_APP)
    given = await redeemed(app, http, got, headers, **{"client_id": None, **form})
    assert given.status_code == status


@pytest.mark.parametrize(("change", "status"), [({}, 200), ({"aud": "elsewhere"}, 401), ({"exp": 0}, 401)])
async def test_an_application_with_keys_signs(
    app: SandboxApp, http: httpx.AsyncClient, clock: FakeClock, change: dict[str, Any], status: int
) -> None:
    got = await code(app, http, client_id=KEY_APP)
    proof = {
        "client_id": None,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed(claims(app.token_url, clock(), **change)),
    }
    assert (await redeemed(app, http, got, **proof)).status_code == status


PATIENT_SCOPE = "launch/patient patient/*.rs"


async def test_a_login_for_one_patient_sees_that_patient_alone(store: Store, clock: FakeClock) -> None:
    app = build_app(store, who=who(patient="ana"), clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        given = (await redeemed(app, http, await code(app, http, scope=PATIENT_SCOPE))).json()
        assert given["patient"] == "ana"
        head = {"Authorization": f"Bearer {given['access_token']}"}
        everybody = (await http.get(f"{app.base_url}/Patient", headers=head)).json()
        assert [entry["resource"]["id"] for entry in everybody["entry"]] == ["ana"]
        assert everybody["total"] == 1
        assert (await http.get(f"{app.base_url}/Patient/bob", headers=head)).status_code == 404
        others = (await http.get(f"{app.base_url}/Condition?patient=bob", headers=head)).json()
        assert others.get("entry", []) == []
        mine = (await http.get(f"{app.base_url}/Condition", headers=head)).json()
        assert {entry["resource"]["subject"]["reference"] for entry in mine["entry"]} == {"Patient/ana"}


@pytest.mark.parametrize(("answers", "found"), [("auto", "code"), ("deny", "error")])
async def test_the_sandbox_can_answer_for_the_person(
    store: Store, clock: FakeClock, answers: Any, found: str
) -> None:
    app = build_app(store, who=who(answers=answers), clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        assert found in back(await asked(app, http))


def _ticket(page: httpx.Response) -> str:
    return page.text.partition('name="ticket" value="')[2].partition('"')[0]


async def test_a_person_answers_on_a_page_once(store: Store, clock: FakeClock) -> None:
    app = build_app(store, who=who(answers="ask"), clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        page = await asked(app, http)
        assert page.status_code == 200
        assert page.headers["x-frame-options"] == "DENY"
        assert "s-1" not in page.text  # the request's own secrets stay at the server
        assert CHALLENGE not in page.text
        form = {"ticket": _ticket(page), "decision": "allow"}
        assert "code" in back(await http.post(app.authorize_url, data=form))
        assert (await http.post(app.authorize_url, data=form)).status_code == 400
        no = {"ticket": _ticket(await asked(app, http)), "decision": "deny"}
        assert back(await http.post(app.authorize_url, data=no))["error"] == "access_denied"
        silent = {"ticket": _ticket(await asked(app, http))}
        assert back(await http.post(app.authorize_url, data=silent))["error"] == "access_denied"
        assert (await http.post(app.authorize_url, data={"decision": "allow"})).status_code == 400
        assert (await http.put(app.authorize_url)).status_code == 405


async def test_a_name_in_the_page_is_text(store: Store, clock: FakeClock) -> None:
    app = build_app(
        store, who=Who(apps={"<b>x": RegisteredApp()}, answers="ask"), clock=clock, origin="http://ehr.test"
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        page = await asked(app, http, client_id="<b>x")
        assert "<b>x" not in page.text
        assert "&lt;b&gt;x" in page.text


async def test_a_skin_may_keep_its_name_to_itself(store: Store, clock: FakeClock) -> None:
    skin = Skin("n", "N", "/f", "/o/token", login=LoginRules(states_issuer=False))
    app = build_app(store, skin, who=who(), clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        assert "iss" not in back(await asked(app, http))
        said = (await http.get(app.base_url + "/.well-known/smart-configuration")).json()
        assert not {"issuer", "authorization_response_iss_parameter_supported"} & set(said)


async def test_a_v1_skin_grants_no_v2_scopes(store: Store, clock: FakeClock) -> None:
    skin = Skin("n", "N", "/f", "/o/token", login=LoginRules(scope_styles=frozenset({"v1"})))
    app = build_app(store, skin, who=who(), clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        got = await code(app, http, scope="user/Condition.rs user/Patient.read")
        assert (await redeemed(app, http, got)).json()["scope"] == "user/Patient.read"


@pytest.mark.parametrize("make", [lambda: RegisteredApp(()), lambda: RegisteredApp(jwks={"keys": []})])
def test_an_application_that_cannot_log_in_is_refused(make: Callable[[], RegisteredApp]) -> None:
    with pytest.raises(ConfigurationError):
        make()
