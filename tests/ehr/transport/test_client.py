"""The policy as a whole, on a scripted inner transport and a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import respx

from ehr.errors import (
    BadBody,
    BreakerOpen,
    ConnectionFailed,
    DestinationRefused,
    EHRError,
    HttpStatusError,
    ProtocolViolation,
    TimedOut,
)
from ehr.transport.client import Limits, Response, Transport, outcome_codes, raise_for_status
from ehr.transport.flow import FRESH
from tests.fakes.clock import FakeClock

BASE = "https://fhir.example.org/r4"
TOKEN_URL = "https://login.example.org/oauth2/token"

Answer = httpx.Response | Exception


@dataclass
class Scripted:
    """Gives the answers in turn, the last one again and again, and keeps the requests."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        # A flow changes its request between two sendings.
        self.requests.append(
            httpx.Request(
                request.method, request.url, headers=request.headers.copy(), content=request.content
            )
        )
        found = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)


def says(status: int = 200, body: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={} if body is None else body, headers=headers)


def client(script: Callable[..., Any], clock: FakeClock | None = None, **limits: Any) -> Transport:
    return Transport(
        BASE,
        inner=httpx.MockTransport(script),
        clock=(clock or FakeClock()).clock,
        limits=Limits(**limits),
    )


# --- requests -----------------------------------------------------------------------------------


async def test_parameters_are_encoded_once_and_none_is_left_out() -> None:
    script = Scripted([says()])
    await client(script).request(
        "GET",
        "Patient?_count=5",
        params={"family": "Müller & Ä", "code": ["a|b", "c"], "x": None, "active": True},
    )
    sent = script.requests[0].url
    assert sent.params.multi_items() == [
        ("_count", "5"), ("family", "Müller & Ä"), ("code", "a|b"), ("code", "c"), ("active", "true"),
    ]  # fmt: skip


async def test_forms_and_json_bodies_have_their_types() -> None:
    script = Scripted([says()])
    async with client(script) as transport:
        await transport.request("POST", "Patient/_search", form={"family": "Ä b"})
        await transport.request("POST", "Patient/$match", json={"resourceType": "Parameters"})
        await transport.request("POST", "register", json={"a": 1}, accept="application/json")
    types = [request.headers["content-type"] for request in script.requests]
    assert types == ["application/x-www-form-urlencoded", "application/fhir+json", "application/json"]
    assert script.requests[0].content == b"family=%C3%84+b"


async def test_no_content_is_an_answer_and_an_empty_200_is_not() -> None:
    """S18."""
    script = Scripted([httpx.Response(204), httpx.Response(202), httpx.Response(200)])
    async with client(script) as transport:
        assert (await transport.request("DELETE", "job/1")).body == b""
        assert (await transport.request("GET", "Group/1/$export", expect="any")).status == 202
        with pytest.raises(BadBody) as failed:
            await transport.request("GET", "x")
        assert failed.value.reason == "empty"


async def test_an_answer_does_not_show_itself() -> None:
    """S8, S23."""
    script = Scripted([says(body={"family": "Canary"})])
    response = await client(script).request("GET", "Patient?family=Canary")
    assert repr(response) == "Response(200)" and response.headers["CONTENT-TYPE"] == "application/json"
    assert "Canary" not in repr(client(script)) + str(client(script).origin)


async def test_respx_can_stand_in_for_the_engine() -> None:
    router = respx.Router()
    router.get(f"{BASE}/metadata").respond(json={"resourceType": "CapabilityStatement"})
    transport = Transport(BASE, inner=httpx.MockTransport(router.async_handler))
    assert (await transport.request("GET", "metadata")).json()["resourceType"] == "CapabilityStatement"


# --- repeating ----------------------------------------------------------------------------------


async def test_5xx_is_repeated_and_then_returned() -> None:
    """S27: `rel_5xx_retried_then_unavailable`."""
    script, clock = Scripted([says(503)]), FakeClock()
    response = await client(script, clock, attempts=4).request("GET", "x")
    assert response.status == 503 and len(script.requests) == 4
    assert clock.slept == [0.5, 1, 2]


