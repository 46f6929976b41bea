"""Puts a token on each request to the EHR, gets a new one in time, and once more when the server says 401.

One login serves all requests that wait for it. Only the pinned origin ever sees the token: the transport checks
the destination before this flow runs (S11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from types import MappingProxyType

import httpx

from ehr.auth.scopes import Scope, covers, parse_scopes
from ehr.auth.tokens import Flow, Token, TokenSource
from ehr.config import AuthMode
from ehr.errors import AuthError, LoginRefused
from ehr.transport.flow import ReadyLogin

TOKENS_REFUSED_LEFT = 3
"""Fresh tokens in a row that the server may answer with 401 before the login counts as refused."""


class Authenticator(httpx.Auth):
    """The `httpx.Auth` of one EHR.

    Args:
        source: where tokens come from.
        monotonic: a clock that never jumps; expiry is counted on it from receipt (S3).
        headers: vendor headers to send beside the token.
        turn: entered around each login; lets processes that share one take turns (S2).

    Attributes:
        logins: how many tokens were given.
    """

    requires_response_body = True

    def __init__(
        self,
        source: TokenSource,
        *,
        monotonic: Callable[[], float],
        headers: Mapping[str, str] = MappingProxyType({}),
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._source = source
        self._monotonic = monotonic
        self._headers = dict(headers)
        self._quick_headers = {name.lower(): value for name, value in headers.items()}
        self._turn = turn
        self._lock = asyncio.Lock()
        self._token: Token | None = None
        self._granted: frozenset[Scope] | None = None
        self._renew_at = 0.0
        self._generation = 0
        self._tokens_refused: list[int] = []
        self._failed: AuthError | None = None
        self._outside: asyncio.Task[httpx.Request | Token] | None = None
        self.logins = 0

    def __repr__(self) -> str:
        return f"<Authenticator {self._source.mode}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an authenticator is never pickled")

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
        return self._granted

    def allows(self, resource: str) -> bool:
        """Whether a resource type is covered by what was granted; True where that is not known."""
        return self._granted is None or covers(self._granted, resource)

    def check(self) -> None:
        """Raise if the last login failed: whatever came since then says nothing about a patient.

        Raises:
            AuthError: what the login ended with.
        """
        if self._failed is not None:
            raise _again(self._failed)

    def ready(self) -> ReadyLogin | None:
        """What a request gets at once, without a flow: None where a login is due or was refused.

        A 401 then leads into the flow's second half, so that no request is sent more than twice.
        """
        if self._source.mode == "none":
            return ReadyLogin(self._quick_headers, self._answered_unknown)
        token, generation = self._token, self._generation
        if token is None or self._failed is not None or self._monotonic() >= self._renew_at:
            return None

        def told(status: int) -> httpx.Auth | None:
            if status != 401:
                self._tokens_refused.clear()
                return None
            self._rejected(generation, last=False)
            return _RestOfFlow(self)

        return ReadyLogin({**self._quick_headers, "authorization": f"Bearer {token.value}"}, told)

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`: at most two sends of the request, with a login before each where one is due.

        Raises:
            LoginRefused: the login was refused, now or before; asking again is never right (S6).
            AuthError: the answer to the login cannot be used.
            TransportError: the token endpoint gave no answer; the next request tries again.
        """
        return self.flow(request, (False, True))

    async def flow(
        self, request: httpx.Request, sends: tuple[bool, ...]
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """The flow with the sends that are left; each says whether it is the last one."""
        if self._source.mode == "none":
            request.headers.update(self._headers)
            self._answered_unknown((yield request).status_code)
            return
        for last in sends:
            # The lock is held while the token is on its way: all others wait for the one login.
            async with self._lock:
                if self._due():
                    async with self._taken_turn():
                        flow = self._source.fetch()
                        try:
                            step = await self._begun(flow)
                            while isinstance(step, httpx.Request):
                                step = self._stepped(flow, (yield step))
                        finally:
                            flow.close()
                    self._keep(step)
                token, generation = self._token, self._generation
            assert token is not None
            request.headers.update(self._headers)
            request.headers["Authorization"] = f"Bearer {token.value}"
            response = yield request
            if response.status_code != 401:
                self._tokens_refused.clear()
                return
            self._rejected(generation, last)
            if last:
                return

    def _answered_unknown(self, status: int) -> None:
        """Count answers to requests without a login; several 401 in a row are the server's wish for one."""
        self._tokens_refused = [*self._tokens_refused, len(self._tokens_refused)] if status == 401 else []
        if len(self._tokens_refused) >= TOKENS_REFUSED_LEFT:
            self._failed = LoginRefused(
                "the EHR wants a login (HTTP 401), and none is configured. Set auth to backend, browser or "
                "external in the pod file."
            )

    def _due(self) -> bool:
        if isinstance(self._failed, LoginRefused):
            raise _again(self._failed)
        return self._token is None or self._monotonic() >= self._renew_at

    @asynccontextmanager
    async def _taken_turn(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            with self._noted():
                await held.enter_async_context(self._turn())
            yield

    async def _begun(self, flow: Flow) -> httpx.Request | Token:
        if self._source.mode != "external":
            with self._noted():
                return _advance(lambda: next(flow))
        # A callable may block, so it runs in a thread. Who is cancelled meanwhile leaves it to the next one.
        if self._outside is None or self._outside.done():
            whole = self._source.fetch()
            self._outside = asyncio.create_task(asyncio.to_thread(_advance, lambda: next(whole)))
            self._outside.add_done_callback(lambda task: task.cancelled() or task.exception())
        outside = self._outside
        with self._noted():
            return await asyncio.shield(outside)

    def _stepped(self, flow: Flow, response: httpx.Response) -> httpx.Request | Token:
        with self._noted():
            return _advance(lambda: flow.send(response))

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except AuthError as error:
            self._failed = error
            raise

    def _keep(self, token: Token) -> None:
        # Renewed before expiry by 60 s or a tenth of its life, but never in its first half.
        early = min(max(60.0, token.life_s / 10), token.life_s / 2)
        self._renew_at = self._monotonic() + token.life_s - early
        self._token = token
        self._failed = None
        self._generation += 1
        self.logins += 1
        text = token.scope if token.scope is not None else self._source.wanted_scope
        self._granted = None if text is None else parse_scopes(text)

    def _rejected(self, generation: int, last: bool) -> None:
        if generation == self._generation:
            self._token = None  # only the first of many that got 401 asks for a new one
        if last and generation not in self._tokens_refused:
            self._tokens_refused.append(generation)
        if len(self._tokens_refused) >= TOKENS_REFUSED_LEFT:
            self._failed = LoginRefused(
                "the EHR gives tokens and then refuses them (HTTP 401). Have the client's access checked."
            )


class _RestOfFlow(httpx.Auth):
    """What is left of a flow whose request was sent once, and refused."""

    requires_response_body = True

    def __init__(self, whole: Authenticator) -> None:
        self._whole = whole

    @property
    def token_url(self) -> str | None:
        """See `Authenticator.token_url`."""
        return self._whole.token_url

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """One more send."""
        return self._whole.flow(request, (True,))


def _advance(step: Callable[[], httpx.Request]) -> httpx.Request | Token:
    try:
        return step()
    except StopIteration as end:
        token: Token = end.value
        return token


def _again(error: AuthError) -> AuthError:
    # A copy each time: one exception raised in many tasks would gather all their tracebacks.
    if isinstance(error, LoginRefused):
        return type(error)(str(error), code=error.code, debug_detail=error.debug_detail)
    return type(error)(str(error), debug_detail=error.debug_detail)
