"""Concurrency, token bucket, host-wide pause and breaker on a clock that stands still (S28, S29, S30)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import BreakerOpen
from ehr.transport.rate import Breaker, HostRate, Outcome, Rates, TokenBucket
from ehr.transport.settings import ClassLimit, Limits
from tests.fakes.clock import FakeClock


@given(
    st.floats(0.1, 100),
    st.integers(1, 5),
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
)
def test_no_window_has_more_starts_than_rate_and_burst_allow(
    rate: float, burst: int, gaps: list[float]
) -> None:
    """S29, property: starts in any window <= burst + rate * length."""
    bucket, now, starts = TokenBucket(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        starts.append(now + bucket.reserve(now))
    assert starts == sorted(starts)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            allowed = burst + rate * (starts[last] - starts[first])
            assert last - first + 1 <= allowed + 1e-6


def test_a_bucket_that_was_not_used_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(1.0, 2)
    assert [bucket.reserve(100.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]


def test_no_rate_is_no_wait() -> None:
    assert [TokenBucket(None).reserve(0.0) for _ in range(3)] == [0.0, 0.0, 0.0]


async def run(host: HostRate, clock: FakeClock, kind: str | None = None) -> float:
    async with host.turn(kind) as turn:
        turn.outcome = Outcome.ANSWERED
        return clock.seconds


async def test_the_rate_of_a_host_holds_under_load() -> None:
    """S29."""
    clock = FakeClock()
    host = HostRate(Limits(requests_per_s=10, concurrency=50), clock.clock)
    starts = sorted(await asyncio.gather(*(run(host, clock) for _ in range(20))))
    assert starts == pytest.approx([n / 10 for n in range(20)])


async def test_an_endpoint_class_has_limits_of_its_own_within_its_hosts() -> None:
    """S29."""
    running: dict[str | None, int] = {None: 0, "bulk": 0}
    most = dict(running)
    host = HostRate(Limits(concurrency=4, classes={"bulk": ClassLimit(concurrency=1)}), FakeClock().clock)

    async def work(kind: str | None) -> None:
        async with host.turn(kind):
            running[kind] += 1
            most[kind] = max(most[kind], running[kind])
            assert sum(running.values()) <= 4
            await asyncio.sleep(0)
            running[kind] -= 1

    await asyncio.gather(*(work(kind) for kind in (None, "bulk") * 10))
    assert most["bulk"] == 1 and most[None] in {3, 4}


async def test_a_pause_holds_everyone_and_a_shorter_one_does_not_cut_it() -> None:
    """S28: 429 pauses the whole host."""
    clock = FakeClock()
    host = HostRate(Limits(), clock.clock)
    host.pause(30)
    host.pause(5)
    assert await asyncio.gather(*(run(host, clock) for _ in range(5))) == [30.0] * 5
    assert await run(host, clock) == 30.0


async def test_hosts_do_not_share_their_state() -> None:
    clock = FakeClock()
    rates = Rates(Limits(), clock.clock)
    rates.host(("https", "a", 443)).pause(30)
    assert await run(rates.host(("https", "b", 443)), clock) == 0.0
    assert rates.host(("https", "a", 443)) is rates.host(("https", "a", 443))


def test_a_breaker_opens_after_failures_in_a_row_and_one_request_tries() -> None:
    """S30."""
    breaker = Breaker(failures=3, pause_s=30)
    for _ in range(2):
        breaker.leave(breaker.enter(0), Outcome.FAILED, 0)
    breaker.leave(breaker.enter(0), Outcome.ANSWERED, 0)
    for _ in range(3):
        breaker.leave(breaker.enter(1), Outcome.FAILED, 1)
    with pytest.raises(BreakerOpen):
        breaker.enter(30.9)
    assert breaker.enter(31) is True
    with pytest.raises(BreakerOpen):
        breaker.enter(31)
    breaker.leave(True, Outcome.FAILED, 31)
    with pytest.raises(BreakerOpen):
        breaker.enter(60)
    assert breaker.enter(61) is True
    breaker.leave(True, Outcome.ANSWERED, 61)
    assert not breaker.is_open and breaker.enter(61) is False


def test_a_cancelled_trial_lets_the_next_one_try() -> None:
    breaker = Breaker(failures=1, pause_s=10)
    breaker.leave(breaker.enter(0), Outcome.FAILED, 0)
    breaker.leave(breaker.enter(10), Outcome.UNKNOWN, 10)
    assert breaker.enter(10) is True


def test_a_late_failure_of_an_older_request_does_not_end_the_trial() -> None:
    breaker = Breaker(failures=1, pause_s=10)
    older = breaker.enter(0)
    breaker.leave(breaker.enter(0), Outcome.FAILED, 0)
    assert breaker.enter(10) is True
    breaker.leave(older, Outcome.UNKNOWN, 10)
    with pytest.raises(BreakerOpen):
        breaker.enter(10)


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from(Outcome)), max_size=40), st.integers(1, 4))
def test_a_breaker_never_stays_shut_for_longer_than_its_pause(
    events: list[tuple[float, Outcome]], failures: int
) -> None:
    """Property: open means at least so many failures since the last answer; after the pause one may try."""
    breaker, now, row = Breaker(failures, 30), 0.0, 0
    for gap, outcome in events:
        now += gap
        try:
            trial = breaker.enter(now)
        except BreakerOpen:
            assert row >= failures
            continue
        breaker.leave(trial, outcome, now)
        row = 0 if outcome is Outcome.ANSWERED else row + (outcome is Outcome.FAILED)
        assert breaker.is_open == (row >= failures)
    breaker.enter(now + 31)


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    """S34."""
    host = HostRate(Limits(concurrency=1), FakeClock().clock)
    async with host.turn(None):
        waiting = asyncio.create_task(run(host, FakeClock()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert await run(host, FakeClock()) == 0.0


async def test_each_endpoint_class_has_the_vendor_s_rate_and_the_login_none() -> None:
    """S29: a vendor may count by resource type."""
    clock = FakeClock()
    host = HostRate(Limits(class_requests_per_s=10, concurrency=50), clock.clock)
    kinds = ("Condition", "Observation", "token", None)
    starts = {
        kind: sorted(await asyncio.gather(*(run(host, clock, kind) for _ in range(5)))) for kind in kinds
    }
    assert starts["Condition"] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert starts["Observation"][-1] - starts["Observation"][0] == pytest.approx(0.4)
    for kind in ("token", None):
        assert starts[kind][0] == starts[kind][-1]