async def test_an_outage_that_ends_is_not_seen_by_the_caller() -> None:
    failures: list[Answer] = [
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
        httpx.RemoteProtocolError("x"),
        says(502),
    ]
    script = Scripted([*failures, says(body={"ok": 1})])
    transport = client(script)
    assert (await transport.request("GET", "x")).json() == {"ok": 1}
    counted = transport.counters
    assert (counted["requests"], counted["retries"], counted["failures"]) == (5, 4, 3)
    assert counted["failures.ConnectionFailed"] == counted["failures.TimedOut"] == 1


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("Canary"), ConnectionFailed),
        (httpx.ReadError("Canary"), ConnectionFailed),
        (httpx.WriteError("Canary"), ConnectionFailed),
        (httpx.ConnectTimeout("Canary"), TimedOut),
        (httpx.WriteTimeout("Canary"), TimedOut),
        (httpx.PoolTimeout("Canary"), TimedOut),
        (httpx.RemoteProtocolError("Canary"), ProtocolViolation),
        (httpx.DecodingError("Canary"), ProtocolViolation),
    ],
)
async def test_failures_become_ours_without_their_text(failure: Exception, expected: type[EHRError]) -> None:
    """S23."""
    script = Scripted([failure])
    with pytest.raises(EHRError) as failed:
        await client(script).request("GET", "x")
    assert type(failed.value) is expected and len(script.requests) == 5
    assert "Canary" not in str(failed.value) and failed.value.__suppress_context__


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 412, 422, 501])
async def test_4xx_is_not_repeated(status: int) -> None:
    """S27: `rel_4xx_not_retried`; the reference repeats 404."""
    script = Scripted([says(status)])
    assert (await client(script).request("GET", "x")).status == status
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "DocumentReference/$docref"),
        ("GET", "Group/1/$export"),
        ("PUT", "Patient/1"),
        ("POST", "Patient"),
    ],
)
async def test_what_makes_something_is_never_repeated(method: str, path: str) -> None:
    """S26: `rel_non_idempotent_not_retried`."""
    for answer in (says(503), says(429), httpx.ConnectError("x"), httpx.ReadTimeout("x")):
        script = Scripted([answer])
        with suppress(EHRError):
            await client(script).request(method, path, expect="any")
        assert len(script.requests) == 1


@pytest.mark.parametrize("asked", ["7", "Sun, 01 Mar 2026 12:00:07 GMT"])
async def test_retry_after_is_honoured_in_both_forms(asked: str) -> None:
    """S28: `rel_429_honours_retry_after_seconds_and_date`."""
    script, clock = Scripted([says(429, **{"Retry-After": asked}), says()]), FakeClock()
    await client(script, clock).request("GET", "x")
    assert clock.seconds == 7


async def test_a_deadline_that_passes_is_counted() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = client(never)
    with pytest.raises(TimedOut):
        await transport.request("GET", "x", deadline_s=0.01)
    assert transport.counters["failures.TimedOut"] == transport.counters["failures"] == 1


async def test_an_absurd_retry_after_is_clamped() -> None:
    """S28: `rel_retry_after_absurd_is_clamped_or_deferred`."""
    script, clock = Scripted([says(429, **{"Retry-After": "999999"}), says()]), FakeClock()
    await client(script, clock, longest_wait_s=60).request("GET", "x")
    assert clock.seconds == 60


async def test_a_wait_past_the_deadline_is_not_begun() -> None:
    script, clock = Scripted([says(429, **{"Retry-After": "30"}), says()]), FakeClock()
    response = await client(script, clock).request("GET", "x", deadline_s=20)
    assert response.status == 429 and clock.slept == []


async def test_429_pauses_the_whole_host_and_every_class() -> None:
    """S28: `rel_429_pauses_whole_host`, also for transports of another base on it."""
    sent: list[tuple[str, float]] = []
    clock = FakeClock()
    others: list[asyncio.Task[Response]] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append((f"{request.url.host}{request.url.path}", clock.seconds))
        if len(sent) > 1:
            return says()
        # They come while the answer is on its way, before the clock moves on.
        others.append(asyncio.create_task(beside.request("GET", "b", endpoint_class="bulk")))
        others.append(asyncio.create_task(transport.request("GET", "c")))
        others.append(asyncio.create_task(elsewhere.request("GET", "d")))
        return says(429, **{"Retry-After": "20"})

    transport = client(answer, clock)
    beside = transport.for_origin("https://fhir.example.org/dstu2")
    elsewhere = transport.for_origin("https://other.example.org/r4")
    await transport.request("GET", "busy")
    await asyncio.gather(*others)
    assert sent[:2] == [("fhir.example.org/r4/busy", 0.0), ("other.example.org/r4/d", 0.0)]
    assert sorted(sent[2:]) == [
        ("fhir.example.org/dstu2/b", 20.0),
        ("fhir.example.org/r4/busy", 20.0),
        ("fhir.example.org/r4/c", 20.0),
    ]


