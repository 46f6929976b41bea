"""One attempt to log in: what the address asks for, and which answers count."""

from __future__ import annotations

import base64
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.auth.browser import GrantFlow, Issuer, Launch
from ehr.auth.client_proof import Client, secret_place
from ehr.auth.discovery import Endpoints
from ehr.errors import ConfigurationError, LoginRefused, TokenResponseMalformed
from ehr.transport.flow import FRESH, ONCE
from tests.ehr.auth.login import key

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
AUTHORIZE = "https://login.ehr.example/authorize"
ISSUER = "https://login.ehr.example"
BASE = "https://ehr.example/fhir"
CLIENT = Client("my-app", lambda: NOW)
ENDPOINTS = Endpoints(token_url="https://login.ehr.example/token", authorize_url=AUTHORIZE)
BACK = "http://127.0.0.1:50123/callback"


def launch(issuer: Issuer | None = None, **parts: Any) -> Launch:
    made = Launch(CLIENT, ENDPOINTS, issuer or Issuer(ISSUER, True, AUTHORIZE), BACK, "user/*.rs", BASE)
    for name, value in parts.items():
        setattr(made, name, value)
    return made


def asked(made: Launch) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(made.address()).query)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def answer(made: Launch, **changed: str | None) -> str:
    said = {"code": "c0de", "state": made.state, "iss": ISSUER, **changed}
    return urlencode({name: value for name, value in said.items() if value is not None})


def test_the_address_says_what_smart_asks_for() -> None:
    made = launch()
    assert made.address().startswith(AUTHORIZE + "?")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(made.verifier.encode()).digest()).rstrip(b"=")
    assert asked(made) == {
        "response_type": "code",
        "client_id": "my-app",
        "redirect_uri": BACK,
        "scope": "user/*.rs",
        "state": made.state,
        "aud": BASE,
        "code_challenge": challenge.decode(),
        "code_challenge_method": "S256",
    }


def test_an_address_that_has_a_query_keeps_it() -> None:
    made = launch(endpoints=replace(ENDPOINTS, authorize_url=AUTHORIZE + "?tenant=7"))
    assert asked(made)["tenant"] == "7"


def test_a_server_without_an_authorization_endpoint_is_a_matter_of_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"auth\.browser\.authorize_url"):
        launch(endpoints=Endpoints(token_url="https://e.example/t")).address()


def test_states_and_verifiers_are_long_and_never_the_same() -> None:
    made = [launch() for _ in range(200)]
    assert len({one.state for one in made}) == len({one.verifier for one in made}) == 200
    for one in made:
        assert len(base64.urlsafe_b64decode(one.state + "==")) * 8 >= 122
        assert 43 <= len(one.verifier) <= 128


def test_the_answer_gives_its_code_once() -> None:
    made = launch()
    assert made.code(answer(made)) == "c0de"
    with pytest.raises(LoginRefused, match="does not belong"):
        made.code(answer(made))


def test_a_wrong_answer_uses_the_attempt_up() -> None:
    made = launch()
    with pytest.raises(LoginRefused, match="does not belong"):
        made.code(answer(made, state="guessed"))
    with pytest.raises(LoginRefused, match="does not belong"):
        made.code(answer(made))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": None}, "does not belong"),
        ({"state": ""}, "does not belong"),
        ({"state": "é"}, "does not belong"),
        ({"code": None}, "no code"),
        ({"code": ""}, "no code"),
        ({"code": "a b\n"}, "no code"),
        ({"code": "x" * 20_000}, "no code"),
        ({"iss": None}, "iss"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": ISSUER + "/"}, "iss"),
        ({"code": None, "error": "access_denied"}, "access was not given"),
        ({"code": None, "error": "invalid_scope"}, "refused the scopes"),
        ({"code": None, "error": "server_error"}, "without giving access"),
        ({"error": "Canary words"}, "without giving access"),
    ],
)
def test_other_answers_are_refused(change: dict[str, str | None], words: str) -> None:
    made = launch()
    with pytest.raises(LoginRefused, match=words) as failed:
        made.code(answer(made, **change))
    assert "Canary" not in str(failed.value) + repr(failed.value.code)


@pytest.mark.parametrize("name", ["code", "state", "iss", "error"])
def test_a_repeated_parameter_is_not_read_at_all(name: str) -> None:
    made = launch()
    with pytest.raises(LoginRefused, match="does not belong"):
        made.code(answer(made, error=None) + f"&{name}=a&{name}=b")


