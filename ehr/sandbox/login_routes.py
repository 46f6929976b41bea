"""Everything about logging in that one sandbox serves: who may, where, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ehr.sandbox.apps import AppGrants, RegisteredApp
from ehr.sandbox.authorize import Answers, AuthorizationEndpoint
from ehr.sandbox.consent_page import Choice
from ehr.sandbox.instants import Clock
from ehr.sandbox.login_config import LoginAddresses, smart_configuration
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.oauth import AuthorizationServer, RegisteredClient
from ehr.sandbox.skin import Skin
from ehr.sandbox.store import Store
from ehr.sandbox.token_endpoint import Issued, token_answer

_CHOICES = 200


@dataclass(frozen=True, slots=True, repr=False)
class Who:
    """Who may log in.

    Args:
        clients: backend services.
        apps: applications that people log in with.
        answers: what is said to them: ``auto`` yes at once, ``deny`` no, ``ask`` what a person says on a page.
        patient: whom ``auto`` picks where a login is for one patient; None takes the first.
    """

    clients: Mapping[str, RegisteredClient] = field(default_factory=dict)
    apps: Mapping[str, RegisteredApp] = field(default_factory=dict)
    answers: Answers = "auto"
    patient: str | None = None


class LoginRoutes:
    """The login of one sandbox.

    Attributes:
        server: who holds which access token.
        apps: codes and refresh tokens.
        authorization: what a browser sees.
    """

    def __init__(self, who: Who, skin: Skin, store: Store, clock: Clock) -> None:
        self._store = store
        self._skin = skin
        self.server = AuthorizationServer(who.clients, skin.login, clock)
        self.apps = AppGrants(who.apps, self.server, skin.login, clock)
        self.authorization = AuthorizationEndpoint(skin, self.apps, self._choices, who.answers, who.patient)

    def answer(self, endpoint: str, request: Request, urls: LoginAddresses) -> Issued | None:
        """The answer of what belongs to logging in; None for all else."""
        if endpoint == "token":
            return token_answer(self.server, self.apps, request, urls.token_url)
        if endpoint == "authorize" and self.apps.apps:
            return Issued(self.authorization.answer(request, urls.base_url, urls.issuer))
        if endpoint == "discovery":
            body = smart_configuration(urls, self._skin.login, people=bool(self.apps.apps))
            return Issued(Answer(200, body, "application/json"))
        return None

    def _choices(self) -> list[Choice]:
        """Patients whom a login can be for."""
        return [
            Choice(one.id, f"{_name(one.data)}, born {one.data.get('birthDate', 'on an unknown day')}")
            for one in list(self._store.all_of("Patient"))[:_CHOICES]
        ]


def _name(patient: Mapping[str, Any]) -> str:
    name = next((one for one in patient.get("name") or () if isinstance(one, dict)), {})
    given = name.get("given")
    parts = [*(given if isinstance(given, list) else []), name.get("family", "")]
    return " ".join(map(str, parts)).strip() or "without a name"