async def test_the_breaker_opens_and_recovers() -> None:
    """S30: `rel_breaker_opens_and_recovers`; an open breaker is an error, never an empty answer."""
    script, clock = Scripted([httpx.ConnectError("x")]), FakeClock()
    transport = client(script, clock, attempts=1, breaker_failures=3, breaker_pause_s=30)
    for _ in range(3):
        with pytest.raises(ConnectionFailed):
            await transport.request("GET", "x")
    with pytest.raises(BreakerOpen):
        await transport.request("GET", "x")
    assert len(script.requests) == 3
    clock.seconds += 30
    script.answers = [says()]
    assert (await transport.request("GET", "x")).status == 200


async def test_bad_bodies_and_4xx_do_not_open_the_breaker() -> None:
    script = Scripted([says(404)])
    transport = client(script, attempts=1, breaker_failures=1)
    for answer in (says(404), says(429), httpx.Response(200, html="<html>")):
        script.answers = [answer]
        with suppress(BadBody):
            await transport.request("GET", "x")
    assert len(script.requests) == 3


# --- credentials --------------------------------------------------------------------------------


@dataclass
class Login(httpx.Auth):
    """Fetches a token first, adds it, and fetches another one after 401."""

    token_url: str = TOKEN_URL
    first: str = "https://login.example.org/oauth2/token"
    made: int = 0
    seen: list[int] = field(default_factory=list)
    extension: bool = True

    def token_request(self) -> httpx.Request:
        self.made += 1
        form = {"grant_type": "client_credentials", "client_assertion": f"jti-{self.made}"}
        request = httpx.Request("POST", self.first, data=form, headers={"Authorization": "Bearer Canary"})
        if self.extension:
            request.extensions[FRESH] = self.token_request
        return request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        for _ in range(2):
            answer = yield self.token_request()
            self.seen.append(answer.status_code)
            request.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
            answer = yield request
            self.seen.append(answer.status_code)
            if answer.status_code != 401:
                return


def server(
    statuses: list[int], token: list[Answer] | None = None
) -> tuple[Scripted, Scripted, Callable[..., Any]]:
    data = Scripted([says(status) for status in statuses])
    tokens = Scripted(token or [says(body={"access_token": "t1"}), says(body={"access_token": "t2"})])

    async def answer(request: httpx.Request) -> httpx.Response:
        return await (tokens if request.url.host == "login.example.org" else data)(request)

    return data, tokens, answer


async def test_a_flow_gets_its_token_and_logs_in_again_once_after_401() -> None:
    data, tokens, answer = server([401, 200])
    login = Login()
    response = await client(answer).request("GET", "Patient/1", auth=login)
    assert response.status == 200 and login.seen == [200, 401, 200, 200]
    assert [request.headers["authorization"] for request in data.requests] == ["Bearer t1", "Bearer t2"]
    assert len(tokens.requests) == 2


async def test_the_token_endpoint_never_gets_a_bearer() -> None:
    """S11."""
    _, tokens, answer = server([200])
    await client(answer).request("GET", "x", auth=Login())
    assert "authorization" not in tokens.requests[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/token",
        "https://login.example.org/oauth2/token2",
        "http://login.example.org/oauth2/token",
    ],
)
async def test_a_flow_reaches_its_token_endpoint_and_the_base_only(url: str) -> None:
    """S11, S15."""
    data, tokens, answer = server([200])
    with pytest.raises(DestinationRefused):
        await client(answer).request("GET", "x", auth=Login(first=url))
    assert not data.requests and not tokens.requests


async def test_a_token_endpoint_without_tls_is_refused() -> None:
    """S10, S15."""
    _, tokens, answer = server([200])
    url = "http://login.example.org/oauth2/token"
    with pytest.raises(EHRError):
        await client(answer).request("GET", "x", auth=Login(token_url=url, first=url))
    assert not tokens.requests


async def test_the_pin_is_checked_before_the_flow_sees_the_request() -> None:
    """S11: no bearer is ever added for another host."""
    login = Login()
    with pytest.raises(DestinationRefused):
        await client(Scripted([says()])).request("GET", "https://evil.example/r4/x", auth=login)
    assert login.made == 0


