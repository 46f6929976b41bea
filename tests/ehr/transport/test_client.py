"""The policy as a whole, on a scripted inner transport and a clock that stands still (S26 to S30)."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest
import respx

from ehr.errors import (
    BadBody,
    BreakerOpen,
    ConnectionFailed,
    EHRError,
    ProtocolViolation,
    TimedOut,
)
from ehr.transport.client import Response, Transport
from tests.ehr.transport.scripted import BASE, Answer, Scripted, client, says
from tests.fakes.clock import FakeClock


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
