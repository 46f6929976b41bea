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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
from secure_agg.parameters import LANE_SCALE, Bits, Encoding
from secure_agg.rotation import rotate, rotated_length, unrotate

CANARY_WORDS = 8
CANARY_SEGMENT_BYTES = 1 << 20
LANE_WORDS = 4
_CHUNK = 32_768  # coordinates; three buffers of them stay in the second cache
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
    """

    vector: Words
    lane: NDArray[np.uint64]


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
    """

    rotation_seed: bytes = b""
    noise: NextNoise | None = None
    tensors: Sequence[tuple[str, int]] = ()


def payload_length(length: int, bits: Bits) -> int:
    """Words that carry numbers: the coordinates, padded for the rotation where words are short."""
    return rotated_length(length) if bits == 16 else length


def encoded_length(length: int, bits: Bits) -> int:
    """Words of an encoded vector of ``length`` coordinates, canaries included; 8 for an empty one."""
    payload = payload_length(length, bits)
    return payload + CANARY_WORDS * max(1, -(-payload // _run(bits)))


def _run(bits: Bits) -> int:
    """Payload words between two groups of canaries."""
    return CANARY_SEGMENT_BYTES * 8 // bits - CANARY_WORDS


def _pieces(payload: int, bits: Bits) -> Iterator[tuple[slice, slice]]:
    """Where each short piece of the payload lies, and where in the encoded vector."""
    run = _run(bits)
    for number, first in enumerate(range(0, payload, run)):
        for start in range(first, min(first + run, payload), _CHUNK):
            end = min(start + _CHUNK, first + run, payload)
            shift = number * CANARY_WORDS
            yield slice(start, end), slice(start + shift, end + shift)


def _canaries(vector: Words, payload: int, bits: Bits) -> Iterator[Words]:
    run = _run(bits)
    for number in range(max(1, -(-payload // run))):
        start = min((number + 1) * run, payload) + number * CANARY_WORDS
        yield vector[start : start + CANARY_WORDS]


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
    if encoding.bits == 64:
        vector, clipped = _encode_exactly(update, encoding, extras)
    else:
        values = np.ascontiguousarray(update)
        _check_finite(values, extras.tensors)
        shrink = _l2_factor(values, encoding.l2_clip)
        if encoding.bits == 16:
            values = rotate(values, extras.rotation_seed)
        vector, clipped = _round_all(values, relative / LANE_SCALE, shrink, encoding, seed)
        _add_noise(vector, len(values), encoding.bits, extras.noise)
    return Encoded(vector, np.array([1, relative, clipped, 0], "<u8"))


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
    start = 0
    for name, size in tensors or (("update", len(values)),):
        part = values[start : start + size]
        if size and not (np.isfinite(part.min()) and np.isfinite(part.max())):
            raise NonFiniteUpdateError(f"{name!r} holds NaN or infinity. Nothing was sent.")
        start += size


def _l2_factor(values: NDArray[Any], bound: float) -> float:
    """What the update is multiplied by, so that its L2 norm is at most ``bound``; 0 means no bound."""
    if not bound:
        return 1.0
    norm = l2_norm(values)
    return min(1.0, bound / norm) if norm else 1.0


def l2_norm(values: NDArray[Any]) -> float:
    """The L2 norm in float64, scaled so that large values do not overflow."""
    largest = float(np.abs(values).max()) if len(values) else 0.0
    if not largest:
        return 0.0
    squares = (
        float(np.sum(np.square(values[i : i + _CHUNK].astype(np.float64) / largest)))
        for i in range(0, len(values), _CHUNK)
    )
    return largest * math.sqrt(math.fsum(squares))


def _round_all(
    values: NDArray[Any], relative: float, shrink: float, encoding: Encoding, seed: bytes
) -> tuple[Words, int]:
    bits = encoding.bits
    unsigned, signed = _DTYPES[bits]
    vector = np.zeros(len(values) + _canary_words(len(values), bits), unsigned)
    whole = vector.view(signed)
    uniform = _uniform(seed) if encoding.rounding == "stochastic" else None
    factor, clipped = relative * shrink * encoding.scale, 0
    limit = relative * encoding.clip * encoding.scale
    steps = np.empty(min(_CHUNK, len(values)))
    for source, target in _pieces(len(values), bits):
        piece = steps[: source.stop - source.start]
        np.multiply(values[source], factor, out=piece, dtype=np.float64)
        if piece.max() > limit or piece.min() < -limit:
            clipped += _clip(piece, limit, values, shrink, encoding)
        if uniform is None:
            np.rint(piece, out=piece)
        else:
            piece += uniform(len(piece))
            np.floor(piece, out=piece)
        np.copyto(whole[target], piece, casting="unsafe")
    return vector, clipped


def _canary_words(payload: int, bits: Bits) -> int:
    return CANARY_WORDS * max(1, -(-payload // _run(bits)))


def _clip(
    piece: NDArray[np.float64], limit: float, values: NDArray[Any], shrink: float, encoding: Encoding
) -> int:
    """Clip in place and count; or refuse, with the least clip that would fit."""
    if encoding.on_clip == "error":
        largest = max(abs(float(values.max())), abs(float(values.min()))) * shrink
        raise RangeError(
            f"The largest absolute value is {_rounded_up(largest):g} and clip is {encoding.clip:g}. Nothing "
            f"was sent. The least clip that fits is {_rounded_up(largest):g}; or set on_clip='clip'."
        )
    beyond = int(np.count_nonzero(np.abs(piece) > limit))
    np.clip(piece, -limit, limit, out=piece)
    return beyond


def _rounded_up(value: float) -> float:
    """Two digits, upwards: enough to choose a clip, and no exact value of an update."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / unit) * unit


def _uniform(seed: bytes) -> Callable[[int], NDArray[np.float64]]:
    """The next so many uniform multiples of 2^-22 in [0, 1); the sum with a step is exact."""
    stream = Cursor(stream_key(seed, b"rounding"))

    def following(count: int) -> NDArray[np.float64]:
        words = stream.words(count)
        words >>= np.uint32(32 - _UNIFORM_BITS)
        return words * 2.0**-_UNIFORM_BITS

    return following


def _add_noise(vector: Words, payload: int, bits: Bits, noise: NextNoise | None) -> None:
    if noise is None:
        return
    for source, target in _pieces(payload, bits):
        vector[target] += noise(source.stop - source.start).astype(vector.dtype)


def _encode_exactly(update: NDArray[Any], encoding: Encoding, extras: Extras) -> tuple[Words, int]:
    bound = int(encoding.clip)
    clipped = 0
    if len(update) and (int(update.max()) > bound or int(update.min()) < -bound):
        if encoding.on_clip == "error":
            raise RangeError(
                f"A whole number lies beyond clip, which is {bound}. Nothing was sent. Raise clip."
            )
        beyond = (update > bound) | (update < -bound)
        clipped, update = int(np.count_nonzero(beyond)), np.clip(update, -bound, bound)
    vector = np.zeros(encoded_length(len(update), 64), "<u8")
    for source, target in _pieces(len(update), 64):
        vector[target] = update[source].astype(np.int64).view(np.uint64)
    _add_noise(vector, len(update), 64, extras.noise)
    return vector, clipped


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
    if any(words.any() for words in _canaries(total, payload, encoding.bits)):
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
    for source, target in _pieces(payload, bits):
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
