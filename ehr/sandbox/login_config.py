"""What the sandbox says about logging in: ``smart-configuration``."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ehr.sandbox.skin import LoginRules


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
