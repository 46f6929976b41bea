"""Sizes and bounds: what a person chooses for a task, and the arithmetic that refuses what cannot hold."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from secure_agg.errors import ParameterError

COMPLETE_GRAPH_LIMIT = 128
"""Cohorts up to this size use the complete graph; larger ones have the semi-honest promise only."""

COHORT_LIMIT = 10_000
LENGTH_LIMIT = 2**30
HARD_MINIMUM_SURVIVORS = 3
DEFAULT_MINIMUM_SURVIVORS = 5
LANE_SCALE = 2**40
"""The header lane carries each pod's relative weight times this, rounded."""

NOISE_TAIL = 12.0
"""Standard deviations of noise that a word leaves room for: a wrap is rarer than 2^-100."""

_LARGEST_SCALE = 2.0**1023  # of a float

Mode = Literal["active", "semi_honest"]
Bits = Literal[16, 32, 64]
Weighting = Literal["equal", "weights_first", "per_round"]
Rounding = Literal["stochastic", "nearest"]
OnClip = Literal["error", "clip"]
Graph = Literal["complete", "sparse"]
Mechanism = Literal["none", "distributed_discrete_gaussian"]


class DpSpec(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Noise that the pods add together, inside the mask.

    Attributes:
        mechanism: "none" or "distributed_discrete_gaussian".
        sigma: standard deviation of the noise of the *sum*, in units of the update (before scaling).
        delta: the delta at which epsilon is reported, in (0, 1).
        l2_bound: bound on the L2 norm of one pod's contribution, in units of the update.
    """

    mechanism: Mechanism = "none"
    sigma: float = 0.0
    delta: float = 1e-5
    l2_bound: float = 0.0


class Encoding(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How real numbers become words of a ring.

    Attributes:
        bits: width of a word: 32; 16 (half the bytes, Hadamard-rotated); 64 (exact, integers only).
        clip: largest absolute value of a coordinate; for 16 bits of the rotated update, so that one coordinate
            of the update itself may be larger; for 64 bits the largest absolute integer.
        scale: steps per unit, a power of two; 1 for 64 bits. One step is ``1 / scale``.
        weighting: "equal" (every pod counts 1), "weights_first" (the relative weights of all
            pods sum to at most 1) or "per_round" (each relative weight is at most 1).
        maximum_weight: divisor of a pod's weight: 1 for "equal", the total for "weights_first",
            the agreed maximum for "per_round".
        rounding: "stochastic" (unbiased) or "nearest".
        on_clip: what happens to a value beyond the clip: "error" refuses, "clip" counts and clips.
        l2_clip: bound on the L2 norm of an update, applied before the clip; 0 means none.
    """

    bits: Bits
    clip: float
    scale: float
    weighting: Weighting = "equal"
    maximum_weight: float = 1.0
    rounding: Rounding = "stochastic"
    on_clip: OnClip = "error"
    l2_clip: float = 0.0


def threshold(pods: int, mode: Mode = "active") -> int:
    """Shares that open a secret: floor(2n/3) + 1 against an active server, floor(n/2) + 1 else."""
    return 2 * pods // 3 + 1 if mode == "active" else pods // 2 + 1


def colluders_tolerated(pods: int, shares: int, mode: Mode = "active") -> int:
    """How many pods may work with the server without learning more than the sum over all others.

    Active: ``2 * shares - pods - 1``, since two survivor sets signed by ``shares`` pods each would
    need that many liars plus one. In both modes at least two honest pods must be in any sum, and
    ``shares``, at most ``pods``, are in each.
    """
    two_honest = shares - 2
    return max(0, min(two_honest, 2 * shares - pods - 1) if mode == "active" else two_honest)


def sparse_colluders(floor: int, shares: int) -> int:
    """Colluders that surely cannot open a neighbour's secret, nor leave one honest pod alone in a sum."""
    return max(0, min(shares - 2, floor - 2))


def noise_pods(floor: int, colluders: int) -> int:
    """Honest pods that are in any sum: their noise alone must reach the agreed standard deviation."""
    return max(1, floor - colluders)


def noise_of_sum(sigma: float, pods: int, floor: int, colluders: int) -> float:
    """Standard deviation of the noise when every invited pod is in the sum, in units of the update."""
    return sigma * math.sqrt(pods / noise_pods(floor, colluders))


def largest_scale(bits: Bits, clip: float, pods: int, weighting: Weighting, noise: float = 0.0) -> float:
    """The largest power of two for which the sum of ``pods`` encoded updates cannot wrap.

    Relative weights of at most 1 each ask for ``n * (clip * scale + 1) < 2**(bits - 1)``; relative
    weights that sum to at most 1 ask for ``clip * scale + n < 2**(bits - 1)``.

    ``noise`` is the standard deviation of the noise of the sum, in units of the update; the words leave
    room for `NOISE_TAIL` of them.

    Raises:
        ParameterError: no scale of at least one step per clip satisfies the inequality.
    """
    if bits == 64:
        return 1.0
    half = 2.0 ** (bits - 1)
    room = half - pods if weighting == "weights_first" else half / pods - 1
    if room <= 1:
        raise ParameterError(
            f"{pods} pods do not fit into {bits}-bit words: {_inequality(bits, clip, 1 / clip, pods, weighting)}. "
            "Use wider words or fewer pods."
        )
    scale = 2.0 ** math.floor(math.log2(min(room / clip, _LARGEST_SCALE)))
    while not fits(bits, clip, scale, pods, weighting, noise):
        scale /= 2
        if scale == 0:
            raise ParameterError(f"No step is short enough for such noise in {bits}-bit words. Ask for less.")
    return scale


def fits(bits: Bits, clip: float, scale: float, pods: int, weighting: Weighting, noise: float = 0.0) -> bool:
    """Whether the sum of ``pods`` encoded updates, with its noise, stays inside the signed range of a word."""
    if bits == 64:
        tail = NOISE_TAIL * noise
        return math.isfinite(tail) and pods * (int(clip) + 1) + int(tail) < 2**63
    one = clip * scale + pods if weighting == "weights_first" else pods * (clip * scale + 1)
    return bool(one + NOISE_TAIL * noise * scale < 2.0 ** (bits - 1))


def _inequality(bits: Bits, clip: float, scale: float, pods: int, weighting: Weighting) -> str:
    if weighting == "weights_first" and bits != 64:
        return f"clip * scale + n < 2^{bits - 1}, but {clip:g} * {scale:g} + {pods} >= {2 ** (bits - 1)}"
    return (
        f"n * (clip * scale + 1) < 2^{bits - 1}, but {pods} * ({clip:g} * {scale:g} + 1) >= {2 ** (bits - 1)}"
    )


def check_encoding(encoding: Encoding, pods: int, noise: float = 0.0) -> None:
    """Refuse an encoding whose sum over ``pods`` could wrap, or that makes no sense.

    Raises:
        ParameterError: names the field and shows the inequality with the numbers.
    """
    for field in ("clip", "scale", "maximum_weight"):
        value = getattr(encoding, field)
        if not (math.isfinite(value) and value > 0):
            raise ParameterError(f"{field} is not a finite number above 0. Nothing was sent.")
    if not (math.isfinite(encoding.l2_clip) and encoding.l2_clip >= 0):
        raise ParameterError("l2_clip is not a finite number, 0 or more. Nothing was sent.")
    if math.frexp(encoding.scale)[0] != 0.5:
        raise ParameterError(f"scale is {encoding.scale:g}; expected a power of two.")
    if encoding.weighting == "equal" and encoding.maximum_weight != 1:
        raise ParameterError("maximum_weight must be 1 where every pod counts the same.")
    if encoding.bits == 64 and (encoding.scale != 1 or encoding.weighting != "equal"):
        raise ParameterError("64-bit words are exact integers: scale must be 1 and weighting 'equal'.")
    bits, clip, scale, weighting = encoding.bits, encoding.clip, encoding.scale, encoding.weighting
    if not fits(bits, clip, scale, pods, weighting, noise):
        raise ParameterError(
            f"The sum could wrap: {_inequality(bits, clip, scale, pods, weighting)}. "
            "Lower clip or scale, or use wider words."
        )


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person chooses for a task.

    Attributes:
        length: coordinates of an update.
        clip: largest absolute value of a coordinate; with 16 bits, of the rotated update (see `Encoding`).
        minimum_survivors: pods whose updates must be in a sum; 5 unless the owners agree on less, never below 3.
        mode: "active" (default) or "semi_honest"; the latter trusts the server to follow the protocol.
        bits: 32 (default), 16 (half the bytes) or 64 (exact integers).
        weighting: "weights_first" (default) or "per_round"; how weights enter where weights are given.
        maximum_weight: for "per_round", the largest weight that a pod may have.
        rounding, l2_clip: see `Encoding`.
        on_clip: "clip" clips a value beyond ``clip`` and counts it: the report has the fraction over all
            pods; "error" refuses the update in the pod, which is then a dropout.
        graph: "complete" or "sparse" (semi-honest only).
        degree, sparse_threshold: numbers of the sparse graph, from `graph.certified`; 0 takes the least
            that are certified for the two fractions below.
        sparse_corrupt, sparse_dropped: fractions of pods that may work with the server, and be lost.
        dp: noise inside the mask.
        deadlines_s: seconds for each of the five messages of a pod.
    """

    length: int
    clip: float
    minimum_survivors: int = DEFAULT_MINIMUM_SURVIVORS
    mode: Mode = "active"
    bits: Bits = 32
    weighting: Weighting = "weights_first"
    maximum_weight: float = 1.0
    rounding: Rounding = "stochastic"
    on_clip: OnClip = "clip"
    l2_clip: float = 0.0
    graph: Graph = "complete"
    degree: int = 0
    sparse_threshold: int = 0
    sparse_corrupt: float = 0.05
    sparse_dropped: float = 0.05
    dp: DpSpec = DpSpec()
    deadlines_s: tuple[float, float, float, float, float] = (60.0, 60.0, 600.0, 60.0, 60.0)

    def __post_init__(self) -> None:
        if not 1 <= self.length <= LENGTH_LIMIT:
            raise ParameterError(f"length is {self.length}; expected 1 to {LENGTH_LIMIT}.")
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise ParameterError("clip is not a finite number above 0.")
        if self.minimum_survivors < HARD_MINIMUM_SURVIVORS:
            raise ParameterError(
                f"minimum_survivors is {self.minimum_survivors}; a sum over fewer than "
                f"{HARD_MINIMUM_SURVIVORS} pods is never given."
            )
        if self.graph == "sparse" and self.mode != "semi_honest":
            raise ParameterError("A sparse graph has the semi-honest promise only: set mode='semi_honest'.")

    def encoding(self, pods: int, weighting: Weighting = "equal", maximum_weight: float = 1.0) -> Encoding:
        """The encoding with the finest step that ``pods`` pods cannot make wrap.

        Raises:
            ParameterError: there is none; the message shows the inequality.
        """
        noise = self._noise(pods)
        encoding = Encoding(
            bits=self.bits,
            clip=float(self.clip),
            scale=largest_scale(self.bits, self.clip, pods, weighting, noise),
            weighting=weighting,
            maximum_weight=float(maximum_weight),
            rounding=self.rounding,
            on_clip=self.on_clip,
            l2_clip=float(self.l2_clip or (self.dp.l2_bound if self.bits != 64 else 0.0)),
        )
        check_encoding(encoding, pods, noise)
        return encoding

    def shares_needed(self, pods: int) -> int:
        """Shares that open a secret in a round with so many pods."""
        return self.sparse_threshold if self.graph == "sparse" else threshold(pods, self.mode)

    def _noise(self, pods: int) -> float:
        shares = self.shares_needed(pods)
        if self.graph == "sparse":
            floor, colluders = self.minimum_survivors, sparse_colluders(self.minimum_survivors, shares)
        else:
            floor = max(self.minimum_survivors, shares)
            colluders = colluders_tolerated(pods, shares, self.mode)
        return noise_of_sum(self.dp.sigma, pods, floor, colluders)
