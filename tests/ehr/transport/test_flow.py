"""Who gets a bearer, and who never does (S5, S11, S15)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import httpx
import pytest

from ehr.errors import (
    DestinationRefused,
    EHRError,
    TimedOut,
)
from ehr.transport.flow import FRESH
from tests.ehr.transport.scripted import Login, Scripted, client, says, server


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
