"""Whether rows fit a model, and what training gave is finite; no message has a value."""

from __future__ import annotations

import numpy as np

from federated.errors import InvalidArgument
from federated.models.interface import Rows, Tensors


def check_finite(tensors: Tensors) -> None:
    """Whether all numbers are finite.

    Raises:
        InvalidArgument: one is NaN or infinite.
    """
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise InvalidArgument(f"tensor {name!r} has a NaN or an infinite number")


def check_rows(rows: Rows, inputs: int) -> None:
    """Whether rows have a model's number of inputs, and a target each.

    Raises:
        InvalidArgument: they do not.
    """
    if rows.inputs.ndim != 2 or rows.inputs.shape[1] != inputs:
        raise InvalidArgument(f"rows have shape {rows.inputs.shape}; expected {inputs} inputs each")
    if rows.targets.shape != (len(rows),):
        raise InvalidArgument(
            f"targets have shape {rows.targets.shape}; expected one for each of {len(rows)} rows"
        )
    if not (np.isfinite(rows.inputs).all() and np.isfinite(rows.targets).all()):
        raise InvalidArgument("an input or a target is not finite")


__all__ = ["check_finite", "check_rows"]
