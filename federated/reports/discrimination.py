"""How well a risk tells apart who dies earlier: Harrell's C, with an interval by bootstrap of the patients.

A pair of patients is *comparable* if it is certain who died first: one died, and the other died later or was last
seen no earlier. C is the share of comparable pairs in which who died first had the higher risk; equal risks count
half. 0.5 is chance, 1 is perfect order. Two who died on the same day are not compared.

The interval is the percentile interval: patients are drawn with replacement, all risks are judged on the same draws,
and so differences between two risks have intervals of their own, which are narrower than either one's would suggest.

Source:
    FE Harrell, KL Lee, DB Mark, Multivariable prognostic models, Statistics in Medicine 15 (1996) 361-387.
    B Efron, RJ Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

import numpy as np
from numpy.typing import NDArray

from federated.errors import InvalidArgument
from federated.reports.federation import Estimate

LEVEL = 0.95
RESAMPLES = 2000
SEED = 1994
ENOUGH = 0.95
"""There is no interval if a larger part of the draws than the rest has no comparable pair."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The patients on whom risks are judged, and the draws from them.

    Args:
        time: shape ``(patients,)``: until death or until last seen, any unit.
        died: shape ``(patients,)``: whether ``time`` ends with death.
        resamples: draws for the intervals.
        seed: the only source of chance.

    Raises:
        InvalidArgument: the shapes differ, a time is not finite, or no two patients can be compared.
    """

    time: NDArray[np.float64] = field(repr=False)
    died: NDArray[np.bool_] = field(repr=False)
    resamples: int = RESAMPLES
    seed: int = SEED
    _first: NDArray[np.float64] = field(init=False, repr=False)
    _draws: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        time, died = np.asarray(self.time, dtype=np.float64), np.asarray(self.died, dtype=np.bool_)
        if time.ndim != 1 or time.shape != died.shape or not np.isfinite(time).all():
            raise InvalidArgument(
                f"time has shape {time.shape}, died {died.shape}; expected one finite time for each patient"
            )
        earlier = (time[:, None] < time) | ((time[:, None] == time) & ~died)
        first = (died[:, None] & earlier).astype(np.float64)
        if not first.any():
            raise InvalidArgument(
                f"of {len(time)} patients no two can be compared; expected a death at least"
            )
        object.__setattr__(self, "_first", first)
        object.__setattr__(self, "_draws", _draws(len(time), self.resamples, self.seed))

    @property
    def pairs(self) -> int:
        """Comparable pairs."""
        return int(self._first.sum())

    def concordance(self, risk: NDArray[np.float64]) -> Fraction:
        """C as an exact fraction.

        Args:
            risk: shape ``(patients,)``, finite; higher means death is expected earlier.

        Raises:
            InvalidArgument: it has another shape, or is not finite.
        """
        return Fraction(int(2 * self._agreeing(risk).sum()), 2 * self.pairs)

    def estimate(self, risk: NDArray[np.float64]) -> Estimate:
        """C with its interval. Arguments and errors: `concordance`."""
        return self._estimate(self._agreeing(risk))

    def difference(self, risk: NDArray[np.float64], other: NDArray[np.float64]) -> Estimate:
        """C of the first less C of the other, with the interval of this difference; errors: `concordance`."""
        return self._estimate(self._agreeing(risk) - self._agreeing(other))

    def _agreeing(self, risk: NDArray[np.float64]) -> NDArray[np.float64]:
        given = np.asarray(risk, dtype=np.float64)
        if given.shape != self.time.shape or not np.isfinite(given).all():
            raise InvalidArgument(
                f"risk has shape {given.shape}; expected a finite one for each of {len(self.time)} patients"
            )
        agreeing: NDArray[np.float64] = self._first * np.heaviside(given[:, None] - given, 0.5)
        return agreeing

    def _estimate(self, agreeing: NDArray[np.float64]) -> Estimate:
        value = float(agreeing.sum() / self._first.sum())
        counted = _weighed(self._draws, self._first)
        usable = counted > 0
        if usable.sum() < ENOUGH * self.resamples:
            return Estimate(value)
        drawn = _weighed(self._draws, agreeing)[usable] / counted[usable]
        low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        return Estimate(value, float(low), float(high))


def _weighed(draws: NDArray[np.float64], pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each draw, the sum over all pairs of it."""
    total: NDArray[np.float64] = np.einsum("dp,dp->d", draws @ pairs, draws)
    return total


def _draws(patients: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each patient is in each draw; only ``Random.random`` gives the same numbers in every Python."""
    chance = Random(seed)  # noqa: S311 - statistics, not a secret
    made = np.zeros((resamples, patients))
    for draw in made:
        for _ in range(patients):
            draw[int(chance.random() * patients)] += 1
    return made
