"""``FederatedModelTraining``: the part of a pod in training by rounds.

The arrays come with each round; the pod trains on its own training rows, and gives the difference with the metrics
on its validation rows. Nothing is kept from one round to the next. Fewer rows than the pod's smallest cell give
neither: a step on one row is that row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext, Trained
from federated.errors import TaskRefused
from federated.models.catalogue import ModelChoice, made
from federated.models.guarded import difference, guarded, measured
from federated.models.interface import Amount, Model, Tensors
from federated.models.rows import read
from federated.models.selection import Selection
from federated.models.weights import Weights, brought


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is trained on what.

    Attributes:
        model: see `ModelChoice`.
        data: columns, and how they become numbers; with a target.
        epochs, steps: training in all; one of them.
        weights: what training begins with, inside the task; None for the model's own start.
    """

    model: ModelChoice
    data: Selection
    epochs: int | None = None
    steps: int | None = None
    weights: Weights | None = None

    def __post_init__(self) -> None:
        planned(self)
        if self.data.target is None:
            raise ValueError("data names no target")


def planned(parameters: Parameters) -> tuple[int, Amount]:
    """All training of the task, and its unit."""
    given: list[tuple[int, Amount]] = []
    if parameters.epochs is not None:
        given.append((parameters.epochs, "epochs"))
    if parameters.steps is not None:
        given.append((parameters.steps, "steps"))
    if len(given) != 1 or given[0][0] < 1:
        raise ValueError("give either epochs or steps, 1 or more")
    return given[0]


def model(parameters: Parameters) -> Model:
    """The model as training begins; the same arrays wherever it is made.

    Raises:
        TaskRefused: it cannot be made, or its weights do not fit it.
    """
    begun = made(parameters.model, parameters.data, planned(parameters)[1])
    if parameters.weights is not None:
        begun.load(brought(parameters.weights, begun.tensors()))
    return begun


class RowsTrainer:
    """Trains one model on the rows of one pod; see `federated.algorithms.step_context.Trainer`.

    Args:
        parameters: see `Parameters`.
        place: the task in this pod.

    Raises:
        TaskRefused: the pod has no data for the task, or it does not fit.
    """

    def __init__(self, parameters: Parameters, place: StepContext) -> None:
        self._model, self._place, self._parameters = model(parameters), place, parameters
        reading = read(place.data, parameters.data)
        self._rows, self._validation = reading.part("train"), reading.part("validation")
        self.weight, self.metric_rows = len(self._rows), len(self._validation)
        if self.weight < place.smallest_cell:
            # The same words for none and for a few.
            raise TaskRefused(
                "NO_DATA",
                "The data source has fewer training rows for this task than may count. Nothing was run.",
            )
        self._measure_what_can_be()

    def _measure_what_can_be(self) -> None:
        # A target that the model cannot take is found before the task is accepted, not in its first round.
        for rows in (self._rows, self._validation):
            measured(self._model, rows)

    def train(self, tensors: Tensors, amount: int, round_number: int) -> Trained:
        """Train from these arrays.

        Raises:
            TaskRefused: they do not fit the model, training gave no finite numbers, or it would see too few rows;
                nothing was sent.
        """
        if self._rows_seen(amount) < self._place.smallest_cell:
            raise TaskRefused(
                "TASK_SETUP_ERROR",
                "A round of the task sees fewer rows than may be seen (steps and batch_size). Nothing was run.",
            )
        guarded("Taking the arrays", self._model.load, tensors)
        before = self._model.tensors()
        seed = self._place.seed("training", round_number)
        guarded("Training", self._model.fit, self._rows, amount, seed)
        return Trained(difference(self._model.tensors(), before), self._metrics())

    def _rows_seen(self, amount: int) -> int:
        """How many rows a round trains on; in steps of small batches it is not all of them."""
        size = self._parameters.model.settings.get("batch_size")
        if self._parameters.steps is None or size is None:
            return self.weight
        return min(self.weight, amount * int(size))

    def _metrics(self) -> dict[str, float]:
        if self.metric_rows < self._place.smallest_cell:
            return dict.fromkeys(self._model.metrics, math.nan)
        return measured(self._model, self._validation)


def trainer(parameters: Parameters, place: StepContext) -> RowsTrainer:
    """The worker side; reads the pod's data once."""
    return RowsTrainer(parameters, place)


worker = trainer

__all__ = ["Parameters", "RowsTrainer", "model", "modeller", "planned", "trainer", "worker"]
