"""Tensors, arrays, columns and counts as one vector, and back.

What a vector means is fixed before anything is computed: a `Layout` lists names, shapes and bounds in order, and its
hash is part of every round. A value that does not fit its layout is refused in the pod, before anything is masked.

Real numbers of different sizes travel in one vector whose coordinates may all be ``clip`` large: a field with a
bound of its own is stretched to use that room and shrunk again after the sum.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.models.interface import Tensors
from federated.task.envelope import Buffer, body_digest

LONGEST = 2**30


@dataclass(frozen=True, slots=True)
class VectorPart:
    """One named part of a vector.

    Attributes:
        name: of the tensor, column, metric or count.
        shape: of its array; ``()`` for one number.
        bound: largest absolute value: for counts the largest that one pod may have, for reals None takes the clip
            of the task.
    """

    name: str
    shape: tuple[int, ...] = ()
    bound: float | None = None

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """What a vector means.

    Attributes:
        kind: "reals" (weighted mean) or "counts" (exact sum of whole numbers, 0 or more).
        fields: in order.
        narrow: reals that have 32 bits each where they come from.
    """

    kind: Literal["reals", "counts"]
    fields: tuple[VectorPart, ...]
    narrow: bool = False

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if not names or len(set(names)) != len(names):
            raise InvalidArgument("a layout has no field, or two of one name")
        if not 1 <= self.length <= LONGEST:
            raise InvalidArgument(f"a layout has {self.length} numbers; expected 1 to {LONGEST}")
        if self.kind == "counts" and any(not field.bound or field.bound < 1 for field in self.fields):
            raise InvalidArgument("a field of counts has no bound of at least 1")

    @cached_property
    def length(self) -> int:
        """How many numbers a vector has."""
        return sum(field.size for field in self.fields)

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 over names, shapes and bounds in order, 32 bytes."""
        listed = [[field.name, list(field.shape), field.bound] for field in self.fields]
        return hashlib.sha256(
            msgspec.json.encode(["trialveil/layout", self.kind, self.narrow, listed])
        ).digest()

    @property
    def tensors(self) -> tuple[tuple[str, int], ...]:
        """Names and sizes, as refusals name them."""
        return tuple((field.name, field.size) for field in self.fields)

    @property
    def largest(self) -> float:
        """The largest bound; for counts what the sum is checked by."""
        return max(field.bound or 0.0 for field in self.fields)


def reals_layout(tensors: Tensors, metrics: Mapping[str, float]) -> Layout:
    """A model's update with its metrics behind it.

    A metric takes two numbers: its value where it is defined (else 0), and whether it is.

    Args:
        tensors: the model, for names, shapes and types.
        metrics: name to bound.
    """
    narrow = all(np.asarray(array).dtype.itemsize <= 4 for array in tensors.values())
    parts = [VectorPart(f"tensor/{name}", np.shape(array)) for name, array in tensors.items()]
    for name, bound in metrics.items():
        parts += [VectorPart(f"metric/{name}", (), bound), VectorPart(f"has/{name}", (), 1.0)]
    return Layout("reals", tuple(parts), narrow)


def counts_layout(names: Sequence[str], largest: int) -> Layout:
    """Counts of which one pod may have at most ``largest`` each."""
    return Layout("counts", tuple(VectorPart(name, (), float(largest)) for name in names))


def pack(layout: Layout, values: Mapping[str, Any], clip: float) -> NDArray[Any]:
    """One vector: float32 or float64 for reals, int64 for counts.

    Args:
        layout: what it means.
        values: name to array or number; exactly the layout's names.
        clip: of the task.

    Raises:
        InvalidArgument: another name or shape, no number, or a count out of its range. Whether reals are finite is
            checked where they are encoded.
    """
    if list(values) != [field.name for field in layout.fields]:
        raise InvalidArgument(
            f"a result has {len(values)} parts; expected the {len(layout.fields)} parts of the task, in order. "
            "Nothing was sent"
        )
    kind = np.int64 if layout.kind == "counts" else np.float32 if layout.narrow else np.float64
    vector = np.empty(layout.length, kind)
    start = 0
    for field in layout.fields:
        part = _checked(field, np.asarray(values[field.name]), layout.kind)
        place = vector[start : start + field.size].reshape(field.shape)
        if layout.kind == "counts" or field.bound is None:
            np.copyto(place, part, casting="unsafe")
        else:
            place[...] = np.clip(part, -field.bound, field.bound) * (clip / field.bound)
        start += field.size
    return vector


def _checked(field: VectorPart, array: NDArray[Any], kind: str) -> NDArray[Any]:
    if array.shape != field.shape:
        raise InvalidArgument(
            f"{field.name} has shape {array.shape}; expected {field.shape}. Nothing was sent"
        )
    if array.dtype.kind not in ("iu" if kind == "counts" else "fiub"):
        raise InvalidArgument(f"{field.name} has type {array.dtype.name}; expected numbers. Nothing was sent")
    if kind == "counts" and array.size and (array.min() < 0 or array.max() > (field.bound or 0)):
        raise InvalidArgument(f"{field.name} is outside 0 to its bound. Nothing was sent")
    return array


