"""Calling a model so that nothing but its numbers comes out, and only numbers that are what it declares.

A model can be a plug-in's, and a sentence of its own can hold a patient's values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from federated.errors import FederatedError, InvalidArgument, TaskRefused
from federated.models.interface import Model, Rows, Tensors
from federated.models.shapes import check_finite

P = ParamSpec("P")
T = TypeVar("T")


def guarded(what: str, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a model's method.

    Args:
        what: what is done, as the start of a sentence.
        work: the method, then its arguments.

    Raises:
        TaskRefused: it failed; our own errors with their words, others with the name of their class alone.
    """
    try:
        return work(*arguments, **named)
    except TaskRefused:
        raise
    except FederatedError as error:
        raise _refused(f"{what} failed: {error}") from None
    except Exception as error:  # noqa: BLE001 # a plug-in may raise anything
        raise _refused(f"{what} failed ({type(error).__name__})") from None


def difference(after: Tensors, before: Tensors) -> dict[str, NDArray[Any]]:
    """New minus old, in the types of the model.

    Raises:
        TaskRefused: names, shapes or types have changed, or a number is not finite.
    """
    same = list(after) == list(before) and all(
        (after[name].shape, after[name].dtype) == (before[name].shape, before[name].dtype) for name in before
    )
    if not same:
        raise _refused("Training changed the names, shapes or types of the model's arrays")
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
    found: Mapping[str, float] = guarded("Measuring the model", model.measure, rows)
    if set(found) != set(model.metrics):
        raise _refused("The model gives other metrics than it declares")
    return {name: float(found[name]) for name in model.metrics}


def predicted(model: Model, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row of predictions for each row of inputs: shape ``(rows, outputs)``.

    Raises:
        TaskRefused: the model failed, or gives another number of rows or numbers that are not finite.
    """
    found = np.asarray(guarded("Predicting", model.predict, inputs))
    if found.ndim not in (1, 2) or found.shape[0] != len(inputs) or found.dtype.kind not in "fiub":
        raise _refused("The model does not give one prediction of numbers for each row")
    table = (
        found.reshape(len(inputs), -1)
        if found.size
        else found.reshape(0, 1 if found.ndim == 1 else found.shape[1])
    )
    if not np.isfinite(table).all():
        raise _refused("A prediction is NaN or infinite")
    return table.astype(np.float64)


def _refused(why: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"{why}. Nothing was sent.")
