"""`Transport`: every request of the EHR layer goes through this one policy.

It pins requests to one origin before anything secret is added, drives `httpx.Auth` flows itself,
bounds time and size, repeats only what may be repeated, and shares rates and breakers by host.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from ehr.errors import BadBody, BodyTooLarge, ConfigurationError, TimedOut
from ehr.transport import origin as origins
from ehr.transport import redact, retry
from ehr.transport.attempts import AttemptLoop, AttemptRules, Expect, Renewal
from ehr.transport.body import SMALLEST_ENTRY, check_syntax
from ehr.transport.download import Download
from ehr.transport.engine import AiohttpTransport, EngineSettings
from ehr.transport.failure import Unanswered
from ehr.transport.flow import FRESH, ONCE, drive, is_token_request, ready_login, renewed_by, without_bearer
from ehr.transport.quota import DailyQuota
from ehr.transport.request import Form, ReadyRequest, RequestParts
from ehr.transport.response import Response, outcome_codes, raise_for_status
from ehr.transport.retry import NEVER_RETRY
from ehr.transport.settings import SYSTEM_CLOCK, ClassLimit, ClientCertificate, Clock, Limits
from ehr.transport.tls import tls_context

__all__ = [
    "FRESH",
    "ONCE",
    "SYSTEM_CLOCK",
    "ClassLimit",
    "ClientCertificate",
    "Clock",
    "Limits",
    "Response",
    "Transport",
    "outcome_codes",
    "raise_for_status",
]

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]

_PLAIN_PATH = re.compile(r"[A-Za-z]+(?:/_search)?")
_UNESCAPED = re.compile(r"[A-Za-z0-9_.~-]*")
_SENT_ALWAYS = {"user-agent": "trialveil", "accept-encoding": "gzip"}
_STREAM_ATTEMPTS_LONG = 5


@dataclass(frozen=True, slots=True)
class _Treatment:
    """How the caller wants the request treated."""

    expect: Expect
    limit_bytes: int
    deadline: float | None
    endpoint_class: str | None
    start: bool = False


class Transport:
    """Requests to one origin, under one policy.

    Use it with ``async with``, in one event loop.

    Args:
        base_url: scheme, host, port and base path that requests are pinned to.
        limits: time, size and rate.
        clock: time and chance; tests give their own.
        allow_http_loopback: lets the base be http if its host is this machine's loopback.
        ca_file: PEM file with further certificate authorities.
        client_certificate: shown to servers that ask for one.
        inner: sends requests instead of the engine; tests give ``httpx.MockTransport``.
        never_retry: path segments whose requests are never repeated.
        quota: the day's budget; None is none.
        provider: its name, for the log.

    Raises:
        ConfigurationError: the base URL, a file or a limit cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limits: Limits | None = None,
        clock: Clock = SYSTEM_CLOCK,
        allow_http_loopback: bool = False,
        ca_file: Path | None = None,
        client_certificate: ClientCertificate | None = None,
        inner: httpx.AsyncBaseTransport | None = None,
        never_retry: tuple[str, ...] = NEVER_RETRY,
        quota: DailyQuota | None = None,
        provider: str | None = None,
    ) -> None:
        redact.install()
        limits = limits or Limits()
        self.origin = origins.pin(base_url, allow_http_loopback=allow_http_loopback)
        self._allow_http_loopback = allow_http_loopback
        self._never_retry = never_retry
        private = ca_file is not None or client_certificate is not None
        tls = tls_context(ca_file, client_certificate) if private else None
        wire = inner or AiohttpTransport(EngineSettings(limits=limits, tls=tls))
        self._exchange = AttemptLoop(wire, limits, clock, quota, provider)
        self._owner = True

    def __repr__(self) -> str:
        return "Transport()"

    @property
    def counters(self) -> Mapping[str, int]:
        """Requests, retries, statuses by class, failures by class, halvings, since the family was opened."""
        halvings = self._exchange.rates.halvings
        return {**self._exchange.counters, **({"halvings": halvings} if halvings else {})}

    @property
    def limits(self) -> Limits:
        """The limits of the family."""
        return self._exchange.limits

    @property
    def clock(self) -> Clock:
        """The clock of the family."""
        return self._exchange.clock

    def for_origin(self, base_url: str) -> Transport:
        """The same policy, engine and rates, pinned to another origin (token endpoint, discovery).

        Closing it does nothing; the first of the family closes the engine.
        """
        other = object.__new__(type(self))
        other.origin = origins.pin(base_url, allow_http_loopback=self._allow_http_loopback)
        other._allow_http_loopback = self._allow_http_loopback
        other._never_retry = self._never_retry
        other._exchange = self._exchange
        other._owner = False
        return other

    def resolve(self, url_or_path: str) -> str:
        """An absolute URL inside the pin; raises DestinationRefused otherwise."""
        return origins.resolve(self.origin, url_or_path)

    def resolve_link(self, request_url: str, link: str) -> str:
        """A link of an answer, made absolute and checked; raises DestinationRefused if it leaves the pin."""
        return origins.resolve_link(self.origin, request_url, link)

    async def request(
        self,
        method: str,
        url_or_path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        form: Form | None = None,
        json: Any = None,
        auth: httpx.Auth | None = None,
        accept: str = "application/fhir+json",
        expect: Expect = "json",
        limit_bytes: int | None = None,
        deadline_s: float | None = None,
        endpoint_class: str | None = None,
    ) -> Response:
        """Send a request and read its whole answer.

        Args:
            method: upper case.
            url_or_path: absolute inside the pin, or relative to the base.
            params: added to the query; None values are left out, lists repeat the name.
            headers: no credentials: those come from ``auth``, after the pin was checked.
            form: fields of a form body; a function is called anew for each attempt.
            json: value or ready bytes of a JSON body.
            auth: an `httpx.Auth` whose ``async_auth_flow`` is driven here.
            accept: value of ``Accept``.
            expect: ``json`` refuses a 2xx body that is not JSON (a 204 has none); ``searchset`` too, but leaves
                its syntax to who decodes it (`check_page`); ``binary`` and ``any`` differ in the size allowed.
            limit_bytes: of a 2xx body, before and after decoding; None takes the limits' own.
            deadline_s: for everything, waits and repetitions included.
            endpoint_class: names a class of `Limits.classes`; ``token`` has the token endpoint's rules.

        Returns:
            The answer of any status, after the repetitions that are allowed (see `raise_for_status`).

        Raises:
            DestinationRefused: the URL, or one that the auth flow asked for, lies outside the pin.
            TransportError: no usable answer came; a subclass says why.
            ConfigurationError: method, header or URL cannot be sent.
        """
        asked = RequestParts(method, self._url(url_or_path, params), _headers(accept, headers), form, json)
        treatment = self._treatment(expect, limit_bytes, deadline_s, endpoint_class)
        if deadline_s is None:
            return await self._answered(auth, asked, treatment)
        async with self._deadline(deadline_s):
            return await self._answered(auth, asked, treatment)

    def check_page(self, body: bytes) -> None:
        """The syntax and size of what was asked for as a searchset, for when decoding it does not settle that.

        Raises:
            BadBody, BodyTooLarge: as `request` does for JSON; counted likewise.
        """
        try:
            check_syntax(body, depth=self.limits.depth, entries=self.limits.entries)
        except (BadBody, BodyTooLarge) as error:
            self._exchange.count_failure(error)
            raise

    @property
    def small_page(self) -> int:
        """Bytes up to which a page that decodes into entries cannot have too many of them."""
        return 0 if self.limits.depth is not None else self.limits.entries * SMALLEST_ENTRY

    async def _answered(
        self, auth: httpx.Auth | None, asked: RequestParts, treatment: _Treatment
    ) -> Response:
        if auth is None:
            treatment = replace(treatment, start=True)
            return await self._send(asked.outgoing(), treatment, _renewal(asked))
        login = ready_login(auth, asked.url)
        if login is None:
            return await drive(auth, asked.build(), lambda request: self._sent(auth, request, treatment))
        ready = asked.outgoing()
        ready.headers.update(login.headers)
        answer = await self._send(ready, treatment, None)
        again = login.told(answer.status)
        if again is None:
            return answer
        return await drive(again, asked.build(), lambda request: self._sent(auth, request, treatment))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url_or_path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx.Auth | None = None,
        accept: str = "*/*",
        limit_bytes: int | None = None,
        deadline_s: float | None = None,
        endpoint_class: str | None = None,
    ) -> AsyncIterator[Download]:
        """Send a request and read its body piece by piece, or into a file, within a limit.

        Repeats until the body begins and not after. ``deadline_s`` None is five times the limit of
        one attempt.

        Raises:
            HttpStatusError: any status but 2xx.
            DestinationRefused, TransportError, ConfigurationError: as for `request`; also while reading.
        """
        asked = RequestParts(method, self._url(url_or_path, params), _headers(accept, headers), None, None)
        bound = deadline_s if deadline_s is not None else _STREAM_ATTEMPTS_LONG * self.limits.total_s
        treatment = self._treatment("binary", limit_bytes, bound, endpoint_class)
        try:
            async with self._deadline(bound), AsyncExitStack() as held:
                raw = await self._opened(held, auth, asked, treatment)
                if isinstance(raw, Response):
                    raise_for_status(raw)
                    raise ConfigurationError("A stream was asked for, and an answer without one came.")
                yield Download(raw, treatment.limit_bytes)
        except Unanswered as failed:
            raise failed.failure.error from None

    async def aclose(self) -> None:
        """Close every connection of the family, if this is its first transport."""
        if self._owner:
            if self._exchange.quota is not None:
                self._exchange.quota.close()
            await self._exchange.wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _url(self, url_or_path: str, params: Params | None) -> str:
        plain = _PLAIN_PATH.fullmatch(url_or_path)  # inside the pin whatever it is
        url = f"{self.origin.base_url}{url_or_path}" if plain else origins.resolve(self.origin, url_or_path)
        query = _query(params)
        if not query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def _treatment(
        self, expect: Expect, limit_bytes: int | None, deadline_s: float | None, endpoint_class: str | None
    ) -> _Treatment:
        usual = self.limits.binary_bytes if expect == "binary" else self.limits.json_bytes
        deadline = None if deadline_s is None else self.clock.monotonic() + deadline_s
        return _Treatment(expect, limit_bytes if limit_bytes is not None else usual, deadline, endpoint_class)

    @asynccontextmanager
    async def _deadline(self, seconds: float | None) -> AsyncIterator[None]:
        bound = asyncio.timeout(seconds)
        try:
            async with bound:
                yield
        except TimeoutError:
            if not bound.expired():
                raise
            error = TimedOut("The deadline passed before the answer was complete.")
            self._exchange.count_failure(error)
            raise error from None

    async def _send(
        self, request: ReadyRequest | httpx.Request, treatment: _Treatment, renew: Renewal | None
    ) -> Response:
        return await self._exchange.send(request, self._plan(request, treatment, renew))

    def _plan(
        self, request: ReadyRequest | httpx.Request, treatment: _Treatment, renew: Renewal | None
    ) -> AttemptRules:
        renewable = renew is not None or b"client_assertion=" not in (request.content or b"")
        rule = retry.repeat_rule(
            request.method,
            request.path if isinstance(request, ReadyRequest) else request.url.path,
            treatment.endpoint_class,
            never=self._never_retry,
            renewable=renewable,
            once=isinstance(request, httpx.Request) and bool(request.extensions.get(ONCE)),
        )
        return AttemptRules(
            self.origin,
            rule,
            treatment.expect,
            treatment.limit_bytes,
            treatment.endpoint_class,
            treatment.deadline,
            renew,
            treatment.start,
            next(self._exchange.numbers),
        )

    async def _sent(self, auth: httpx.Auth, request: httpx.Request, treatment: _Treatment) -> Response:
        if is_token_request(auth, request):
            return await self._ask_token(request, treatment)
        origins.check(self.origin, str(request.url))
        return await self._send(request, treatment, None)

    async def _ask_token(self, request: httpx.Request, treatment: _Treatment) -> Response:
        place = self.for_origin(str(request.url.copy_with(query=None)))
        token = _Treatment("any", self.limits.json_bytes, treatment.deadline, retry.TOKEN, start=True)
        return await place._send(without_bearer(request), token, renewed_by(request))

    async def _opened(
        self, held: AsyncExitStack, auth: httpx.Auth | None, asked: RequestParts, treatment: _Treatment
    ) -> httpx.Response | Response:
        async def opened(request: httpx.Request) -> httpx.Response | Response:
            if auth is not None and is_token_request(auth, request):
                return await self._ask_token(request, treatment)
            origins.check(self.origin, str(request.url))
            return await self._exchange.open(held, request, self._plan(request, treatment, None))

        return await (opened(asked.build()) if auth is None else drive(auth, asked.build(), opened))


def _renewal(asked: RequestParts) -> Renewal | None:
    return asked.outgoing if callable(asked.form) else None


def _headers(accept: str, more: Mapping[str, str] | None) -> dict[str, str]:
    headers = {**_SENT_ALWAYS, "accept": accept}
    headers.update((name.lower(), value) for name, value in (more or {}).items())
    # One coding only is read; whatever the caller says, nothing else is asked for.
    headers["accept-encoding"] = _SENT_ALWAYS["accept-encoding"]
    return headers


def _query(params: Params | None) -> str:
    pairs = params.items() if isinstance(params, Mapping) else params or ()
    spread: list[str] = []
    for name, value in pairs:
        values = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
        spread += [f"{_escaped(name)}={_escaped(_text(one))}" for one in values if one is not None]
    return "&".join(spread)


def _escaped(text: str) -> str:
    return text if _UNESCAPED.fullmatch(text) else quote(text, safe="")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