async def test_a_flow_that_changes_the_destination_is_stopped() -> None:
    class Astray(httpx.Auth):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            request.headers["Authorization"] = "Bearer Canary"
            request.url = httpx.URL("https://evil.example/r4/x")
            yield request

    script = Scripted([says()])
    with pytest.raises(DestinationRefused):
        await client(script).request("GET", "x", auth=Astray())
    assert not script.requests


async def test_a_repeated_token_request_is_made_anew() -> None:
    """S5: `jti` fresh on every attempt, retries included."""
    _, tokens, answer = server([200], [says(503), httpx.ConnectError("x"), says(body={"access_token": "t"})])
    await client(answer).request("GET", "x", auth=Login())
    sent = [httpx.QueryParams(request.content.decode())["client_assertion"] for request in tokens.requests]
    assert sent == ["jti-1", "jti-2", "jti-3"]


async def test_a_token_request_made_anew_stays_at_its_endpoint() -> None:
    """S11."""
    _, tokens, answer = server([200], [says(503)])
    login = Login()
    flow = login.token_request

    def astray() -> httpx.Request:
        request = flow()
        if login.made > 1:
            request.url = httpx.URL("https://evil.example/token")
        request.extensions[FRESH] = astray
        return request

    login.token_request = astray  # type: ignore[method-assign] # a flow that goes wrong on its second attempt
    with pytest.raises(DestinationRefused):
        await client(answer).request("GET", "x", auth=login)
    assert len(tokens.requests) == 1


async def test_an_assertion_that_cannot_be_made_anew_is_not_sent_to_a_server_twice() -> None:
    """S5, S26."""
    _, tokens, answer = server([200], [says(503, body={"access_token": ""})])
    await client(answer).request("GET", "x", auth=Login(extension=False))
    assert len(tokens.requests) == 1
    _, tokens, answer = server([200], [httpx.ReadTimeout("x")])
    with pytest.raises(TimedOut):
        await client(answer).request("GET", "x", auth=Login())
    assert len(tokens.requests) == 1


async def test_a_form_made_by_a_function_is_made_anew_for_each_attempt() -> None:
    """S5, for token requests that are sent without a flow."""
    script, made = Scripted([says(503), says()]), iter(range(9))
    place = client(script).for_origin("https://login.example.org/token")
    await place.request(
        "POST", "", form=lambda: {"client_assertion": str(next(made))}, endpoint_class="token"
    )
    assert [request.content for request in script.requests] == [b"client_assertion=0", b"client_assertion=1"]


async def test_a_retry_happens_below_the_flow() -> None:
    data, tokens, answer = server([503, 503, 200])
    login = Login()
    assert (await client(answer).request("GET", "x", auth=login)).status == 200
    assert login.seen == [200, 200] and len(data.requests) == 3 and len(tokens.requests) == 1


async def test_a_cancelled_request_closes_its_flow() -> None:
    """S34."""
    closed = asyncio.Event()

    class Slow(httpx.Auth):
        async def async_auth_flow(
            self, request: httpx.Request
        ) -> AsyncGenerator[httpx.Request, httpx.Response]:
            try:
                yield request
            finally:
                closed.set()

    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(client(never).request("GET", "x", auth=Slow()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


# --- statuses -----------------------------------------------------------------------------------


def outcome(*codes: str) -> bytes:
    issue = {
        "severity": "error",
        "code": "processing",
        "details": {"coding": [{"code": code} for code in codes], "text": "Canary"},
    }
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


def test_an_error_status_carries_outcome_codes_and_no_text() -> None:
    """S23."""
    with pytest.raises(HttpStatusError) as failed:
        raise_for_status(Response(403, httpx.Headers(), outcome("59108", "Canary text"), "https://h/Canary"))
    error = failed.value
    assert (error.status, error.outcome_codes) == (403, ("59108", "processing"))
    assert "Canary" not in str(error) + repr(error) and "59108" in str(error)
    assert error.debug_detail is not None and "Canary" in error.debug_detail


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"resourceType":"Patient","issue":[{"code":"x"}]}', b"[" * 10**6, b"\xff"]
)
def test_what_is_no_outcome_has_no_codes(body: bytes) -> None:
    assert outcome_codes(body) == ()


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 404, 500])
def test_every_status_but_2xx_is_an_error_when_asked(status: int) -> None:
    """S14: also a redirect."""
    raise_for_status(Response(204, httpx.Headers(), b"", ""))
    with pytest.raises(HttpStatusError):
        raise_for_status(Response(status, httpx.Headers(), b"", ""))
