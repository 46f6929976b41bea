"""The kit's standing clock, with a day and a chance of the tests' own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ehr.testing.clock import StandingClock
from ehr.transport.settings import Clock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class FakeClock(StandingClock):
    """Sleeping moves the time on at once; ``slept`` remembers each wait; ``chance`` is every random number."""

    chance: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    @property
    def clock(self) -> Clock:
        return replace(super().clock, random=lambda: self.chance)
