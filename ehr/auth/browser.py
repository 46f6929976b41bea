"""A person logs in with a browser: standalone launch, authorization code with PKCE (S256).

Pure but for chance: addresses are made and answers are checked here, `ehr.auth.redirect` listens for the answer.
Source: SMART App Launch 2.2, "Standalone Launch"; RFC 6749, 4.1; RFC 7636; RFC 8252, 7.3; RFC 9207.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from ehr.auth.client_proof import Client
from ehr.auth.discovery import Endpoints
from ehr.auth.tokens import Granted, GrantedFlow, Silent, granted_from, refusal
from ehr.errors import ConfigurationError, DestinationRefused, LoginRefused, TransportError
from ehr.transport.origin import authority

_STATE_BYTES = 32  # 256 bits; SMART asks for at least 122
_VERIFIER_BYTES = 48  # 64 characters; RFC 7636 asks for 43 to 128
_LONGEST_CODE = 16_384
_TAKEN = frozenset({"code", "state", "error", "error_description", "error_uri", "iss"})


@dataclass(frozen=True, slots=True, repr=False)
class Issuer:
    """Who may answer: the allow-list of one login (S15).

    Args:
        named: the authorization server's name, from discovery over TLS or from configuration; None where neither
            gives one.
        always: the server announces that it names itself in each answer.
        authorize_url: where a nameless server's answers come from.
    """

    named: str | None
    always: bool
    authorize_url: str

    def __repr__(self) -> str:
        return "<Issuer>"

    def check(self, said: str | None) -> None:
        """Compare what an answer names.

        Raises:
            LoginRefused: another server answered, or nobody who says who they are.
        """
        if said is None:
            if self.always:
                raise LoginRefused(_STRANGER)
        elif self.named is not None:
            if not hmac.compare_digest(said.encode(), self.named.encode()):
                raise LoginRefused(_STRANGER)
        elif not self._at_home(said):
            raise LoginRefused(_STRANGER)

    def _at_home(self, said: str) -> bool:
        try:
            return authority(said) == authority(self.authorize_url)
        except DestinationRefused:
            return False


_STRANGER = (
    "the answer to the login does not come from this EHR's authorization server (iss). Nothing was accepted. "
    "If the EHR names itself otherwise, set auth.browser.issuer."
)


@dataclass(slots=True, repr=False)
class Launch(Silent):
    """One attempt to log in: shown once, answered once.

    Args:
        client: the application.
        endpoints: of the authorization server.
        issuer: who may answer.
        redirect_uri: where the answer is listened for.
        scope: what is asked for.
        audience: FHIR base; without it a counterfeit server could be given a token for the real one.
    """

    client: Client
    endpoints: Endpoints
    issuer: Issuer
    redirect_uri: str
    scope: str
    audience: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(_STATE_BYTES))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(_VERIFIER_BYTES))
    answered: bool = False
    called = "an attempt to log in"

    def address(self) -> str:
        """The address to open in a browser.

        Raises:
            ConfigurationError: the server has no authorization endpoint.
        """
        if self.endpoints.authorize_url is None:
            raise ConfigurationError(
                "the server announces no authorization_endpoint; set auth.browser.authorize_url."
            )
        return str(
            prepare_grant_uri(
                self.endpoints.authorize_url,
                client_id=self.client.client_id,
                response_type="code",
                redirect_uri=self.redirect_uri,
                scope=self.scope,
                state=self.state,
                aud=self.audience,
                code_challenge=create_s256_code_challenge(self.verifier),
                code_challenge_method="S256",
            )
        )

    def code(self, query: str) -> str:
        """The code in an answer; the first answer uses the attempt up, whatever it says.

        Args:
            query: of the address that the browser was sent back to.

        Raises:
            LoginRefused: it is not the answer to this attempt, comes from somebody else, or says no.
        """
        used, self.answered = self.answered, True
        said = _said(query)
        state = said.get("state", "")
        if used or not hmac.compare_digest(state.encode(), self.state.encode()):
            raise LoginRefused(
                "an answer came that does not belong to this login (state). Nothing was accepted. Log in again, "
                "and use only the newest browser tab."
            )
        self.issuer.check(said.get("iss"))
        if "error" in said:
            raise LoginRefused(_NO.get(said["error"], _NO[""]), code=_known(said["error"]))
        code = said.get("code", "")
        if not 0 < len(code) <= _LONGEST_CODE or not (code.isascii() and code.isprintable()):
            raise LoginRefused("the answer to the login holds no code that can be used. Log in again.")
        return code

    def exchange(self, code: str, life_s: float) -> GrantFlow:
        """The flow that turns the code into tokens; asked once, a code is good for one use.

        Args:
            code: from the answer.
            life_s: assumed life of a token whose answer has no ``expires_in``.
        """
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        return GrantFlow(self.client, self.endpoints.token_url or "", fields, life_s)


def _said(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    names = [name for name, _ in pairs if name in _TAKEN]
    # Whoever reads a repeated parameter otherwise than the server did could be led astray.
    return dict(pairs) if len(names) == len(set(names)) else {}


_NO = {
    "access_denied": "access was not given: somebody pressed no, or the account may not use this application.",
    "invalid_scope": "the EHR refused the scopes (invalid_scope): ask for fewer in auth.browser.scope, or have them "
    "approved.",
    "unauthorized_client": "the EHR does not let this client log people in (unauthorized_client): check "
    "auth.browser.client_id and how the application is registered.",
    "invalid_request": "the EHR refused the login (invalid_request): compare client id, redirect address and "
    "auth.browser.scope with what is registered.",
    "temporarily_unavailable": "the EHR cannot log anybody in just now (temporarily_unavailable). Try again later.",
    "": "the EHR ended the login without giving access. Log in again, or ask its administrator.",
}


def _known(code: str) -> str | None:
    return code if code in _NO and code else None


@dataclass(frozen=True, slots=True, repr=False)
class GrantFlow(Silent):
    """A token request with a code or a refresh token, and what its answer means.

    Args:
        client: proves itself.
        token_url: where it goes.
        fields: of the form, without the proof.
        life_s: assumed life of a token whose answer has no ``expires_in``.
    """

    client: Client
    token_url: str
    fields: Mapping[str, str]
    life_s: float
    called = "a token request"

    def ask(self) -> GrantedFlow:
        """One token request; see `TokenSource.fetch` for how it is driven.

        Raises:
            LoginRefused: the server says no; asking again is never right.
            TransportError: it gives no token and no reason.
        """
        response = yield self.client.request(self.token_url, self.fields)
        if response.status_code == 200:
            return granted_from(response, life_s=self.life_s)
        error = refusal(response, self.client.now())
        if error is not None:
            raise error
        raise TransportError("the token endpoint gave no token and no reason. Try again later.")


class OneGrant(Silent, httpx.Auth):
    """Drives one `GrantFlow` through the transport; nothing but the token request is sent.

    Attributes:
        granted: what came; None before.
    """

    requires_response_body = True
    called = "a token request"

    def __init__(self, flow: GrantFlow) -> None:
        self._flow = flow
        self.granted: Granted | None = None

    @property
    def token_url(self) -> str:
        """The only address that this flow sends anything to."""
        return self._flow.token_url

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`; the request itself is never sent."""
        steps = self._flow.ask()
        step = next(steps)
        while self.granted is None:
            answer = yield step
            try:
                step = steps.send(answer)
            except StopIteration as end:
                self.granted = end.value
