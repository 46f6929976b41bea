"""Sums over every pattern of dropouts: the mean over the survivors, or a typed error and never a number."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_agg
from secure_agg import Cast, Parameters, simulate, simulation
from secure_agg.client import Client
from secure_agg.errors import (
    GraphNotCertified,
    InputRefused,
    ParameterError,
    PolicyRefused,
    TooFewPods,
    WeightError,
)
from secure_agg.graph import certified
from secure_agg.simulation import DROPOUT_POINTS, LostAt, _certified
from secure_agg.transitions import PodState
from tests.secure_agg.table import NAMES, entropy_from, update

POINTS = (None, *DROPOUT_POINTS[:-1])
IN_SUM = {None, "after_upload", "after_confirm", "after_reveal"}
CONFIRMS = {None, "after_confirm", "after_reveal"}
REVEALS = {None, "after_reveal"}
SMALL = {"length": 3, "clip": 8.0, "minimum_survivors": 3}


def names(count: int) -> list[str]:
    return [f"pod-{number:03}" for number in range(count)]


def outcome(pattern: dict[str, str | None], floor: int, threshold: int) -> list[str] | None:
    """Who is in the sum, by counting only; None where there must be none."""
    present = [sum(where not in gone for where in pattern.values()) for gone in _GONE_AT]
    answered = sum(where in REVEALS for where in pattern.values())
    confirmed = sum(where in CONFIRMS for where in pattern.values())
    if min(present) < floor or confirmed < threshold or answered < threshold:
        return None
    return sorted(name for name, where in pattern.items() if where in IN_SUM)


_GONE_AT = (
    {"before_advertise"},
    {"before_advertise", "after_advertise"},
    {"before_advertise", "after_advertise", "after_shares"},
)


def check(pattern: dict[str, str | None], seed: str = "a pattern", **chosen: object) -> None:
    parameters = Parameters(**{**SMALL, **chosen})
    pods = len(pattern)
    threshold = 2 * pods // 3 + 1 if parameters.mode == "active" else pods // 2 + 1
    expected = outcome(pattern, max(parameters.minimum_survivors, threshold), threshold)
    updates = {name: update(name, parameters.length) for name in pattern}
    lost = {name: where for name, where in pattern.items() if where is not None}
    cast = Cast(entropy=entropy_from(seed), threads=1)
    if expected is None:
        with pytest.raises(TooFewPods) as refused:
            simulate(parameters, updates, lost=lost, cast=cast)
        assert "There is no sum" in str(refused.value)
        return
    result = simulate(parameters, updates, lost=lost, cast=cast)
    assert list(result.survivors) == expected
    exact = np.mean([updates[name] for name in expected], axis=0)
    assert np.abs(result.mean - exact).max() <= result.report.error_bound
    assert result.report.n_invited == pods
    assert result.report.n_survivors == len(expected)


def multisets(pods: int) -> Iterator[dict[str, str | None]]:
    """Every pattern up to the names of the pods; a fixed shuffle decides who is lost."""
    for chosen in itertools.combinations_with_replacement(POINTS, pods):
        order = list(chosen)
        random.Random(repr(chosen)).shuffle(order)
        yield dict(zip(names(pods), order, strict=True))


@pytest.mark.parametrize("pods", [3, 4])
def test_every_multiset_of_dropouts_gives_the_sum_or_none(pods: int) -> None:
    for pattern in multisets(pods):
        check(pattern)


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pods", [3, 4, 5])
def test_every_pattern_of_dropouts_by_name_gives_the_sum_or_none(pods: int) -> None:
    for chosen in itertools.product(POINTS, repeat=pods):
        check(dict(zip(names(pods), chosen, strict=True)))


def random_pattern(pods: int, seed: int) -> dict[str, str | None]:
    """About a fifth of the pods are lost, anywhere."""
    draw = random.Random(seed)
    return {name: draw.choice(DROPOUT_POINTS) if draw.random() < 0.2 else None for name in names(pods)}


@pytest.mark.parametrize(("pods", "seed"), [(7, 1), (12, 2), (20, 3), (30, 4)])
def test_random_dropouts_give_the_sum_or_none(pods: int, seed: int) -> None:
    check(random_pattern(pods, seed), seed=str(seed))


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(20))
def test_random_dropouts_of_many_pods_give_the_sum_or_none(seed: int) -> None:
    check(random_pattern(random.Random(seed).randint(31, 128), seed), seed=str(seed))


@settings(max_examples=15)
@given(st.lists(st.sampled_from((None, *DROPOUT_POINTS)), min_size=5, max_size=9), st.integers(0, 2**32))
def test_sum_exact_any_dropout_schedule(points: list[str | None], seed: int) -> None:
    check(dict(zip(names(len(points)), points, strict=True)), seed=str(seed))


@pytest.mark.proof
@pytest.mark.timeout(0)
@settings(max_examples=10_000)
@given(st.lists(st.sampled_from((None, *DROPOUT_POINTS)), min_size=3, max_size=12), st.integers(0, 2**32))
def test_ten_thousand_dropout_schedules(points: list[str | None], seed: int) -> None:
    check(dict(zip(names(len(points)), points, strict=True)), seed=str(seed))


@pytest.mark.parametrize("where", ["before_advertise", "after_advertise"])
def test_drop_before_shares_is_tolerated(where: str) -> None:
    check(dict.fromkeys(names(4)) | {"pod-000": where})


@pytest.mark.parametrize("early", ["after_advertise", "after_shares"])
def test_two_lost_pods_leave_no_mask_behind(early: str) -> None:
    """The mask between two lost pods is in no vector, and must not be removed from the sum."""
    check(dict.fromkeys(names(7)) | {"pod-001": early, "pod-004": "after_shares"})


def test_exactly_threshold_succeeds() -> None:
    pattern = dict.fromkeys(names(7)) | {"pod-001": "after_shares", "pod-004": "after_confirm"}
    check(pattern)
    assert outcome(pattern, 5, 5) is not None


def test_below_threshold_aborts_and_reveals_nothing() -> None:
    parameters = Parameters(**SMALL)
    updates = {name: update(name, 3) for name in names(7)}
    lost = dict.fromkeys(names(3), "after_shares")
    with pytest.raises(TooFewPods, match=r"4 of 7 pods answered at 'uploads'; the task needs 5\."):
        simulate(parameters, updates, lost=lost, cast=Cast(entropy=entropy_from("few")))


@settings(max_examples=6)
@given(st.lists(st.floats(0.001, 1e6), min_size=4, max_size=6), st.integers(0, 2**32))
def test_weighted_mean_matches_float64(weights: list[float], seed: int) -> None:
    parameters = Parameters(**SMALL)
    updates = {name: update(name, 3) for name in names(len(weights))}
    given_weights = dict(zip(updates, weights, strict=True))
    result = simulate(parameters, updates, weights=given_weights, cast=Cast(entropy=entropy_from(str(seed))))
    exact = np.average(list(updates.values()), axis=0, weights=weights)
    assert np.abs(result.mean - exact).max() <= result.report.error_bound + 1e-9
    assert result.weight == pytest.approx(sum(weights), rel=1e-6)


def test_a_weighted_mean_over_the_survivors_leaves_out_the_lost_weight() -> None:
    parameters = Parameters(**SMALL)
    updates = {name: update(name, 3) for name in names(5)}
    weights = dict(zip(updates, (50.0, 120.0, 400.0, 75.0, 80.0), strict=True))
    result = simulate(parameters, updates, weights=weights, lost={"pod-002": "after_shares"})
    assert result.survivors == ("pod-000", "pod-001", "pod-003", "pod-004")
    kept = list(result.survivors)
    exact = np.average([updates[name] for name in kept], axis=0, weights=[weights[name] for name in kept])
    # Two steps of the unweighted ring, as the specification of the encoding asks.
    assert np.abs(result.mean - exact).max() <= 2 * 5 * 8 / 2**30
    assert result.weight == pytest.approx(325)


def test_weights_per_round_are_relative_to_the_agreed_maximum() -> None:
    parameters = Parameters(**SMALL, weighting="per_round", maximum_weight=500.0)
    updates = {name: update(name, 3) for name in names(5)}
    weights = dict(zip(updates, (50.0, 120.0, 400.0, 75.0, 80.0), strict=True))
    result = simulate(parameters, updates, weights=weights)
    exact = np.average(list(updates.values()), axis=0, weights=list(weights.values()))
    assert np.abs(result.mean - exact).max() <= result.report.error_bound
    with pytest.raises(WeightError):
        simulate(parameters, updates, weights=weights | {"pod-000": 501.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e30])
def test_bad_weights_refused(weight: float) -> None:
    updates = {name: update(name, 3) for name in names(5)}
    weights = dict.fromkeys(updates, 1.0) | {"pod-000": weight}
    with pytest.raises(WeightError, match="Nothing was sent"):
        simulate(Parameters(**SMALL), updates, weights=weights)


def test_counts_are_added_exactly_in_64_bits() -> None:
    parameters = Parameters(length=3, clip=2.0**53, minimum_survivors=3, bits=64)
    counts = {name: np.array([2**52 + place, -place, 7]) for place, name in enumerate(names(5))}
    result = simulate(parameters, counts, lost={"pod-004": "after_shares"})
    assert result.total is not None
    assert result.total.tolist() == [4 * 2**52 + 6, -6, 28]


def test_16_bit_words_halve_the_bytes_and_keep_the_bound() -> None:
    updates = {name: update(name, 5000) for name in names(5)}
    wide = simulate(Parameters(length=5000, clip=8.0), updates)
    narrow = simulate(Parameters(length=5000, clip=8.0, bits=16, on_clip="clip"), updates)
    assert narrow.report.bytes_up < 0.62 * wide.report.bytes_up
    exact = np.mean(list(updates.values()), axis=0)
    assert np.abs(narrow.mean - exact).max() <= narrow.report.error_bound


def test_semi_honest_mode_is_labelled() -> None:
    updates = {name: update(name, 3) for name in names(6)}
    result = simulate(Parameters(**SMALL, mode="semi_honest"), updates, lost={"pod-000": "after_upload"})
    assert (result.report.mode, result.report.t) == ("semi_honest", 4)
    assert np.allclose(result.mean, np.mean(list(updates.values()), axis=0), atol=1e-6)
    honest = simulate(Parameters(**SMALL), updates)
    assert (honest.report.mode, honest.report.t) == ("active", 5)


def test_graph_sparse_equals_complete_result() -> None:
    updates = {name: update(name, 3) for name in names(16)}
    sparse = Parameters(
        **SMALL, mode="semi_honest", graph="sparse", degree=8, sparse_threshold=5, sparse_corrupt=0.0
    )
    one = simulate(sparse, updates, lost={"pod-003": "after_shares", "pod-007": "after_upload"})
    other = simulate(
        Parameters(**SMALL), updates, lost={"pod-003": "after_shares", "pod-007": "after_upload"}
    )
    assert one.survivors == other.survivors
    assert np.abs(one.mean - other.mean).max() <= one.report.error_bound + other.report.error_bound
    assert (one.report.graph, one.report.mode) == ("sparse", "semi_honest")
    # Each pod writes to eight neighbours instead of fifteen.
    assert one.report.bytes_up < 0.7 * other.report.bytes_up


def test_a_pod_refuses_a_sparse_graph_that_nothing_certifies() -> None:
    """With five corrupt pods of 16, degree 8 and threshold 5 are worth less than 40 bits."""
    updates = {name: update(name, 3) for name in names(16)}
    sparse = Parameters(**SMALL, mode="semi_honest", graph="sparse", sparse_corrupt=0.3)
    weak = msgspec.structs.replace(sparse, degree=8, sparse_threshold=5)
    with pytest.raises(PolicyRefused, match="bits of privacy; this pod asks for 40"):
        simulate(weak, updates)
    with pytest.raises(GraphNotCertified):
        simulate(msgspec.structs.replace(sparse, sparse_corrupt=0.5, sparse_dropped=0.4), updates)


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pods", [150, 200])
def test_random_dropouts_in_a_certified_sparse_graph(pods: int) -> None:
    parameters = Parameters(**SMALL, mode="semi_honest", graph="sparse")
    updates = {name: update(name, 3) for name in names(pods)}
    draw = random.Random(pods)
    points = [point for point in DROPOUT_POINTS if point != "after_confirm"]
    lost = {name: draw.choice(points) for name in draw.sample(names(pods), pods // 20)}
    result = simulate(parameters, updates, lost=lost)
    expected = sorted(name for name in updates if lost.get(name) in IN_SUM)
    assert list(result.survivors) == expected
    exact = np.mean([updates[name] for name in expected], axis=0)
    assert np.abs(result.mean - exact).max() <= result.report.error_bound


def test_a_sparse_graph_with_an_active_server_is_refused() -> None:
    with pytest.raises(ParameterError, match="semi-honest promise only"):
        Parameters(**SMALL, graph="sparse", degree=8, sparse_threshold=5)


def test_thread_count_invariant() -> None:
    updates = {name: update(name, 540_000).astype(np.float32) for name in names(3)}
    parameters = Parameters(length=540_000, clip=8.0, minimum_survivors=3)
    one, two = (
        simulate(parameters, updates, cast=Cast(entropy=entropy_from("threads"), threads=threads))
        for threads in (1, 2)
    )
    assert np.array_equal(one.mean, two.mean)


def test_the_same_entropy_gives_the_same_round() -> None:
    updates = {name: update(name, 3) for name in names(5)}
    one, two = (simulate(Parameters(**SMALL), updates, cast=Cast(entropy_from("twice"))) for _ in range(2))
    assert np.array_equal(one.mean, two.mean)
    assert one.report.bytes_up == two.report.bytes_up


def test_the_example_of_the_interface_gives_a_mean_and_says_how_much_was_clipped() -> None:
    """Of a normal distribution about 6 values in 100,000 lie beyond 4."""
    parameters = Parameters(length=1_000_000, clip=4.0, minimum_survivors=3)
    pods = ("hull", "leeds", "york", "bath", "kent")
    updates = {name: np.random.default_rng(i).normal(size=1_000_000) for i, name in enumerate(pods)}
    result = simulate(parameters, updates, lost={"hull": "after_upload"})
    exact = np.mean([np.clip(values, -4, 4) for values in updates.values()], axis=0)
    assert np.abs(result.mean - exact).max() <= result.report.error_bound
    assert result.survivors == ("bath", "hull", "kent", "leeds", "york")
    assert 4e-5 < result.report.clipped_fraction < 9e-5


def test_names_that_do_not_fit_are_refused() -> None:
    updates = {name: update(name, 3) for name in names(5)}
    with pytest.raises(ParameterError, match="lost must name pods"):
        simulate(Parameters(**SMALL), updates, lost={"nobody": "after_shares"})
    with pytest.raises(ParameterError, match="weights has 1 names"):
        simulate(Parameters(**SMALL), updates, weights={"pod-000": 1.0})


def test_two_pods_are_never_added() -> None:
    with pytest.raises(secure_agg.SpecRefused, match="a cohort has 3"):
        simulate(Parameters(**SMALL), {name: update(name, 3) for name in names(2)})


def test_an_update_that_cannot_be_masked_is_the_callers_mistake() -> None:
    updates = {name: update(name, 3) for name in NAMES[:5]}
    with pytest.raises(InputRefused) as refused:
        simulate(Parameters(**SMALL), updates | {"bath": np.full(3, np.nan)})
    assert isinstance(refused.value, ValueError)


def test_a_sparse_graph_that_is_left_open_gets_what_is_certified() -> None:
    fractions = {"sparse_corrupt": 0.02, "sparse_dropped": 0.03}
    left = Parameters(**SMALL, mode="semi_honest", graph="sparse", **fractions)
    found = certified(300, 0.02, 0.03)
    given = _certified(left, 300)
    assert (given.degree, given.sparse_threshold) == (found.degree, found.threshold)
    assert msgspec.structs.replace(given, degree=0, sparse_threshold=0) == left
    assert _certified(given, 200) is given
    complete = Parameters(**SMALL)
    assert _certified(complete, 5) is complete


@pytest.mark.parametrize("where", DROPOUT_POINTS[1:4])
def test_a_simulated_pod_that_is_lost_is_closed(where: LostAt, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Client] = {}
    original = simulation._pods

    def kept(*given: Any) -> dict[str, Client]:
        made.update(original(*given))
        return made

    monkeypatch.setattr(simulation, "_pods", kept)
    updates = {name: update(name, 3) for name in names(5)}
    simulate(Parameters(**SMALL), updates, lost={"pod-001": where})
    assert made["pod-001"].state is PodState.CLOSED
    assert made["pod-001"]._secrets is None
    assert made["pod-000"].state is PodState.REVEALED
