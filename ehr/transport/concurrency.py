"""How many requests one host has in flight: as many as it bears, never more than it may (S29).

Additive increase, multiplicative decrease, as TCP does it: an answer that says "too much" (429, 503, a time-out)
halves the number, answers while it is used up let it creep up again. Requests that were under way when it was halved
say nothing new, so a burst of refusals halves it once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

GROWTH = 0.1
"""Places gained for a full round of answers: one more place after ten rounds."""


@dataclass(slots=True)
class ConcurrencyLimit:
    """Places for requests in flight.

    Attributes:
        bound: the most there may ever be, 1 or more.
        halvings: how often the host said that it was too much.
    """

    bound: int
    halvings: int = 0
    _allowed: float = field(init=False)
    _taken: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._allowed = float(self.bound)

    @property
    def allowed(self) -> int:
        """Requests that may be in flight now, 1 to ``bound``."""
        return int(self._allowed)

    def leave(self) -> None:
        """Give a place back that `enter` gave."""
        self._taken -= 1
        self._hand_on()

    async def enter(self) -> int:
        """Take a place, which must be given back with `leave`; returns what `too_much` wants to be told."""
        if self._taken < self.allowed and not self._waiting:
            self._taken += 1
            return self.halvings
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._taken -= 1  # it was handed a place that it does not use
                self._hand_on()
            elif turn in self._waiting:  # else it was passed over, being cancelled
                self._waiting.remove(turn)
            raise
        return self.halvings

    def _hand_on(self) -> None:
        while self._waiting and self._taken < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def fine(self) -> None:
        """A request that holds a place was answered; while every place is taken, that speaks for more."""
        if self._taken >= self.allowed:
            self._allowed = min(float(self.bound), self._allowed + GROWTH / self._allowed)

    def too_much(self, since: int) -> None:
        """The host is overburdened; ``since`` is what `enter` gave the request that found out."""
        if since == self.halvings:
            self.halvings += 1
            self._allowed = max(1.0, self._allowed / 2)
