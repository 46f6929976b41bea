"""Driving an `httpx.Auth` flow: who gets a bearer, and who never does.

Requirements S5, S11 and S15 of the EHR layer. A flow may ask for its own token endpoint
(``auth.token_url``) besides the pinned base, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import httpx

from ehr.errors import DestinationRefused
from ehr.transport.response import Response

FRESH = "trialveil.fresh"
"""Extension of a token request yielded by an auth flow: a function that makes the request anew for each
further attempt, so that a signed assertion is never sent twice. Without it such a request is repeated
only when no connection was made."""
ONCE = "trialveil.once"
"""Extension of a token request whose code or refresh token is used up once the server has read it: true means
that it is sent again only when it was certainly not taken."""

_Answer = TypeVar("_Answer", Response, Response | httpx.Response)
# They describe bytes that are decoded already.
_CODING_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}


@dataclass(frozen=True, slots=True, repr=False)
class ReadyLogin:
    """What a login gives at once for one request. Never shown: it holds a token.

    Attributes:
        headers: names in lower case.
        told: takes the answer's status; gives the flow that has the last word where that is still needed.
    """

    headers: Mapping[str, str]
    told: Callable[[int], httpx.Auth | None]


def ready_login(auth: httpx.Auth, url: str) -> ReadyLogin | None:
    """What the login has ready for a request; None where its flow has to be driven.

    A flow is driven where the login has no ``ready()``, or a token is due, and for what may be the token endpoint,
    which never gets a bearer.
    """
    ready: Callable[[], ReadyLogin | None] | None = getattr(auth, "ready", None)
    if ready is None or _last_step(url) == _last_step(getattr(auth, "token_url", None) or ""):
        return None
    return ready()


def _last_step(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


async def drive(
    auth: httpx.Auth, request: httpx.Request, send: Callable[[httpx.Request], Awaitable[_Answer]]
) -> _Answer:
    """Send what the flow asks for, one request after the other; the last answer is the answer.

    Args:
        auth: its ``async_auth_flow`` is used.
        request: already checked against the pin.
        send: checks the destination of each request, and sends it.
    """
    flow = auth.async_auth_flow(request)
    try:
        request = await anext(flow)
        while True:
            answer = await send(request)
            try:
                request = await flow.asend(_for_flow(request, answer))
            except StopAsyncIteration:
                return answer
    finally:
        await flow.aclose()


def is_token_request(auth: httpx.Auth, request: httpx.Request) -> bool:
    """Whether a request goes to exactly the auth's own token endpoint."""
    token_url = getattr(auth, "token_url", None)
    return token_url is not None and httpx.URL(token_url) == request.url


def without_bearer(request: httpx.Request) -> httpx.Request:
    """The request without an access token, whatever the flow added."""
    if request.headers.get("authorization", "").lower().startswith("bearer"):
        del request.headers["authorization"]
    return request


def renewed_by(request: httpx.Request) -> Callable[[], httpx.Request] | None:
    """What makes a token request anew, kept to the same URL; None if the flow gave nothing."""
    fresh: Callable[[], httpx.Request] | None = request.extensions.get(FRESH)
    if fresh is None:
        return None

    def renew() -> httpx.Request:
        made = without_bearer(fresh())
        if made.url != request.url:
            raise DestinationRefused("A token request made anew goes elsewhere. Nothing was sent.")
        return made

    return renew


def _for_flow(request: httpx.Request, answer: Response | httpx.Response) -> httpx.Response:
    if isinstance(answer, httpx.Response):
        return httpx.Response(answer.status_code, headers=answer.headers.raw, request=request)
    kept = [
        (name, value) for name, value in answer.headers.multi_items() if name.lower() not in _CODING_HEADERS
    ]
    return httpx.Response(answer.status, headers=kept, content=answer.body, request=request)
