"""When training ends before all of it is done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """When to stop before all is trained.

    Attributes:
        metric: one of the model's.
        patience: rounds without improvement after which training ends.
        delta: by how much a value must be better than the best so far.
        better: whether a lower or a higher value is better; None takes lower for names with "loss" or "error" and
            for "mse", higher for all others.
    """

    metric: str
    patience: int = 3
    delta: float = 0.0
    better: Literal["lower", "higher"] | None = None

    @property
    def lower(self) -> bool:
        """Whether a lower value is better."""
        if self.better is not None:
            return self.better == "lower"
        return any(word in self.metric for word in ("loss", "error", "mse"))

    def gained(self, now: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> bool:
        """Whether this round is better than every one before it by more than ``delta``; a NaN is never better."""
        sign = -1.0 if self.lower else 1.0
        new = sign * now.get(self.metric, math.nan)
        old = [sign * value for one in before if not math.isnan(value := one.get(self.metric, math.nan))]
        return not math.isnan(new) and (not old or new > max(old) + self.delta)
