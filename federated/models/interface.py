"""What a model is to the rest: named arrays that can be taken out, put back, trained and measured.

Training must depend on nothing but the arrays that were put in, the rows, the amount and the seed: a pod that was
killed and started again then continues exactly as one that was not. So no optimiser state outlives a call of `fit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
"""Names to arrays, in a fixed order that is part of the model."""

Amount = Literal["epochs", "steps"]
"""In what a model counts training: passes over the rows, or updates of the arrays."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one split, ready for a model.

    Attributes:
        inputs: shape ``(rows, features)``, float64, finite.
        targets: shape ``(rows,)``, float64; empty where nothing is to be learned or measured.
        features: names of the columns of ``inputs``.
        keys: what identifies each row inside the pod (a line number, a file name); never leaves it.
    """

    inputs: NDArray[np.float64] = field(repr=False)
    targets: NDArray[np.float64] = field(repr=False)
    features: tuple[str, ...] = ()
    keys: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return int(self.inputs.shape[0])


class Model(Protocol):
    """A model that can be trained in pods.

    Attributes:
        counts_in: "epochs" or "steps".
        metrics: name of each metric to the largest absolute value that it can have; the same in every pod, and
            `measure` gives exactly these. A value beyond its bound is clipped to it.
    """

    counts_in: Amount
    metrics: Mapping[str, float]

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays, in order; buffers such as running means included."""
        ...

    def load(self, tensors: Tensors) -> None:
        """Take other arrays of the same names, shapes and types.

        Raises:
            InvalidArgument: they are others.
        """
        ...

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        """Train on the rows.

        Args:
            rows: at least one.
            amount: epochs or steps, see ``counts_in``.
            seed: 32 bytes; the only source of chance.

        Raises:
            InvalidArgument: the rows do not fit the model.
        """
        ...

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """One prediction for each row: shape ``(rows,)`` or ``(rows, classes)``."""
        ...

    def measure(self, rows: Rows) -> dict[str, float]:
        """The metrics on these rows; NaN where one is not defined, such as without any row."""
        ...


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["Amount", "Model", "Rows", "Tensors"]
