"""Puts a token on each request to the EHR, gets a new one in time, and once more when the server says 401.

One login serves all requests that wait for it. Only the pinned origin ever sees the token: the transport checks
the destination before this flow runs (S11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import MappingProxyType

import httpx

from ehr.auth.scopes import Scope, covers, parse_scopes
from ehr.auth.tokens import Token, TokenSource
from ehr.config import AuthMode
from ehr.errors import LoginRefused


class Authenticator(httpx.Auth):
    """The `httpx.Auth` of one EHR.

    Args:
        source: where tokens come from.
        monotonic: a clock that never jumps; expiry is counted on it from receipt (S3).
        headers: vendor headers to send beside the token.
    """

    requires_response_body = True

    def __init__(
        self,
        source: TokenSource,
        *,
        monotonic: Callable[[], float],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._monotonic = monotonic
        self._headers = dict(headers)
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._renew_at = 0.0
        self._generation = 0
        self._refused: LoginRefused | None = None
        self.logins = 0

    def __repr__(self) -> str:
        return f"<Authenticator {self._source.mode}>"

    @property
    def mode(self) -> AuthMode:
        """Which way to log in this is."""
        return self._source.mode

    @property
    def token_url(self) -> str | None:
        """The only address outside the base to which this flow sends anything."""
        return self._source.token_url

    @property
    def granted(self) -> frozenset[Scope] | None:
        """What may be read; None before a login, and where nobody said."""
        if self._token is None:
            return None
        text = self._token.scope if self._token.scope is not None else self._source.wanted_scope
        return None if text is None else parse_scopes(text)

    def allows(self, resource: str) -> bool:
        """Whether a resource type is covered by what was granted; True where that is not known."""
        granted = self.granted
        return granted is None or covers(granted, resource)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`: at most two sends of the request, with a login before each where one is due."""
        if self._source.mode == "none":
            request.headers.update(self._headers)
            yield request
            return
        for last in (False, True):
            async with self._lock:
                if self._token is None or self._monotonic() >= self._renew_at:
                    flow = self._begin()
                    try:
                        outgoing = await _started(flow)
                        while outgoing is not None:
                            outgoing = self._step(flow, (yield outgoing))
                    except LoginRefused as error:
                        self._refused = error
                        raise
                token, generation = self._token, self._generation
            assert token is not None
            request.headers["Authorization"] = f"Bearer {token.value}"
            request.headers.update(self._headers)
            response = yield request
            if response.status_code != 401 or last:
                return
            if generation == self._generation:
                self._token = None  # only the first of many that got 401 asks for a new one

    def _begin(self) -> Generator[httpx.Request, httpx.Response, None]:
        if self._refused is not None:
            raise self._refused  # a refusal needs a person; asking again is never right (S6)
        return self._login()

    def _login(self) -> Generator[httpx.Request, httpx.Response, None]:
        self.logins += 1
        token = yield from self._source.fetch()
        # Renewed before expiry by 60 s or a tenth of its life, but never in its first half.
        self._renew_at = (
            self._monotonic() + token.life_s - min(max(60.0, token.life_s / 10), token.life_s / 2)
        )
        self._token = token
        self._generation += 1

    @staticmethod
    def _step(
        flow: Generator[httpx.Request, httpx.Response, None], response: httpx.Response
    ) -> httpx.Request | None:
        try:
            return flow.send(response)
        except StopIteration:
            return None


async def _started(flow: Generator[httpx.Request, httpx.Response, None]) -> httpx.Request | None:
    # In a thread, because an external callable may block; flows over HTTP only build a request here.
    return await asyncio.to_thread(next, flow, None)
