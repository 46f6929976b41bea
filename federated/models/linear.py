"""Linear and logistic regression by gradient steps, in NumPy.

One step moves against the gradient of the mean loss over a batch plus half of ``l2`` times the squared weights (not
the bias). With full batches a step is exactly additive: the mean of the pods' steps, weighted by their rows, is the
step on all rows together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.arrays import same_form
from federated.models.interface import Amount, Rows, Tensors
from federated.models.scores import bounds, clipped
from federated.models.shapes import check_rows

Kind = Literal["linear", "logistic"]
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a linear model is trained.

    Attributes:
        learning_rate: length of a step, in units of the gradient.
        l2: weight of the penalty, 0 or more.
        batch_size: rows of one step; None takes all rows.
        start: "zero", or "random": normal with a deviation of ``1 / sqrt(inputs)``, by ``seed``.
        seed: of a random start; the same model in every pod.
        largest_mse: bound of the metric "mse" of linear regression; a larger value is clipped to it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    learning_rate: float = 0.1
    l2: float = 0.0
    batch_size: int | None = None
    start: Literal["zero", "random"] = "zero"
    seed: int = 0
    largest_mse: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError("learning_rate must be a finite number above 0")
        if not 0 <= self.l2 < math.inf:
            raise ValueError("l2 must be 0 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError("batch_size must be 1 or more")
        if self.seed < 0:
            raise ValueError("seed must be 0 or more")
        if not 0 < self.largest_mse < math.inf:
            raise ValueError("largest_mse must be a finite number above 0")


class LinearModel:
    """One array of weights and a bias.

    Args:
        kind: "linear", or "logistic" for a target of 0 and 1.
        inputs: how many there are, 1 or more.
        settings: see `Settings`.
        counts_in: "epochs" or "steps"; with full batches they are the same.
    """

    def __init__(self, kind: Kind, inputs: int, settings: Settings, counts_in: Amount) -> None:
        self._kind, self._settings = kind, settings
        self.counts_in: Amount = counts_in
        self.metrics: Mapping[str, float] = bounds(
            classes=kind == "logistic", largest_mse=settings.largest_mse
        )
        weights = np.zeros(inputs)
        if settings.start == "random":
            chance = np.random.Generator(np.random.PCG64(settings.seed))
            weights = chance.normal(0.0, 1 / math.sqrt(inputs), inputs)
        self._tensors: dict[str, Vector] = {"weights": weights, "bias": np.zeros(1)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Copies of "weights" (one for each input) and "bias" (one number)."""
        return {name: array.copy() for name, array in self._tensors.items()}

    def load(self, tensors: Tensors) -> None:
        """Take other arrays.

        Raises:
            InvalidArgument: names, shapes or types are others, or a number is not finite.
        """
        found = same_form(tensors, self._tensors)
        self._tensors = {name: np.array(array, np.float64) for name, array in found.items()}

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        """Make steps.

        Raises:
            InvalidArgument: no rows, another number of inputs, or a logistic target that is not 0 or 1.
        """
        self._check(rows)
        if not len(rows):
            raise InvalidArgument("there is no row to train on")
        # Steps that are too long end in numbers that are not finite, and the trainer refuses those.
        with np.errstate(over="ignore", invalid="ignore"):
            for chosen in self._batches(len(rows), amount, seed):
                self._step(rows.inputs[chosen], rows.targets[chosen])

    def predict(self, inputs: Vector) -> Vector:
        """Linear: the value; logistic: the probability of a 1. Shape ``(rows,)``."""
        values = self._values(inputs)
        return values if self._kind == "linear" else 0.5 * (1 + np.tanh(values / 2))

    def measure(self, rows: Rows) -> dict[str, float]:
        """Logistic: "loss" (mean log loss), "accuracy" at 0.5, "auc"; linear: "mse", "r2" (not below -1)."""
        self._check(rows)
        return clipped(self._values(rows.inputs), rows.targets, self.metrics)

    def _check(self, rows: Rows) -> None:
        check_rows(rows, len(self._tensors["weights"]))
        if self._kind == "logistic" and not np.isin(rows.targets, (0.0, 1.0)).all():
            raise InvalidArgument(
                "a target of logistic regression is neither 0 nor 1; the task can state codes"
            )

    def _values(self, inputs: Vector) -> Vector:
        # Not BLAS: its sums depend on threads and alignment, and a restarted pod must give the same bytes.
        return np.asarray(np.einsum("ij,j->i", inputs, self._tensors["weights"]) + self._tensors["bias"])

    def _step(self, inputs: Vector, targets: Vector) -> None:
        error = self.predict(inputs) - targets
        rate, count = self._settings.learning_rate, len(targets)
        weights = self._tensors["weights"]
        gradient = np.einsum("ij,i->j", inputs, error) / count + self._settings.l2 * weights
        self._tensors["weights"] = weights - rate * gradient
        self._tensors["bias"] = self._tensors["bias"] - rate * (error.sum() / count)

    def _batches(self, rows: int, amount: int, seed: bytes) -> Iterator[Any]:
        size = self._settings.batch_size
        if size is None or size >= rows:
            yield from (slice(None) for _ in range(amount))
            return
        chance = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
        left = amount if self.counts_in == "steps" else amount * math.ceil(rows / size)
        while left:
            order = chance.permutation(rows)
            for start in range(0, rows, size)[:left]:
                yield order[start : start + size]
            left -= min(left, math.ceil(rows / size))


def linear_regression(settings: Settings, inputs: int, counts_in: Amount) -> LinearModel:
    """A model of a number."""
    return LinearModel("linear", inputs, settings, counts_in)


def logistic_regression(settings: Settings, inputs: int, counts_in: Amount) -> LinearModel:
    """A model of 0 and 1."""
    return LinearModel("logistic", inputs, settings, counts_in)