def unpack(layout: Layout, vector: NDArray[Any], clip: float) -> dict[str, NDArray[Any]]:
    """The parts of a sum or mean, by name; views where nothing is scaled."""
    found: dict[str, NDArray[Any]] = {}
    start = 0
    for field in layout.fields:
        part = vector[start : start + field.size].reshape(field.shape)
        scaled = layout.kind == "reals" and field.bound is not None
        found[field.name] = part * ((field.bound or 1.0) / clip) if scaled else part
        start += field.size
    return found


def with_metrics(update: Tensors, metrics: Mapping[str, float]) -> dict[str, Any]:
    """An update and its metrics under the names of `reals_layout`."""
    parts: dict[str, Any] = {f"tensor/{name}": array for name, array in update.items()}
    for name, value in metrics.items():
        known = math.isfinite(value)
        parts[f"metric/{name}"], parts[f"has/{name}"] = (value if known else 0.0), float(known)
    return parts


def without_metrics(parts: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
    """The mean update and the mean metrics; NaN for a metric that no pod has."""
    update = {
        name.removeprefix("tensor/"): part for name, part in parts.items() if name.startswith("tensor/")
    }
    metrics: dict[str, float] = {}
    for name, part in parts.items():
        if name.startswith("metric/"):
            bare = name.removeprefix("metric/")
            have = float(parts[f"has/{bare}"])
            # The share of pods that have it is a multiple of a pod's weight; rounding leaves a little of nothing.
            metrics[bare] = float(part) / have if have > 1e-6 else math.nan
    return update, metrics


def as_reported(parts: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The parts of a mean as results tell them: a metric is the mean over the pods that have it, NaN where none has.

    Across all pods it is not: one without the metric, such as one with too few rows, gave 0 in its place.
    """
    metrics = without_metrics(parts)[1]
    return {**parts, **{f"metric/{name}": np.asarray(value) for name, value in metrics.items()}}


def tensors_to_bytes(tensors: Tensors) -> memoryview:
    """All arrays one after the other, little-endian, in C order; nothing can change them any more."""
    return moved(tensors, None)[0]


def moved(tensors: Tensors, update: Tensors | None) -> tuple[memoryview, dict[str, NDArray[Any]]]:
    """The arrays plus an update, in one piece of memory.

    Args:
        tensors: old arrays.
        update: what is added, in float64; None adds nothing.

    Returns:
        The bytes, read-only, and the new arrays, which lie in them. Whole numbers are rounded.
    """
    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    memory = np.empty(sum(array.nbytes for array in arrays.values()), np.uint8)
    found: dict[str, NDArray[Any]] = {}
    start = 0
    for name, old in arrays.items():
        kind = old.dtype.newbyteorder("<")
        part: NDArray[Any] = np.ndarray(old.shape, kind, memory.data, start)
        if update is None:
            part[...] = old
        elif kind.kind == "f":
            np.add(old, update[name], out=part, dtype=np.float64, casting="unsafe")
        else:
            part[...] = np.rint(old + update[name])
        part.flags.writeable = False
        found[name] = part
        start += old.nbytes
    memory.flags.writeable = False
    return memory.data, found


def tensors_from_bytes(data: Any, like: Tensors) -> dict[str, NDArray[Any]]:
    """Arrays out of `tensors_to_bytes`, of the names, shapes and types of ``like``; read-only views.

    Raises:
        InvalidArgument: the bytes are more or fewer than those arrays have.
    """
    expected = sum(np.asarray(array).nbytes for array in like.values())
    view = memoryview(data).cast("B")
    if view.nbytes != expected:
        raise InvalidArgument(f"the model has {view.nbytes} bytes; expected {expected}")
    found: dict[str, NDArray[Any]] = {}
    start = 0
    for name, array in like.items():
        old = np.asarray(array)
        kind = old.dtype.newbyteorder("<")
        part = np.frombuffer(view, kind, old.size, start).reshape(old.shape)
        part.flags.writeable = False
        found[name] = part
        start += old.nbytes
    return found


def model_hash(task: bytes, layout_hash: bytes, data: Buffer) -> bytes:
    """What a round binds of the model that it begins with, 32 bytes.

    The task is in it: a pod answers once for a model in one task, and a new task may begin with the same model. How
    many tasks a modeller may begin is for the pod's owner to say.
    """
    return known_model_hash(task, layout_hash, body_digest(data))


def known_model_hash(task: bytes, layout_hash: bytes, digest: bytes) -> bytes:
    """`model_hash` of data whose SHA-256 is known."""
    return hashlib.sha256(b"trialveil/model" + task + layout_hash + digest).digest()


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["Layout", "VectorPart", "counts_layout"]
