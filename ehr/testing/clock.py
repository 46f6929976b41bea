"""A clock that stands still until somebody sleeps on it, so that no case waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ehr.transport.settings import Clock

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(slots=True)
class StandingClock:
    """Time for client and server alike.

    Attributes:
        seconds: since `START`; set it to move on.
        slept: every wait that was asked for, in order.
    """

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """The time of day."""
        return START + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.slept.append(seconds)
        until = self.seconds + seconds
        await asyncio.sleep(0)
        # Sleepers that began at one moment end at one moment, as on a real clock.
        self.seconds = max(self.seconds, until)

    @property
    def clock(self) -> Clock:
        """The same as the transport wants it."""
        return Clock(now=self.now, monotonic=lambda: self.seconds, sleep=self.sleep, random=lambda: 0.0)
