"""Whether arrays are those of a model: the same names in the same order, shapes and types, and finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.interface import Tensors


def same_form(tensors: Tensors, like: Tensors, *, finite: bool = True) -> dict[str, NDArray[Any]]:
    """The arrays in the model's order, not copied.

    Args:
        tensors: what came.
        like: the model's own arrays.
        finite: whether NaN and infinity are refused.

    Raises:
        InvalidArgument: a name, shape or type is another, or a number is not finite; names the array.
    """
    strange, missing = sorted(set(tensors) - set(like)), sorted(set(like) - set(tensors))
    if strange or missing:
        raise InvalidArgument(
            f"the model has {len(like)} arrays; {len(missing)} of them are missing and {len(strange)} others came"
        )
    found = {}
    for name, own in like.items():
        array = np.asarray(tensors[name])
        if array.shape != own.shape or array.dtype != own.dtype:
            raise InvalidArgument(
                f"array {name!r} is {array.dtype} of shape {array.shape}; expected {own.dtype} of shape {own.shape}"
            )
        if finite and not np.isfinite(array).all():
            raise InvalidArgument(f"array {name!r} has a number that is not finite")
        found[name] = array
    return found


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["same_form"]
