"""How well predictions agree with what was seen; NaN where a score is not defined.

``values`` of the two-class scores are on the logit scale, 0 in the middle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LARGEST_LOSS = 20.0


def bounds(*, classes: bool, largest_mse: float) -> dict[str, float]:
    """The metrics of a model of two classes, or of a number, each with the largest value that it is clipped to."""
    if classes:
        return {"loss": LARGEST_LOSS, "accuracy": 1.0, "auc": 1.0}
    return {"mse": largest_mse, "r2": 1.0}


def clipped(values: Vector, targets: Vector, largest: Mapping[str, float]) -> dict[str, float]:
    """The metrics that `bounds` names, each between minus its bound and its bound."""
    scores = {
        "loss": log_loss,
        "accuracy": accuracy,
        "auc": area_under_curve,
        "mse": mean_squared_error,
        "r2": r_squared,
    }
    return {
        name: float(np.clip(scores[name](values, targets), -bound, bound)) for name, bound in largest.items()
    }


def log_loss(values: Vector, targets: Vector) -> float:
    """Mean negative log likelihood of targets 0 and 1, in nats."""
    return _mean(np.logaddexp(0.0, values) - targets * values)


def accuracy(values: Vector, targets: Vector) -> float:
    """Share of rows on the right side of 0; 0 itself counts as a 1."""
    return _mean(((values >= 0) == (targets == 1)).astype(np.float64))


def area_under_curve(values: Vector, targets: Vector) -> float:
    """Chance that a row of class 1 has the higher value than one of class 0; a tie counts half (Mann and Whitney)."""
    ones = int(np.count_nonzero(targets == 1))
    zeros = len(targets) - ones
    if not ones or not zeros or np.isnan(values).any():
        return math.nan
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    total = float(ranks[inverse][targets == 1].sum())
    return (total - ones * (ones + 1) / 2) / (ones * zeros)


def mean_squared_error(values: Vector, targets: Vector) -> float:
    """In the target's unit, squared."""
    return _mean((values - targets) ** 2)


def r_squared(values: Vector, targets: Vector) -> float:
    """1 less the squared error over the variance of the targets; below 0 where their mean predicts better."""
    if not len(targets):
        return math.nan
    variance = float(np.mean((targets - targets.mean()) ** 2))
    return 1 - mean_squared_error(values, targets) / variance if variance else math.nan


def _mean(each: Vector) -> float:
    return float(each.mean()) if len(each) else math.nan
