"""Real numbers as words of a ring, so that adding words adds numbers.

A coordinate ``x`` of a pod with relative weight ``r`` becomes ``round(r * x * scale)`` in two's complement.
`Encoding` (in `parameters`) proves once per round that the sum over all pods cannot wrap. Every 1 MiB of
words ends in eight words of zero, the canaries: where they are not zero after unmasking, a mask was wrong
and there is no sum. Four words of 64 bits travel beside the vector, the header lane: 1 (so that its sum
counts pods), the relative weight times 2^40, how many coordinates were clipped, and a spare 0.

Everything that can be wrong with an update is found here, before anything is masked or sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.errors import (
    NonFiniteUpdateError,
    ParameterError,
    RangeError,
    SchemaMismatchError,
    UnmaskIntegrityError,
    WeightError,
)
from secure_agg.keystream import Cursor, Words, stream_key
from secure_agg.layout import CHUNK, canaries, encoded_length, payload_length, pieces
from secure_agg.parameters import LANE_SCALE, Bits, Encoding
from secure_agg.rotation import rotate, rotated_length, unrotate

LANE_WORDS = 4
_UNIFORM_BITS = 22  # 31 bits before the point and 22 after it are the 53 of a float64
_DTYPES = {16: ("<u2", "<i2"), 32: ("<u4", "<i4"), 64: ("<u8", "<i8")}

NextNoise = Callable[[int], NDArray[np.int64]]
"""Gives the next so many whole numbers of noise, in steps."""


@dataclass(frozen=True, slots=True, repr=False)
class Encoded:
    """One pod's update, ready to be masked; both arrays are overwritten by masking.

    Attributes:
        vector: shape ``(encoded_length,)``, words.
        lane: shape ``(4,)``, uint64: 1, relative weight times 2^40, clipped coordinates, 0.
        buffer: the bytes that ``vector`` is the end of; before it lies the room that `Extras` asks for.
    """

    vector: Words
    lane: NDArray[np.uint64]
    buffer: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the sum over the survivors says.

    Attributes:
        mean: shape ``(length,)``, weighted mean over the survivors.
        total: for 64-bit words the exact sum, int64; None otherwise.
        weight: sum of the survivors' weights.
        survivors: pods in the sum.
        clipped: coordinates that were clipped, over all survivors.
        step: one step of the ring in units of the mean.
        error_bound: no coordinate of ``mean`` is further from the float64 mean, clipping apart.
    """

    mean: NDArray[np.float64] = field(repr=False)
    total: NDArray[np.int64] | None = field(repr=False)
    weight: float
    survivors: int
    clipped: int
    step: float
    error_bound: float


@dataclass(frozen=True, slots=True)
class Extras:
    """What not every update needs.

    Attributes:
        rotation_seed: 32 public bytes, the same for all pods; needed for 16-bit words.
        noise: gives noise to be added in the ring; see `privacy`.
        tensors: (name, coordinates) in order, so that an error can name the tensor.
        room: bytes before the words, a multiple of 16, for the header of a message.
    """

    rotation_seed: bytes = b""
    noise: NextNoise | None = None
    tensors: Sequence[tuple[str, int]] = ()
    room: int = 0


def encode(
    update: NDArray[Any], weight: float, encoding: Encoding, seed: bytes, extras: Extras | None = None
) -> Encoded:
    """Turn an update into words.

    Args:
        update: shape ``(n,)``; floats, or integers where words have 64 bits.
        weight: this pod's weight, above 0 and at most ``encoding.maximum_weight``.
        encoding: what the round's specification says.
        seed: 32 fresh bytes of this pod alone, for stochastic rounding.
        extras: rotation, noise, names.

    Raises:
        SchemaMismatchError: not one-dimensional, or a type that has no rule.
        NonFiniteUpdateError: NaN or infinity; names the tensor.
        RangeError: a coordinate beyond the clip, where the policy is to refuse.
        WeightError: the weight is not in range.
    """
    extras = extras or Extras()
    _check_shape(update, encoding)
    relative = _relative_weight(weight, encoding)
    size = encoded_length(len(update), encoding.bits) * encoding.bits // 8
    buffer = np.zeros(extras.room + size, np.uint8)
    vector = buffer[extras.room :].view(_DTYPES[encoding.bits][0])
    if encoding.bits == 64:
        clipped = _encode_exactly(update, encoding, extras, vector)
    else:
        clipped = _encode_reals(update, relative / LANE_SCALE, encoding, seed, extras, vector)
    return Encoded(vector, np.array([1, relative, clipped, 0], "<u8"), buffer)


