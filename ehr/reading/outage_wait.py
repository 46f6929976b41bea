"""Waiting for an EHR that is left alone for a while, so that a short outage does not pass over thousands of patients.

The transport refuses at once what would go to a host that failed again and again. A run that took that for an answer
would be through with everybody before the host is back. It waits instead, for so long and no longer: an EHR that
stays away ends the run early, with everybody who is left to be asked by the next start.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ehr.transport.settings import SYSTEM_CLOCK, Clock

T = TypeVar("T")

STEP_S = 5.0
"""Between two looks whether the host is asked again; one that is not costs no request."""


@dataclass(slots=True)
class OutageWait:
    """How long one run waits, all of its patients together and each of them.

    Args:
        longest_s: since anybody was served, and for one patient; 0 waits for nobody.
        clock: time.
    """

    longest_s: float = 0.0
    clock: Clock = SYSTEM_CLOCK
    _since: float | None = field(default=None, init=False)

    async def ask(self, ask: Callable[[], Awaitable[tuple[T, bool]]]) -> T:
        """What came of a patient, asked again and again while the host is left alone.

        Args:
            ask: gives what came, and whether the host was left alone meanwhile.
        """
        began: float | None = None
        while True:
            came, refused = await ask()
            if not refused:
                self._since = None
                return came
            now = self.clock.monotonic()
            began = now if began is None else began
            self._since = now if self._since is None else self._since
            if now - min(began, self._since) >= self.longest_s:
                return came
            await self.clock.sleep(STEP_S)
