"""Where a server's authorization endpoints are.

Order: explicit configuration, then ``.well-known/smart-configuration``, then the ``oauth-uris`` extension of the
CapabilityStatement. Missing optional members are warnings, because real servers leave them out; an endpoint
without TLS or a server without S256 is refused. Source: SMART App Launch 2.2, "Conformance".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urljoin

import msgspec

from ehr.errors import BadBody, ConfigurationError, DestinationRefused, EHRError, HttpStatusError
from ehr.records.fetched import Issue, Severity
from ehr.transport.client import Transport, raise_for_status
from ehr.transport.origin import authority, is_loopback

OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What discovery found.

    Args:
        token_url: token endpoint, absolute; None where the server has no login.
        authorize_url: authorization endpoint, absolute, or None.
        revocation_url: revocation endpoint (RFC 7009), absolute, or None.
        issuer: the authorization server's own name for itself, or None.
        states_issuer: it announces that each authorization response names it (RFC 9207).
        capabilities: as announced; servers announce less than they do.
        grant_types, auth_methods, algorithms: as announced; empty means not announced, not absent.
        source: where it was found: ``settings``, ``smart-configuration``, ``capability-statement``, ``none``.
        issues: what is missing or odd.
    """

    token_url: str | None = None
    authorize_url: str | None = None
    revocation_url: str | None = None
    issuer: str | None = None
    states_issuer: bool = False
    capabilities: frozenset[str] = frozenset()
    grant_types: frozenset[str] = frozenset()
    auth_methods: frozenset[str] = frozenset()
    algorithms: frozenset[str] = frozenset()
    source: Literal["settings", "smart-configuration", "capability-statement", "none"] = "none"
    issues: tuple[Issue, ...] = ()

    @property
    def scope_style(self) -> Literal["v1", "v2"]:
        """v2 only where the server says so and does not say v1 too: old servers refuse v2 words."""
        said = self.capabilities & {"permission-v1", "permission-v2"}
        return "v2" if said == {"permission-v2"} else "v1"


def from_smart_configuration(document: Mapping[str, Any], base_url: str) -> Endpoints:
    """Read a ``smart-configuration`` document.

    Args:
        document: the decoded JSON object.
        base_url: FHIR base; relative endpoints are resolved against it.

    Raises:
        ConfigurationError: no token endpoint, an endpoint without TLS, or PKCE without S256.
    """
    base = base_url.rstrip("/") + "/"
    token = _text(document, "token_endpoint")
    if token is None:
        raise ConfigurationError("smart-configuration has no token_endpoint; set auth.token_url in pod.yaml.")
    methods = _texts(document, "code_challenge_methods_supported")
    if methods and "S256" not in methods:
        raise ConfigurationError(
            "smart-configuration offers PKCE without S256; such a server is not safe to use."
        )
    authorize, revoke = _text(document, "authorization_endpoint"), _text(document, "revocation_endpoint")
    # Epic announces no signing algorithms and no revocation (captured 2026-07): what is missing is told, no more.
    expected = ("capabilities", "grant_types_supported", "token_endpoint_auth_signing_alg_values_supported")
    issues = [
        Issue(f"discovery:missing:{name}", Severity.INFORMATION) for name in expected if name not in document
    ]
    return Endpoints(
        token_url=_secure("token_endpoint", token, base),
        authorize_url=None if authorize is None else _secure("authorization_endpoint", authorize, base),
        revocation_url=None if revoke is None else _secure("revocation_endpoint", revoke, base),
        issuer=_text(document, "issuer"),
        states_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        capabilities=_texts(document, "capabilities"),
        grant_types=_texts(document, "grant_types_supported"),
        auth_methods=_texts(document, "token_endpoint_auth_methods_supported"),
        algorithms=_texts(document, "token_endpoint_auth_signing_alg_values_supported"),
        source="smart-configuration",
        issues=tuple(issues),
    )


