"""As many requests in flight as the host bears: fewer when it says so, slowly more when it answers (S29)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.transport.client import Limits, Transport
from ehr.transport.concurrency import GROWTH, ConcurrencyLimit
from tests.ehr.transport.scripted import Scripted, client, says
from tests.fakes.clock import FakeClock
from tests.fakes.misbehaving_server import Received, answer, misbehaving


@asynccontextmanager
async def taken(places: ConcurrencyLimit) -> AsyncIterator[int]:
    since = await places.enter()
    try:
        yield since
    finally:
        places.leave()


async def test_it_is_halved_once_for_a_burst_of_refusals_and_never_below_one() -> None:
    places = ConcurrencyLimit(8)
    async with AsyncExitStack() as held:
        since = [await held.enter_async_context(taken(places)) for _ in range(8)]
        for one in since:
            places.too_much(one)  # all of them were under way before the first refusal
        assert (places.allowed, places.halvings) == (4, 1)
    for expected in (2, 1, 1):
        places.too_much(places.halvings)
        assert places.allowed == expected


async def test_it_creeps_up_to_its_bound_while_every_place_is_taken() -> None:
    places = ConcurrencyLimit(4)
    places.too_much(0)
    places.too_much(1)
    answers = 0
    while places.allowed < 4:
        async with AsyncExitStack() as held:
            for _ in range(places.allowed):
                await held.enter_async_context(taken(places))
            places.fine()
            answers += 1
    assert answers == pytest.approx((1 + 2 + 3) / GROWTH, rel=0.3)
    async with AsyncExitStack() as held:
        for _ in range(4):
            await held.enter_async_context(taken(places))
        for _ in range(1000):
            places.fine()
    assert places.allowed == 4


async def test_answers_to_a_lone_request_say_nothing_about_many() -> None:
    places = ConcurrencyLimit(8)
    places.too_much(0)
    for _ in range(1000):
        async with taken(places):
            places.fine()
    assert places.allowed == 4


async def test_who_is_cancelled_and_passed_over_ends_as_cancelled() -> None:
    """A place is handed on between the cancelling and the moment when the cancelled one notices."""
    places = ConcurrencyLimit(1)
    await places.enter()
    waiting = asyncio.create_task(places.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    places.leave()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await places.enter() == 0


@given(
    st.integers(1, 9), st.lists(st.sampled_from(["enter", "leave", "cancel", "fine", "much"]), max_size=60)
)
def test_never_more_are_in_than_allowed_when_they_came(bound: int, steps: list[str]) -> None:
    """Property: also where waiting ones are cancelled, at the moment when they are handed a place too."""

    async def work() -> None:
        places = ConcurrencyLimit(bound)
        inside: list[asyncio.Event] = []
        tasks: list[asyncio.Task[None]] = []

        async def one() -> None:
            async with taken(places):
                assert places._taken <= bound
                leave = asyncio.Event()
                inside.append(leave)
                try:
                    await leave.wait()
                finally:
                    inside.remove(leave)

        for step in steps:
            if step == "enter":
                tasks.append(asyncio.create_task(one()))
            elif step == "leave" and inside:
                inside[0].set()
            elif step == "cancel" and tasks:
                tasks[len(tasks) // 2].cancel()
            elif step == "fine":
                places.fine()
            elif step == "much":
                places.too_much(places.halvings)
            if step != "leave":  # so that somebody is cancelled in the moment of being handed a place
                await asyncio.sleep(0)
            assert places._taken <= bound
        for _ in range(3 * len(tasks) + 3):
            for leave in list(inside):
                leave.set()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert places._taken == 0
        assert not places._waiting

    asyncio.run(work())


@pytest.mark.parametrize("bears", [1, 2, 3, 5])
async def test_a_server_that_bears_only_some_at_a_time_is_soon_asked_no_more(bears: int) -> None:
    """It answers 429 to everyone beyond; what is found is few refusals, every answer, and the work goes on side by
    side."""
    now = refused = 0
    widths: list[int] = []

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal now, refused
        now += 1
        over = now > bears
        refused += over
        widths.append(now)
        await asyncio.sleep(0.004)
        now -= 1
        writer.write(answer(status="429 Slow") if over else answer())

    clock = FakeClock()
    limits = Limits(concurrency=16, attempts=30, breaker_failures=1000)
    async with (
        misbehaving(script) as server,
        Transport(server.base, allow_http_loopback=True, clock=clock.clock, limits=limits) as transport,
    ):
        got = await asyncio.gather(*(transport.request("GET", f"Patient/{n}") for n in range(300)))
    assert {one.status for one in got} == {200}
    late = widths[100:]
    assert sum(late) / len(late) <= bears + 1
    assert refused <= 75
    assert max(late) >= bears


@pytest.mark.parametrize("sign", ["429 Slow", "503 Busy", "silence"])
async def test_each_sign_of_too_much_halves_it(sign: str) -> None:
    clock = FakeClock()

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.number == 1:
            if sign == "silence":
                await asyncio.Event().wait()
            writer.write(answer(status=sign))
        else:
            writer.write(answer())

    limits = Limits(concurrency=8, read_s=0.1)
    async with (
        misbehaving(script) as server,
        Transport(server.base, allow_http_loopback=True, clock=clock.clock, limits=limits) as transport,
    ):
        assert (await transport.request("GET", "Patient/1")).status == 200
        host = transport._exchange.rates.host(transport.origin.authority)
        assert host.limit.allowed == 4
        assert transport.counters["halvings"] == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 502])
async def test_other_trouble_is_no_sign_of_too_much(status: int) -> None:
    async with client(Scripted([says(status), says()])) as transport:
        await transport.request("GET", "Patient/1")
        assert transport._exchange.rates.host(transport.origin.authority).limit.allowed == 8
        assert "halvings" not in transport.counters
