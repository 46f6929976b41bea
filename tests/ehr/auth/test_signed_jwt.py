"""Backend services: what the assertion says, and how the token endpoint is asked."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from ehr.auth.keys import Algorithm, KeyRing
from ehr.auth.signed_jwt import ASSERTION_TYPE, BackendJWT
from ehr.auth.tokens import Token
from ehr.errors import LoginRefused, TransportError
from ehr.transport.client import FRESH
from tests.ehr.auth.login import CLIENT, key, source
from tests.ehr.sandbox.synthetic import NOW

TOKEN_URL = "https://login.example/oauth/token?tenant=7"


def parts(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    head, body, _ = assertion.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in (head, body))  # type: ignore[return-value]  # two of them


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_header_and_claims_are_exactly_what_smart_says(algorithm: Algorithm) -> None:
    assertion = source(TOKEN_URL, algorithm).assertion()
    head, claims = parts(assertion)
    assert head == {"alg": algorithm, "kid": key(algorithm).kid, "typ": "JWT"}
    second = int(NOW.timestamp())
    jti = claims.pop("jti")
    assert claims == {"iss": CLIENT, "sub": CLIENT, "aud": TOKEN_URL, "iat": second - 30, "exp": second + 240}
    assert len(jti) >= 22
    registered = KeySet.import_key_set(KeyRing((key(algorithm),)).jwks())  # type: ignore[arg-type]  # plain JSON
    assert jwt.decode(assertion, registered, algorithms=[algorithm]).claims["iss"] == CLIENT


def test_an_assertion_lives_less_than_300_seconds() -> None:
    _, claims = parts(source(TOKEN_URL).assertion())
    assert claims["exp"] - claims["iat"] <= 300


def test_no_two_assertions_share_their_jti() -> None:
    made = source(TOKEN_URL)
    assert len({parts(made.assertion())[1]["jti"] for _ in range(20)}) == 20


def form(request: httpx.Request) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(request.content.decode(), strict_parsing=True).items()}


def test_the_token_request_is_a_form_with_nothing_else() -> None:
    request = source(TOKEN_URL).request()
    assert (request.method, str(request.url)) == ("POST", TOKEN_URL)
    sent = form(request)
    assert set(sent) == {"grant_type", "client_assertion_type", "client_assertion", "scope"}
    assert (sent["grant_type"], sent["client_assertion_type"]) == ("client_credentials", ASSERTION_TYPE)
    assert "authorization" not in request.headers


def test_scope_is_left_out_where_the_app_s_record_decides() -> None:
    assert "scope" not in form(source(TOKEN_URL, scope=None).request())


def test_each_attempt_of_the_transport_has_an_assertion_of_its_own() -> None:
    request = source(TOKEN_URL).request()
    again = request.extensions[FRESH]()
    assert (
        parts(form(request)["client_assertion"])[1]["jti"] != parts(form(again)["client_assertion"])[1]["jti"]
    )


def outcome(made: BackendJWT, *answers: httpx.Response) -> tuple[Token, list[httpx.Request]]:
    """Run the flow against scripted answers."""
    flow = made.fetch()
    asked = [next(flow)]
    for answer in answers:
        try:
            asked.append(flow.send(answer))
        except StopIteration as end:
            return end.value, asked
    raise AssertionError("the flow asked more often than was answered")


GOOD = httpx.Response(200, json={"access_token": "t", "token_type": "bearer", "expires_in": 60})


def known() -> BackendJWT:
    """A client that was given a token before."""
    made = source(TOKEN_URL)
    outcome(made, GOOD)
    return made


def test_a_bare_400_is_asked_once_more_with_a_fresh_jti() -> None:
    """auth_reauth_bare_400_retried_once_with_fresh_jti"""
    token, asked = outcome(known(), httpx.Response(400), GOOD)
    assert token.life_s == 60
    first, second = (parts(form(request)["client_assertion"])[1]["jti"] for request in asked)
    assert first != second


def test_two_bare_400_are_an_outage_and_not_a_refusal() -> None:
    with pytest.raises(TransportError, match="no token and no reason"):
        outcome(known(), httpx.Response(400), httpx.Response(400))


def test_a_bare_400_to_a_client_that_never_had_a_token_is_a_refusal() -> None:
    made = source(TOKEN_URL)
    for _ in range(2):
        with pytest.raises(LoginRefused, match="client_id is unknown"):
            outcome(made, httpx.Response(400))
    outcome(made, GOOD)
    outcome(made, httpx.Response(400), GOOD)


def test_an_unknown_client_that_had_a_token_before_is_asked_about_once_more() -> None:
    """Epic's token endpoint answers so at times, in the midst of a run that goes well."""
    refused = httpx.Response(400, json={"error": "invalid_client", "error_description": None})
    _, asked = outcome(known(), refused, GOOD)
    assert len({form(request)["client_assertion"] for request in asked}) == 2
    for made, times in ((known(), 2), (source(TOKEN_URL), 1)):
        with pytest.raises(LoginRefused) as failed:
            outcome(made, *[refused] * times)
        assert failed.value.code == "invalid_client"


def test_a_5xx_that_the_transport_gave_up_on_is_an_outage() -> None:
    with pytest.raises(TransportError):
        outcome(source(TOKEN_URL), httpx.Response(503))


def test_a_refusal_is_never_asked_again() -> None:
    with pytest.raises(LoginRefused):
        outcome(source(TOKEN_URL), httpx.Response(400, json={"error": "invalid_grant"}))


def test_no_text_form_of_the_source_shows_anything() -> None:
    made = source(TOKEN_URL)
    assert repr(made) == "<BackendJWT>"
    assert made.mode == "backend"