def _check_shape(update: NDArray[Any], encoding: Encoding) -> None:
    if update.ndim != 1:
        raise SchemaMismatchError(
            f"The update has shape {update.shape}; expected one dimension. Nothing was sent. Flatten it first."
        )
    kinds = "iu" if encoding.bits == 64 else "f"
    if update.dtype.kind not in kinds or update.dtype.itemsize > 8:
        expected = (
            "integers (64-bit words are exact)" if encoding.bits == 64 else "float16, float32 or float64"
        )
        raise SchemaMismatchError(
            f"The update has type {update.dtype.name}; expected {expected}. Nothing was sent."
        )


def _relative_weight(weight: float, encoding: Encoding) -> int:
    """The weight over the maximum, times 2^40, rounded; the same number scales the update."""
    if not (math.isfinite(weight) and 0 < weight <= encoding.maximum_weight):
        raise WeightError(
            "The weight is not a finite number above 0 and at most maximum_weight. Nothing was sent."
        )
    if encoding.weighting == "equal" and weight != 1:
        raise WeightError("Every pod counts the same in this round: the weight must be 1. Nothing was sent.")
    relative = round(weight / encoding.maximum_weight * LANE_SCALE)
    if relative == 0:
        raise WeightError("The weight is below 2^-41 of maximum_weight and would be lost. Nothing was sent.")
    return relative


def _check_finite(values: NDArray[Any], tensors: Sequence[tuple[str, int]]) -> None:
    if not len(values) or (np.isfinite(values.min()) and np.isfinite(values.max())):
        return
    at = int(np.argmin(np.isfinite(values)))
    ends = accumulate(size for _, size in tensors)
    named = (name for (name, _), end in zip(tensors, ends, strict=True) if at < end)
    raise NonFiniteUpdateError(f"{next(named, 'update')!r} holds NaN or infinity. Nothing was sent.")


def _l2_factor(values: NDArray[Any], bound: float, tensors: Sequence[tuple[str, int]]) -> float:
    """What the update is multiplied by, so that its L2 norm is at most ``bound``; 0 means no bound."""
    if not bound:
        return 1.0
    _check_finite(values, tensors)
    norm = l2_norm(values)
    return min(1.0, bound / norm) if norm else 1.0


def l2_norm(values: NDArray[Any]) -> float:
    """The L2 norm in float64, scaled so that large values do not overflow."""
    largest = max(float(values.max()), -float(values.min())) if len(values) else 0.0
    if not largest:
        return 0.0
    squares = (
        float(np.sum(np.square(values[i : i + CHUNK].astype(np.float64) / largest)))
        for i in range(0, len(values), CHUNK)
    )
    return largest * math.sqrt(math.fsum(squares))


def _encode_reals(
    update: NDArray[Any], relative: float, encoding: Encoding, seed: bytes, extras: Extras, vector: Words
) -> int:
    bits = encoding.bits
    shrink = _l2_factor(update, encoding.l2_clip, extras.tensors)
    if bits == 16:
        _check_finite(update, extras.tensors)
        update = rotate(update, extras.rotation_seed)
    scaled = _Scaled(update, relative * shrink * encoding.scale, shrink, extras.tensors)
    rounded = _rounding(encoding, seed)
    whole, clipped = vector.view(_DTYPES[bits][1]), 0
    limit = relative * encoding.clip * encoding.scale
    for source, target in pieces(len(update), bits):
        steps = scaled.piece(source)
        if not (steps.max() <= limit and steps.min() >= -limit):  # NaN is neither
            clipped += _clip(steps, limit, scaled, encoding)
        rounded(steps)
        np.copyto(whole[target], steps, casting="unsafe")
    _add_noise(vector, len(update), bits, extras.noise)
    return clipped


