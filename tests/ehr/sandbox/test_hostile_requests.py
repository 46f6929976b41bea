"""Whatever is sent, the sandbox answers with an HTTP status of its own and never falls over."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.sandbox import RegisteredClient, SandboxApp, build_app, store_of
from ehr.sandbox.parameters import KNOWN_TYPES, parameters_of
from tests.ehr.sandbox.signing import CLIENT, jwks, signed, token_form
from tests.ehr.sandbox.synthetic import small_store

OPEN = build_app(small_store())
CLOSED = build_app(small_store(), clients={CLIENT: RegisteredClient(jwks())})


def status_of(
    app: SandboxApp, method: str, path: str, query: str = "", body: bytes = b"", kind: str = ""
) -> int:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"content-type", kind.encode()), (b"authorization", b"Bearer \xff\xfe")],
        "client": None,
    }
    asyncio.run(app(scope, receive, send))
    return int(sent[0]["status"])


TEXT = st.text(max_size=20)
TYPES = st.sampled_from(sorted(KNOWN_TYPES))


@st.composite
def searches(draw: st.DrawFn) -> tuple[str, str]:
    kind = draw(TYPES)
    known = ["_sort", "_count", "_include", "_summary", "_getpages", "_format", *parameters_of(kind)]
    names = st.sampled_from(known) | TEXT
    modifiers = st.sampled_from(["", ":missing", ":not", ":exact", ":contains", ":Patient", ":"])
    values = TEXT | st.sampled_from(
        ["true", "ana", "Patient/ana", "1950", "ap2000", "|", ",", "\\", "9" * 5000]
    )
    pairs = draw(st.lists(st.tuples(st.builds(str.__add__, names, modifiers), values), max_size=4))
    return kind, urlencode(pairs)


@given(searches())
def test_any_search_is_answered_or_refused(search: tuple[str, str]) -> None:
    kind, query = search
    base = OPEN.skin.fhir_path
    assert status_of(OPEN, "GET", f"{base}/{kind}", query) in {200, 400, 410}
    form = "application/x-www-form-urlencoded"
    assert status_of(OPEN, "POST", f"{base}/{kind}/_search", "", query.encode(), form) in {200, 400}


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "X"]), TEXT, TEXT)
def test_any_path_is_answered_or_refused(method: str, path: str, query: str) -> None:
    for start in ("/", OPEN.skin.fhir_path + "/", OPEN.skin.fhir_path + "/Patient/"):
        assert status_of(OPEN, method, start + path, quote(query)) in {200, 400, 404, 410}
        assert status_of(CLOSED, method, start + path, quote(query)) in {200, 401, 404}


@given(
    st.binary(max_size=200), st.sampled_from(["application/x-www-form-urlencoded", "application/json", "x"])
)
def test_any_body_at_the_token_endpoint_is_refused(body: bytes, kind: str) -> None:
    assert status_of(CLOSED, "POST", CLOSED.skin.token_path, "", body, kind) in {400, 401}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT, lambda inner: st.lists(inner, max_size=3)
)
NAMES = st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "alg", "kid", "typ"])


@given(st.dictionaries(NAMES, JSON), st.dictionaries(NAMES, JSON))
def test_any_claims_and_header_are_refused(claims: dict[str, Any], head: dict[str, Any]) -> None:
    good = {"iss": CLIENT, "sub": CLIENT, "aud": CLOSED.token_url, "jti": "x", "exp": 1, **claims}
    assertion = signed(good, {**head, "alg": "RS384"})
    body = urlencode(token_form(assertion)).encode()
    kind = "application/x-www-form-urlencoded"
    assert status_of(CLOSED, "POST", CLOSED.skin.token_path, "", body, kind) == 401


@pytest.mark.parametrize("kind", ["text/plain\r\nset-cookie: a=b", "tëxt/plain", "", 5, None])
async def test_a_binarys_type_cannot_write_headers(kind: Any) -> None:
    app = build_app(store_of([{"resourceType": "Binary", "id": "x", "contentType": kind, "data": "AA=="}]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        answer = await client.get("Binary/x")
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Patient", "id": "x", "name": "text", "birthDate": 5, "identifier": {"value": 1}},
        {"resourceType": "Patient", "id": "x", "name": [None, [], {"family": ["a"], "given": {"b": 1}}]},
        {"resourceType": "Patient", "id": "x", "identifier": [{"system": None, "value": None}], "gender": {}},
        {"resourceType": "Condition", "id": "x", "subject": "Patient/x", "code": {"coding": [None, 5, {}]}},
        {"resourceType": "Condition", "id": "x", "subject": {"reference": 5}, "onsetPeriod": {"start": 1}},
        {"resourceType": "Condition", "id": "x", "subject": {"reference": "#x"}, "code": {"coding": "x"}},
    ],
)
async def test_odd_resources_are_searched_without_an_error(resource: dict[str, Any]) -> None:
    app = build_app(store_of([resource]))
    kind = resource["resourceType"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=app.base_url) as client:
        for name in parameters_of(kind):
            for query in (f"{name}=2000", f"_sort={name}", f"_include={kind}:{name}", f"{name}:missing=true"):
                assert (await client.get(f"{kind}?{query}")).status_code == 200