def from_capability_statement(document: Mapping[str, Any], base_url: str) -> Endpoints:
    """Read the ``oauth-uris`` extension of a CapabilityStatement; empty `Endpoints` where there is none.

    Raises:
        ConfigurationError: an endpoint without TLS.
    """
    base = base_url.rstrip("/") + "/"
    found: dict[str, str] = {}
    for rest in _objects(document.get("rest")):
        security = rest.get("security")
        for extension in _objects(security.get("extension") if isinstance(security, dict) else None):
            if extension.get("url") == OAUTH_URIS:
                found |= {
                    str(part["url"]): str(part["valueUri"])
                    for part in _objects(extension.get("extension"))
                    if "url" in part and "valueUri" in part
                }
    if "token" not in found:
        return Endpoints()
    authorize = found.get("authorize")
    return Endpoints(
        token_url=_secure("oauth-uris token", found["token"], base),
        authorize_url=None if authorize is None else _secure("oauth-uris authorize", authorize, base),
        source="capability-statement",
    )


async def discover(
    transport: Transport,
    base_url: str,
    *,
    token_url: str | None = None,
    authorize_url: str | None = None,
) -> Endpoints:
    """Find the endpoints of a server.

    Args:
        transport: pinned to the FHIR base.
        base_url: FHIR base.
        token_url, authorize_url: from configuration; win over what the server says.

    Raises:
        ConfigurationError: what was found contradicts SMART, or nothing was found.
        EHRError: the server could not be asked, and no token address is configured.
    """
    try:
        found = await _from_server(transport, base_url)
    except EHRError:
        if token_url is None:
            raise
        found = Endpoints(issues=(Issue("discovery:failed", Severity.WARNING),))
    if authorize_url is not None:
        found = replace(found, authorize_url=_secure("auth.authorize_url", authorize_url, base_url))
    if token_url is not None:
        return replace(found, token_url=_secure("auth.token_url", token_url, base_url), source="settings")
    if found.token_url is None:
        raise ConfigurationError(
            "the server announces no token endpoint, neither in smart-configuration nor in its metadata. "
            'Set auth.token_url, or "auth: none" for an open server.'
        )
    return found


async def _from_server(transport: Transport, base_url: str) -> Endpoints:
    try:
        document = await _document(transport, ".well-known/smart-configuration", "application/json")
        if _text(document, "token_endpoint") is not None:
            return from_smart_configuration(document, base_url)
        error: EHRError = ConfigurationError("smart-configuration has no token_endpoint; set auth.token_url.")
    except (HttpStatusError, BadBody, NotADocument) as failed:
        error = failed  # the server is there but has no such page: its metadata may say it
    try:
        statement = await _document(transport, "metadata", "application/fhir+json")
    except EHRError:
        raise error from None
    found = from_capability_statement(statement, base_url)
    if found.token_url is None:
        raise error
    return found


class NotADocument(ConfigurationError):
    """What stands at an address of discovery is not a JSON object."""


async def _document(transport: Transport, path: str, accept: str) -> dict[str, Any]:
    response = await transport.request("GET", path, accept=accept, expect="json")
    raise_for_status(response)
    try:
        document = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotADocument(f"{path} is not JSON; is base_url the FHIR base?") from None
    if not isinstance(document, dict):
        raise NotADocument(f"{path} is not a JSON object; is base_url the FHIR base?")
    return document


def _secure(name: str, address: str, base_url: str) -> str:
    """The absolute address, if it may be sent a login: https, or loopback http beside a base that is http too."""
    try:
        url = urljoin(base_url, address)
        scheme, host, _ = authority(url)
    except (ValueError, DestinationRefused):
        raise ConfigurationError(f"{name} is not an address that can be used; expected https://…") from None
    if scheme == "https" or (is_loopback(host) and base_url.lower().startswith("http:")):
        return url
    raise ConfigurationError(f"{name} is not an https address; a token is never sent without TLS.")


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _texts(document: Mapping[str, Any], name: str) -> frozenset[str]:
    value = document.get(name)
    return (
        frozenset(item for item in value if isinstance(item, str)) if isinstance(value, list) else frozenset()
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
