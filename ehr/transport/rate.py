"""How often one host is asked: adaptive concurrency, token bucket, host-wide pause, circuit breaker.

All on the clock it is given. Requirements S28, S29 and S30 of the EHR layer. State is kept by scheme,
host and port and shared by every `Transport` of one family.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from ehr.errors import BreakerOpen
from ehr.transport.concurrency import ConcurrencyLimit
from ehr.transport.retry import TOKEN
from ehr.transport.settings import ClassLimit, Clock, Limits


class Outcome(Enum):
    """What an attempt says about the host's health."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Cancelled, or never sent."""


@dataclass(slots=True)
class TokenBucket:
    """At most ``rate`` starts a second over any longer time, and a burst of ``burst`` at once.

    Attributes:
        rate: per second; None is unlimited.
        burst: starts that may follow each other at once, 1 or more.
    """

    rate: float | None
    burst: int = 1
    _next: float = float("-inf")

    def reserve(self, now: float) -> float:
        """Take the next turn; the seconds to wait until it comes, 0 or more."""
        if self.rate is None:
            return 0.0
        step = 1 / self.rate
        # The bucket is full again `burst` steps after the last turn; a turn may be that much early.
        turn = max(self._next, now)
        self._next = turn + step
        return max(0.0, turn - (self.burst - 1) * step - now)


@dataclass(slots=True)
class Breaker:
    """Leaves a host alone that failed too often in a row, then lets one request try.

    Attributes:
        failures: in a row, after which it opens.
        pause_s: how long it stays open.
    """

    failures: int
    pause_s: float
    _count: int = 0
    _open_until: float | None = None
    _trying: bool = False

    def enter(self, now: float) -> bool:
        """Ask to send a request now.

        Returns:
            Whether this is the one request that tries a host that failed.

        Raises:
            BreakerOpen: the host is being left alone.
        """
        if self._open_until is None:
            return False
        if now < self._open_until or self._trying:
            raise BreakerOpen(
                f"The host failed {self._count} times in a row and is left alone for now. "
                "Nothing was sent; start again later."
            )
        self._trying = True
        return True

    def leave(self, trial: bool, outcome: Outcome, now: float) -> None:
        """Say how a request that `enter` let pass ended; ``trial`` is what `enter` returned."""
        if trial:
            self._trying = False
        if outcome is Outcome.ANSWERED:
            self._count, self._open_until = 0, None
        elif outcome is Outcome.FAILED:
            self._count += 1
            if trial or self._count >= self.failures:
                self._open_until = now + self.pause_s

    @property
    def is_open(self) -> bool:
        """Whether the host is left alone, or being tried."""
        return self._open_until is not None


@dataclass(slots=True)
class _Gate:
    """Concurrency and rate of one endpoint class."""

    limit: asyncio.Semaphore | None
    bucket: TokenBucket


class Turn:
    """One attempt's place at the host, held with ``async with``; set ``outcome`` before leaving.

    Attributes:
        outcome: of the host's health.
        too_much: the host said, or showed by its silence, that it is asked too much at once.
    """

    __slots__ = ("_gate", "_halvings", "_host", "_trial", "outcome", "too_much")

    def __init__(self, host: HostRate, gate: _Gate) -> None:
        self._host = host
        self._gate = gate
        self._halvings = 0
        self._trial = False
        self.outcome = Outcome.UNKNOWN
        self.too_much = False

    async def __aenter__(self) -> Self:
        own, host = self._gate.limit, self._host
        if own is not None:
            await own.acquire()
        try:
            self._halvings = await host.limit.enter()
            try:
                await host.wait(self._gate)
                self._trial = host.breaker.enter(host.clock.monotonic())
            except BaseException:
                host.limit.leave()
                raise
        except BaseException:
            if own is not None:
                own.release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        host = self._host
        host.breaker.leave(self._trial, self.outcome, host.clock.monotonic())
        if self.too_much:
            host.limit.too_much(self._halvings)
        elif self.outcome is Outcome.ANSWERED:
            host.limit.fine()
        host.limit.leave()
        if self._gate.limit is not None:
            self._gate.limit.release()


@dataclass(slots=True)
class HostRate:
    """The state of one host."""

    limits: Limits
    clock: Clock
    breaker: Breaker = field(init=False)
    limit: ConcurrencyLimit = field(init=False)
    _bucket: TokenBucket = field(init=False)
    _gates: dict[str, _Gate] = field(default_factory=dict)
    _paused_until: float = float("-inf")

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.limits.breaker_failures, self.limits.breaker_pause_s)
        self.limit = ConcurrencyLimit(self.limits.concurrency)
        self._bucket = TokenBucket(self.limits.requests_per_s)

    def pause(self, seconds: float) -> None:
        """No request to this host starts for that long; a longer pause stays."""
        self._paused_until = max(self._paused_until, self.clock.monotonic() + seconds)

    def turn(self, endpoint_class: str | None) -> Turn:
        """A place among those in flight, after every wait; the attempt runs inside.

        Entering it raises BreakerOpen where the host is being left alone.
        """
        return Turn(self, self._gate(endpoint_class))

    async def wait(self, gate: _Gate) -> None:
        """Wait as rates and pauses ask."""
        now = self.clock.monotonic()
        wait = max(gate.bucket.reserve(now), self._bucket.reserve(now))
        if wait > 0:
            await self.clock.sleep(wait)
        # Others may lengthen the pause while this one waits.
        while (left := self._paused_until - self.clock.monotonic()) > 0:
            await self.clock.sleep(left)

    def _gate(self, endpoint_class: str | None) -> _Gate:
        name = endpoint_class or ""
        if name not in self._gates:
            rate = None if name in ("", TOKEN) else self.limits.class_requests_per_s
            limit = self.limits.classes.get(name, ClassLimit(requests_per_s=rate))
            own = None if limit.concurrency is None else asyncio.Semaphore(limit.concurrency)
            self._gates[name] = _Gate(own, TokenBucket(limit.requests_per_s))
        return self._gates[name]


@dataclass(slots=True)
class Rates:
    """The hosts that one family of transports talks to."""

    limits: Limits
    clock: Clock
    _hosts: dict[tuple[str, str, int], HostRate] = field(default_factory=dict)

    @property
    def halvings(self) -> int:
        """How often a host said that it was asked too much at once."""
        return sum(host.limit.halvings for host in self._hosts.values())

    def host(self, authority: tuple[str, str, int]) -> HostRate:
        """The state of a host, made on first use."""
        if authority not in self._hosts:
            self._hosts[authority] = HostRate(self.limits, self.clock)
        return self._hosts[authority]
