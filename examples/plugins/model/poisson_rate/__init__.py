"""Poisson regression: a rate for each row, as an example of a model that a plug-in brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.arrays import same_form
from federated.models.interface import Amount, Rows, Tensors
from federated.models.shapes import check_rows

LARGEST_DEVIANCE = 1000.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a task may say.

    Attributes:
        learning_rate: length of a step.
    """

    learning_rate: float = 0.05


class PoissonRate:
    """One weight for each input and a bias; the logarithm of the rate is linear in them."""

    metrics: Mapping[str, float] = {"deviance": LARGEST_DEVIANCE}

    def __init__(self, settings: Settings, inputs: int, counts_in: Amount) -> None:
        self.counts_in, self._rate = counts_in, settings.learning_rate
        self._tensors = {"weights": np.zeros(inputs), "bias": np.zeros(1)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {name: array.copy() for name, array in self._tensors.items()}

    def load(self, tensors: Tensors) -> None:
        self._tensors = {name: array.copy() for name, array in same_form(tensors, self._tensors).items()}

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        """All rows in every step, so that epochs are steps, and no chance: the seed is not needed."""
        self._check(rows)
        for _ in range(amount):
            miss = self.predict(rows.inputs) - rows.targets
            self._tensors["weights"] -= self._rate * (rows.inputs.T @ miss) / len(rows)
            self._tensors["bias"] -= self._rate * miss.mean()

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        rates: NDArray[np.float64] = np.exp(inputs @ self._tensors["weights"] + self._tensors["bias"])
        return rates

    def measure(self, rows: Rows) -> dict[str, float]:
        """Mean Poisson deviance; 0 for a perfect fit."""
        self._check(rows)
        if not len(rows):
            return {"deviance": float("nan")}
        seen, rates = rows.targets, self.predict(rows.inputs)
        logs = np.log(np.where(seen > 0, seen, 1.0) / rates)
        found = 2 * float(np.mean(seen * logs - (seen - rates)))
        return {"deviance": min(found, LARGEST_DEVIANCE)}

    def _check(self, rows: Rows) -> None:
        check_rows(rows, len(self._tensors["weights"]))
        if (rows.targets < 0).any():
            raise InvalidArgument("a target is below 0; expected counts")


model = PoissonRate
