"""An inner transport that gives scripted answers, and a login that fetches tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from ehr.transport.client import Limits, Transport
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
