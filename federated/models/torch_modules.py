"""PyTorch modules as models. Needs the extra ``torch``.

A task describes a network by its layers and brings no code; a module of another form comes with a plug-in that the
pod's owner has installed. Buffers that predictions depend on, such as the running means of a batch norm, belong to
the model as its weights do. The optimiser is fresh in every call, so nothing outlives it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.arrays import same_form
from federated.models.interface import Amount, Rows, Tensors
from federated.models.scores import bounds, clipped
from federated.models.shapes import check_rows

Target = Literal["classes", "number"]
Vector = NDArray[np.float64]
WIDEST = 1 << 16
# Counts batches and is read by no layer that we make; a mean of counts would be no count.
_COUNTER = "num_batches_tracked"
# PyTorch's chance is one for the whole process: of two that draw at once, neither could be repeated.
_CHANCE = threading.Lock()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a network.

    Attributes:
        kind: what it does; "linear" has weights, "batch_norm" weights and running means.
        size: outputs of a linear layer.
        share: of the values that a dropout layer puts to 0 in training.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    kind: Literal["linear", "relu", "tanh", "gelu", "batch_norm", "layer_norm", "dropout"]
    size: int | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        if (self.size is not None) != (self.kind == "linear") or not 1 <= (self.size or 1) <= WIDEST:
            raise ValueError(f"a linear layer has a size of 1 to {WIDEST}, and no other layer has one")
        if (self.share is not None) != (self.kind == "dropout") or not 0 <= (self.share or 0) < 1:
            raise ValueError("a dropout layer has a share of 0 to below 1, and no other layer has one")


@dataclass(frozen=True, slots=True)
class Training:
    """How a module is trained.

    Attributes:
        target: "classes" for 0 and 1 (the module gives logits), "number" for a value.
        optimiser: "sgd" or "adam".
        learning_rate: of the optimiser.
        l2: weight decay, 0 or more.
        batch_size: rows of one step; None takes all rows.
        largest_mse: bound of the metric "mse"; a larger value is clipped to it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    target: Target = "classes"
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.1
    l2: float = 0.0
    batch_size: int | None = 32
    largest_mse: float = 100.0

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < math.inf and 0 < self.largest_mse < math.inf):
            raise ValueError("learning_rate and largest_mse must be finite numbers above 0")
        if not 0 <= self.l2 < math.inf:
            raise ValueError("l2 must be 0 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError("batch_size must be 1 or more")


@dataclass(frozen=True, slots=True)
class Settings(Training):
    """Arguments of ``torch_module``.

    Attributes:
        layers: in order; one linear layer with a single output follows them.
        seed: of the weights at the start, the same in every pod.
    """

    layers: tuple[Layer, ...] = field(default=())
    seed: int = 0


@contextmanager
def _chance(seed: int) -> Iterator[None]:
    """PyTorch's chance from this seed, and afterwards as it was."""
    with _CHANCE, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        yield


class TorchModel:
    """A PyTorch module that gives one number for each row.

    Args:
        module: takes rows of float32, shape ``(rows, inputs)``; gives shape ``(rows,)`` or ``(rows, 1)``. It is
            trained in place, on the CPU.
        inputs: how many there are.
        training: see `Training`.
        counts_in: "epochs" or "steps".
    """

    def __init__(self, module: Any, inputs: int, training: Training, counts_in: Amount) -> None:
        self._module, self._inputs, self._training = module.float().cpu(), inputs, training
        self.counts_in: Amount = counts_in
        self.metrics: Mapping[str, float] = bounds(
            classes=training.target == "classes", largest_mse=training.largest_mse
        )

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Copies of weights and buffers by PyTorch's names, without counters of batches."""
        return {
            name: np.array(value.detach().numpy())
            for name, value in self._module.state_dict().items()
            if not name.endswith(_COUNTER)
        }

    def load(self, tensors: Tensors) -> None:
        """Take other arrays.

        Raises:
            InvalidArgument: names, shapes or types are others, or a number is not finite.
        """
        found = same_form(tensors, self.tensors())
        with torch.no_grad():
            for name, value in self._module.state_dict().items():
                if name in found:
                    value.copy_(torch.tensor(np.array(found[name], order="C")))

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        """Train with a fresh optimiser.

        Raises:
            InvalidArgument: no rows, another number of inputs, or a target of two classes that is not 0 or 1.
        """
        self._check(rows)
        if not len(rows):
            raise InvalidArgument("there is no row to train on")
        inputs, targets = _single(rows.inputs), _single(rows.targets)
        optimiser = self._optimiser()
        with _chance(int.from_bytes(seed, "big")):
            self._module.train()
            try:
                for chosen in self._batches(len(rows), amount):
                    optimiser.zero_grad()
                    self._loss(self._module(inputs[chosen]).reshape(-1), targets[chosen]).backward()
                    optimiser.step()
            finally:
                self._module.eval()

    def predict(self, inputs: Vector) -> Vector:
        """The value, or the probability of a 1. Shape ``(rows,)``."""
        values = self._values(inputs)
        return values if self._training.target == "number" else 0.5 * (1 + np.tanh(values / 2))

    def measure(self, rows: Rows) -> dict[str, float]:
        """For classes "loss", "accuracy", "auc"; for a number "mse", "r2" (not below -1); as linear models do."""
        self._check(rows)
        return clipped(self._values(rows.inputs), rows.targets, self.metrics)

    def _check(self, rows: Rows) -> None:
        check_rows(rows, self._inputs)
        if self._training.target == "classes" and not np.isin(rows.targets, (0.0, 1.0)).all():
            raise InvalidArgument("a target of two classes is neither 0 nor 1; the task can state codes")

    def _values(self, inputs: Vector) -> Vector:
        if not len(inputs):
            return np.zeros(0)
        self._module.eval()
        with torch.no_grad():
            found = self._module(_single(inputs)).reshape(-1).double().numpy()
        if found.shape != (len(inputs),):
            raise InvalidArgument(
                f"the module gave {found.size} numbers for {len(inputs)} rows; expected one each"
            )
        return np.array(found)

    def _loss(self, values: Any, targets: Any) -> Any:
        functional = torch.nn.functional
        if self._training.target == "number":
            return functional.mse_loss(values, targets)
        return functional.binary_cross_entropy_with_logits(values, targets)

    def _optimiser(self) -> Any:
        kind = torch.optim.Adam if self._training.optimiser == "adam" else torch.optim.SGD
        training = self._training
        return kind(self._module.parameters(), lr=training.learning_rate, weight_decay=training.l2)

    def _batches(self, rows: int, amount: int) -> Iterator[Any]:
        """Positions of the rows of each step; every pass is shuffled anew."""
        size = min(self._training.batch_size or rows, rows)
        starts = list(range(0, rows, size))
        if len(starts) > 1 and rows - starts[-1] == 1:
            del starts[-1]  # a batch norm cannot take one row alone: it goes with the batch before it
        left = amount if self.counts_in == "steps" else amount * len(starts)
        while left:
            order = torch.randperm(rows) if len(starts) > 1 else torch.arange(rows)
            for start, end in zip(starts, [*starts[1:], rows], strict=True):
                if not left:
                    return
                left -= 1
                yield order[start:end]


def _single(array: Vector) -> Any:
    return torch.tensor(np.asarray(array, np.float32))


def _layer(layer: Layer, width: int) -> Any:
    nn = torch.nn
    match layer.kind:
        case "linear":
            return nn.Linear(width, layer.size)
        case "batch_norm":
            return nn.BatchNorm1d(width)
        case "layer_norm":
            return nn.LayerNorm(width)
        case "dropout":
            return nn.Dropout(layer.share)
    return {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}[layer.kind]()


def _network(layers: tuple[Layer, ...], inputs: int) -> Any:
    made, width = [], inputs
    for layer in layers:
        made.append(_layer(layer, width))
        width = layer.size or width
    return torch.nn.Sequential(*made, torch.nn.Linear(width, 1))


def torch_module(settings: Settings, inputs: int, counts_in: Amount) -> TorchModel:
    """A network of the layers that a task lists."""
    with _chance(settings.seed):
        network = _network(settings.layers, inputs)
    return TorchModel(network, inputs, settings, counts_in)


__all__ = ["Layer", "Settings", "TorchModel", "Training", "torch_module"]
