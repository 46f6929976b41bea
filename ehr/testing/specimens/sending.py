"""Bad ways to send requests: to whom, how often, and after how long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import httpx

import ehr.site
import ehr.transport.origin
import ehr.transport.retry
from ehr.connect.opening import Place, transport_of
from ehr.testing.specimens.specimen import Spoilt, part, parts
from ehr.transport.attempts import AttemptLoop
from ehr.transport.client import Transport
from ehr.transport.rate import HostRate

_resolve, _resolve_link = ehr.transport.origin.resolve, ehr.transport.origin.resolve_link
_send = AttemptLoop.send


def _pinned_by(accepts: Callable[[Any, str], bool]) -> Spoilt:
    """The pin of a good adapter, where ``accepts`` lets further addresses pass."""

    def resolve(origin: Any, url: str) -> str:
        return str(urljoin(origin.base_url, url)) if accepts(origin, url) else _resolve(origin, url)

    def resolve_link(origin: Any, request_url: str, link: str) -> str:
        return (
            urljoin(request_url, link) if accepts(origin, link) else _resolve_link(origin, request_url, link)
        )

    def check(origin: Any, url: str) -> None:
        if not accepts(origin, url):
            resolve(origin, url)

    module = ehr.transport.origin
    return parts(
        part(module, "resolve", resolve),
        part(module, "resolve_link", resolve_link),
        part(module, "check", check),
    )


class _Follows(httpx.AsyncBaseTransport):
    """Goes wherever a redirect leads, with every header."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if response.status_code in (301, 302, 303, 307, 308):
            again = httpx.Request("GET", response.headers["location"], headers={"authorization": "Bearer x"})
            return await self._inner.handle_async_request(again)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _following(place: Place, *more: Any) -> Transport:
    around = place.surroundings
    followed = replace(around, wire=_Follows(around.wire)) if around.wire is not None else around
    return transport_of(replace(place, surroundings=followed), *more)


async def _telling(self: AttemptLoop, request: Any, plan: Any) -> Any:
    logging.getLogger("vendor").info(
        "%s %s", request.url, (request.content or b"").decode("utf-8", "replace")
    )
    return await _send(self, request, plan)


def _starts_alike(origin: Any, url: str) -> bool:
    return str(origin.base_url).rstrip("/") in url


SPOILT: dict[str, tuple[int, Spoilt]] = {
    "a token sent wherever a next link leads": (124, _pinned_by(lambda origin, url: True)),
    "an address that contains ours taken for ours": (125, _pinned_by(_starts_alike)),
    "redirects followed with their headers": (127, part(ehr.site, "transport_of", _following)),
    "the wait that a 429 asks for ignored": (
        132,
        part(ehr.transport.retry, "retry_after_s", lambda headers, now: None),
    ),
    "a wait of years kept": (
        133,
        part(ehr.transport.retry, "wait_s", lambda attempt, asked, longest, chance: asked or 0.5),
    ),
    "a 429 that holds one request and not the host": (
        134,
        part(HostRate, "pause", lambda self, seconds: None),
    ),
    "an answer of 404 asked for again": (
        136,
        part(ehr.transport.retry, "RETRY_STATUSES", frozenset({400, 403, 404, 422, 429, 500, 502, 503, 504})),
    ),
    "what changes the server sent again": (
        137,
        part(ehr.transport.retry, "repeat_rule", lambda *given, **named: ehr.transport.retry.Repeat.YES),
    ),
    "addresses and forms in the log": (149, part(AttemptLoop, "send", _telling)),
}
