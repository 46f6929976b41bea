"""Everything about logging in that one sandbox serves: who may, where, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ehr.sandbox.apps import AppGrants, RegisteredApp
from ehr.sandbox.authorize import Answers, AuthorizationEndpoint
from ehr.sandbox.consent_page import Choice
from ehr.sandbox.instants import Clock
from ehr.sandbox.messages import Answer, Request
from ehr.sandbox.oauth import AuthorizationServer, RegisteredClient
from ehr.sandbox.skin import LoginRules, Skin
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


@dataclass(frozen=True, slots=True)
class LoginAddresses:
    """Addresses of one sandbox.

    Args:
        base_url: FHIR base.
        authorize_url: authorization endpoint.
        token_url: token endpoint.
    """

    base_url: str
    authorize_url: str
    token_url: str

    @property
    def issuer(self) -> str:
        """The authorization server's name for itself."""
        return self.authorize_url.rpartition("/")[0]


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


def smart_configuration(addresses: LoginAddresses, login: LoginRules, *, people: bool) -> bytes:
    """The ``.well-known/smart-configuration`` document; ``people`` says whether they can log in too."""
    versions = [f"permission-{style}" for style in sorted(login.scope_styles)]
    document: dict[str, object] = {
        "token_endpoint": addresses.token_url,
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.rs", "system/*.read"],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-asymmetric", *versions],
    }
    if people:
        capabilities = [
            "launch-standalone",
            "client-public",
            "client-confidential-symmetric",
            "context-standalone-patient",
        ]
        rights = ["permission-patient", "permission-user", "permission-offline", "permission-online"]
        document |= {
            "authorization_endpoint": addresses.authorize_url,
            "token_endpoint_auth_methods_supported": [
                "private_key_jwt",
                "client_secret_basic",
                "client_secret_post",
            ],
            "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
            "response_types_supported": ["code"],
            "scopes_supported": [
                "system/*.rs",
                "user/*.rs",
                "patient/*.rs",
                "launch/patient",
                "offline_access",
            ],
            "capabilities": ["client-confidential-asymmetric", *capabilities, *rights, *versions],
        }
        if login.states_issuer:
            document |= {"issuer": addresses.issuer, "authorization_response_iss_parameter_supported": True}
    document |= login.announced
    return msgspec.json.encode({name: value for name, value in document.items() if value is not None})
