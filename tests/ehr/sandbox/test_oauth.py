"""The token endpoint: each check refuses what it is for, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwt
from joserfc.jwk import RSAKey

from ehr.errors import ConfigurationError
from ehr.sandbox import FaultScript, RegisteredClient, SandboxApp, Store, build_app
from tests.ehr.sandbox.signing import CLIENT, b64, claims, ec_jwk, jwks, rsa_jwk, rsa_key, signed, token_form
from tests.ehr.sandbox.synthetic import FakeClock


@pytest.fixture
def app(store: Store, clock: FakeClock) -> SandboxApp:
    clients = {CLIENT: RegisteredClient(jwks(), ("system/Patient.rs", "system/Condition.read"))}
    return build_app(store, clients=clients, clock=clock, origin="http://ehr.test")


@pytest.fixture
async def client(app: SandboxApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as made:
        yield made


async def asked(
    app: SandboxApp, client: httpx.AsyncClient, assertion: str, scope: str | None = "system/Patient.rs"
) -> httpx.Response:
    return await client.post(app.token_url, data=token_form(assertion, scope))


def good(app: SandboxApp, clock: FakeClock, **changed: Any) -> dict[str, Any]:
    return claims(app.token_url, clock(), **changed)


@pytest.mark.parametrize("head", [{"alg": "RS384", "kid": "r"}, {"alg": "ES384", "kid": "e"}])
async def test_a_good_assertion_gets_an_opaque_token(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock, head: dict[str, str]
) -> None:
    answer = await asked(app, client, signed(good(app, clock), head))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["date"] == "Mon, 01 Jun 2026 12:00:00 GMT"
    body = answer.json()
    assert body["token_type"] == "bearer"
    assert (body["expires_in"], body["scope"]) == (3600, "system/Patient.rs")
    assert "." not in body["access_token"]


async def test_an_assertion_made_by_another_library_is_accepted(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    pem = rsa_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    head = {"alg": "RS384", "kid": "r", "typ": "JWT"}
    assertion = jwt.encode(head, good(app, clock), RSAKey.import_key(pem), algorithms=["RS384"])
    assert (await asked(app, client, assertion)).status_code == 200


NOW = FakeClock()().timestamp()
BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "other"},
    "another subject": {"sub": "other"},
    "no subject": {"sub": None},
    "no audience": {"aud": None},
    "the FHIR base as audience": {"aud": "http://ehr.test/v/r4/fhir"},
    "audience with a slash": {"aud": "http://ehr.test/v/r4/auth/token/"},
    "two audiences": {"aud": ["http://ehr.test/v/r4/auth/token", "http://other.test"]},
    "exp is past": {"exp": NOW - 1},
    "exp is now": {"exp": NOW},
    "exp too far": {"exp": NOW + 301},
    "exp missing": {"exp": None},
    "exp as text": {"exp": str(NOW + 100)},
    "exp not a number": {"exp": float("nan")},
    "exp true": {"exp": True},
    "iat in the future": {"iat": NOW + 120, "exp": NOW + 200},
    "iat an hour ago": {"iat": NOW - 3600},
    "iat as text": {"iat": "today"},
    "nbf in the future": {"nbf": NOW + 120},
    "no jti": {"jti": None},
    "empty jti": {"jti": ""},
}


@pytest.mark.parametrize("changed", BAD_CLAIMS.values(), ids=BAD_CLAIMS)
async def test_a_wrong_claim_is_refused(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock, changed: dict[str, Any]
) -> None:
    answer = await asked(app, client, signed(good(app, clock, **changed)))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.headers["cache-control"] == "no-store"
    assert not app.witness.issued


BAD_HEADS: dict[str, tuple[dict[str, Any], Any]] = {
    "alg none": ({"alg": "none"}, None),
    "HS384 with the public key as secret": (
        {"alg": "HS384"},
        rsa_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    ),
    "RS256": ({"alg": "RS256"}, None),
    "unknown kid": ({"kid": "nobody"}, None),
    "kid of another key": ({"kid": "e"}, None),
    "no typ": ({"typ": None}, None),
    "crit": ({"crit": ["exp"]}, None),
    "another RSA key": ({}, rsa.generate_private_key(65537, 2048)),
    "another EC key": ({"alg": "ES384", "kid": "e"}, ec.generate_private_key(ec.SECP384R1())),
}


@pytest.mark.parametrize(("head", "key"), BAD_HEADS.values(), ids=BAD_HEADS)
async def test_a_wrong_signature_or_header_is_refused(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock, head: dict[str, Any], key: Any
) -> None:
    answer = await asked(app, client, signed(good(app, clock), head, key=key))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_claims_changed_after_signing_are_refused(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    head, _, signature = signed(good(app, clock)).split(".")
    other = b64(json.dumps(good(app, clock, jti="another")).encode())
    assert (await asked(app, client, f"{head}.{other}.{signature}")).status_code == 401


@pytest.mark.parametrize("text", ["x", "a.b", "a.b.c.d", "%.%.%", "e30.e30.e30", "W10.W10.W10", "", "a..b"])
async def test_what_is_not_a_jwt_is_refused(app: SandboxApp, client: httpx.AsyncClient, text: str) -> None:
    assert (await asked(app, client, text)).status_code == 401


async def test_an_assertion_works_once(app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock) -> None:
    assertion = signed(good(app, clock))
    assert (await asked(app, client, assertion)).status_code == 200
    assert (await asked(app, client, assertion)).status_code == 401
    assert (await asked(app, client, signed(good(app, clock, jti="j-2")))).status_code == 200
    clock.forward(400)
    assert (await asked(app, client, signed(good(app, clock)))).status_code == 200


async def test_a_refused_assertion_does_not_use_up_its_jti(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    assert (await asked(app, client, signed(good(app, clock, aud="x")))).status_code == 401
    assert (await asked(app, client, signed(good(app, clock)))).status_code == 200


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ("system/Patient.rs", 200),
        ("system/Patient.r system/Condition.s", 200),
        ("system/Patient.read system/Condition.rs", 200),
        ("system/*.rs", 400),
        ("system/Patient.cruds", 400),
        ("system/Observation.read", 400),
        ("patient/Patient.read", 400),
        ("system/Patient.sr", 400),
        ("system/Patient.", 400),
        (None, 400),
    ],
)
async def test_scopes_must_be_registered(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock, scope: str | None, status: int
) -> None:
    answer = await asked(app, client, signed(good(app, clock)), scope)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["error"] == "invalid_scope"
    else:
        assert answer.json()["scope"] == scope


async def test_a_client_that_narrows_gets_what_is_registered(store: Store, clock: FakeClock) -> None:
    narrow = RegisteredClient(jwks(), ("system/Patient.rs", "system/Condition.r"), narrows=True)
    app = build_app(store, clients={CLIENT: narrow}, clock=clock, origin="http://ehr.test")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
        answer = await asked(app, client, signed(good(app, clock)), "system/*.read")
        assert answer.json()["scope"] == "system/Patient.read system/Condition.r"
        nothing = await asked(app, client, signed(good(app, clock, jti="j-2")), "system/Device.rs")
        assert nothing.json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("form", "error", "status"),
    [
        ({"grant_type": None}, "invalid_request", 400),
        ({"grant_type": "password"}, "unsupported_grant_type", 400),
        ({"client_assertion_type": "other"}, "invalid_client", 401),
        ({"client_assertion": None}, "invalid_client", 401),
        ({"client_id": "other"}, "invalid_client", 401),
    ],
)
async def test_a_malformed_request_is_refused(
    app: SandboxApp,
    client: httpx.AsyncClient,
    clock: FakeClock,
    form: dict[str, Any],
    error: str,
    status: int,
) -> None:
    sent = {**token_form(signed(good(app, clock)), "system/Patient.rs"), **form}
    answer = await client.post(
        app.token_url, data={key: value for key, value in sent.items() if value is not None}
    )
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_other_bodies_and_methods_are_refused(app: SandboxApp, client: httpx.AsyncClient) -> None:
    assert (await client.post(app.token_url, json={"grant_type": "client_credentials"})).status_code == 400
    assert (await client.get(app.token_url)).status_code == 405
    assert (await client.post(app.token_url, content=b"x" * (1 << 21))).status_code == 413
    repeated = await client.post(
        app.token_url,
        content="grant_type=a&grant_type=b",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert repeated.json()["error"] == "invalid_request"


async def _token(app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock) -> dict[str, str]:
    answer = await asked(app, client, signed(good(app, clock)))
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def test_a_token_opens_its_scope_until_it_ends(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    bearer = await _token(app, client, clock)
    patients = f"{app.base_url}/Patient"
    assert (await client.get(patients, headers=bearer)).status_code == 200
    refused = await client.get(f"{app.base_url}/Condition?patient=ana", headers=bearer)
    assert refused.status_code == 403
    assert refused.json()["issue"][0]["code"] == "forbidden"
    assert (await client.get(f"{app.base_url}/Condition/c1", headers=bearer)).status_code == 403
    clock.forward(3600)
    ended = await client.get(patients, headers=bearer)
    assert ended.status_code == 401
    assert ended.headers["www-authenticate"].startswith("Bearer")


async def test_without_a_good_token_nothing_is_read(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    bearer = await _token(app, client, clock)
    token = bearer["authorization"].removeprefix("Bearer ")
    for value in ("", "Bearer", "Bearer x", f"Basic {token}", f"Bearer {token}x"):
        answer = await client.get(f"{app.base_url}/Patient/ana", headers={"authorization": value})
        assert answer.status_code == 401
    app.server.revoke_all()  # type: ignore[union-attr]  # this app has a login
    assert (await client.get(f"{app.base_url}/Patient/ana", headers=bearer)).status_code == 401


async def test_the_servers_clock_can_be_wrong(
    app: SandboxApp, client: httpx.AsyncClient, clock: FakeClock
) -> None:
    app.faults = FaultScript(clock_offset=timedelta(minutes=10))
    answer = await asked(app, client, signed(good(app, clock)))
    assert answer.status_code == 401
    assert answer.headers["date"] == "Mon, 01 Jun 2026 12:10:00 GMT"


async def test_discovery_names_the_token_endpoint(app: SandboxApp, client: httpx.AsyncClient) -> None:
    smart = (await client.get(f"{app.base_url}/.well-known/smart-configuration")).json()
    assert smart["token_endpoint"] == app.token_url
    assert smart["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    statement = (await client.get(f"{app.base_url}/metadata")).json()
    assert statement["rest"][0]["security"]["extension"][0]["extension"][0]["valueUri"] == app.token_url


async def test_an_open_sandbox_has_no_token_endpoint(store: Store) -> None:
    app = build_app(store)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
        assert (await client.post(app.token_url, data={"a": "b"})).status_code == 404
        assert (await client.get(f"{app.base_url}/.well-known/smart-configuration")).status_code == 404
        assert "security" not in (await client.get(f"{app.base_url}/metadata")).json()["rest"][0]


WEAK = rsa.generate_private_key(65537, 1024).public_key()  # it is to be refused
BAD_JWKS: dict[str, Any] = {
    "no keys": {},
    "empty": {"keys": []},
    "not objects": {"keys": ["x"]},
    "no kid": {"keys": [{**rsa_jwk(rsa_key().public_key()), "kid": None}]},
    "one kid twice": {"keys": [rsa_jwk(rsa_key().public_key())] * 2},
    "a private key": {"keys": [{**rsa_jwk(rsa_key().public_key()), "d": "AQAB"}]},
    "a secret": {"keys": [{"kty": "oct", "kid": "s", "k": "AAAA"}]},
    "1024 bits": {"keys": [rsa_jwk(WEAK)]},
    "P-256": {"keys": [{**ec_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()), "crv": "P-256"}]},
    "no modulus": {"keys": [{"kty": "RSA", "kid": "r", "e": "AQAB"}]},
    "a point off the curve": {"keys": [{"kty": "EC", "crv": "P-384", "kid": "e", "x": "AQ", "y": "AQ"}]},
}


@pytest.mark.parametrize("document", BAD_JWKS.values(), ids=BAD_JWKS)
def test_a_bad_key_set_cannot_be_registered(document: Any) -> None:
    with pytest.raises(ConfigurationError):
        RegisteredClient(document)


@pytest.mark.parametrize(
    "scopes", [(), ("system/*",), ("patient/*.rs",), ("system/Observation.rs?category=x",)]
)
def test_a_scope_that_is_not_understood_cannot_be_registered(scopes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        RegisteredClient(jwks(), scopes)


def test_no_key_or_token_is_shown_by_repr(app: SandboxApp, clock: FakeClock) -> None:
    assert rsa_jwk(rsa_key().public_key())["n"] not in repr(RegisteredClient(jwks()))