@given(st.text(max_size=200))
def test_no_query_is_an_answer_without_the_state(query: str) -> None:
    made = launch()
    with pytest.raises(LoginRefused):
        made.code(query)


@pytest.mark.parametrize(
    ("named", "always", "said", "taken"),
    [
        (ISSUER, True, ISSUER, True),
        (ISSUER, True, None, False),
        (ISSUER, False, None, True),
        (ISSUER, False, "https://evil.example", False),
        (None, False, None, True),
        (None, False, "https://login.ehr.example/tenant/7", True),  # the endpoint's own origin
        (None, False, "https://login.ehr.example:8443", False),
        (None, False, "http://login.ehr.example", False),
        (None, False, "https://login.ehr.example.evil.example", False),
        (None, False, "not an address", False),
        (None, True, None, False),
    ],
)
def test_who_may_answer(named: str | None, always: bool, said: str | None, taken: bool) -> None:
    issuer = Issuer(named, always, AUTHORIZE)
    if taken:
        issuer.check(said)
    else:
        with pytest.raises(LoginRefused, match="iss"):
            issuer.check(said)


def test_the_code_goes_to_the_token_endpoint_with_its_verifier_once() -> None:
    made = launch()
    request = next(made.exchange("c0de", 300).ask())
    assert str(request.url) == "https://login.ehr.example/token"
    assert dict(parse_qsl(request.content.decode())) == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": BACK,
        "code_verifier": made.verifier,
        "client_id": "my-app",
    }
    assert request.extensions[ONCE] is True
    assert "authorization" not in request.headers


def test_a_secret_stands_in_the_header_with_its_signs_escaped() -> None:
    client = Client("my app", lambda: NOW, secret="a:b%c d+é")
    request = client.request("https://e.example/t", {"grant_type": "refresh_token"})
    pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert pair == "my+app:a%3Ab%25c+d%2B%C3%A9"
    assert b"secret" not in request.content


def test_a_secret_stands_in_the_form_only_where_the_server_takes_nothing_else() -> None:
    assert secret_place(frozenset({"client_secret_post"})) == "form"
    for methods in ({"client_secret_basic", "client_secret_post"}, {"client_secret_basic"}, set[str]()):
        assert secret_place(frozenset(methods)) == "header"
    client = Client("my-app", lambda: NOW, secret="s", sent_in="form")
    form = dict(parse_qsl(client.request("https://e.example/t", {}).content.decode()))
    assert form == {"client_id": "my-app", "client_secret": "s"}


def test_an_assertion_is_fresh_for_each_attempt() -> None:
    from ehr.auth.keys import KeyRing

    client = Client("my-app", lambda: NOW, keys=KeyRing((key(),)))
    request = client.request("https://e.example/t", {"grant_type": "refresh_token"})
    again = request.extensions[FRESH]()
    first, second = (dict(parse_qsl(one.content.decode())) for one in (request, again))
    assert first["client_assertion"] != second["client_assertion"]
    assert "client_secret" not in first


@pytest.mark.parametrize(
    "document",
    [
        {"access_token": "t", "refresh_token": 7},
        {"access_token": "t", "refresh_token": "two words"},
        {"access_token": "t", "refresh_token": ""},
        {"refresh_token": "r"},
        {"access_token": "t", "token_type": "mac"},
    ],
)
def test_a_token_response_that_cannot_be_used_is_refused(document: dict[str, Any]) -> None:
    steps = GrantFlow(CLIENT, "https://e.example/t", {}, 300).ask()
    next(steps)
    with pytest.raises(TokenResponseMalformed):
        steps.send(httpx.Response(200, json=document))


@pytest.mark.parametrize("patient", [None, "", 7, ["ana"], {"id": "ana"}])
def test_a_launch_context_that_is_none_names_no_patient(patient: Any) -> None:
    steps = GrantFlow(CLIENT, "https://e.example/t", {}, 300).ask()
    next(steps)
    with pytest.raises(StopIteration) as ended:
        steps.send(httpx.Response(200, json={"access_token": "t", "patient": patient}))
    assert ended.value.value.patient is None


@pytest.mark.parametrize(
    "make",
    [launch, lambda: CLIENT, lambda: launch().exchange("c0de", 300)],
    ids=["launch", "client", "grant"],
)
def test_what_holds_a_secret_shows_nothing_and_is_never_pickled(make: Callable[[], Any]) -> None:
    made = make()
    assert repr(made) == f"<{type(made).__name__}>"
    with pytest.raises(TypeError):
        pickle.dumps(made)
