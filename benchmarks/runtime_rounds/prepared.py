"""A component that trains nothing: each pod gives an update that was made beforehand. What is left is the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.algorithms.step_context import StepContext, Trained
from federated.models.interface import Rows, Tensors


@dataclass(frozen=True, slots=True)
class Parameters:
    """How large the model is, and for how many rounds it "trains"."""

    size: int
    steps: int


class Still:
    """A float32 vector that is what it is."""

    counts_in = "steps"
    metrics: Mapping[str, float] = {}

    def __init__(self, size: int) -> None:
        self._tensors = {"weights": np.zeros(size, np.float32)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return dict(self._tensors)

    def load(self, tensors: Tensors) -> None:
        self._tensors = dict(tensors)

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        raise NotImplementedError

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        raise NotImplementedError

    def measure(self, rows: Rows) -> dict[str, float]:
        return {}


@cache
def update_of(pod: str, size: int) -> NDArray[np.float32]:
    """One pod's update, the same in every round."""
    seed = int.from_bytes(pod.encode()[-4:], "big")
    made = np.random.default_rng(seed).standard_normal(size, np.float32)
    made *= np.float32(0.1)
    return made


class Prepared:
    """Gives what was made beforehand."""

    weight = 1
    metric_rows = 0

    def __init__(self, parameters: Parameters, place: StepContext) -> None:
        self._update = {"weights": update_of(place.pod, parameters.size)}

    def train(self, tensors: Tensors, amount: int, round_number: int) -> Trained:
        return Trained(self._update, {})


def model(parameters: Parameters) -> Still:
    return Still(parameters.size)


def trainer(parameters: Parameters, place: StepContext) -> Prepared:
    return Prepared(parameters, place)


def planned(parameters: Parameters) -> tuple[int, str]:
    return parameters.steps, "steps"


def worker(*_: Any) -> None:
    raise NotImplementedError


modeller = worker
