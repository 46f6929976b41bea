"""Differential privacy inside the mask: each pod adds a share of discrete Gaussian noise.

The noise of any ``minimum survivors - tolerated colluders`` honest pods alone has the standard deviation
that was asked for; more pods add more, never less. What colluding pods know of their own noise does not
count towards it, and a pod that drops out takes nothing from the promise while the minimum is met.

Accounting is in zero-concentrated DP (Bun and Steinke, TCC 2016). A sum of discrete Gaussians is not one,
and the correction is that of Kairouz, Liu and Steinke, "The Distributed Discrete Gaussian Mechanism"
(ICML 2021), Theorem 1: with ``tau = 10 * sum_{k<n} exp(-2 pi^2 sigma^2 k / (k + 1))`` the sum of n draws of
``sigma`` in d coordinates with sensitivity D satisfies ``epsilon^2 / 2`` zCDP, where epsilon is the lesser of
``sqrt(D^2 / (n sigma^2) + tau d / 2)`` and ``D / (sqrt(n) sigma) + tau sqrt(d)``.

With tens of pods this is expensive: nothing is amplified by sampling. `advice` says when.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from secure_agg.errors import ParameterError
from secure_agg.parameters import DpSpec

FEW_PODS = 100
SMALL_EPSILON = 10.0


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """How much noise each pod adds, and what one round costs.

    Attributes:
        pod_sigma: standard deviation of one pod's noise, in steps of the ring.
        noisy_pods: honest pods that the promise counts on.
        rho: zCDP of one round.
        epsilon: of one round, at ``delta``.
        delta: as asked.
    """

    pod_sigma: float
    noisy_pods: int
    rho: float
    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class NoisyRound:
    """What the plan of one round depends on.

    Attributes:
        minimum_survivors: pods whose updates must be in a sum.
        colluders: pods that may work with the server.
        scale: steps per unit of an update.
        length: words that carry numbers (`fixed_point.payload_length`).
        stochastic: whether rounding is stochastic.
    """

    minimum_survivors: int
    colluders: int
    scale: float
    length: int
    stochastic: bool = True


def plan(dp: DpSpec, of: NoisyRound) -> NoisePlan:
    """What each pod adds in a round, and what the round costs a pod's privacy.

    The neighbouring relation is one pod's whole update against zeros. Relative weights are at most 1,
    so that ``l2_bound`` bounds the contribution, weighted or not.

    Raises:
        ParameterError: no honest pod is left among the minimum, a bound is missing, or a number is not
            above 0.
    """
    pods = of.minimum_survivors - of.colluders
    if pods < 1:
        raise ParameterError(
            f"minimum_survivors {of.minimum_survivors} less {of.colluders} tolerated colluders leaves {pods} pods "
            "whose noise counts; at least 1 is needed. Raise minimum_survivors."
        )
    if not (_positive(dp.sigma) and _positive(dp.l2_bound) and 0 < dp.delta < 1):
        raise ParameterError("dp needs sigma and l2_bound above 0, and delta between 0 and 1.")
    pod_sigma = share_of_sigma(dp.sigma * of.scale, of.minimum_survivors, of.colluders)
    sensitivity = rounded_sensitivity(dp.l2_bound * of.scale, of.length, stochastic=of.stochastic)
    rho = rho_of_sum(sensitivity, pod_sigma, pods, of.length)
    return NoisePlan(pod_sigma, pods, rho, epsilon(rho, dp.delta), dp.delta)


def share_of_sigma(sigma: float, minimum_survivors: int, colluders: int) -> float:
    """One pod's standard deviation, so that the honest pods among the minimum give ``sigma`` together."""
    return sigma / math.sqrt(minimum_survivors - colluders)


def rounded_sensitivity(l2_bound: float, length: int, *, stochastic: bool = True) -> float:
    """L2 bound of one pod's vector after rounding to whole steps, in steps; the worst case of rounding.

    A coordinate moves by less than one step, or by at most half a step where rounding is to nearest.
    """
    return l2_bound + (1.0 if stochastic else 0.5) * math.sqrt(length)


def closeness(sigma: float, pods: int) -> float:
    """tau: the largest log-ratio between a sum of discrete Gaussians and one of the same variance."""
    exponents = (-2 * math.pi**2 * sigma * sigma * k / (k + 1) for k in range(1, pods))
    return 10 * math.fsum(math.exp(each) for each in exponents)


def rho_of_sum(sensitivity: float, pod_sigma: float, pods: int, length: int) -> float:
    """zCDP of releasing a sum with the noise of ``pods`` discrete Gaussians in it.

    Args:
        sensitivity: L2, in steps.
        pod_sigma: standard deviation of each pod's noise, in steps.
        pods: how many pods add noise.
        length: coordinates.

    Raises:
        ParameterError: a number out of range, or noise so small that there is no finite bound.
    """
    if not (sensitivity >= 0 and _positive(pod_sigma) and pods >= 1 and length >= 0):
        raise ParameterError("rho_of_sum needs a sensitivity of 0 or more and sigma and pods above 0.")
    tau = closeness(pod_sigma, pods)
    ratio = sensitivity / (math.sqrt(pods) * pod_sigma)
    whole = ratio + tau * math.sqrt(length)
    rho = min(ratio * ratio + tau * length / 2, whole * whole) / 2  # products are inf where a power raises
    if not math.isfinite(rho):
        raise ParameterError(
            "sigma of the noise is so small beside the sensitivity that it promises nothing."
        )
    return rho


def epsilon(rho: float, delta: float) -> float:
    """The least epsilon for which rho-zCDP gives (epsilon, delta)-DP, over all Renyi orders.

    Source: Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (NeurIPS 2020),
    Proposition 12: the least over a > 1 of
    ``rho * a + (log(1 / (a delta)) + (a - 1) log(1 - 1 / a)) / (a - 1)``.
    """
    if not (rho >= 0 and 0 < delta < 1):
        raise ParameterError("epsilon needs rho of 0 or more and delta between 0 and 1.")
    if rho in (0, math.inf):
        return float(rho)
    # The best order lies near 1 + sqrt(log(1 / delta) / rho); the function has one valley there.
    centre = math.log(math.sqrt(math.log(1 / delta) / rho))
    low, high = centre - 12, centre + 12
    for _ in range(200):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if _epsilon_at(rho, delta, left) < _epsilon_at(rho, delta, right):
            high = right
        else:
            low = left
    return max(0.0, _epsilon_at(rho, delta, low))


def _epsilon_at(rho: float, delta: float, log_excess: float) -> float:
    """At order ``1 + exp(log_excess)``."""
    excess = math.exp(log_excess)
    order = 1 + excess
    return rho * order + (-math.log(order * delta) / excess + math.log(excess / order))


def advice(pods: int, asked_epsilon: float) -> str | None:
    """What a modeller should hear before asking few pods for a small epsilon; None where nothing."""
    if pods >= FEW_PODS or asked_epsilon >= SMALL_EPSILON:
        return None
    return (
        f"{pods} pods and epsilon {asked_epsilon:g}: noise for whole pods will hide most of the mean. "
        "Record-level DP inside each pod costs less."
    )


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