class _Scaled:
    """An update in steps, piece by piece, in one buffer."""

    __slots__ = ("buffer", "factor", "shrink", "tensors", "values")

    def __init__(
        self, values: NDArray[Any], factor: float, shrink: float, tensors: Sequence[tuple[str, int]]
    ) -> None:
        self.values, self.factor, self.shrink, self.tensors = values, factor, shrink, tensors
        self.buffer = np.empty(min(CHUNK, len(values)))

    def piece(self, source: slice) -> NDArray[np.float64]:
        steps = self.buffer[: source.stop - source.start]
        with np.errstate(over="ignore", invalid="ignore"):  # infinity is found and refused by the caller
            np.multiply(self.values[source], self.factor, out=steps, dtype=np.float64)
        return steps


def _clip(steps: NDArray[np.float64], limit: float, scaled: _Scaled, encoding: Encoding) -> int:
    """Clip in place and count; or refuse, with the least clip that would fit."""
    _check_finite(scaled.values, scaled.tensors)
    if encoding.on_clip == "error":
        largest = _rounded_up(float(np.abs(scaled.values).max()) * scaled.shrink)
        raise RangeError(
            f"The largest absolute value is {largest:g} (rounded up) and clip is {encoding.clip:g}. Nothing was "
            f"sent. The least clip that fits is {largest:g}; or set on_clip='clip'."
        )
    beyond = int(np.count_nonzero(np.abs(steps) > limit))
    np.clip(steps, -limit, limit, out=steps)
    return beyond


def _rounded_up(value: float) -> float:
    """Two digits, upwards: enough to choose a clip, and no exact value of an update."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def _rounding(encoding: Encoding, seed: bytes) -> Callable[[NDArray[np.float64]], None]:
    """Rounds steps to whole ones, in place.

    Stochastic rounding adds a uniform multiple of 2^-22 in [0, 1) and takes the floor; the sum is exact
    for steps below 2^31, so that a whole number stays itself, and the bias is below 2^-22 steps.
    """
    if encoding.rounding == "nearest":
        return lambda steps: np.copyto(steps, np.rint(steps))
    stream = Cursor(stream_key(seed, b"rounding"))
    words, uniform = np.empty(CHUNK, "<u4"), np.empty(CHUNK)

    def rounded(steps: NDArray[np.float64]) -> None:
        count = len(steps)
        stream.read_into(words[:count].data.cast("B"))
        np.right_shift(words[:count], np.uint32(32 - _UNIFORM_BITS), out=words[:count])
        np.multiply(words[:count], 2.0**-_UNIFORM_BITS, out=uniform[:count])
        np.add(steps, uniform[:count], out=steps)
        np.floor(steps, out=steps)

    return rounded


def _add_noise(vector: Words, payload: int, bits: Bits, noise: NextNoise | None) -> None:
    if noise is None:
        return
    for source, target in pieces(payload, bits):
        vector[target] += noise(source.stop - source.start).astype(vector.dtype)


def _encode_exactly(update: NDArray[Any], encoding: Encoding, extras: Extras, vector: Words) -> int:
    bound, clipped = int(encoding.clip), 0
    if encoding.on_clip == "error" and _is_beyond(update, bound):
        raise RangeError(f"A whole number lies beyond clip, which is {bound}. Nothing was sent. Raise clip.")
    for source, target in pieces(len(update), 64):
        piece = update[source]
        if _is_beyond(piece, bound):
            clipped += int(np.count_nonzero((piece > bound) | (piece < -bound)))
            piece = np.clip(piece, -bound, bound)
        vector[target] = piece.astype(np.int64).view(np.uint64)
    _add_noise(vector, len(update), 64, extras.noise)
    return clipped


def _is_beyond(values: NDArray[Any], bound: int) -> bool:
    """Compared as Python's integers: minus the least int64 is no int64."""
    return bool(len(values)) and (int(values.max()) > bound or int(values.min()) < -bound)


