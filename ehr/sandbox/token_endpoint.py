"""The token endpoint: which grant is asked for, and the answer in the form of RFC 6749."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ehr.sandbox.apps import AppGrants
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.oauth import AuthorizationServer, TokenRefused, read_form

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_OF_PEOPLE = frozenset({"authorization_code", "refresh_token"})


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """An answer, and the secrets in it, for the witness.

    Args:
        answer: what is sent.
        tokens: access and refresh token; none where nothing was given.
        client_id: whom they are for.
    """

    answer: Answer
    tokens: tuple[str, ...] = ()
    client_id: str = ""


def token_answer(server: AuthorizationServer, apps: AppGrants, request: Request, token_url: str) -> Issued:
    """Answer a request to the token endpoint."""
    if request.method != "POST":
        return Issued(Answer(405, b"", "application/json", {**NO_STORE, "allow": "POST"}))
    try:
        issued, client_id = _issued(server, apps, request, token_url)
    except TokenRefused as error:
        body = msgspec.json.encode({"error": error.code, "error_description": str(error)})
        return Issued(Answer(error.status, body, "application/json", dict(NO_STORE)))
    tokens = (issued["access_token"], *([issued["refresh_token"]] if "refresh_token" in issued else []))
    return Issued(
        Answer(200, msgspec.json.encode(issued), "application/json", dict(NO_STORE)), tokens, client_id
    )


def _issued(
    server: AuthorizationServer, apps: AppGrants, request: Request, token_url: str
) -> tuple[dict[str, Any], str]:
    form = read_form(request.body, request.headers.get("content-type", ""))
    grant = form.get("grant_type")
    if grant is None:
        raise TokenRefused("invalid_request", "grant_type is missing")
    if grant in _OF_PEOPLE and apps.apps:
        return apps.issue(form, request.headers.get("authorization", ""), token_url)
    if grant != "client_credentials":
        raise TokenRefused("unsupported_grant_type", "this grant_type is not served")
    return server.issue(form, token_url)
