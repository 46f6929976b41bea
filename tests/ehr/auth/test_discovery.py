"""Where the endpoints are: settings, then smart-configuration, then the CapabilityStatement."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from ehr.auth.discovery import (
    OAUTH_URIS,
    Endpoints,
    discover,
    from_capability_statement,
    from_smart_configuration,
)
from ehr.errors import ConfigurationError, EHRError, HttpStatusError, TransportError
from ehr.sandbox import Sandbox
from ehr.transport.client import Transport
from tests.fakes.clock import FakeClock

BASE = "https://ehr.example/fhir/r4"
SMART: dict[str, Any] = {
    "token_endpoint": "https://login.example/token",
    "authorization_endpoint": "authorize",
    "capabilities": ["permission-v2"],
    "grant_types_supported": ["client_credentials"],
    "token_endpoint_auth_signing_alg_values_supported": ["ES384"],
    "code_challenge_methods_supported": ["S256"],
}


def statement(*parts: dict[str, str]) -> dict[str, Any]:
    return {
        "resourceType": "CapabilityStatement",
        "rest": [{"security": {"extension": [{"url": OAUTH_URIS, "extension": list(parts)}]}}],
    }


def test_endpoints_are_read_and_relative_ones_resolved_against_the_base() -> None:
    found = from_smart_configuration(SMART, BASE)
    assert found.token_url == "https://login.example/token"
    assert found.authorize_url == f"{BASE}/authorize"
    assert (found.source, found.issues) == ("smart-configuration", ())
    rooted = from_smart_configuration({**SMART, "token_endpoint": "/oauth/token"}, BASE + "/")
    assert rooted.token_url == "https://ehr.example/oauth/token"


def test_members_that_real_servers_leave_out_are_noted_and_no_more() -> None:
    found = from_smart_configuration({"token_endpoint": "t"}, BASE)
    assert {issue.code.rpartition(":")[2] for issue in found.issues} == {
        "capabilities",
        "grant_types_supported",
        "token_endpoint_auth_signing_alg_values_supported",
    }


@pytest.mark.parametrize(
    ("capabilities", "style"),
    [
        (["permission-v2"], "v2"),
        (["permission-v1"], "v1"),
        (["permission-v1", "permission-v2"], "v1"),
        ([], "v1"),
    ],
)
def test_v2_scopes_are_asked_for_only_where_v1_is_not_offered(capabilities: list[str], style: str) -> None:
    assert from_smart_configuration({**SMART, "capabilities": capabilities}, BASE).scope_style == style


@pytest.mark.parametrize(
    "address",
    [
        "http://login.example/token",
        "http://127.0.0.1:9/token",
        "ftp://login.example/token",
        "https://user:pw@login.example/token",
        "https://[::1/token",
        "javascript:alert(1)",
    ],
)
def test_an_endpoint_without_tls_or_in_a_dubious_form_is_refused(address: str) -> None:
    for read in (
        lambda: from_smart_configuration({**SMART, "token_endpoint": address}, BASE),
        lambda: from_smart_configuration({**SMART, "authorization_endpoint": address}, BASE),
        lambda: from_capability_statement(statement({"url": "token", "valueUri": address}), BASE),
    ):
        with pytest.raises(ConfigurationError) as refused:
            read()
        assert address not in str(refused.value)


def test_loopback_without_tls_is_possible_only_beside_a_base_of_the_same_kind() -> None:
    document = {**SMART, "token_endpoint": "http://127.0.0.1:9/token", "authorization_endpoint": "a"}
    assert (
        from_smart_configuration(document, "http://127.0.0.1:8/fhir").token_url == "http://127.0.0.1:9/token"
    )


def test_pkce_without_s256_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="S256"):
        from_smart_configuration({**SMART, "code_challenge_methods_supported": ["plain"]}, BASE)


@pytest.mark.parametrize("value", [None, 7, "", ["x"]])
def test_a_configuration_without_a_token_endpoint_says_so(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="token_endpoint"):
        from_smart_configuration({**SMART, "token_endpoint": value}, BASE)


def test_members_of_the_wrong_type_count_as_left_out() -> None:
    found = from_smart_configuration(
        {**SMART, "capabilities": "permission-v2", "grant_types_supported": [1]}, BASE
    )
    assert (found.capabilities, found.grant_types) == (frozenset(), frozenset())


def test_a_capability_statement_names_the_endpoints_in_its_extension() -> None:
    parts = [{"url": "token", "valueUri": "token"}, {"url": "authorize", "valueUri": "https://l.example/a"}]
    found = from_capability_statement(statement(*parts), BASE)
    assert (found.token_url, found.authorize_url) == (f"{BASE}/token", "https://l.example/a")


@pytest.mark.parametrize(
    "document", [{}, {"rest": 7}, {"rest": [7, {"security": 7}]}, statement(), statement({"url": "token"})]
)
def test_a_capability_statement_without_the_extension_gives_nothing(document: dict[str, Any]) -> None:
    assert from_capability_statement(document, BASE) == Endpoints()


# --- asking a server ---------------------------------------------------------------------------------------


class Pages:
    """A server with some pages; everything else is 404."""

    def __init__(self, **pages: httpx.Response | Exception) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        name = "smart" if request.url.path.endswith("smart-configuration") else "metadata"
        self.asked.append(name)
        answer = self.pages.get(name, httpx.Response(404))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def endpoints(self, token_url: str | None = None) -> Endpoints:
        wire = httpx.MockTransport(self)
        async with Transport(BASE, inner=wire, clock=FakeClock().clock) as transport:
            return await discover(transport, BASE, token_url=token_url)


def page(document: Any) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(document), headers={"content-type": "application/json"})


HTML = httpx.Response(200, content=b"<html>please log in</html>", headers={"content-type": "text/html"})
FOUND = statement({"url": "token", "valueUri": "https://login.example/other"})


async def test_smart_configuration_is_asked_first_and_alone() -> None:
    pages = Pages(smart=page(SMART), metadata=page(FOUND))
    assert (await pages.endpoints()).token_url == "https://login.example/token"
    assert pages.asked == ["smart"]


@pytest.mark.parametrize("smart", [httpx.Response(404), HTML, page([]), page({"capabilities": []})])
async def test_the_capability_statement_is_asked_where_there_is_no_smart_configuration(
    smart: httpx.Response,
) -> None:
    found = await Pages(smart=smart, metadata=page(FOUND)).endpoints()
    assert (found.token_url, found.source) == ("https://login.example/other", "capability-statement")


async def test_a_contradiction_is_not_mended_by_asking_elsewhere() -> None:
    pages = Pages(smart=page({**SMART, "token_endpoint": "http://x.example/t"}), metadata=page(FOUND))
    with pytest.raises(ConfigurationError, match="TLS"):
        await pages.endpoints()
    assert pages.asked == ["smart"]


@pytest.mark.parametrize(
    ("smart", "error"),
    [
        (httpx.Response(404), HttpStatusError),
        (HTML, TransportError),
        (page([]), ConfigurationError),
        (page({}), ConfigurationError),
    ],
)
async def test_nothing_anywhere_is_a_typed_error_about_the_first_place(
    smart: httpx.Response, error: type[EHRError]
) -> None:
    for metadata in (httpx.Response(500), page({"resourceType": "CapabilityStatement"}), HTML):
        with pytest.raises(error) as raised:
            await Pages(smart=smart, metadata=metadata).endpoints()
        assert "example" not in str(raised.value)


async def test_a_server_that_cannot_be_reached_is_asked_once() -> None:
    pages = Pages(smart=httpx.ReadError("gone"), metadata=page(FOUND))
    with pytest.raises(TransportError):
        await pages.endpoints()
    assert set(pages.asked) == {"smart"}


async def test_a_token_address_in_the_settings_wins_over_the_server_s() -> None:
    found = await Pages(smart=page(SMART)).endpoints("https://set.example/token")
    assert (found.token_url, found.source) == ("https://set.example/token", "settings")
    assert found.scope_style == "v2"  # the rest of what the server said stays


async def test_with_a_token_address_in_the_settings_the_server_may_say_nothing() -> None:
    found = await Pages().endpoints("https://set.example/token")
    assert found.token_url == "https://set.example/token"
    assert [issue.code for issue in found.issues] == ["discovery:failed"]


async def test_a_token_address_in_the_settings_needs_tls_too() -> None:
    with pytest.raises(ConfigurationError, match=r"auth\.token_url is not an https"):
        await Pages(smart=page(SMART)).endpoints("http://set.example/token")


async def test_scopes_supported_is_never_read_as_all_there_is() -> None:
    found = await Pages(smart=page({**SMART, "scopes_supported": ["openid"]})).endpoints()
    assert not hasattr(found, "scopes")


async def test_a_real_server_is_understood(ehr: Sandbox, transport: Transport) -> None:
    found = await discover(transport, ehr.base_url)
    assert found.token_url == ehr.token_url
    assert found.algorithms == {"RS384", "ES384"}
