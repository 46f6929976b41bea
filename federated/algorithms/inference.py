"""``ModelInference``: what a model says about each row; it stays in the pod, as ``predictions.csv``.

Predictions are reserved in the pod's ledger before any is made. Where fewer are left than there are rows, so many of
the first rows are predicted, and the result says LIMITS_EXCEEDED.
"""

from __future__ import annotations

import asyncio
import csv
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from federated.algorithms.evaluation import ready
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.counts.differencing import Counted
from federated.errors import InvalidArgument, PolicyRefused, TaskRefused
from federated.models.catalogue import ModelChoice
from federated.models.guarded import predicted
from federated.models.interface import Model, Rows
from federated.models.postprocessing import Columns, Postprocessor, check_names, processed
from federated.models.rows import Part, read
from federated.models.selection import Selection
from federated.models.weights import Weights
from federated.screening.report.files import write

logger = logging.getLogger(__name__)

FILE = "predictions.csv"
BATCH = 4096
State = Literal["DONE", "LIMITS_EXCEEDED"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is predicted from what.

    Attributes:
        model: see `ModelChoice`.
        data: columns, and how they become numbers; without a target.
        weights: the model's numbers.
        split: the rows: "train", "validation", "test" or "all".
        class_outputs: names of the model's outputs, one for each.
        postprocessors: done to the predictions, in order.
    """

    model: ModelChoice
    data: Selection
    weights: Weights
    split: Part = "all"
    class_outputs: tuple[str, ...] = ()
    postprocessors: tuple[Postprocessor, ...] = ()

    def __post_init__(self) -> None:
        if self.data.target is not None:
            raise ValueError("data names a target; nothing is compared with one here")
        if len(set(self.class_outputs)) < len(self.class_outputs) or "row" in self.class_outputs:
            raise ValueError('class_outputs names a column twice, or calls one "row"')
        check_names(self.class_outputs)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What was predicted in one pod.

    Attributes:
        file: the table: ``row`` (number of the row in the data source) and the outputs.
        made: rows that have a prediction.
        wanted: rows that could have one.
        left_out: rows that cannot have one, by reason, see `federated.models.rows.TableReading`.
        state: whether the pod's ledger had enough for all.
    """

    file: Path
    made: int
    wanted: int
    left_out: Mapping[str, int]
    state: State


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[Predictions]:
    """Predict this pod's rows, as many as the ledger grants.

    Raises:
        TaskRefused: the model or the data cannot be used, ``class_outputs`` has another length than the model's
            output, or a postprocessor cannot be done.
    """
    return await asyncio.to_thread(_inferred, parameters, place)


def _inferred(parameters: Parameters, place: StepContext) -> WorkerResult[Predictions]:
    model = ready(parameters.model, parameters.data, parameters.weights, place)
    reading = read(place.data, parameters.data)
    rows = reading.part(parameters.split)
    # Outputs and postprocessors are tried on a row of zeros, so that a mistake costs no prediction.
    trial = predicted(model, np.zeros((1, rows.inputs.shape[1])))
    names = _names(parameters, trial.shape[1])
    _table(parameters, names, trial)
    granted = _reserved(parameters, place, len(rows))
    table = _predicted(model, rows, granted, len(names), place)
    columns = _table(parameters, names, table)
    file = write(place.results / FILE, _lines(columns, rows.keys[:granted]))
    state: State = "DONE" if granted == len(rows) else "LIMITS_EXCEEDED"
    for reason, count in reading.left_out.items():
        if count:
            logger.warning("%d rows have no prediction: %s", count, reason)
    result = Predictions(file, granted, len(rows), reading.left_out, state)
    return WorkerResult(result, {"state": state, "predictions": _told(place, granted)})


def _told(place: StepContext, count: int) -> int | None:
    """The number of predictions, where it may be told: a task chooses by its codes whose rows are counted."""
    if 0 < count < place.smallest_cell:
        return None
    cohort = f"predictions/{'' if place.data is None else place.data.name}"
    try:
        place.admit_counts(Counted("", cohort, {"predictions": count}))
    except PolicyRefused:
        return None
    return count


def _reserved(parameters: Parameters, place: StepContext, wanted: int) -> int:
    """How many may be made; a limit can stand at the model's name and at its file, and the smaller one counts."""
    for name in (parameters.model.name, parameters.weights.sha256):
        if wanted:
            wanted = min(wanted, place.reserve(name, wanted))
    return wanted


def _names(parameters: Parameters, outputs: int) -> tuple[str, ...]:
    if parameters.class_outputs:
        if len(parameters.class_outputs) != outputs:
            raise _refused(
                f"class_outputs has {len(parameters.class_outputs)} names; the model has {outputs} outputs"
            )
        return parameters.class_outputs
    return ("prediction",) if outputs == 1 else tuple(f"prediction_{place}" for place in range(outputs))


def _predicted(model: Model, rows: Rows, count: int, outputs: int, place: StepContext) -> NDArray[np.float64]:
    found = np.empty((count, outputs))
    for start in range(0, count, BATCH):
        end = min(start + BATCH, count)
        part = predicted(model, rows.inputs[start:end])
        if part.shape[1] != outputs:
            raise _refused("the model gives rows different numbers of outputs")
        found[start:end] = part
        place.progress("predicting", end, count)
    return found


def _table(parameters: Parameters, names: tuple[str, ...], table: NDArray[np.float64]) -> Columns:
    columns = {name: table[:, place] for place, name in enumerate(names)}
    try:
        found = processed(columns, parameters.postprocessors)
    except InvalidArgument as error:
        raise _refused(str(error)) from None
    if "row" in found or not all(np.isfinite(column).all() for column in found.values()):
        raise _refused('a postprocessor gives a column named "row", or a number that is not finite')
    return found


def _lines(columns: Columns, keys: tuple[str, ...]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *columns])
    for key, *cells in zip(keys, *(column.tolist() for column in columns.values()), strict=True):
        writer.writerow([key, *cells])
        if text.tell() > 1 << 16:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"ModelInference: {why}. Nothing was predicted.")


worker = step

__all__ = ["FILE", "Parameters", "Predictions", "modeller", "step", "worker"]
