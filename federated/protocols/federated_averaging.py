"""``FederatedAveraging``: train in the pods, add up their updates, go on from the mean; again, until it is done.

A round is: every pod gets the model, trains on its own rows, and gives new minus old with its metrics; the weighted
mean over the pods that answered is added to the model. What is left of the planned training after whole rounds is
trained in a shorter last one. The model of every round is on the disk before the next begins.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federated.aggregators.values import Layout, reals_layout, tensors_from_bytes, with_metrics
from federated.algorithms.step_context import StepContext, Trainer, parameters_of
from federated.errors import InvalidArgument, TaskRefused
from federated.models.files import save
from federated.models.interface import Model
from federated.protocols.early_stopping import EarlyStopping
from federated.protocols.sides import AddUp, TaskOutcome
from federated.protocols.training_rounds import TrainingRounds
from federated.rounds.coordinator import Coordinator
from federated.task import registry
from federated.task.envelope import Buffer
from federated.task.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Parameters:
    """How training is cut into rounds.

    Attributes:
        epochs_between_parameter_updates, steps_between_parameter_updates: training of one round, in the unit of the
            model; one of them, or neither for 1.
        auto_eval: whether metrics are measured and travel under the mask.
        early_stopping: see `EarlyStopping`; None trains all that was planned.
    """

    epochs_between_parameter_updates: int | None = None
    steps_between_parameter_updates: int | None = None
    auto_eval: bool = True
    early_stopping: EarlyStopping | None = None

    def amounts(self, total: int, unit: str) -> list[int]:
        """The training of each round; the last has what is left.

        Raises:
            TaskRefused: both are given, the one of the other unit, or more than there is.
        """
        chosen = {
            "epochs": self.epochs_between_parameter_updates,
            "steps": self.steps_between_parameter_updates,
        }
        between = chosen.pop(unit)
        if next(iter(chosen.values())) is not None:
            raise _refused(f"the model counts training in {unit}; give {unit}_between_parameter_updates")
        between = 1 if between is None else between
        if not 1 <= between <= total:
            raise _refused(
                f"{unit}_between_parameter_updates must be 1 to the {total} {unit} of the algorithm"
            )
        whole, left = divmod(total, between)
        return [between] * whole + ([left] if left else [])


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"FederatedAveraging: {why}. Nothing was run.")


def _component(spec: TaskSpec) -> tuple[Any, Any]:
    """The module that trains, and its parameters."""
    if len(spec.algorithms) != 1:
        raise _refused(f"it has {len(spec.algorithms)} algorithms; expected one that trains")
    unit = spec.algorithms[0]
    module = registry.load(registry.resolve(unit.name, unit.arguments))
    if not hasattr(module, "trainer"):
        raise _refused(f"{unit.name.removeprefix('bitfount.')} does not train in rounds")
    return module, parameters_of(module.Parameters, unit)


class _AveragingInPod:
    def __init__(self, parameters: Parameters, place: StepContext) -> None:
        module, chosen = _component(place.spec)
        self._place, self._auto_eval = place, parameters.auto_eval
        self._amounts = parameters.amounts(*module.planned(chosen))
        model: Model = module.model(chosen)
        self._like = model.tensors()
        self._metrics = dict(model.metrics) if parameters.auto_eval else {}
        self._trainer: Trainer = module.trainer(chosen, place)
        self.weight = float(self._trainer.weight)

    def layout(self) -> Layout:
        return reals_layout(self._like, self._metrics)

    async def give(self, note: Mapping[str, Any], body: Buffer) -> Mapping[str, Any]:
        number = int(note["round"])
        planned = self._amounts[number - 1] if 1 <= number <= len(self._amounts) else 0
        # A modeller that let one pod train and the others not would have the sum of that one alone.
        if not planned or note["amount"] != planned:
            raise _refused("a round asks for other training than the task has planned")
        try:
            tensors = tensors_from_bytes(body, self._like)
        except InvalidArgument as error:
            raise TaskRefused("TASK_SETUP_ERROR", str(error)) from None
        trained = await asyncio.to_thread(self._trainer.train, tensors, planned, number)
        self._place.observe("update", trained.update)
        metrics = {name: trained.metrics.get(name, math.nan) for name in self._metrics}
        return with_metrics(trained.update, metrics)

    async def result(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        raise TaskRefused("NO_ACCESS", "FederatedAveraging returns nothing of one pod.")

    async def finish(self, note: Mapping[str, Any], body: Buffer) -> None:
        """Keep the last model in the task's folder of results."""
        if memoryview(body).nbytes:
            tensors = tensors_from_bytes(body, self._like)
            facts = {"task": self._place.spec.hash.hex(), "rounds": str(note.get("rounds", ""))}
            save(self._place.results / "model.safetensors", tensors, facts)


def worker(parameters: Parameters, place: StepContext) -> _AveragingInPod:
    """The side in a pod; reads the data.

    Raises:
        TaskRefused: the algorithm or its data cannot be used.
    """
    return _AveragingInPod(parameters, place)


async def modeller(
    parameters: Parameters, coordinator: Coordinator, cohort: tuple[str, ...], add_up: AddUp
) -> TaskOutcome:
    """The modeller's side, from the first round or from where it was killed.

    Raises:
        TaskRefused: the parameters do not fit the model.
        TooFewPods: a round has no sum, and cannot be begun anew.
    """
    module, chosen = _component(coordinator.spec)
    model: Model = module.model(chosen)
    total, unit = module.planned(chosen)
    metrics = dict(model.metrics) if parameters.auto_eval else {}
    stop = parameters.early_stopping
    if stop is not None and stop.metric not in metrics:
        raise _refused(
            f"early_stopping names none of the metrics that are measured ({', '.join(metrics) or 'none'})"
        )
    amounts = parameters.amounts(total, unit)
    return await TrainingRounds(coordinator, cohort, add_up, model, metrics, stop).run(amounts)
