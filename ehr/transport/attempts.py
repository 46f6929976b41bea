"""One request through the policy: its turn, its attempts, its answer read within limits."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState

from ehr.errors import (
    BadBody,
    BodyTooLarge,
    BreakerOpen,
    ConfigurationError,
    EHRError,
    ProtocolViolation,
    QuotaSpent,
    TimedOut,
    TransportError,
)
from ehr.transport import body, retry
from ehr.transport.engine import AiohttpTransport
from ehr.transport.failure import TOO_MUCH, Failure, Unanswered, failure_of, health, too_much
from ehr.transport.origin import Origin
from ehr.transport.quota import DailyQuota
from ehr.transport.rate import HostRate, Outcome, Rates
from ehr.transport.redact import event_logger, log_event
from ehr.transport.request import ReadyRequest
from ehr.transport.response import Response
from ehr.transport.settings import Clock, Limits

Expect = Literal["json", "searchset", "binary", "any"]
R = TypeVar("R", bound=httpx.Response | Response | Failure)
Renewal = Callable[[], "ReadyRequest | httpx.Request"]

_LOG = event_logger("ehr.transport")
_ERROR_BODY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class AttemptRules:
    """How one request is treated.

    Attributes:
        origin: the pin that its URL was checked against.
        rule: when it may be repeated.
        expect: what a 2xx body must be.
        limit_bytes: of a 2xx body.
        endpoint_class: for rates.
        deadline: on the clock's monotonic time; None is none.
        renew: makes the request anew for each further attempt; None sends the same one.
        start: it belongs to the start of a run, which no spent budget holds up.
        number: of the request in its family, for the log: repetitions have the same.
    """

    origin: Origin
    rule: retry.Repeat
    expect: Expect
    limit_bytes: int
    endpoint_class: str | None = None
    deadline: float | None = None
    renew: Renewal | None = None
    start: bool = False
    number: int = 0


@dataclass(slots=True)
class AttemptLoop:
    """What the transports of one family share: engine, rates, limits, clock, counters, the day's budget."""

    wire: httpx.AsyncBaseTransport
    limits: Limits
    clock: Clock
    quota: DailyQuota | None = None
    provider: str | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rates: Rates = field(init=False)
    counters: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rates = Rates(self.limits, self.clock)

    async def send(self, request: ReadyRequest | httpx.Request, plan: AttemptRules) -> Response:
        """The answer, after the attempts that the plan allows; 4xx and 5xx are answers too."""
        requests = _requests(request, plan)
        return _returned(await self._repeated(lambda: self._attempt(next(requests), plan), plan))

    async def open(
        self, held: AsyncExitStack, request: httpx.Request, plan: AttemptRules
    ) -> httpx.Response | Response:
        """As `send`, but a 2xx answer comes with its body unread; ``held`` closes it.

        Nothing is repeated once the body has begun.
        """

        async def attempt() -> httpx.Response | Response | Failure:
            entered = AsyncExitStack()
            result = await self._entered(entered, request, plan)
            if isinstance(result, httpx.Response):
                held.push_async_exit(entered)
            else:
                await entered.aclose()
            return result

        last = await self._repeated(attempt, plan)
        return last if isinstance(last, httpx.Response) else _returned(last)

    async def _repeated(self, attempt: Callable[[], Awaitable[R]], plan: AttemptRules) -> R:
        """What the last attempt came to; as many are made as the plan, the limits and the deadline allow."""
        came = [await attempt()]
        if not self._repeats(came[0], plan):
            return came[0]  # nearly every request; tenacity would take 40 µs to say so

        async def following() -> R:
            return came.pop() if came else await attempt()

        last: R = await self._retrying(plan)(following)
        return last

    def _retrying(self, plan: AttemptRules) -> AsyncRetrying:
        """Our rules as tenacity's strategies. Its own clock serves its statistics alone; the injected one decides."""

        def wait_s(state: RetryCallState) -> float:
            came = _outcome(state)
            asked = (
                retry.retry_after_s(came.headers, self.clock.now()) if isinstance(came, Response) else None
            )
            return retry.wait_s(state.attempt_number, asked, self.limits.longest_wait_s, self.clock.random())

        def stops(state: RetryCallState) -> bool:
            again_at = self.clock.monotonic() + state.upcoming_sleep
            late = plan.deadline is not None and again_at >= plan.deadline
            return late or state.attempt_number >= self.limits.attempts

        def count(state: RetryCallState) -> None:
            self.counters["retries"] += 1

        return AsyncRetrying(
            sleep=self.clock.sleep,
            retry=lambda state: self._repeats(_outcome(state), plan),
            wait=wait_s,
            stop=stops,
            before_sleep=count,
            retry_error_callback=_outcome,
        )

    async def _entered(
        self, entered: AsyncExitStack, request: httpx.Request, plan: AttemptRules
    ) -> httpx.Response | Response | Failure:
        started = self.clock.monotonic()
        host = self.rates.host(plan.origin.authority)
        result: httpx.Response | Response | Failure
        try:
            result = await entered.enter_async_context(self._opened(request, plan))
        except Unanswered as failed:
            result = failed.failure
        except (BreakerOpen, QuotaSpent) as error:
            self.count_failure(error)
            return Failure(error, repeatable=False)
        duration_s = self.clock.monotonic() - started
        if isinstance(result, httpx.Response):
            self._note_answer(result.status_code, plan, duration_s)
        else:
            self._note(result, plan, duration_s, host)
        return result

    @asynccontextmanager
    async def _opened(
        self, request: httpx.Request, plan: AttemptRules
    ) -> AsyncIterator[httpx.Response | Response]:
        async with self.rates.host(plan.origin.authority).turn(plan.endpoint_class) as turn:
            self._count(plan)
            try:
                async with self._answered(request) as raw:
                    turn.outcome = Outcome.FAILED if raw.status_code >= 500 else Outcome.ANSWERED
                    turn.too_much = raw.status_code in TOO_MUCH
                    if 200 <= raw.status_code <= 299:
                        yield raw
                    else:
                        yield await self._read(raw, request, plan)
            except Unanswered as failed:
                turn.outcome, turn.too_much = health(failed.failure), too_much(failed.failure)
                raise
            except TransportError as error:
                turn.outcome = health(Failure(error, repeatable=False))
                raise

    async def _attempt(self, request: ReadyRequest | httpx.Request, plan: AttemptRules) -> Response | Failure:
        host = self.rates.host(plan.origin.authority)
        try:
            async with host.turn(plan.endpoint_class) as turn:
                started = self.clock.monotonic()
                self._count(plan)
                result = await self._once(request, plan)
                turn.outcome, turn.too_much = health(result), too_much(result)
        except (BreakerOpen, QuotaSpent) as error:
            self.count_failure(error)
            return Failure(error, repeatable=False)
        self._note(result, plan, self.clock.monotonic() - started, host)
        return result

    def _count(self, plan: AttemptRules) -> None:
        """One more request is sent, if the day's budget still has it."""
        if self.quota is not None and plan.endpoint_class != retry.TOKEN:
            self.quota.take(start=plan.start)
        self.counters["requests"] += 1

    async def _once(self, request: ReadyRequest | httpx.Request, plan: AttemptRules) -> Response | Failure:
        bound = asyncio.timeout(self.limits.total_s)
        try:
            async with bound:
                if isinstance(request, ReadyRequest) and isinstance(self.wire, AiohttpTransport):
                    return await self._fetched(self.wire, request, plan, bound)
                whole = request.plain() if isinstance(request, ReadyRequest) else request
                async with self._answered(whole) as raw:
                    return await self._read(raw, whole, plan)
        except TimeoutError:
            if not bound.expired():
                raise
            return Failure(TimedOut("The request took longer than one attempt may take."), repeatable=True)
        except Unanswered as failed:
            return failed.failure
        except ProtocolViolation as error:
            return Failure(error, repeatable=True)
        except (BadBody, BodyTooLarge) as error:
            return Failure(self._spent_by(error, plan) or error, repeatable=False)

    async def _fetched(
        self, engine: AiohttpTransport, request: ReadyRequest, plan: AttemptRules, bound: asyncio.Timeout
    ) -> Response:
        """As `_answered` and `_read`, with none of httpx's objects between; ``bound`` is the attempt's own."""
        end = bound.when()
        if end is not None and self.limits.head_s < self.limits.total_s:
            bound.reschedule(end - self.limits.total_s + self.limits.head_s)
        try:
            answer = await engine.fetch(request, plan.origin)
            try:
                bound.reschedule(end)
                status, headers = answer.status, answer.headers
                if not 200 <= status <= 299:
                    return Response(status, headers, await _error_body(answer.read), request.url)
                if request.method == "HEAD" or status == 204:
                    return Response(status, headers, b"", request.url)
                content = await answer.read(plan.limit_bytes)
            finally:
                answer.close()
        except httpx.TransportError as error:
            raise Unanswered(failure_of(error)) from None
        return Response(status, headers, self._checked(content, headers, plan), request.url)

    def _checked(self, content: bytes, headers: httpx.Headers, plan: AttemptRules) -> bytes:
        if plan.expect not in ("json", "searchset"):
            return content
        content = body.check_kind(content, headers.get("content-type"))
        if plan.expect == "json":
            body.check_syntax(content, depth=self.limits.depth, entries=self.limits.entries)
        return content

    def _spent_by(self, error: BadBody | BodyTooLarge, plan: AttemptRules) -> QuotaSpent | None:
        """The vendor's sign that its own quota is used up: nobody is asked about any more today."""
        empty = isinstance(error, BadBody) and error.reason == "empty" and not plan.start
        return self.quota.refused() if empty and self.quota is not None and self.quota.empty_body else None

    @asynccontextmanager
    async def _answered(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        try:
            raw = await self.wire.handle_async_request(request)
            try:
                yield raw
            finally:
                if isinstance(raw.stream, httpx.AsyncByteStream):
                    await raw.stream.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise Unanswered(failure_of(error)) from None

    async def _read(self, raw: httpx.Response, request: httpx.Request, plan: AttemptRules) -> Response:
        status, headers = raw.status_code, raw.headers
        url = str(request.url)
        if not 200 <= status <= 299:
            read = partial(body.read, raw_stream(raw), *framing(headers))
            return Response(status, headers, await _error_body(read), url)
        if request.method == "HEAD" or status == 204:
            return Response(status, headers, b"", url)
        content = await body.read(raw_stream(raw), *framing(headers), plan.limit_bytes)
        return Response(status, headers, self._checked(content, headers, plan), url)

    def _repeats(self, came: httpx.Response | Response | Failure, plan: AttemptRules) -> bool:
        if isinstance(came, Failure):
            return came.repeatable and retry.repeats_failure(plan.rule, unsent=came.unsent)
        return isinstance(came, Response) and retry.repeats_status(plan.rule, came.status)

    def _note(
        self, result: Response | Failure, plan: AttemptRules, duration_s: float, host: HostRate
    ) -> None:
        if isinstance(result, Failure):
            self.count_failure(result.error)
            self._log("http.failed", plan, duration_s, kind=type(result.error).__name__)
            return
        self._note_answer(result.status, plan, duration_s)
        if result.status not in TOO_MUCH:
            return
        asked = retry.retry_after_s(result.headers, self.clock.now())
        if result.status == 429 or (result.status == 503 and asked is not None):
            host.pause(retry.wait_s(1, asked, self.limits.longest_wait_s, self.clock.random()))

    def _note_answer(self, status: int, plan: AttemptRules, duration_s: float) -> None:
        self.counters[f"status.{status // 100}xx"] += 1
        self._log("http.answered", plan, duration_s, kind=plan.endpoint_class, status=status)

    def _log(
        self,
        event: str,
        plan: AttemptRules,
        duration_s: float,
        *,
        kind: str | None,
        status: int | None = None,
    ) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            about = {"kind": kind, "status": status, "provider": self.provider, "request": plan.number}
            log_event(_LOG, event, duration_s=duration_s, **about)  # type: ignore[arg-type]  # as they are named

    def count_failure(self, error: EHRError) -> None:
        """Count a failure by its class."""
        self.counters["failures"] += 1
        self.counters[f"failures.{type(error).__name__}"] += 1


def raw_stream(raw: httpx.Response) -> AsyncIterator[bytes]:
    """The undecoded body, also of a mocked answer."""
    if not isinstance(raw.stream, httpx.AsyncByteStream):
        raise ConfigurationError(
            "The inner transport gave a synchronous stream; expected an asynchronous one."
        )
    return aiter(raw.stream)


def framing(headers: httpx.Headers) -> tuple[list[str], str | None]:
    """Content codings and declared length."""
    return headers.get_list("content-encoding"), headers.get("content-length")


async def _error_body(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    """The body beside an error status; lost rather than allowed to hide the status."""
    try:
        return await read(_ERROR_BODY_BYTES)
    except (BodyTooLarge, BadBody, ProtocolViolation, httpx.TransportError):
        return b""


def _requests(
    request: ReadyRequest | httpx.Request, plan: AttemptRules
) -> Iterator[ReadyRequest | httpx.Request]:
    """What is sent at each attempt: a further one may need the request made anew."""
    while True:
        yield request
        request = plan.renew() if plan.renew is not None else request


def _outcome(state: RetryCallState) -> Any:
    """What the attempt returned; what it raised is raised again."""
    return None if state.outcome is None else state.outcome.result()


def _returned(result: Response | Failure) -> Response:
    if isinstance(result, Failure):
        raise result.error from None
    return result
