"""``ModelEvaluation``: how well a model does on the rows of each pod.

The metrics can be added up under masks, or be returned pod by pod where its owner lets them. Metrics of fewer rows
than the pod's smallest cell are not given: one row's loss is that row.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federated.aggregators.values import Layout, reals_layout, with_metrics
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.errors import TaskRefused
from federated.models.catalogue import ModelChoice, made
from federated.models.guarded import guarded, measured
from federated.models.interface import Model, Rows
from federated.models.rows import Part, read_rows
from federated.models.selection import Selection
from federated.models.weights import Weights, found
from federated.task.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is measured on what.

    Attributes:
        model: see `ModelChoice`.
        data: columns, and how they become numbers; with a target.
        weights: the model's numbers.
        split: the rows: "train", "validation", "test" or "all".
    """

    model: ModelChoice
    data: Selection
    weights: Weights
    split: Part = "test"

    def __post_init__(self) -> None:
        if self.data.target is None:
            raise ValueError("data names no target")


@dataclass(frozen=True, slots=True)
class Measured:
    """Metrics of one pod, exact; they stay there.

    Attributes:
        metrics: name to value, NaN where not defined.
        rows: how many rows they are of.
    """

    metrics: Mapping[str, float]
    rows: int

    def shown(self, smallest_cell: int) -> dict[str, float]:
        """The metrics that may leave; all NaN where they are of fewer rows than ``smallest_cell``."""
        few = self.rows < smallest_cell
        return {name: math.nan if few else value for name, value in self.metrics.items()}


def ready(choice: ModelChoice, data: Selection, weights: Weights, place: StepContext) -> Model:
    """The task's model with its numbers, in a pod; blocks while they are fetched.

    Raises:
        TaskRefused: it cannot be made, or its numbers cannot be had or do not fit.
    """
    model = made(choice, data)
    folder = place.context.get_task_results_dir() / "models"
    tensors = found(weights, model.tensors(), place.context.model_urls, folder)
    guarded("Taking the arrays", model.load, tensors)
    return model


def result_of(model: Model, rows: Rows, place: StepContext) -> WorkerResult[Measured]:
    """The metrics on some rows, and what of them may leave.

    Raises:
        TaskRefused: there is no row, or the model does not fit them.
    """
    if not len(rows):
        raise TaskRefused("NO_DATA", "The data source has no row of this part for the task. Nothing was run.")
    result = Measured(measured(model, rows), len(rows))
    shown = result.shown(place.smallest_cell)
    leaves = {name: None if math.isnan(value) else value for name, value in shown.items()}
    return WorkerResult(result, {"metrics": leaves})


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[Measured]:
    """Measure the model on this pod's rows.

    Raises:
        TaskRefused: the model or the data cannot be used.
    """
    return await asyncio.to_thread(_evaluated, parameters, place)


def _evaluated(parameters: Parameters, place: StepContext) -> WorkerResult[Measured]:
    model = ready(parameters.model, parameters.data, parameters.weights, place)
    return result_of(model, read_rows(place.data, parameters.data, parameters.split), place)


def layout(parameters: Any, spec: TaskSpec) -> Layout:
    """What goes into a sum: each metric, and whether the pod has it.

    Raises:
        TaskRefused: the model cannot be made.
    """
    return reals_layout({}, made(parameters.model, parameters.data).metrics)


def values(parameters: Any, place: StepContext, result: WorkerResult[Measured]) -> Mapping[str, Any]:
    """This pod's part of the sum."""
    return with_metrics({}, result.local.shown(place.smallest_cell))


worker = step

__all__ = ["Measured", "Parameters", "layout", "modeller", "ready", "result_of", "step", "values", "worker"]
