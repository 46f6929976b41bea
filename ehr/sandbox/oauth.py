"""SMART backend services: the token endpoint's rules, and who holds which token."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from ehr.errors import ConfigurationError
from ehr.sandbox.assertions import (
    AssertionRefused,
    KeySet,
    Replays,
    check,
    client_named_in,
    key_set,
)
from ehr.sandbox.instants import Clock
from ehr.sandbox.scopes import AllowedScope, common, parse_scope
from ehr.sandbox.skin import LoginRules

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
    granted: tuple[AllowedScope, ...] = field(init=False)

    def __post_init__(self) -> None:
        parsed = [parse_scope(text) for text in self.scopes]
        if not parsed or any(scope is None or scope.context != "system" for scope in parsed):
            raise ConfigurationError("scopes holds something that is not system/<type>.<rights>")
        object.__setattr__(self, "keys", key_set(self.jwks))
        object.__setattr__(self, "granted", tuple(scope for scope in parsed if scope is not None))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.keys.keys)} keys, {len(self.granted)} scopes)"


@dataclass(slots=True, repr=False)
class Grant:
    """An access token that was handed out; ``patient`` scopes reach one patient only."""

    client_id: str
    scopes: tuple[AllowedScope, ...]
    until: datetime
    patient: str | None = None
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


class AuthorizationServer:
    """The token endpoint's mind: registered clients, used assertions, live tokens."""

    def __init__(self, clients: Mapping[str, RegisteredClient], login: LoginRules, clock: Clock) -> None:
        self._clients = dict(clients)
        self._login = login
        self._clock = clock
        self._replays = Replays()
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def issue(self, form: Mapping[str, str], token_url: str) -> tuple[dict[str, Any], str]:
        """Answer a request for a token of a backend service.

        Returns:
            The token response and the client it is for.

        Raises:
            TokenRefused: the request is wrong, the client is not who it says, or asks for too much.
        """
        client_id = claimed_client(form)
        client = self._clients.get(client_id)
        self.check_assertion(form, client_id, None if client is None else client.keys, token_url)
        scopes = self._scopes(form.get("scope"), self._clients[client_id])
        return self.given(client_id, scopes), client_id

    def given(
        self, client_id: str, scopes: tuple[AllowedScope, ...], patient: str | None = None
    ) -> dict[str, Any]:
        """Make an access token, and the answer that holds it."""
        token = secrets.token_urlsafe(32)
        until = self._clock() + timedelta(seconds=self._login.token_life_s)
        with self._lock:
            self._grants[token] = Grant(client_id, scopes, until, patient)
        answer: dict[str, Any] = {"access_token": token, "token_type": "bearer"}
        if self._login.states_expiry:
            answer["expires_in"] = self._login.token_life_s
        answer["scope"] = " ".join(map(str, scopes))
        return answer

    def check_assertion(
        self, form: Mapping[str, str], client_id: str, keys: KeySet | None, token_url: str
    ) -> None:
        """Check the signed assertion of a request.

        Raises:
            TokenRefused: there is none, or it does not hold.
        """
        try:
            if keys is None or form.get("client_id", client_id) != client_id:
                raise AssertionRefused("the client is not registered")
            assertion = form.get("client_assertion", "")
            check(assertion, client_id, keys, self._replays, token_url, self._clock())
        except AssertionRefused as error:
            raise TokenRefused("invalid_client", str(error), 401) from None

    def _scopes(self, asked: str | None, client: RegisteredClient) -> tuple[AllowedScope, ...]:
        if not asked:
            if self._login.scope_required:
                raise TokenRefused("invalid_scope", "scope is missing")
            return client.granted
        granted: list[AllowedScope] = []
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


def read_form(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a form body.

    Raises:
        TokenRefused: it is no form, or names a field twice.
    """
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


def claimed_client(form: Mapping[str, str]) -> str:
    """Who a request with an assertion says it is from, unproven.

    Raises:
        TokenRefused: there is no assertion, or it names nobody.
    """
    if form.get("client_assertion_type") != ASSERTION_TYPE or not form.get("client_assertion"):
        raise TokenRefused("invalid_client", "a signed client assertion is needed", 401)
    try:
        return client_named_in(form["client_assertion"])
    except AssertionRefused as error:
        raise TokenRefused("invalid_client", str(error), 401) from None
