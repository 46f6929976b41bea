"""SMART backend services: discovery, the token endpoint, and who holds which token."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from ehr.errors import ConfigurationError
from ehr.sandbox.assertions import (
    AssertionRefused,
    Expected,
    KeySet,
    Replays,
    check,
    client_named_in,
    key_set,
)
from ehr.sandbox.instants import Clock
from ehr.sandbox.scopes import Scope, common, parse_scope
from ehr.sandbox.skin import Login

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True, repr=False)
class RegisteredClient:
    """A backend service that may log in.

    Args:
        jwks: its public keys, a JWK Set; each key has a ``kid``.
        scopes: what it may ask for, e.g. ``("system/*.rs",)``; v1 and v2 forms are equal.
        narrows: a request for more than that gets what is registered, instead of ``invalid_scope``.

    Raises:
        ConfigurationError: a key or scope is not acceptable.
    """

    jwks: Mapping[str, Any]
    scopes: Sequence[str] = ("system/*.rs",)
    narrows: bool = False
    keys: KeySet = field(init=False)
    granted: tuple[Scope, ...] = field(init=False)

    def __post_init__(self) -> None:
        parsed = [parse_scope(text) for text in self.scopes]
        if not parsed or None in parsed:
            raise ConfigurationError("scopes holds something that is not system/<type>.<rights>")
        object.__setattr__(self, "keys", key_set(self.jwks))
        object.__setattr__(self, "granted", tuple(scope for scope in parsed if scope is not None))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.keys.keys)} keys, {len(self.granted)} scopes)"


@dataclass(slots=True, repr=False)
class Grant:
    """An access token that was handed out."""

    client_id: str
    scopes: tuple[Scope, ...]
    until: datetime
    revoked: bool = False


class TokenRefused(Exception):
    """An error of RFC 6749 section 5.2.

    Args:
        code: the OAuth error code.
        description: for the developer; says which check failed, never a value.
        status: HTTP status.
    """

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


class Desk:
    """The token endpoint's mind: registered clients, used assertions, live tokens."""

    def __init__(self, clients: Mapping[str, RegisteredClient], login: Login, clock: Clock) -> None:
        self._clients = dict(clients)
        self._login = login
        self._clock = clock
        self._replays = Replays()
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def issue(self, body: bytes, content_type: str, token_url: str) -> tuple[dict[str, Any], str]:
        """Answer a token request.

        Returns:
            The token response and the client it is for.

        Raises:
            TokenRefused: the request is wrong, the client is not who it says, or asks for too much.
        """
        form = _form(body, content_type)
        if "grant_type" not in form:
            raise TokenRefused("invalid_request", "grant_type is missing")
        if form["grant_type"] != "client_credentials":
            raise TokenRefused("unsupported_grant_type", "only client_credentials is served")
        client_id = self._identified(form, token_url)
        scopes = self._scopes(form.get("scope"), self._clients[client_id])
        token = secrets.token_urlsafe(32)
        until = self._clock() + timedelta(seconds=self._login.token_life_s)
        with self._lock:
            self._grants[token] = Grant(client_id, scopes, until)
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer"}
        if self._login.states_expiry:
            answer["expires_in"] = self._login.token_life_s
        answer["scope"] = " ".join(map(str, scopes))
        return answer, client_id

    def _identified(self, form: Mapping[str, str], token_url: str) -> str:
        if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
            raise TokenRefused("invalid_client", "a signed client assertion is needed", 401)
        try:
            client_id = client_named_in(form["client_assertion"])
            client = self._clients.get(client_id)
            if client is None or form.get("client_id", client_id) != client_id:
                raise AssertionRefused("the client is not registered")
            expected = Expected(token_url, self._clock())
            check(form["client_assertion"], client_id, client.keys, self._replays, expected)
        except AssertionRefused as error:
            raise TokenRefused("invalid_client", str(error), 401) from None
        return client_id

    def _scopes(self, asked: str | None, client: RegisteredClient) -> tuple[Scope, ...]:
        if not asked:
            if self._login.scope_required:
                raise TokenRefused("invalid_scope", "scope is missing")
            return client.granted
        granted: list[Scope] = []
        for text in asked.split():
            scope = parse_scope(text)
            if scope is not None and scope.style not in self._login.scope_styles:
                scope = None
            covered = scope is not None and any(held.covers(scope) for held in client.granted)
            if not covered and not client.narrows:
                raise TokenRefused("invalid_scope", "more is asked for than is registered")
            if scope is not None:
                granted += [scope] if covered else common(scope, client.granted)
        if not granted:
            raise TokenRefused("invalid_scope", "nothing that is asked for is registered")
        return tuple(dict.fromkeys(granted))

    def grant_of(self, token: str) -> Grant | None:
        """The grant of a token that is known, not revoked and not past."""
        grant = self._grants.get(token)
        if grant is None or grant.revoked or self._clock() >= grant.until:
            return None
        return grant

    def revoke(self, token: str) -> None:
        """End a token now; unknown ones are no matter."""
        grant = self._grants.get(token)
        if grant is not None:
            grant.revoked = True

    def revoke_all(self) -> None:
        """End every token now."""
        for grant in list(self._grants.values()):
            grant.revoked = True


def _form(body: bytes, content_type: str) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise TokenRefused("invalid_request", "the body is not a form")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=50
        )
    except ValueError:
        raise TokenRefused("invalid_request", "the body is not a form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise TokenRefused("invalid_request", "a parameter is repeated")
    return form


def smart_configuration(token_url: str, login: Login) -> bytes:
    """The ``.well-known/smart-configuration`` document."""
    versions = [f"permission-{style}" for style in sorted(login.scope_styles)]
    return msgspec.json.encode(
        {
            "token_endpoint": token_url,
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/*.rs", "system/*.read"],
            "code_challenge_methods_supported": ["S256"],
            "capabilities": ["client-confidential-asymmetric", *versions],
        }
    )
