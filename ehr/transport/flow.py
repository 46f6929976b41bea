"""Driving an `httpx.Auth` flow: who gets a bearer, and who never does.

Requirements S5, S11 and S15 of the EHR layer. A flow may ask for its own token endpoint
(``auth.token_url``) besides the pinned base, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from ehr.errors import DestinationRefused
from ehr.transport.response import Response

FRESH = "trialveil.fresh"
"""Extension of a token request yielded by an auth flow: a function that makes the request anew for each
further attempt, so that a signed assertion is never sent twice. Without it such a request is repeated
only when no connection was made."""

_Answer = TypeVar("_Answer", Response, Response | httpx.Response)
# They describe bytes that are decoded already.
_CODING_HEADERS = {"content-encoding", "content-length", "transfer-encoding"}


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