def decode(
    total: Words,
    lane: NDArray[np.uint64],
    encoding: Encoding,
    survivors: int,
    length: int,
    rotation_seed: bytes = b"",
) -> Decoded:
    """Read the unmasked sum.

    Args:
        total: shape ``(encoded_length(length, bits),)``, the unmasked sum of the survivors' vectors.
        lane: shape ``(4,)``, the unmasked sum of their lanes.
        encoding: what the round's specification says.
        survivors: how many pods the signed survivor set names.
        length: coordinates of an update.
        rotation_seed: as in `Extras`.

    Raises:
        UnmaskIntegrityError: a canary is not zero, or the lane does not fit; there is no sum.
    """
    payload = payload_length(length, encoding.bits)
    if total.shape != (encoded_length(length, encoding.bits),) or lane.shape != (LANE_WORDS,):
        raise UnmaskIntegrityError(f"The sum has shape {total.shape}; there is no result.")
    if any(words.any() for words in canaries(total, payload, encoding.bits)):
        raise UnmaskIntegrityError("A canary is not zero after unmasking: a mask was wrong. There is no sum.")
    relative = _checked_lane(lane, encoding, survivors, payload) / LANE_SCALE
    if encoding.bits == 64:
        whole = _read(total, payload, 64, 1.0, np.empty(payload, np.int64))
        mean, exact = whole / survivors, whole
    else:
        exact = None
        mean = _read(total, payload, encoding.bits, 1 / (encoding.scale * relative), np.empty(payload))
        if encoding.bits == 16:
            mean = unrotate(mean, rotation_seed, length)
    return Decoded(
        mean=mean,
        total=exact,
        weight=relative * encoding.maximum_weight,
        survivors=survivors,
        clipped=int(lane[2]),
        step=1 / (encoding.scale * relative),
        error_bound=error_bound(encoding, survivors, relative, length),
    )


def error_bound(encoding: Encoding, survivors: int, relative: float, length: int) -> float:
    """How far a coordinate of the mean can be from the float64 mean, clipping and noise apart.

    Args:
        encoding: its rounding and scale.
        survivors: pods in the sum.
        relative: sum of their relative weights.
        length: coordinates; errors of rotated coordinates add up to at most their L2 norm.
    """
    if encoding.bits == 64:
        return 0.0
    rounding = 1.0 if encoding.rounding == "stochastic" else 0.5
    spread = math.sqrt(rotated_length(length)) if encoding.bits == 16 else 1.0
    weights = 0.0 if encoding.weighting == "equal" else encoding.clip / LANE_SCALE
    return spread * survivors * (rounding / encoding.scale + weights) / relative


def _checked_lane(lane: NDArray[np.uint64], encoding: Encoding, survivors: int, payload: int) -> int:
    """The sum of relative weights, after every number of the lane was found possible."""
    count, relative, clipped, spare = (int(word) for word in lane)
    most = LANE_SCALE + survivors if encoding.weighting == "weights_first" else survivors * LANE_SCALE
    possible = count == survivors and spare == 0 and survivors <= relative <= most
    if encoding.weighting == "equal":
        possible = possible and relative == most
    if not possible or clipped > survivors * payload:
        raise UnmaskIntegrityError(
            "The header lane does not fit the survivor set: a pod is missing or doubled, a mask was wrong, "
            "or weights have changed. There is no sum."
        )
    return relative


def _read(total: Words, payload: int, bits: Bits, factor: float, into: NDArray[Any]) -> NDArray[Any]:
    whole = total.view(_DTYPES[bits][1])
    for source, target in pieces(payload, bits):
        np.multiply(whole[target], into.dtype.type(factor), out=into[source], casting="unsafe")
    return into


def suggest_clip(previous: NDArray[np.floating]) -> float:
    """The least power of two that is at least twice the largest value of a public earlier update.

    Raises:
        ParameterError: the update is empty, all zero, or not finite.
    """
    largest = float(np.abs(previous).max()) if previous.size else 0.0
    if not (math.isfinite(largest) and largest > 0):
        raise ParameterError("previous has no finite value other than 0; choose clip yourself.")
    return float(2.0 ** math.ceil(math.log2(2 * largest)))
