"""Sizes and bounds: the published tables, and every refusal with its arithmetic."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg.errors import ParameterError, SpecRefused
from secure_agg.parameters import (
    Encoding,
    Parameters,
    check_encoding,
    colluders_tolerated,
    fits,
    largest_scale,
    threshold,
)
from secure_agg.specification import read_spec
from tests.secure_agg.table import Setting, Table

COHORTS = (3, 4, 5, 7, 10, 20, 50, 100)


def test_thresholds_of_the_active_server() -> None:
    assert [threshold(pods) for pods in COHORTS] == [3, 3, 4, 5, 7, 14, 34, 67]
    assert [pods - threshold(pods) for pods in COHORTS] == [0, 1, 1, 2, 3, 6, 16, 33]


def test_tolerated_colluders_of_the_active_server() -> None:
    assert [colluders_tolerated(pods, threshold(pods)) for pods in COHORTS] == [1, 1, 2, 2, 3, 7, 17, 33]


def test_thresholds_of_the_semi_honest_server() -> None:
    assert [threshold(pods, "semi_honest") for pods in COHORTS] == [2, 3, 3, 4, 6, 11, 26, 51]


@given(st.integers(3, 2000))
def test_two_survivor_sets_need_more_liars_than_are_tolerated(pods: int) -> None:
    """Of two sets of t confirmations each, 2t - n come from pods that have signed both."""
    shares = threshold(pods)
    colluders = colluders_tolerated(pods, shares)
    assert 2 * shares - pods > colluders
    assert shares - colluders >= 2
    assert colluders < shares


@given(
    st.sampled_from([16, 32]),
    st.floats(1e-6, 1e6),
    st.integers(3, 128),
    st.sampled_from(["equal", "weights_first", "per_round"]),
)
def test_no_overflow_at_the_largest_scale_and_overflow_beyond(
    bits: Any, clip: float, pods: int, weighting: Any
) -> None:
    scale = largest_scale(bits, clip, pods, weighting)
    assert math.frexp(scale)[0] == 0.5
    assert fits(bits, clip, scale, pods, weighting)
    assert not fits(bits, clip, 2 * scale, pods, weighting)


def test_a_hundred_pods_with_clip_1_have_steps_of_2_to_the_minus_24() -> None:
    assert largest_scale(32, 1.0, 100, "equal") == 2**24


def test_a_sum_that_could_wrap_is_refused_with_the_inequality() -> None:
    with pytest.raises(ParameterError, match=r"n \* \(clip \* scale \+ 1\) < 2\^31, but 100 \* \(1 \* "):
        check_encoding(Encoding(32, 1.0, 2.0**25), 100)
    with pytest.raises(ParameterError, match=r"clip \* scale \+ n < 2\^31"):
        check_encoding(Encoding(32, 1.0, 2.0**31, "weights_first", 10.0), 100)
    with pytest.raises(ParameterError, match="do not fit into 16-bit words"):
        largest_scale(16, 1.0, 20_000, "equal")
    with pytest.raises(ParameterError, match="wrap"):
        check_encoding(Encoding(64, 2.0**62, 1.0), 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"clip": 0.0},
        {"clip": math.inf},
        {"clip": math.nan},
        {"scale": 3.0},
        {"scale": 0.0},
        {"maximum_weight": -1.0},
        {"maximum_weight": 2.0},
        {"l2_clip": -1.0},
        {"l2_clip": math.nan},
        {"bits": 64, "scale": 2.0},
        {"bits": 64, "scale": 1.0, "weighting": "per_round"},
    ],
)
def test_an_encoding_that_makes_no_sense_is_refused(changed: dict[str, Any]) -> None:
    check_encoding(Encoding(32, 1.0, 2.0**20), 5)
    with pytest.raises(ParameterError):
        check_encoding(msgspec.structs.replace(Encoding(32, 1.0, 2.0**20), **changed), 5)


@pytest.mark.parametrize(
    "changed",
    [{"length": 0}, {"length": 2**31}, {"clip": -1.0}, {"clip": math.nan}, {"minimum_survivors": 2}],
)
def test_parameters_that_make_no_sense_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ParameterError) as refused:
        Parameters(**{"length": 5, "clip": 1.0, **changed})
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    "changed",
    [
        {"task": bytes(15)},
        {"round": -1},
        {"schema_hash": bytes(31)},
        {"model_hash": b""},
        {"previous_model_hash": bytes(33)},
        {"cohort": ()},
        {"length": 2**31},
        {"threshold": 0},
        {"degree": 1},
        {"deadlines_s": (math.inf, 1.0, 1.0, 1.0, 1.0)},
    ],
)
def test_a_specification_that_does_not_hold_together_is_refused(changed: dict[str, Any]) -> None:
    spec = Table().spec
    assert read_spec(spec.to_bytes()) == spec
    with pytest.raises(SpecRefused):
        read_spec(msgspec.structs.replace(spec, **changed).to_bytes())


def test_a_cohort_is_sorted_and_names_each_pod_and_key_once() -> None:
    spec = Table().spec
    first, second = spec.cohort[:2]
    for cohort in (
        (second, first, *spec.cohort[2:]),
        (first, first, *spec.cohort[2:]),
        (first, msgspec.structs.replace(second, fingerprint=first.fingerprint), *spec.cohort[2:]),
        (first, msgspec.structs.replace(second, fingerprint=b"short"), *spec.cohort[2:]),
        (first, msgspec.structs.replace(second, name="Hull"), *spec.cohort[2:]),
        (first, msgspec.structs.replace(second, nonce_commitment=bytes(32)), *spec.cohort[2:]),
    ):
        with pytest.raises(SpecRefused):
            read_spec(msgspec.structs.replace(spec, cohort=cohort).to_bytes())


def test_a_specification_has_one_form() -> None:
    data = Table().spec.to_bytes()
    assert data[0] == 0xDC
    for other in (b"\xdd\x00\x00" + data[1:], data + b"\0", data[:-1]):
        with pytest.raises(SpecRefused):
            read_spec(other)


def test_the_floor_is_the_largest_of_threshold_and_minimum() -> None:
    assert Table(Setting(pods=7)).spec.floor == 5
    assert Table(Setting(pods=7, parameters={"minimum_survivors": 6})).spec.floor == 6
