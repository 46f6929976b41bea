"""``FederatedModelTraining``: the part of a pod in training by rounds.

The arrays come with each round; the pod trains on its own training rows, and gives the difference with the metrics
on its validation rows. Nothing is kept from one round to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.algorithms.results import collect as modeller
from federated.algorithms.workplace import Trained, Workplace
from federated.errors import FederatedError, InvalidArgument, TaskRefused
from federated.models.catalogue import ModelChoice, made
from federated.models.interface import Amount, Model, Rows, Tensors
from federated.models.rows import read
from federated.models.selection import Selection
from federated.models.shapes import check_finite


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is trained on what.

    Attributes:
        model: see `ModelChoice`.
        data: columns, and how they become numbers; with a target.
        epochs, steps: training in all; one of them.
    """

    model: ModelChoice
    data: Selection
    epochs: int | None = None
    steps: int | None = None

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
        TaskRefused: it cannot be made.
    """
    return made(parameters.model, parameters.data, planned(parameters)[1])


class RowsTrainer:
    """Trains one model on the rows of one pod; see `federated.algorithms.workplace.Trainer`.

    Args:
        parameters: see `Parameters`.
        place: the task in this pod.

    Raises:
        TaskRefused: the pod has no data for the task, or it does not fit.
    """

    def __init__(self, parameters: Parameters, place: Workplace) -> None:
        self._model, self._place = model(parameters), place
        reading = read(place.data, parameters.data)
        self._rows, self._validation = reading.part("train"), reading.part("validation")
        self.weight, self.metric_rows = len(self._rows), len(self._validation)
        if not self.weight:
            raise TaskRefused(
                "NO_DATA", "The data source has no training row for this task. Nothing was run."
            )
        self._measure_what_can_be()

    def _measure_what_can_be(self) -> None:
        # A target that the model cannot take is found before the task is accepted, not in its first round.
        for rows in (self._rows, self._validation):
            guarded("The model", self._model.measure, rows)

    def train(self, tensors: Tensors, amount: int, round_number: int) -> Trained:
        """Train from these arrays.

        Raises:
            TaskRefused: they do not fit the model, or training gave no finite numbers; nothing was sent.
        """
        guarded("The model", self._model.load, tensors)
        before = self._model.tensors()
        seed = self._place.seed("training", round_number)
        guarded("Training", self._model.fit, self._rows, amount, seed)
        return Trained(difference(self._model.tensors(), before), measured(self._model, self._validation))


def trainer(parameters: Parameters, place: Workplace) -> RowsTrainer:
    """The worker side; reads the pod's data once."""
    return RowsTrainer(parameters, place)


def difference(after: Tensors, before: Tensors) -> dict[str, NDArray[Any]]:
    """New minus old, in the types of the model.

    Raises:
        TaskRefused: names or shapes have changed, or a number is not finite; nothing was sent.
    """
    if list(after) != list(before) or any(after[name].shape != before[name].shape for name in before):
        raise _refused("Training changed the names or shapes of the model's tensors")
    update = {name: np.asarray(after[name] - before[name]) for name in before}
    try:
        check_finite(update)
    except InvalidArgument as error:
        raise _refused(f"Training failed: {error} (is the learning rate too large?)") from None
    return update


def measured(model: Model, rows: Rows) -> dict[str, float]:
    """The model's metrics on some rows, exactly those that it declares; NaN where not defined.

    Raises:
        TaskRefused: it cannot be measured, or gives other metrics than it declares.
    """
    found: Mapping[str, float] = guarded("The model", model.measure, rows)
    if set(found) != set(model.metrics):
        raise _refused("The model gives other metrics than it declares")
    return {name: float(found[name]) for name in model.metrics}


def guarded(what: str, work: Any, *arguments: Any) -> Any:
    """Call a model, and let no sentence of its own leave the pod: one of a plug-in can hold a patient's values.

    Raises:
        TaskRefused: it failed.
    """
    try:
        return work(*arguments)
    except TaskRefused:
        raise
    except FederatedError as error:
        raise _refused(f"{what} failed: {error}") from None
    except Exception as error:  # noqa: BLE001 # a plug-in may raise anything
        raise _refused(f"{what} failed ({type(error).__name__})") from None


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"{why}. Nothing was sent.")


worker = trainer

__all__ = [
    "Parameters",
    "RowsTrainer",
    "difference",
    "guarded",
    "measured",
    "model",
    "modeller",
    "planned",
    "trainer",
    "worker",
]
