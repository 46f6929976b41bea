"""The authorization endpoint: who asks, what a person says to it, and where the browser is sent back to."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from ehr.sandbox.apps import AppGrants, Consent, is_challenge
from ehr.sandbox.consent_page import PAGE_HEADERS, Choice, consent_page, refusal_page
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.skin import Skin

Answers = Literal["auto", "ask", "deny"]
_TICKETS = 1_000  # the oldest is forgotten


class _Sorry(Exception):
    """An error that the browser is sent back with (RFC 6749, 4.1.2.1)."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


@dataclass(frozen=True, slots=True, repr=False)
class AuthorizationRequest:
    """A request that is in order, and waits for a person."""

    consent: Consent
    state: str
    picks_patient: bool


@dataclass(slots=True, repr=False)
class AuthorizationEndpoint:
    """The authorization endpoint of one sandbox.

    Attributes:
        answers: ``auto`` says yes at once, ``deny`` no; ``ask`` shows a person a page.
        patient: whom ``auto`` picks for ``launch/patient``; None takes the first.
    """

    skin: Skin
    grants: AppGrants
    patients: Callable[[], Sequence[Choice]]
    answers: Answers = "auto"
    patient: str | None = None
    _tickets: OrderedDict[str, AuthorizationRequest] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request, base_url: str, issuer: str) -> Answer:
        """Answer a browser."""
        if request.method == "POST":
            return self._decided(request, issuer)
        if request.method != "GET":
            return Answer(405, b"", "text/plain", {"allow": "GET, POST"})
        pairs = parse_qsl(request.query, keep_blank_values=True, max_num_fields=50) if request.query else []
        said = dict(pairs)
        app = self.grants.apps.get(said.get("client_id", ""))
        if len(said) != len(pairs) or app is None or not app.sends_back_to(said.get("redirect_uri", "")):
            # Where nobody vouches for the address, the browser is not sent to it.
            return refusal_page(self.skin.title)
        try:
            asked = self._read(said, base_url)
        except _Sorry as error:
            back = {"error": error.code, "error_description": str(error), "state": said.get("state", "")}
            return self._back(said["redirect_uri"], back, issuer)
        if self.answers == "ask":
            return self._page(asked)
        return self._told(asked, issuer, yes=self.answers == "auto", patient=self.patient)

    def _read(self, said: Mapping[str, str], base_url: str) -> AuthorizationRequest:
        if said.get("response_type") != "code":
            raise _Sorry("unsupported_response_type", "response_type is not code")
        challenge = said.get("code_challenge", "")
        if said.get("code_challenge_method") != "S256" or not is_challenge(challenge):
            raise _Sorry("invalid_request", "PKCE with S256 is needed")
        if said.get("aud", "").rstrip("/") != base_url:
            raise _Sorry("invalid_request", "aud is not the FHIR base")
        if not said.get("state"):
            raise _Sorry("invalid_request", "state is missing")
        app = self.grants.apps[said["client_id"]]
        scopes = app.narrowed(said.get("scope", ""), self.skin.login)
        if not scopes:
            raise _Sorry("invalid_scope", "nothing that is asked for is registered")
        consent = Consent(said["client_id"], said["redirect_uri"], challenge, scopes, None)
        return AuthorizationRequest(consent, said["state"], "launch/patient" in scopes)

    def _page(self, asked: AuthorizationRequest) -> Answer:
        ticket = secrets.token_urlsafe(24)
        with self._lock:
            self._tickets[ticket] = asked
            while len(self._tickets) > _TICKETS:
                self._tickets.popitem(last=False)
        patients = self.patients() if asked.picks_patient else ()
        return consent_page(self.skin.title, asked.consent, patients, ticket)

    def _decided(self, request: Request, issuer: str) -> Answer:
        said = dict(request.form())
        with self._lock:
            asked = self._tickets.pop(said.get("ticket", ""), None)
        if asked is None:
            return refusal_page(self.skin.title)
        return self._told(asked, issuer, yes=said.get("decision") == "allow", patient=said.get("patient"))

    def _told(self, asked: AuthorizationRequest, issuer: str, *, yes: bool, patient: str | None) -> Answer:
        consent = asked.consent
        if not yes:
            back = {"error": "access_denied", "error_description": "the person said no", "state": asked.state}
            return self._back(consent.redirect_uri, back, issuer)
        if asked.picks_patient:
            known = [choice.id for choice in self.patients()]
            picked = patient if patient in known else next(iter(known), None)
            consent = Consent(
                consent.client_id, consent.redirect_uri, consent.challenge, consent.scopes, picked
            )
        back = {"code": self.grants.code_for(consent), "state": asked.state}
        return self._back(consent.redirect_uri, back, issuer)

    def _back(self, redirect_uri: str, said: dict[str, str], issuer: str) -> Answer:
        if self.skin.login.states_issuer:
            said["iss"] = issuer
        joint = "&" if "?" in redirect_uri else "?"
        # 303: the browser comes back with GET, also from the page's form.
        return Answer(
            303, b"", "text/plain", {**PAGE_HEADERS, "location": redirect_uri + joint + urlencode(said)}
        )
