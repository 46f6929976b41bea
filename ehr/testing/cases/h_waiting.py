"""H. Reliability: how often and how long a server is asked."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

from ehr.errors import EHRError
from ehr.records.fetched import State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import Fault, Hang, Status, When
from ehr.sandbox.witness import Endpoint
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.server import Received, said
from ehr.testing.synthetic import ANA, procedures
from ehr.transport.client import Transport
from ehr.transport.settings import Limits

TYPE = "Procedure"
_MOST_ATTEMPTS = 10


@case(132)
async def rel_429_honours_retry_after_seconds_and_date(context: CaseContext) -> None:
    """The wait that a server asks for is kept, as seconds and as a date."""
    context.people(*procedures(1))
    async with context.open() as site:
        for wish, seconds in ((7, 7.0), (timedelta(seconds=20), 19.0)):
            context.ehr.fails(Fault(Status(429, retry_after=wish), When(resource_type=TYPE), times=1))
            before = context.clock.seconds
            equal((await site.procedures(ANA)).state, State.OK, "state after the wait")
            waited = context.clock.seconds - before
            expect(
                seconds <= waited <= seconds + 5,
                f"{waited:.1f} s were waited; about {seconds:.0f} were asked for",
            )


@case(133)
async def rel_retry_after_absurd_is_clamped_or_deferred(context: CaseContext) -> None:
    """An absurd wish to wait, or one that cannot be read, holds nobody up for long."""
    context.people(*procedures(1))
    async with context.open() as site:
        for wish in ("999999999", "-5", "soon", "NaN", "1e9", ""):
            context.ehr.fails(Fault(Status(429, retry_after=wish), When(resource_type=TYPE), times=1))
            before = context.clock.seconds
            found = await site.procedures(ANA)
            waited = context.clock.seconds - before
            expect(waited <= context.limits.longest_wait_s * 1.1, f"{waited:.0f} s were waited")
            expect(found.state in (State.OK, State.UNAVAILABLE, State.QUOTA), f"state: {found.state.name}")


@case(134)
async def rel_429_pauses_whole_host(context: CaseContext) -> None:
    """When a server says that it is too much, nobody asks it until the wait is over."""
    context.people(*procedures(1))
    context.ehr.fails(Fault(Status(429, retry_after=30), When(resource_type=TYPE), times=1))
    async with context.open(rate={"concurrency": 1}) as site:
        await asyncio.gather(
            site.procedures(ANA), *(site.conditions(PatientRef(f"kit-{n}")) for n in range(5))
        )
    told = next(number for number, one in enumerate(context.ehr.requests) if one.status == 429)
    early = [one for one in context.ehr.requests[told + 1 :] if one.at - context.ehr.requests[told].at < 30]
    equal(len(early), 0, "requests before the wait was over")
    expect(len(context.ehr.requests) > told + 5, "the others were not asked for after the wait")


@case(135)
async def rel_5xx_retried_then_unavailable(context: CaseContext) -> None:
    """A server in trouble is asked again some times, and then is unavailable, not empty."""
    context.people(*procedures(2))
    async with context.open() as site:
        for status in (500, 502, 503, 504):
            context.ehr.fails(Fault(Status(status), When(resource_type=TYPE), times=2))
            equal((await site.procedures(ANA)).state, State.OK, f"state after two answers of HTTP {status}")
        before = len(context.ehr.searches(TYPE))
        context.ehr.fails(Fault(Status(503), When(resource_type=TYPE)))
        found = await site.procedures(ANA)
    equal((found.state, found.items), (State.UNAVAILABLE, ()), "state of a server in trouble")
    tries = len(context.ehr.searches(TYPE)) - before
    expect(2 <= tries <= _MOST_ATTEMPTS, f"{tries} tries; expected 2 to {_MOST_ATTEMPTS}")
    expect(
        sorted(context.clock.slept) != [] and context.clock.seconds > 1,
        "nothing was waited between the tries",
    )


@case(136)
async def rel_4xx_not_retried(context: CaseContext) -> None:
    """An answer that asking again cannot change is taken as it is."""
    context.people(*procedures(2))
    async with context.open() as site:
        for status in (400, 403, 404, 405, 410, 422):
            context.ehr.fails(Fault(Status(status), When(resource_type=TYPE)))
            before = len(context.ehr.searches(TYPE))
            found = await site.procedures(ANA)
            equal(len(context.ehr.searches(TYPE)) - before, 1, f"tries after HTTP {status}")
            expect(not found.complete, f"HTTP {status} reads as {found.state.name}")


@case(137)
async def rel_non_idempotent_not_retried(context: CaseContext) -> None:
    """What may change something on the server is sent once at most."""
    around = context.surroundings
    operations = [("POST", f"DocumentReference/{name}") for name in context.profile.never_retry]
    async with Transport(
        context.ehr.base_url,
        clock=around.clock,
        inner=around.wire,
        never_retry=context.profile.never_retry,
    ) as transport:
        for method, path in (*operations, ("PUT", "Patient/x"), ("POST", "Patient"), ("DELETE", "Patient/x")):
            end = path.rpartition("/")[2]
            context.ehr.says(end, lambda _: said({}, 503))
            before = len(context.ehr.requests)
            with suppress(EHRError):
                await transport.request(method, path, json={"resourceType": "Patient"})
            equal(len(context.ehr.requests) - before, 1, f"times that {method} …/{end} was sent")


@case(138, on=("socket",))
async def rel_timeouts_bound_every_call(context: CaseContext) -> None:
    """A server that never answers holds nobody for ever: not at discovery, not at the login, not at a search."""
    context.limits = Limits(connect_s=1, read_s=0.1, write_s=0.1, total_s=0.3, attempts=1)
    context.people(*procedures(1))
    began = time.monotonic()
    endpoints: tuple[Endpoint, ...] = ("discovery", "metadata", "token", "search")
    for endpoint in endpoints:
        when = When(endpoint=endpoint)
        context.ehr.fails(Fault(Hang(), when))
        try:
            async with context.open() as site:
                found = await site.procedures(ANA)
                right = endpoint == "metadata" or not context.ehr.login
                expect(
                    not found.complete or right, f"a server that hangs at {endpoint} gave a complete record"
                )
        except EHRError:
            pass
        context.ehr.app.held.release()
    took = time.monotonic() - began
    expect(took < 60, f"{took:.0f} s with time-outs of 0.3 s")


@case(139)
async def rel_rate_limit_respected_under_load(context: CaseContext) -> None:
    """No more requests are in flight, and no more a second, than profile and site allow."""
    flying = most = 0

    async def counted(received: Received) -> None:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.002)
        flying -= 1

    context.ehr.says(TYPE, counted)
    refs = [PatientRef(f"kit-{number}") for number in range(30)]
    async with context.open() as site:
        await asyncio.gather(*(site.procedures(ref) for ref in refs))
    allowed = context.profile.rate.concurrency
    expect(1 < most <= allowed, f"{most} requests in flight; the profile allows {allowed}")
    context.ehr.requests.clear()
    begun = context.clock.seconds
    async with context.open(rate={"requests_per_s": 4, "concurrency": 2}) as site:
        most = 0
        await asyncio.gather(*(site.procedures(ref) for ref in refs))
    expect(most <= 2, f"{most} requests in flight; the site allows 2")
    took = context.clock.seconds - begun
    least = (len(context.ehr.requests) - 2) / 4
    expect(took >= least, f"{len(context.ehr.requests)} requests in {took:.1f} s; the site allows 4 a second")


@case(140, level="should")
async def rel_breaker_opens_and_recovers(context: CaseContext) -> None:
    """A server that fails again and again is left alone for a while, and asked again later."""
    context.people(*procedures(1))
    async with context.open() as site:
        context.ehr.fails(Fault(Status(500), When(resource_type=TYPE)))
        states = {(await site.procedures(PatientRef(f"kit-{n}"))).state for n in range(20)}
        equal(states, {State.UNAVAILABLE}, "states of a server that fails")
        before = len(context.ehr.requests)
        equal((await site.procedures(ANA)).state, State.UNAVAILABLE, "state while it is left alone")
        equal(len(context.ehr.requests), before, "requests while it is left alone")
        context.ehr.fails()
        context.clock.seconds += context.limits.breaker_pause_s + 1
        equal((await site.procedures(ANA)).state, State.OK, "state when it is asked again")
