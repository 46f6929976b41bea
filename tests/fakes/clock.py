"""A clock that stands still until somebody sleeps on it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ehr.transport.settings import Clock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class FakeClock:
    """Sleeping moves the time on at once; ``slept`` remembers each wait."""

    seconds: float = 0.0
    chance: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.seconds + seconds
        await asyncio.sleep(0)
        # Sleepers that began at one moment end at one moment, as on a real clock.
        self.seconds = max(self.seconds, until)

    @property
    def clock(self) -> Clock:
        return Clock(
            now=self.now, monotonic=lambda: self.seconds, sleep=self.sleep, random=lambda: self.chance
        )
