"""Applications that people log in with: how they are registered, and the tokens they get.

SMART App Launch 2.2, "Standalone Launch"; RFC 6749; RFC 7636 (S256 only); RFC 8252, 7.3; RFC 9700, 4.14 (refresh
tokens are rotated, and one that comes twice ends all that came from its login).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from ehr.errors import ConfigurationError
from ehr.sandbox.assertions import KeySet, key_set
from ehr.sandbox.instants import Clock
from ehr.sandbox.oauth import AuthorizationServer, TokenRefused, claimed_client
from ehr.sandbox.scopes import common, parse_scope
from ehr.sandbox.skin import LoginRules

CODE_LIFE_S = 60
EVERYTHING = (
    *("user/*.cruds", "patient/*.cruds", "launch/patient", "openid", "fhirUser", "profile"),
    *("offline_access", "online_access"),
)
_LASTING = frozenset({"offline_access", "online_access"})
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


@dataclass(frozen=True, slots=True, repr=False)
class RegisteredApp:
    """An application that people may log in with.

    Args:
        redirect_uris: where a browser may be sent back to; of a loopback address any port will do.
        scopes: what it may be granted; asking for more gets these.
        secret: of a confidential application; None for a public one.
        jwks: its public keys, where it signs assertions instead.

    Raises:
        ConfigurationError: there is no redirect address, or a key is not acceptable.
    """

    redirect_uris: Sequence[str] = ("http://127.0.0.1/callback",)
    scopes: Sequence[str] = EVERYTHING
    secret: str | None = None
    jwks: Mapping[str, Any] | None = None
    keys: KeySet | None = field(init=False)

    def __post_init__(self) -> None:
        if not self.redirect_uris:
            raise ConfigurationError("an application needs a redirect address")
        object.__setattr__(self, "keys", None if self.jwks is None else key_set(self.jwks))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.redirect_uris)} redirect addresses)"

    def sends_back_to(self, uri: str) -> bool:
        """Whether an address is registered, to the letter; the port of a loopback address may be any."""
        return any(uri == known or _same_but_port(uri, known) for known in self.redirect_uris)

    def narrowed(self, asked: str, login: LoginRules) -> tuple[str, ...]:
        """What of a scope string is granted, in the order it was asked for."""
        held = [scope for scope in map(parse_scope, self.scopes) if scope is not None]
        granted: list[str] = []
        for word in asked.split():
            scope = parse_scope(word)
            if scope is None:
                granted += [word] if word in self.scopes else []
            elif scope.style in login.scope_styles:
                covered = any(one.covers(scope) for one in held)
                granted += [word] if covered else [str(part) for part in common(scope, held)]
        return tuple(dict.fromkeys(granted))


def _same_but_port(uri: str, known: str) -> bool:
    try:
        asked, held = urlsplit(uri), urlsplit(known)
        port = asked.port
    except ValueError:
        return False
    if held.hostname not in {"127.0.0.1", "::1"} or held.scheme != "http":
        return False
    host = "[::1]" if held.hostname == "::1" else held.hostname
    netloc = host if port is None else f"{host}:{port}"
    return asked.netloc == netloc and uri == f"http://{netloc}{held.path}" + (
        f"?{held.query}" if held.query else ""
    )


@dataclass(frozen=True, slots=True, repr=False)
class Consent:
    """What a person agreed to."""

    client_id: str
    redirect_uri: str
    challenge: str
    scopes: tuple[str, ...]
    patient: str | None


@dataclass(slots=True, repr=False)
class Family:
    """All tokens that came from one login."""

    consent: Consent
    refresh: str | None = None
    spent: set[str] = field(default_factory=set)
    access: list[str] = field(default_factory=list)
    ended: bool = False


class AppGrants:
    """Codes and refresh tokens of applications; safe to use from several threads."""

    def __init__(
        self, apps: Mapping[str, RegisteredApp], server: AuthorizationServer, login: LoginRules, clock: Clock
    ) -> None:
        self.apps = dict(apps)
        self._server = server
        self._login = login
        self._clock = clock
        self._codes: dict[str, tuple[Consent, datetime]] = {}
        self._redeemed: dict[str, Family] = {}
        self._families: list[Family] = []
        self._lock = threading.RLock()

    def code_for(self, consent: Consent) -> str:
        """A code that is good for one use within a minute."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._codes[code] = (consent, self._clock() + timedelta(seconds=CODE_LIFE_S))
        return code

    def issue(
        self, form: Mapping[str, str], authorization: str, token_url: str
    ) -> tuple[dict[str, Any], str]:
        """Answer a token request with a code or a refresh token.

        Returns:
            The token response and the application it is for.

        Raises:
            TokenRefused: the application is not who it says, or the grant is not good.
        """
        client_id = self._identified(form, authorization, token_url)
        with self._lock:
            if form["grant_type"] == "authorization_code":
                return self._redeem(form, client_id), client_id
            return self._renew(form, client_id), client_id

    def end_all(self) -> None:
        """End every login and what came from it."""
        with self._lock:
            for family in self._families:
                self._end(family)

    def _redeem(self, form: Mapping[str, str], client_id: str) -> dict[str, Any]:
        code = form.get("code", "")
        if code in self._redeemed:
            self._end(self._redeemed[code])
            raise TokenRefused("invalid_grant", "the code was used before; all that came from it is ended")
        consent, until = self._codes.pop(code, (None, None))
        if consent is None or until is None or self._clock() >= until:
            raise TokenRefused("invalid_grant", "the code is unknown or past")
        if consent.client_id != client_id or form.get("redirect_uri") != consent.redirect_uri:
            raise TokenRefused("invalid_grant", "the code belongs to another application or redirect address")
        if not _proves(form.get("code_verifier", ""), consent.challenge):
            raise TokenRefused("invalid_grant", "code_verifier does not fit code_challenge")
        family = Family(consent)
        self._families.append(family)
        self._redeemed[code] = family
        return self._answer(family)

    def _renew(self, form: Mapping[str, str], client_id: str) -> dict[str, Any]:
        token = form.get("refresh_token", "")
        family = next((one for one in self._families if token == one.refresh or token in one.spent), None)
        if not token or family is None or family.consent.client_id != client_id:
            raise TokenRefused("invalid_grant", "the refresh token is unknown")
        if family.ended or token in family.spent:
            self._end(family)
            raise TokenRefused("invalid_grant", "the refresh token was used before; the login is ended")
        if not set(form.get("scope", "").split()) <= set(family.consent.scopes):
            raise TokenRefused("invalid_scope", "more is asked for than was granted")
        family.spent.add(token)
        return self._answer(family)

    def _answer(self, family: Family) -> dict[str, Any]:
        consent = family.consent
        scopes = [scope for scope in map(parse_scope, consent.scopes) if scope is not None]
        answer = self._server.given(consent.client_id, tuple(scopes), consent.patient)
        family.access.append(answer["access_token"])
        answer["scope"] = " ".join(consent.scopes)
        if consent.patient is not None:
            answer["patient"] = consent.patient
        if _LASTING & set(consent.scopes):
            family.refresh = secrets.token_urlsafe(32)
            answer["refresh_token"] = family.refresh
        return answer

    def _end(self, family: Family) -> None:
        family.ended = True
        for token in family.access:
            self._server.revoke(token)

    def _identified(self, form: Mapping[str, str], authorization: str, token_url: str) -> str:
        if "client_assertion" in form:
            client_id = claimed_client(form)
            app = self.apps.get(client_id)
            self._server.check_assertion(form, client_id, None if app is None else app.keys, token_url)
            return client_id
        client_id, secret = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret"))
        app = self.apps.get(client_id)
        if app is None or app.keys is not None:
            raise TokenRefused("invalid_client", "the application is not registered in this way", 401)
        if app.secret is not None and not hmac.compare_digest((secret or "").encode(), app.secret.encode()):
            raise TokenRefused("invalid_client", "the secret is missing or wrong", 401)
        return client_id


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, packed = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise TokenRefused("invalid_client", "the Authorization header is malformed", 401) from None
    return unquote_plus(name), unquote_plus(secret)


def is_challenge(text: str) -> bool:
    """Whether a text can be an S256 code challenge."""
    return _CHALLENGE.fullmatch(text) is not None


def _proves(verifier: str, challenge: str) -> bool:
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=")
    return hmac.compare_digest(digest.decode(), challenge)
