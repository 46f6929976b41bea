"""A login that has its token ready lends it for one request; the flow has the last word after a 401."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import pytest

from ehr.errors import DestinationRefused, EHRError
from ehr.transport.engine import _pinned_url
from ehr.transport.flow import ReadyLogin, ready_login
from ehr.transport.origin import pin
from ehr.transport.request import ReadyRequest
from tests.ehr.transport.scripted import Scripted, client, says
from tests.fakes.misbehaving_server import misbehaving


@dataclass
class Ready(httpx.Auth):
    """Has a token, and another one once that was refused."""

    token_url: str | None = "https://fhir.example.org/r4/auth/token"
    told: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)

    def ready(self) -> ReadyLogin:
        return ReadyLogin({"authorization": "Bearer first"}, self._told)

    def _told(self, status: int) -> httpx.Auth | None:
        self.told.append(status)
        return self if status == 401 else None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = "Bearer second"
        answer = yield request
        self.second.append(answer.status_code)


async def test_a_token_that_is_ready_needs_no_flow() -> None:
    script, auth = Scripted([says()]), Ready()
    async with client(script) as transport:
        await transport.request("GET", "Patient", params={"name": "a b&c"}, auth=auth)
    (request,) = script.requests
    assert request.headers["authorization"] == "Bearer first"
    assert str(request.url) == "https://fhir.example.org/r4/Patient?name=a%20b%26c"
    assert (auth.told, auth.second) == ([200], [])


async def test_after_a_401_the_flow_sends_once_more_and_not_again() -> None:
    script, auth = Scripted([says(401)]), Ready()
    async with client(script) as transport:
        answer = await transport.request("GET", "Patient", auth=auth)
    assert answer.status == 401
    assert [request.headers["authorization"] for request in script.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    assert (auth.told, auth.second) == ([401], [401])


async def test_a_retry_sends_the_same_token_and_the_login_hears_of_the_last_answer_only() -> None:
    script, auth = Scripted([says(503), says(200)]), Ready()
    async with client(script) as transport:
        await transport.request("GET", "Patient", auth=auth)
    assert {request.headers["authorization"] for request in script.requests} == {"Bearer first"}
    assert (len(script.requests), auth.told) == (2, [200])


async def test_the_pin_is_checked_before_anything_is_lent() -> None:
    """S11."""
    script, auth = Scripted([says()]), Ready()
    async with client(script) as transport:
        with pytest.raises(DestinationRefused):
            await transport.request("GET", "https://evil.example.org/r4/Patient", auth=auth)
    assert script.requests == [] and auth.told == []


@pytest.mark.parametrize(
    "url", ["https://fhir.example.org/r4/auth/token", "https://fhir.example.org/token?a=1"]
)
def test_nothing_is_lent_to_what_may_be_the_token_endpoint(url: str) -> None:
    """S5."""
    assert ready_login(Ready(), url) is None


def test_nothing_is_lent_by_a_login_without_ready() -> None:
    assert ready_login(httpx.BasicAuth("a", "b"), "https://fhir.example.org/r4/Patient") is None


def test_what_is_lent_and_what_is_sent_show_nothing() -> None:
    """S8."""
    lent = Ready().ready()
    sent = ReadyRequest(
        "GET", "https://fhir.example.org/r4/Patient?name=Canary", dict(lent.headers), b"Canary"
    )
    for text in (repr(lent), repr(sent)):
        assert "Bearer" not in text and "Canary" not in text


@pytest.mark.parametrize(
    "url",
    ["https://fhir.example.org/r4/Patient?a=%2C&b=x%2Fy", "https://fhir.example.org:443/r4/a;b/c", "https://FHIR.example.org/r4/"],
)  # fmt: skip
def test_the_engine_sends_the_bytes_that_the_pin_has_read(url: str) -> None:
    """S14: also where host or port are written in another way than the pin's."""
    exact = _pinned_url(url, pin("https://fhir.example.org/r4"))
    assert exact.raw_path_qs == f"/{url.split('/', 3)[3]}"
    assert (exact.raw_host or "").lower() == "fhir.example.org"


@pytest.mark.parametrize("name, value", [("x-a", "a\r\nb: c"), ("x a", "b"), ("x-é", "b"), ("x-a", "é")])
async def test_a_header_that_would_split_the_request_is_not_sent(name: str, value: str) -> None:
    async def never(received: object, writer: object) -> None:
        raise AssertionError("nothing may come")

    from ehr.transport.client import Transport

    async with misbehaving(never) as server:  # type: ignore[arg-type]  # it must not be called
        async with Transport(server.base, allow_http_loopback=True) as transport:
            with pytest.raises(EHRError):
                await transport.request("GET", "Patient", headers={name: value}, auth=Ready())
        assert server.requests == []


def test_a_path_is_compared_with_rules_after_its_escapes_are_undone() -> None:
    assert ReadyRequest("GET", "https://h/r4/%24export?x=%24y", {}, None).path == "/r4/$export"
    assert ReadyRequest("GET", "https://h/r4/Patient", {}, None).path == "/r4/Patient"
