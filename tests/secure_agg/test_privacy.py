"""Noise is what the plan says, the plan covers the fewest pods, and accounting agrees with another's."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg import noise, privacy
from secure_agg.errors import ParameterError
from secure_agg.keystream import Cursor, stream_key
from secure_agg.noise import Sampler, exact
from secure_agg.parameters import DpSpec
from tests.secure_agg.vectors import Entropy, seed

DP = DpSpec("distributed_discrete_gaussian", sigma=2.0, delta=1e-5, l2_bound=1.0)


def weight(x: int, sigma: float) -> float:
    return math.exp(-x * x / (2 * sigma * sigma))


def probabilities(sigma: float, reach: int) -> dict[int, float]:
    total = math.fsum(weight(x, sigma) for x in range(-20 * reach, 20 * reach + 1))
    return {x: weight(x, sigma) / total for x in range(-reach, reach + 1)}


def chi_square(draws: list[int], sigma: float, reach: int) -> float:
    """p-value of the counts in -reach .. reach and the rest."""
    from scipy import stats

    expected = probabilities(sigma, reach)
    counts = [draws.count(x) for x in expected]
    rest = 1 - sum(expected.values())
    observed = [*counts, len(draws) - sum(counts)]
    return float(stats.chisquare(observed, [len(draws) * p for p in [*expected.values(), rest]]).pvalue)


@pytest.mark.parametrize(("sigma", "reach"), [(0.6, 1), (1.0, 2), (3.3, 7)])
def test_exact_draws_follow_the_discrete_gaussian(sigma: float, reach: int) -> None:
    draws = exact(Fraction(sigma) ** 2, 3000, Entropy(("exact", sigma)))
    assert chi_square(draws, sigma, reach) > 1e-9


@pytest.mark.parametrize(("sigma", "reach"), [(0.6, 1), (1.0, 2), (3.3, 7)])
def test_table_draws_follow_the_discrete_gaussian(sigma: float, reach: int) -> None:
    draws = Sampler(sigma, seed(("table", sigma)))(100_000).tolist()
    assert chi_square(draws, sigma, reach) > 1e-9


@pytest.mark.parametrize("sigma", [0.4, 1.0, 7.7])
def test_tables_are_the_distribution_to_the_last_bit_of_a_float(sigma: float) -> None:
    reach, thresholds = noise._thresholds(sigma)
    steps = [thresholds[0], *(b - a for a, b in pairwise(thresholds))]
    expected = probabilities(sigma, reach)
    for x, step in zip(range(-reach, reach), steps, strict=True):
        assert step / 2**128 == pytest.approx(expected[x], rel=1e-13, abs=2.0**-127)
    # The tail that is cut off has less than 2^-120 of the weight.
    assert math.fsum(weight(x, sigma) for x in range(reach + 1, 50 * reach)) < 2.0**-115


def test_a_table_is_symmetric() -> None:
    reach, thresholds = noise._thresholds(5.5)
    for x in range(reach):
        assert abs(thresholds[x] + thresholds[2 * reach - 1 - x] - 2**128) <= 2


class Words:
    """Bits that a test chooses."""

    def __init__(self, first: list[int], second: int = 0) -> None:
        self._first, self._second = first, second

    def first(self, count: int) -> np.ndarray:
        return np.array(self._first[:count], np.uint64)

    def second(self) -> int:
        return self._second


def test_where_64_bits_do_not_decide_the_next_64_do() -> None:
    table = noise._table(2.0)
    reach, thresholds = noise._thresholds(2.0)
    for at in (reach - 3, reach, reach + 4):
        upper, lower = thresholds[at] >> 64, thresholds[at] & (2**64 - 1)
        value = at - reach  # below the threshold the draw is this, from it on one more
        assert table.draw(1, Words([upper], lower - 1)).tolist() == [value]
        assert table.draw(1, Words([upper], lower)).tolist() == [value + 1]
        assert table.draw(2, Words([upper - 1, upper + 1])).tolist() == [value, value + 1]
    # The outermost value has less than 2^-128 of the weight; the one beside it may be the last.
    assert table.draw(1, Words([0], 0))[0] in {-reach, 1 - reach}
    assert table.draw(1, Words([2**64 - 1], 2**64 - 1))[0] in {reach - 1, reach}


def test_hardly_any_noise_is_no_noise() -> None:
    assert not Sampler(0.01, seed(1))(1000).any()


@pytest.mark.parametrize("sigma", [0.5, 1024.0, 1024.5, 4000.0, 1e5, 3e7, 1e12, 2.0**50])
def test_large_deviations_are_put_together_from_tables(sigma: float) -> None:
    levels = noise._split(sigma)
    assert math.sqrt(sum((factor * part) ** 2 for factor, part in levels)) == pytest.approx(sigma, rel=1e-12)
    for (low, part), (high, above) in pairwise(levels):
        step = high // low
        assert part == 2 * step
        # The lattice sum over the upper draw varies by less than 2^-100 about its mean.
        width = 1 / math.sqrt(1 / levels_sigma(levels, high) ** 2 + 1 / 4)
        assert 4 * math.exp(-2 * math.pi**2 * width**2) < 2.0**-100
        assert above <= 1024


def levels_sigma(levels: list[tuple[int, float]], factor: int) -> float:
    """Standard deviation of everything from this factor on, in its own units."""
    return math.sqrt(sum((each / factor * part) ** 2 for each, part in levels if each >= factor))


def test_a_sum_of_two_tables_is_the_discrete_gaussian_by_counting() -> None:
    """The same construction in small: M = 8, so that every probability can be added up."""
    low, high, step = probabilities(16.0, 160), probabilities(7.9, 80), 8
    sigma = math.sqrt(16.0**2 + (8 * 7.9) ** 2)
    expected = probabilities(sigma, 300)
    for x in range(-300, 301, 7):
        made = math.fsum(p * low.get(x - step * y, 0.0) for y, p in high.items())
        assert made == pytest.approx(expected[x], rel=1e-11)


@pytest.mark.parametrize("sigma", [30.0, 5000.0, 1e8])
def test_draws_have_the_moments_and_the_shape(sigma: float) -> None:
    from scipy import stats

    draws = Sampler(sigma, seed(("moments", sigma)))(60_000)
    assert abs(draws.mean()) < 7 * sigma / math.sqrt(60_000)
    assert abs(draws.std() / sigma - 1) < 7 / math.sqrt(120_000)
    assert stats.kstest((draws + 0.5) / sigma, "norm").pvalue > 1e-9


def test_noise_goes_on_where_it_stopped_and_never_repeats() -> None:
    one, pieces = Sampler(5000.0, seed(1)), Sampler(5000.0, seed(1))
    whole = one(100)
    assert np.array_equal(whole, np.concatenate([pieces(30), pieces(0), pieces(70)]))
    assert not np.array_equal(whole, one(100))
    assert not np.array_equal(whole, Sampler(5000.0, seed(2))(100))
    assert repr(one) == "Sampler()"


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 2.0**51])
def test_a_deviation_out_of_range_is_refused(sigma: float) -> None:
    with pytest.raises(ParameterError, match="sigma"):
        Sampler(sigma, seed(1))


def test_an_exact_variance_of_nothing_is_refused() -> None:
    with pytest.raises(ParameterError):
        exact(Fraction(0), 1, Entropy(1))


@given(survivors=st.integers(3, 200), colluders=st.integers(0, 199), more=st.integers(0, 50))
def test_dp_noise_covers_minimum_survivors(survivors: int, colluders: int, more: int) -> None:
    if colluders >= survivors:
        return
    scale = 2.0**16
    found = privacy.plan(DP, privacy.NoisyRound(survivors, colluders, scale, 1000))
    honest = survivors - colluders
    assert found.noisy_pods == honest
    # What the honest pods of the smallest sum add, whoever of the others tells the server its own noise.
    assert math.sqrt(honest) * found.pod_sigma == pytest.approx(DP.sigma * scale)
    assert math.sqrt(honest + more) * found.pod_sigma >= DP.sigma * scale * (1 - 1e-12)
    assert privacy.rho_of_sum(1.0, found.pod_sigma, honest + more, 10) <= privacy.rho_of_sum(
        1.0, found.pod_sigma, honest, 10
    )


def test_the_noise_of_the_smallest_sum_is_measured() -> None:
    found = privacy.plan(DP, privacy.NoisyRound(5, 2, 64.0, 1000))
    total = sum(Sampler(found.pod_sigma, seed(("pod", i)))(50_000) for i in range(3))
    assert total.std() == pytest.approx(128, rel=0.03)


@pytest.mark.parametrize(("survivors", "colluders"), [(3, 3), (3, 5)])
def test_a_plan_without_an_honest_pod_is_refused(survivors: int, colluders: int) -> None:
    with pytest.raises(ParameterError, match="Raise minimum_survivors"):
        privacy.plan(DP, privacy.NoisyRound(survivors, colluders, 64.0, 1000))


@pytest.mark.parametrize(
    "dp",
    [
        DpSpec("distributed_discrete_gaussian", s, d, b)
        for s, d, b in [
            (0, 1e-5, 1),
            (1, 0, 1),
            (1, 1, 1),
            (1, 1e-5, 0),
            (math.nan, 1e-5, 1),
            (1, 1e-5, math.inf),
            (-1, 1e-5, 1),
        ]
    ],
)
def test_a_plan_without_bounds_is_refused(dp: DpSpec) -> None:
    with pytest.raises(ParameterError, match="sigma and l2_bound"):
        privacy.plan(dp, privacy.NoisyRound(5, 1, 64.0, 10))


def test_one_pod_has_no_correction_and_many_small_ones_have_a_large_one() -> None:
    assert privacy.closeness(1.0, 1) == 0
    expected = 10 * (math.exp(-(math.pi**2)) + math.exp(-(math.pi**2) * 4 / 3))
    assert privacy.closeness(1.0, 3) == pytest.approx(expected)
    assert privacy.closeness(0.3, 10) > 1
    assert privacy.closeness(5.0, 100) < 1e-100


def test_rho_is_that_of_the_gaussian_plus_the_correction() -> None:
    assert privacy.rho_of_sum(3.0, 10.0, 4, 1000) == pytest.approx(3.0**2 / (2 * 4 * 10.0**2))
    tau, ratio = privacy.closeness(0.7, 5), 2 / (math.sqrt(5) * 0.7)
    both = [(ratio**2 + tau * 50 / 2) / 2, (ratio + tau * math.sqrt(50)) ** 2 / 2]
    assert privacy.rho_of_sum(2.0, 0.7, 5, 50) == pytest.approx(min(both))
    for bad in ((-1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (math.nan, 1, 1, 1)):
        with pytest.raises(ParameterError):
            privacy.rho_of_sum(*bad)


def divergence(order: float, sigma: float, pods: int, shift: int) -> float:
    """Renyi divergence between a sum of discrete Gaussians and itself shifted, added up."""
    reach = 60
    one = np.array([weight(x, sigma) for x in range(-reach, reach + 1)])
    total = np.array([1.0])
    for _ in range(pods):
        total = np.convolve(total, one / one.sum())
    p, q = total[shift:], total[: len(total) - shift]
    kept = (p > 1e-250) & (q > 1e-250)
    ratio = np.log(p[kept]) * order + np.log(q[kept]) * (1 - order)
    peak = ratio.max()
    return float((peak + np.log(np.exp(ratio - peak).sum())) / (order - 1))


@pytest.mark.parametrize("sigma", [0.5, 0.6, 0.8, 1.5])
@pytest.mark.parametrize("pods", [2, 3, 6])
def test_the_bound_holds_for_sums_by_counting(sigma: float, pods: int) -> None:
    for shift in (1, 2):
        rho = privacy.rho_of_sum(shift, sigma, pods, 1)
        for order in (1.1, 2.0, 5.0):
            assert divergence(order, sigma, pods, shift) <= rho * order * (1 + 1e-9)


def test_without_the_correction_the_bound_would_be_wrong() -> None:
    sigma, pods = 0.45, 3
    plain = 1 / (2 * pods * sigma**2)
    assert max(divergence(order, sigma, pods, 1) / order for order in (1.1, 2.0, 5.0)) > plain * 1.0001


@pytest.mark.parametrize("rho", [1e-4, 0.01, 0.1, 0.5, 2.0, 30.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-2])
def test_epsilon_agrees_with_dp_accounting(rho: float, delta: float) -> None:
    dp_accounting = pytest.importorskip("dp_accounting", reason="needs the dev extra's dp-accounting")
    accountant = dp_accounting.rdp.RdpAccountant(orders=[1 + 1.01**k for k in range(-900, 1100)])
    accountant.compose(dp_accounting.ZCDpEvent(rho))
    assert privacy.epsilon(rho, delta) == pytest.approx(accountant.get_epsilon(delta), rel=2e-4, abs=1e-9)


@pytest.mark.parametrize(("sigma", "rounds"), [(1.0, 50), (4.0, 50), (10.0, 1)])
def test_rounds_of_wide_noise_cost_what_gaussian_noise_costs(sigma: float, rounds: int) -> None:
    dp_accounting = pytest.importorskip("dp_accounting", reason="needs the dev extra's dp-accounting")
    accountant = dp_accounting.rdp.RdpAccountant(orders=[1 + 1.01**k for k in range(-700, 900)])
    accountant.compose(dp_accounting.GaussianDpEvent(sigma), rounds)
    scale = 2.0**20
    spent = rounds * privacy.rho_of_sum(scale, sigma * scale / math.sqrt(8), 8, 10**6)
    assert privacy.epsilon(spent, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=2e-4)


def test_nothing_spent_costs_nothing() -> None:
    assert privacy.epsilon(0.0, 1e-5) == 0
    for rho, delta in ((-1.0, 0.1), (1.0, 0.0), (1.0, 1.0), (math.nan, 0.1)):
        with pytest.raises(ParameterError):
            privacy.epsilon(rho, delta)


def test_rounding_can_move_every_coordinate_by_a_step() -> None:
    assert privacy.rounded_sensitivity(100.0, 10_000) == 200
    assert privacy.rounded_sensitivity(100.0, 10_000, stochastic=False) == 150


@pytest.mark.parametrize(("pods", "asked", "warned"), [(10, 3.0, True), (10, 10.0, False), (100, 1.0, False)])
def test_few_pods_and_a_small_epsilon_are_warned_of(pods: int, asked: float, warned: Any) -> None:
    assert (privacy.advice(pods, asked) is not None) is warned


# ---- the same numbers, counted another way ----


def conversion(rho: float, delta: float, order: float) -> float:
    """Proposition 12 of Canonne, Kamath and Steinke, as it is printed."""
    return rho * order + (math.log(1 / (order * delta)) + (order - 1) * math.log1p(-1 / order)) / (order - 1)


@pytest.mark.parametrize("rho", [1e-8, 1e-4, 0.03, 1.0, 17.0, 900.0])
@pytest.mark.parametrize("delta", [1e-12, 1e-6, 0.01, 0.5])
def test_epsilon_is_the_least_of_a_fine_search_over_all_orders(rho: float, delta: float) -> None:
    orders = 1 + np.exp(np.linspace(-14, 18, 64_001))
    terms = np.log(1 / (orders * delta)) / (orders - 1) + np.log1p(-1 / orders)
    least = max(0.0, float((rho * orders + terms).min()))
    found = privacy.epsilon(rho, delta)
    assert found == pytest.approx(least, rel=1e-6, abs=1e-12)
    assert found <= least * (1 + 1e-12)
    assert found <= max(0.0, conversion(rho, delta, 2.0)) * (1 + 1e-12)


def test_epsilon_grows_with_rho_and_falls_with_delta() -> None:
    grid = [[privacy.epsilon(rho, delta) for delta in (1e-9, 1e-5, 0.1)] for rho in (0.01, 0.1, 1.0, 10.0)]
    assert all(a > b for row in grid for a, b in pairwise(row))
    assert all(a < b for column in zip(*grid, strict=True) for a, b in pairwise(column))
    assert privacy.epsilon(1e-12, 0.999) == 0  # never below


def test_a_plan_is_the_sum_of_its_parts() -> None:
    dp = DpSpec("distributed_discrete_gaussian", sigma=2.0, delta=1e-5, l2_bound=3.0)
    found = privacy.plan(dp, privacy.NoisyRound(9, 5, 16.0, 400))
    assert found.pod_sigma == 2.0 * 16 / 2  # the four honest pods of the least sum
    assert (found.noisy_pods, found.delta) == (4, 1e-5)
    # 48 steps of bound and 20 of rounding against a deviation of 32; the correction is below 1e-100.
    assert found.rho == pytest.approx((68 / 32) ** 2 / 2, rel=1e-12)
    assert found.epsilon == privacy.epsilon(found.rho, 1e-5)
    nearest = privacy.plan(dp, privacy.NoisyRound(9, 5, 16.0, 400, stochastic=False))
    assert nearest.rho == pytest.approx((58 / 32) ** 2 / 2, rel=1e-12)


def test_one_honest_pod_is_enough_for_a_plan() -> None:
    assert privacy.plan(DP, privacy.NoisyRound(3, 2, 64.0, 10)).noisy_pods == 1
    with pytest.raises(ParameterError, match="3 less 3 tolerated colluders leaves 0 pods"):
        privacy.plan(DP, privacy.NoisyRound(3, 3, 64.0, 10))


def test_a_plan_takes_any_delta_between_0_and_1() -> None:
    for delta in (1e-300, 0.9):
        dp = DpSpec("distributed_discrete_gaussian", sigma=0.1, delta=delta, l2_bound=1.0)
        assert privacy.plan(dp, privacy.NoisyRound(5, 1, 64.0, 10)).epsilon > 0


def test_a_pods_share_of_the_deviation_is_over_the_honest_pods() -> None:
    assert privacy.share_of_sigma(12.0, 20, 4) == 3.0
    assert privacy.share_of_sigma(12.0, 5, 4) == 12.0


@pytest.mark.parametrize(("sigma", "pods"), [(0.3, 2), (0.5, 4), (0.8, 7)])
def test_the_correction_is_that_of_the_paper(sigma: float, pods: int) -> None:
    """tau = 10 sum over k from 1 to n - 1 of exp(-2 pi^2 sigma^2 k / (k + 1))."""
    expected = 0.0
    for k in range(1, pods):
        expected += 10 * math.exp(-2 * math.pi**2 * sigma**2 * k / (k + 1))
    assert privacy.closeness(sigma, pods) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("sensitivity", "sigma", "pods", "length"), [(0.0, 0.3, 3, 9), (1.0, 0.35, 2, 1), (5.0, 0.4, 6, 10_000)]
)
def test_rho_is_the_lesser_of_both_bounds(sensitivity: float, sigma: float, pods: int, length: int) -> None:
    tau = privacy.closeness(sigma, pods)
    one = math.sqrt(sensitivity**2 / (pods * sigma**2) + tau * length / 2)
    other = sensitivity / (math.sqrt(pods) * sigma) + tau * math.sqrt(length)
    assert privacy.rho_of_sum(sensitivity, sigma, pods, length) == pytest.approx(
        min(one, other) ** 2 / 2, rel=1e-12
    )


def test_rho_is_refused_beyond_its_edges_and_given_on_them() -> None:
    assert privacy.rho_of_sum(0.0, 1.0, 1, 0) == 0
    assert privacy.rho_of_sum(1.0, 1.0, 1, 5) == 0.5
    for bad in ((-1e-9, 1, 1, 1), (1, -1, 1, 1), (1, 1, 0, 1), (1, 1, 1, -1), (1, math.inf, 1, 1)):
        with pytest.raises(ParameterError):
            privacy.rho_of_sum(*bad)


@pytest.mark.parametrize(
    ("pods", "asked", "warned"), [(99, 9.99, True), (99, 10.0, False), (100, 9.99, False)]
)
def test_the_warning_ends_at_a_hundred_pods_and_at_epsilon_10(pods: int, asked: float, warned: bool) -> None:
    found = privacy.advice(pods, asked)
    assert (found is not None) is warned
    if found:
        assert found.startswith("99 pods and epsilon 9.99: ")


def test_no_byte_is_thrown_away_where_every_number_of_the_bits_is_wanted() -> None:
    for bound, size in ((2, 1), (16, 1), (256, 1), (65_536, 2)):
        given = iter([b"\xff" * size])  # a second draw finds nothing
        assert noise._below(bound, lambda asked, given=given: next(given)) == bound - 1


def test_a_draw_asks_for_the_bytes_of_its_bound() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    assert [noise._below(bound, entropy) for bound in (1, 2, 256, 257, 65_536, 65_537)] == [0] * 6
    assert asked == [0, 1, 1, 2, 2, 3]


def test_a_number_below_a_bound_is_each_with_equal_chance() -> None:
    """Bits beyond those of the bound are dropped, and what is not below it is drawn again."""
    given = iter([b"\xff", b"\x07", b"\x06", b"\x05", b"\x0d"])
    assert [noise._below(6, lambda size: next(given)) for _ in range(2)] == [5, 5]
    assert noise._below(1, lambda size: bytes(size)) == 0


@pytest.mark.parametrize(("sigma", "reach"), [(0.01, 2), (1.0, 14), (2.5, 34), (4.0, 53), (100.1, 1303)])
def test_a_table_ends_one_beyond_13_deviations(sigma: float, reach: int) -> None:
    found, thresholds = noise._thresholds(sigma)
    assert (found, len(thresholds)) == (reach, 2 * reach)
    assert thresholds[-1] <= 2**128 - 1
    assert all(a <= b for a, b in pairwise(thresholds))


def test_the_largest_deviation_is_2_to_the_50() -> None:
    assert Sampler(2.0**50, seed(1))(3).any()
    with pytest.raises(ParameterError, match="at most 2\\^50"):
        Sampler(math.nextafter(2.0**50, math.inf), seed(1))


def test_the_second_64_bits_are_the_next_word_of_a_stream_of_their_own() -> None:
    for level in (0, 3):
        bits = noise._Bits(seed(1), level)
        stream = Cursor(stream_key(seed(1), b"noise-more" + bytes([level]))).words(3, "<u8").tolist()
        assert [bits.second() for _ in stream] == stream
        assert bits.first(3).tolist() != stream


def test_a_table_reaches_to_1024_and_only_beyond_it_are_there_two() -> None:
    assert noise._split(1024.0) == [(1, 1024.0)]
    (low, part), (high, _) = noise._split(math.nextafter(1024.0, math.inf))
    assert (low, part, high) == (1, 256.0, 128)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_so_many_exact_draws_are_given_as_were_asked_for(count: int) -> None:
    assert len(exact(Fraction(4), count, Entropy("count"))) == count


@pytest.mark.parametrize("delta", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_epsilon_is_given_at_a_delta_between_0_and_1(delta: float) -> None:
    with pytest.raises(ParameterError, match="delta between 0 and 1"):
        privacy.epsilon(0.5, delta)
    with pytest.raises(ParameterError, match="delta between 0 and 1"):
        privacy.epsilon(0.0, delta)


@pytest.mark.parametrize("sigma", [1e-160, 1e-200, 1e-300, 5e-324])
def test_noise_too_small_to_count_promises_nothing(sigma: float) -> None:
    with pytest.raises(ParameterError, match="promises nothing"):
        privacy.rho_of_sum(1e9, sigma, 3, 7)
    with pytest.raises(ParameterError):
        privacy.plan(msgspec.structs.replace(DP, sigma=sigma), privacy.NoisyRound(5, 2, 2.0**20, 7))


def test_the_largest_numbers_are_counted_or_said_to_be_endless() -> None:
    assert privacy.closeness(1e300, 5) == 0
    assert privacy.rho_of_sum(1.0, 1e300, 5, 7) == 0
    assert privacy.epsilon(1e300, 1e-6) == pytest.approx(1e300)
    assert privacy.epsilon(math.inf, 1e-6) == math.inf


def test_tables_of_many_deviations_stay_below_8_mib() -> None:
    """What `masks.needed_bytes` says: of all rounds of a pod, whatever noise each asks for."""
    noise._table.cache_clear()
    tracemalloc.start()
    for number in range(4):
        Sampler(1024.0 - number, seed(1))(10)
        Sampler(2.0**50 - number, seed(1))(10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
