"""Samplers of the discrete Gaussian, from cryptographic bits alone.

`exact` follows Canonne, Kamath and Steinke (NeurIPS 2020), algorithms 1 to 3, in whole numbers: its output
has exactly the stated distribution if its bits are uniform. It takes about 100 microseconds a draw.

`Sampler` is for long vectors. Up to a standard deviation of 1,024 it inverts a table of the distribution,
computed with 256-bit integers, cut 13 standard deviations out (rounded up) and compared with 128 uniform bits;
larger ones are sums ``M * x + y`` of two draws, whose distribution is a discrete Gaussian up to a relative error
below 2^-103 at each point because ``y`` has a standard deviation of ``2 M`` (the convolution of Micciancio and
Walter, CRYPTO 2017; see `_split`). The statistical distance of one draw from the exact distribution is below
2^-98, so that of 2^30 draws is below 2^-68.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.errors import ParameterError
from secure_agg.keystream import Cursor, stream_key

LARGEST_TABLE = 1024.0
TAIL_SIGMAS = 13
_SCALE = 512  # M: a table of 1,024 = 2 M carries the low part
_PRECISION = 256
_UNIFORM = 128
_GUIDE_BITS = 16
_LARGEST_SIGMA = 2.0**50

Entropy = Callable[[int], bytes]


class Sampler:
    """Draws one vector of noise, forward; deterministic in its seed.

    Args:
        sigma: standard deviation, in steps, above 0 and at most 2^50.
        seed: 32 fresh bytes of this pod alone.

    Raises:
        ParameterError: sigma out of range.
    """

    __slots__ = ("_levels",)

    def __init__(self, sigma: float, seed: bytes) -> None:
        if not (math.isfinite(sigma) and 0 < sigma <= _LARGEST_SIGMA):
            raise ParameterError("sigma of the noise is not a finite number above 0 and at most 2^50 steps.")
        self._levels = [
            (factor, _table(part), _Bits(seed, level)) for level, (factor, part) in enumerate(_split(sigma))
        ]

    def __repr__(self) -> str:
        return "Sampler()"

    def __call__(self, count: int) -> NDArray[np.int64]:
        """The next ``count`` draws."""
        total = np.zeros(count, np.int64)
        for factor, table, bits in self._levels:
            total += factor * table.draw(count, bits)
        return total


def _split(sigma: float) -> list[tuple[int, float]]:
    """Factors and standard deviations of tables whose draws, multiplied and added, have ``sigma``.

    ``M x + y`` with ``x`` of s and ``y`` of ``2 M`` has at each point the density of a discrete Gaussian
    times a sum over a shifted lattice with standard deviation ``1 / sqrt(1 / s^2 + 1 / 4)``. With a step of
    at most sigma / 8 s is at least sqrt(60), and that is above 1.93: by Poisson's summation the sum
    varies by less than ``4 exp(-2 pi^2 1.93^2)``, or 2^-104, about its mean.
    """
    levels, factor = [], 1
    while sigma > LARGEST_TABLE:
        step = min(_SCALE, int(sigma / 8))
        levels.append((factor, 2.0 * step))
        factor *= step
        sigma = math.sqrt((sigma / step) ** 2 - 4)
    return [*levels, (factor, sigma)]


class _Bits:
    """Two streams: 64 bits for every draw, and 64 more for the few that need them."""

    __slots__ = ("_first", "_second")

    def __init__(self, seed: bytes, level: int) -> None:
        self._first = Cursor(stream_key(seed, b"noise" + bytes([level])))
        self._second = Cursor(stream_key(seed, b"noise-more" + bytes([level])))

    def first(self, count: int) -> NDArray[Any]:
        return self._first.words(count, "<u8")

    def second(self) -> int:
        return int(self._second.words(1, "<u8")[0])


class _Table:
    """The distribution function at 128 bits, as whole numbers and as their upper 64 bits.

    A guide by the upper 16 bits of a word settles most draws: where no threshold lies in a word's bucket, the
    number of thresholds below the bucket is the answer.
    """

    __slots__ = ("_full", "_guide", "_lowest", "_upper")

    def __init__(self, sigma: float) -> None:
        reach, self._full = _thresholds(sigma)
        self._lowest = -reach
        self._upper = np.array([each >> 64 for each in self._full], np.uint64)
        buckets = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - _GUIDE_BITS)
        self._guide = np.append(np.searchsorted(self._upper, buckets), len(self._full))

    def draw(self, count: int, bits: _Bits) -> NDArray[np.int64]:
        words = bits.first(count)
        bucket = (words >> np.uint64(64 - _GUIDE_BITS)).astype(np.intp)
        found = self._guide[bucket]
        open_still = np.flatnonzero(found != self._guide[bucket + 1])
        found[open_still] = self._searched(words[open_still], bits)
        return found + self._lowest

    def _searched(self, words: NDArray[Any], bits: _Bits) -> NDArray[np.intp]:
        found = np.searchsorted(self._upper, words, side="right")
        # Where 64 bits equal a threshold's, the next 64 decide: about one draw in 2^49.
        for at in np.flatnonzero((found > 0) & (self._upper[found - 1] == words)):
            found[at] = bisect_right(self._full, int(words[at]) << 64 | bits.second())
        return found


@lru_cache(maxsize=3)  # of 2 MiB each: `masks.needed_bytes` counts on less than 8 in all
def _table(sigma: float) -> _Table:
    return _Table(sigma)


def _thresholds(sigma: float) -> tuple[int, list[int]]:
    """The reach R, and the distribution function at -R .. R - 1 times 2^128.

    exp(-x^2 / 2 sigma^2) by the recurrence over x in 256-bit fixed point: each step loses less than
    2^-254, and there are at most 13,312 steps.
    """
    reach = math.ceil(TAIL_SIGMAS * sigma) + 1
    variance = Fraction(sigma) ** 2
    one = 1 << _PRECISION
    ratio, step = _exp(-1 / (2 * variance)), _exp(-1 / variance)
    weights = [one]
    for _ in range(reach):
        weights.append(weights[-1] * ratio >> _PRECISION)
        ratio = ratio * step >> _PRECISION
    total = weights[0] + 2 * sum(weights[1:])
    running, thresholds = 0, []
    for x in range(-reach, reach):
        running += weights[abs(x)]
        thresholds.append(min((running << _UNIFORM) // total, (1 << _UNIFORM) - 1))
    return reach, thresholds


def _exp(exponent: Fraction) -> int:
    """exp of a fraction of 0 or less, times 2^256, rounded down."""
    context = Context(prec=90)
    value = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return int(context.multiply(context.exp(value), Decimal(1 << _PRECISION)))


def exact(variance: Fraction, count: int, entropy: Entropy) -> list[int]:
    """Draws from the discrete Gaussian with parameter ``variance``, exactly.

    Args:
        variance: sigma squared, above 0, as a fraction.
        count: how many draws.
        entropy: returns so many fresh uniform bytes.

    Raises:
        ParameterError: the variance is not above 0.
    """
    if variance <= 0:
        raise ParameterError("the variance of the noise is not above 0.")
    scale = math.isqrt(variance.numerator // variance.denominator) + 1
    found: list[int] = []
    while len(found) < count:
        candidate = _laplace(scale, entropy)
        distance = abs(candidate) - variance / scale
        if _bernoulli_exp(distance * distance / (2 * variance), entropy):
            found.append(candidate)
    return found


def _laplace(scale: int, entropy: Entropy) -> int:
    """Discrete Laplace: P(x) proportional to exp(-|x| / scale)."""
    while True:
        low = _below(scale, entropy)
        if not _bernoulli_exp(Fraction(low, scale), entropy):
            continue
        high = 0
        while _bernoulli_exp(Fraction(1), entropy):
            high += 1
        size, negative = low + scale * high, _below(2, entropy)
        if not (negative and size == 0):
            return -size if negative else size


def _bernoulli_exp(exponent: Fraction, entropy: Entropy) -> bool:
    """True with probability exp(-exponent)."""
    while exponent > 1:
        if not _bernoulli_exp_small(Fraction(1), entropy):
            return False
        exponent -= 1
    return _bernoulli_exp_small(exponent, entropy)


def _bernoulli_exp_small(exponent: Fraction, entropy: Entropy) -> bool:
    """The same for exponents of at most 1, from von Neumann's alternating series."""
    k = 1
    while _below(exponent.denominator * k, entropy) < exponent.numerator:
        k += 1
    return k % 2 == 1


def _below(bound: int, entropy: Entropy) -> int:
    """Uniform in [0, bound), by rejection."""
    bits = (bound - 1).bit_length()
    size = -(-bits // 8)
    while True:
        value = int.from_bytes(entropy(size), "little") & ((1 << bits) - 1)
        if value < bound:
            return value
