"""``ModelTrainingAndEvaluation``: each pod trains a model of its own, keeps it, and tells how well it does.

This is what one hospital alone can reach; with an aggregator only the mean over the pods is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federated.algorithms import training
from federated.algorithms.evaluation import Measured, layout, result_of, values
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.errors import TaskRefused
from federated.models.catalogue import ModelChoice
from federated.models.files import save
from federated.models.guarded import difference, guarded
from federated.models.rows import Part, read
from federated.models.selection import Selection
from federated.models.weights import Weights

FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is trained and measured on what.

    Attributes:
        model, data, epochs, steps, weights: as for ``FederatedModelTraining``.
        split: rows of the metrics: "validation" or "test".
    """

    model: ModelChoice
    data: Selection
    epochs: int | None = None
    steps: int | None = None
    weights: Weights | None = None
    split: Part = "test"

    def __post_init__(self) -> None:
        self.as_training()
        if self.split not in ("validation", "test"):
            raise ValueError("split must be validation or test: rows that were not trained on")

    def as_training(self) -> training.Parameters:
        """The part that says how to train."""
        return training.Parameters(self.model, self.data, self.epochs, self.steps, self.weights)


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[Measured]:
    """Train on this pod's training rows, keep the model in its folder of results, and measure it on other rows.

    Raises:
        TaskRefused: the model or the data cannot be used, or training gave no finite numbers.
    """
    return await asyncio.to_thread(_trained, parameters, place)


def _trained(parameters: Parameters, place: StepContext) -> WorkerResult[Measured]:
    chosen = parameters.as_training()
    model, reading = training.model(chosen), read(place.data, parameters.data)
    rows = reading.part("train")
    if not len(rows):
        raise TaskRefused("NO_DATA", "The data source has no training row for this task. Nothing was run.")
    before = model.tensors()
    guarded("Training", model.fit, rows, training.planned(chosen)[0], place.seed("training", 0))
    difference(model.tensors(), before)
    facts = {"task": place.spec.hash.hex(), "model": parameters.model.name, "pod": place.pod}
    save(place.results / FILE, model.tensors(), facts)
    return result_of(model, reading.part(parameters.split), place)


worker = step

__all__ = ["FILE", "Parameters", "layout", "modeller", "step", "values", "worker"]
