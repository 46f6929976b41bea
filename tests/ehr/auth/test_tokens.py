"""What token responses mean: good ones, refusals, and answers that are neither."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.auth.tokens import Token, refusal, token_from
from ehr.errors import AuthError, ClockWrong, LoginRefused, TokenResponseMalformed
from tests.ehr.sandbox.synthetic import NOW

SECRET = "canary-3f9a-token"


def answer(status: int, document: Any = None, **headers: str) -> httpx.Response:
    content = (
        document
        if isinstance(document, bytes)
        else b""
        if document is None
        else json.dumps(document).encode()
    )
    return httpx.Response(status, content=content, headers=headers)


def given_token(**members: Any) -> Token:
    return token_from(answer(200, {"access_token": SECRET, "token_type": "Bearer", **members}), life_s=300)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (900, 900),
        ("900", 900),
        (899.5, 899.5),
        (None, 300),
        ("soon", 300),
        (0, 300),
        (-1, 300),
        (True, 300),
        ([900], 300),
        (1e300, 300),
        ("nan", 300),
        ("inf", 300),
        (10**400, 300),
    ],
)
def test_a_token_never_lives_for_ever(expires_in: Any, life: float) -> None:
    assert given_token(expires_in=expires_in).life_s == life


def test_a_token_without_expiry_lives_as_long_as_the_profile_says() -> None:
    assert given_token().life_s == 300


def test_the_granted_scope_is_kept_as_text_and_an_empty_one_is_not_a_missing_one() -> None:
    assert given_token(scope="a b").scope == "a b"
    assert given_token(scope="").scope == ""
    assert given_token().scope is None
    assert given_token(scope=["a"]).scope is None


@pytest.mark.parametrize("value", [None, "", 7, "two words", "line\nbreak", "nul\x00", "ünicode", ["x"]])
def test_a_token_that_is_no_single_word_is_refused(value: Any) -> None:
    with pytest.raises(TokenResponseMalformed, match="access_token"):
        given_token(access_token=value)


@pytest.mark.parametrize("kind", ["mac", "DPoP", 7, None])
def test_a_token_of_another_type_is_refused(kind: Any) -> None:
    with pytest.raises(TokenResponseMalformed, match="token_type"):
        given_token(token_type=kind)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"access_token":']
)
def test_what_is_not_a_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(TokenResponseMalformed):
        token_from(answer(200, body), life_s=300)


@given(
    st.dictionaries(
        st.text(max_size=20), st.integers() | st.text() | st.none() | st.lists(st.integers()), max_size=6
    )
)
def test_any_object_gives_a_token_or_a_typed_error(document: dict[str, Any]) -> None:
    try:
        token = token_from(answer(200, document), life_s=300)
    except TokenResponseMalformed:
        return
    assert token.value == document["access_token"]


@pytest.mark.parametrize(
    "code",
    [
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "invalid_scope",
        "access_denied",
        "invalid_request",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_oauth_error_is_a_refusal_that_names_its_code(status: int, code: str) -> None:
    error = refusal(answer(status, {"error": code, "error_description": SECRET}), NOW)
    assert type(error) is LoginRefused
    assert error.code == code
    assert f"({code})" in str(error)
    assert SECRET not in f"{error} {error!r}"
    assert error.debug_detail == SECRET


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_trouble_is_not_a_refusal(status: int) -> None:
    assert refusal(answer(status, {"error": "invalid_client"}), NOW) is None


@pytest.mark.parametrize(
    "body",
    [None, b"", b"<html>", {}, {"error": 7}, {"error": "temporarily_unavailable"}, {"error": "slow_down"}],
)
def test_a_400_without_a_reason_is_not_a_refusal(body: Any) -> None:
    assert refusal(answer(400, body), NOW) is None


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405])
def test_another_status_without_a_known_error_is_a_refusal_with_its_status(status: int) -> None:
    error = refusal(answer(status, b"<html>canary</html>"), NOW)
    assert error is not None
    assert f"HTTP {status}" in str(error)
    assert error.code is None


def test_a_code_that_is_no_code_is_not_kept() -> None:
    error = refusal(answer(401, {"error": "Patient Amy Shaw is not here"}), NOW)
    assert error is not None
    assert error.code is None


@pytest.mark.parametrize(("seconds", "word"), [(600, "ahead of"), (-600, "behind")])
def test_a_clock_that_is_off_is_named_as_the_cause(seconds: float, word: str) -> None:
    date = format_datetime(NOW - timedelta(seconds=seconds), usegmt=True)
    error = refusal(answer(401, {"error": "invalid_client"}, Date=date), NOW)
    assert isinstance(error, ClockWrong)
    assert f"600 s {word}" in str(error)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_readable_date_the_clock_is_not_accused(date: str) -> None:
    assert type(refusal(answer(401, {"error": "invalid_client"}, Date=date), NOW)) is LoginRefused


def test_a_minute_of_difference_is_not_accused() -> None:
    date = format_datetime(NOW - timedelta(seconds=60), usegmt=True)
    assert type(refusal(answer(401, {"error": "invalid_client"}, Date=date), NOW)) is LoginRefused
    assert type(refusal(answer(401, {"error": "invalid_scope"}, Date=date), NOW)) is LoginRefused


def test_no_text_form_of_a_token_shows_it() -> None:
    token = given_token()
    assert SECRET not in f"{token} {token!r} {[token]}"
    with pytest.raises(TypeError):
        pickle.dumps(token)
    with pytest.raises(TypeError):
        copy.deepcopy(token)


def test_a_pickled_refusal_leaves_the_server_s_words_behind() -> None:
    error = refusal(answer(401, {"error": "invalid_client", "error_description": SECRET}), NOW)
    assert isinstance(error, AuthError)
    data = pickle.dumps(error)
    assert SECRET.encode() not in data
    assert pickle.loads(data).code == "invalid_client"
