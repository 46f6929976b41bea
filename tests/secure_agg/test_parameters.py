"""Sizes and bounds: the published tables, and every refusal with its arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_agg.errors import ParameterError, SpecRefused
from secure_agg.parameters import (
    DpSpec,
    Encoding,
    Parameters,
    check_encoding,
    colluders_tolerated,
    fits,
    largest_scale,
    noise_of_sum,
    noise_pods,
    sparse_colluders,
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


# ---- tables counted by hand ----


def test_tolerated_colluders_of_the_semi_honest_server() -> None:
    """One less than opens a secret, while two honest pods are in the sum."""
    shares = [threshold(pods, "semi_honest") for pods in COHORTS]
    found = [colluders_tolerated(n, t, "semi_honest") for n, t in zip(COHORTS, shares, strict=True)]
    assert found == [0, 1, 1, 2, 4, 9, 24, 49]


@pytest.mark.parametrize(
    ("pods", "shares", "active", "semi_honest"),
    [(10, 10, 8, 8), (10, 6, 1, 4), (10, 5, 0, 3), (10, 1, 0, 0), (3, 3, 1, 1), (12, 9, 5, 7)],
)
def test_colluders_for_any_number_of_shares(pods: int, shares: int, active: int, semi_honest: int) -> None:
    assert colluders_tolerated(pods, shares) == active
    assert colluders_tolerated(pods, shares, "semi_honest") == semi_honest


@pytest.mark.parametrize(
    ("floor", "shares", "colluders", "noisy"),
    [(5, 17, 3, 2), (20, 17, 15, 5), (3, 3, 1, 2), (3, 2, 0, 3), (2, 9, 0, 2), (1, 9, 0, 1), (9, 1, 0, 9)],
)
def test_colluders_and_noisy_pods_of_a_sparse_graph(
    floor: int, shares: int, colluders: int, noisy: int
) -> None:
    assert sparse_colluders(floor, shares) == colluders
    assert noise_pods(floor, colluders) == noisy


def test_the_noise_of_a_full_cohort_is_that_of_its_least_pods_scaled_up() -> None:
    assert noise_pods(4, 4) == noise_pods(4, 9) == 1
    assert noise_of_sum(3.0, 36, 9, 5) == 3.0 * 3
    assert noise_of_sum(0.0, 36, 9, 5) == 0


@pytest.mark.parametrize("clip", [1, 6, 1000, 2**31])
@pytest.mark.parametrize("noise", [0.0, 1.0, 1e6])
def test_exact_words_fit_up_to_the_last_pod(clip: int, noise: float) -> None:
    """One more than the clip for each pod, and twelve deviations of noise."""
    pods = (2**63 - 1 - 12 * int(noise)) // (clip + 1)
    assert fits(64, float(clip), 1.0, pods, "equal", noise)
    assert not fits(64, float(clip), 1.0, pods + 1, "equal", noise)


def test_exact_words_hold_no_more_than_a_signed_word() -> None:
    assert fits(64, 2.0**31 - 1, 1.0, 2**32 - 1, "equal")
    assert not fits(64, 2.0**31 - 1, 1.0, 2**32, "equal")


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("weighting", ["equal", "per_round", "weights_first"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_words_fit_up_to_the_last_pod(bits: Any, weighting: Any, scale: float, noise: float) -> None:
    """The same inequality in whole numbers: the clip is 7 units."""
    room = 2 ** (bits - 1) - 1 - int(12 * noise * scale)
    pods = room - int(7 * scale) if weighting == "weights_first" else room // (int(7 * scale) + 1)
    assert fits(bits, 7.0, scale, pods, weighting, noise)
    assert not fits(bits, 7.0, scale, pods + 1, weighting, noise)


@given(
    st.sampled_from([16, 32]),
    st.sampled_from(["equal", "weights_first", "per_round"]),
    st.floats(1e-3, 1e3),
    st.integers(3, 2000),
    st.floats(0, 4),
)
def test_the_largest_scale_is_that_of_exact_fractions(
    bits: Any, weighting: Any, clip: float, pods: int, noise: float
) -> None:
    def holds(scale: Fraction) -> bool:
        most = Fraction(clip) * scale
        total = most + pods if weighting == "weights_first" else pods * (most + 1)
        return total + 12 * Fraction(noise) * scale < 2 ** (bits - 1)

    found = Fraction(largest_scale(bits, clip, pods, weighting, noise))
    assert holds(found)
    assert not holds(2 * found)


@pytest.mark.parametrize(("weighting", "most"), [("equal", 16_383), ("weights_first", 32_766)])
def test_so_many_pods_fit_into_short_words_and_one_more_does_not(weighting: Any, most: int) -> None:
    """The last cohort has one step for the clip."""
    assert largest_scale(16, 1.0, most, weighting) == 1
    assert largest_scale(16, 0.25, most, weighting) == 4
    form = {
        "equal": f"{most + 1} * (4 * 0.25 + 1) >= 32768",
        "weights_first": f"4 * 0.25 + {most + 1} >= 32768",
    }
    with pytest.raises(ParameterError, match=f"^{most + 1} pods do not fit into 16-bit words: ") as refused:
        largest_scale(16, 4.0, most + 1, weighting)
    assert form[weighting] in str(refused.value)


def test_exact_words_have_one_step_for_each_unit() -> None:
    assert largest_scale(64, 2.0**40, 100, "equal") == 1
    wide = Parameters(length=3, clip=2.0**40, bits=64).encoding(5)
    assert (wide.scale, wide.clip, wide.l2_clip) == (1.0, 2.0**40, 0.0)


def test_a_wrap_of_exact_words_is_said_in_their_own_terms() -> None:
    with pytest.raises(
        ParameterError, match=r"n \* \(clip \* scale \+ 1\) < 2\^63, but 3 \* \(.* >= 9223372036854775808"
    ):
        check_encoding(Encoding(64, 2.0**62, 1.0), 3)
    with pytest.raises(
        ParameterError, match=r"2\^31, but 1 \* 2\.14748e\+09 \+ 100 >= 2147483648\. Lower clip"
    ):
        check_encoding(Encoding(32, 1.0, 2.0**31, "weights_first", 10.0), 100)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("clip", 0.0, "clip is not a finite number above 0"),
        ("clip", math.inf, "clip is not a finite number above 0"),
        ("scale", -1.0, "scale is not a finite number above 0"),
        ("scale", math.nan, "scale is not a finite number above 0"),
        ("scale", 0.75, "expected a power of two"),
        ("maximum_weight", 0.0, "maximum_weight is not a finite number above 0"),
        ("maximum_weight", math.inf, "maximum_weight is not a finite number above 0"),
        ("maximum_weight", 1.5, "maximum_weight must be 1 where every pod counts the same"),
        ("maximum_weight", 0.5, "maximum_weight must be 1 where every pod counts the same"),
        ("l2_clip", -1e-9, "l2_clip is not a finite number, 0 or more"),
        ("l2_clip", math.inf, "l2_clip is not a finite number, 0 or more"),
    ],
)
def test_the_field_of_an_encoding_that_is_wrong_is_named(field: str, value: float, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        check_encoding(msgspec.structs.replace(Encoding(32, 1.0, 1.0), **{field: value}), 5)


def test_an_encoding_at_its_bounds_is_taken() -> None:
    for field, value in (("l2_clip", 0.0), ("l2_clip", 5.0), ("clip", 1e-300), ("scale", 0.5)):
        check_encoding(msgspec.structs.replace(Encoding(32, 1.0, 1.0), **{field: value}), 5)
    check_encoding(Encoding(32, 1.0, 1.0, "per_round", 500.0), 5)
    check_encoding(Encoding(64, 8.0, 1.0), 5)
    for wrong in (Encoding(64, 8.0, 2.0), Encoding(64, 8.0, 1.0, "per_round"), Encoding(64, 8.0, 0.5)):
        with pytest.raises(ParameterError, match="exact integers: scale must be 1 and weighting 'equal'"):
            check_encoding(wrong, 5)


def test_noise_takes_room_of_the_words() -> None:
    """5 * (1 * 2^20 + 1) leaves room for 12 deviations of 162 units, and not for those of 163."""
    check_encoding(Encoding(32, 1.0, 2.0**20), 5, noise=170.2)
    with pytest.raises(ParameterError, match="could wrap"):
        check_encoding(Encoding(32, 1.0, 2.0**20), 5, noise=170.3)


# ---- what a person chooses ----


def test_defaults_are_those_of_the_documentation() -> None:
    chosen = msgspec.structs.asdict(Parameters(length=1, clip=1.0))
    assert chosen == {
        "length": 1,
        "clip": 1.0,
        "minimum_survivors": 5,
        "mode": "active",
        "bits": 32,
        "weighting": "weights_first",
        "maximum_weight": 1.0,
        "rounding": "stochastic",
        "on_clip": "clip",
        "l2_clip": 0.0,
        "graph": "complete",
        "degree": 0,
        "sparse_threshold": 0,
        "sparse_corrupt": 0.05,
        "sparse_dropped": 0.05,
        "dp": DpSpec("none", 0.0, 1e-5, 0.0),
        "deadlines_s": (60.0, 60.0, 600.0, 60.0, 60.0),
    }
    assert msgspec.structs.astuple(DpSpec()) == ("none", 0.0, 1e-5, 0.0)
    assert msgspec.structs.astuple(Encoding(32, 2.0, 4.0)) == (
        32, 2.0, 4.0, "equal", 1.0, "stochastic", "error", 0.0,
    )  # fmt: skip


def test_parameters_at_their_bounds_are_taken() -> None:
    for chosen in ({"length": 2**30}, {"length": 1}, {"minimum_survivors": 3}, {"clip": 1e-300}):
        Parameters(**{"length": 5, "clip": 1.0, **chosen})
    Parameters(length=5, clip=1.0, graph="sparse", mode="semi_honest")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"length": 2**30 + 1}, "length is 1073741825; expected 1 to 1073741824"),
        ({"length": 0}, "length is 0"),
        ({"clip": 0.0}, "clip is not a finite number above 0"),
        ({"clip": math.inf}, "clip is not a finite number above 0"),
        ({"minimum_survivors": 2}, "minimum_survivors is 2; a sum over fewer than 3 pods is never given"),
        ({"graph": "sparse"}, "set mode='semi_honest'"),
    ],
)
def test_what_is_wrong_with_a_choice_is_said(chosen: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Parameters(**{"length": 5, "clip": 1.0, **chosen})


def test_an_encoding_takes_what_was_chosen() -> None:
    chosen = Parameters(length=5, clip=3, rounding="nearest", on_clip="error", l2_clip=2, bits=16)
    made = chosen.encoding(7, "per_round", 50)
    assert made == Encoding(
        16, 3.0, largest_scale(16, 3.0, 7, "per_round"), "per_round", 50.0, "nearest", "error", 2.0
    )
    assert isinstance(made.maximum_weight, float)
    assert chosen.encoding(7).weighting == "equal"
    assert chosen.encoding(7).maximum_weight == 1


def test_noise_bounds_the_norm_where_nothing_else_does() -> None:
    noisy = DpSpec("distributed_discrete_gaussian", sigma=1.0, l2_bound=2.5)
    assert Parameters(length=5, clip=3.0, dp=noisy).encoding(5).l2_clip == 2.5
    assert Parameters(length=5, clip=3.0, l2_clip=1.5, dp=noisy).encoding(5).l2_clip == 1.5
    assert Parameters(length=5, clip=3.0, bits=64, dp=noisy).encoding(5).l2_clip == 0


@pytest.mark.parametrize(
    ("pods", "chosen", "noisy"),
    [
        (5, {"minimum_survivors": 3}, 2),  # threshold 4, 2 colluders
        (7, {"minimum_survivors": 3}, 3),  # threshold 5, 2 colluders
        (7, {"minimum_survivors": 6}, 4),
        (7, {"minimum_survivors": 3, "mode": "semi_honest"}, 2),  # threshold 4, 2 colluders
        (20, {"minimum_survivors": 9, "mode": "semi_honest", "graph": "sparse", "sparse_threshold": 5}, 6),
        (20, {"minimum_survivors": 4, "mode": "semi_honest", "graph": "sparse", "sparse_threshold": 9}, 2),
    ],
)
def test_a_scale_leaves_room_for_the_noise_of_the_whole_cohort(
    pods: int, chosen: dict[str, Any], noisy: int
) -> None:
    dp = DpSpec("distributed_discrete_gaussian", sigma=700.0, l2_bound=1.0)
    made = Parameters(length=5, clip=1.0, dp=dp, **chosen)
    assert made._noise(pods) == pytest.approx(700.0 * math.sqrt(pods / noisy), rel=1e-12)
    assert made.encoding(pods).scale == largest_scale(32, 1.0, pods, "equal", 700.0 * math.sqrt(pods / noisy))


def test_shares_that_open_a_secret_are_those_of_the_graph() -> None:
    assert Parameters(length=5, clip=1.0).shares_needed(10) == 7
    assert Parameters(length=5, clip=1.0, mode="semi_honest").shares_needed(10) == 6
    sparse = Parameters(length=5, clip=1.0, mode="semi_honest", graph="sparse", sparse_threshold=4)
    assert sparse.shares_needed(10) == 4


def test_an_encoding_that_makes_no_sense_is_not_handed_out() -> None:
    chosen = Parameters(length=5, clip=1.0)
    for weighting, weight in (("equal", 2.0), ("per_round", 0.0), ("per_round", math.nan)):
        with pytest.raises(ParameterError, match="maximum_weight"):
            chosen.encoding(5, weighting, weight)  # type: ignore[arg-type]  # two of the three
    with pytest.raises(ParameterError, match="l2_clip"):
        Parameters(length=5, clip=1.0, l2_clip=-1.0).encoding(5)


@pytest.mark.parametrize("shares", [3, 5])
def test_a_sparse_round_leaves_room_for_the_noise_of_its_own_floor(shares: int) -> None:
    """9 pods, at least 4 in a sum, of which min(shares - 2, 2) may collude: the others' noise is the promise."""
    dp = DpSpec("distributed_discrete_gaussian", sigma=2.0, delta=1e-6, l2_bound=1.0)
    chosen = Parameters(
        length=5, clip=1.0, minimum_survivors=4, mode="semi_honest", graph="sparse", degree=6,
        sparse_threshold=shares, dp=dp,
    )  # fmt: skip
    noise = 2.0 * math.sqrt(9 / (4 - min(shares - 2, 2)))
    assert chosen._noise(9) == pytest.approx(noise, rel=1e-15)
    assert chosen.encoding(9).scale == largest_scale(32, 1.0, 9, "equal", noise)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_noise_that_no_word_has_room_for_is_refused(bits: Any) -> None:
    """The search for a scale ends, and with an error of ours."""
    dp = DpSpec("distributed_discrete_gaussian", sigma=1.7e308, delta=1e-6, l2_bound=1.0)
    with pytest.raises(ParameterError, match=r"such noise|could wrap"):
        Parameters(length=5, clip=1.0, minimum_survivors=3, bits=bits, dp=dp).encoding(7)
    assert not fits(bits, 1.0, 1.0, 7, "equal", math.inf)


def test_a_tiny_clip_has_the_largest_scale_that_a_float_has() -> None:
    assert largest_scale(32, 5e-324, 5, "equal") == 2.0**1023
    check_encoding(Parameters(length=5, clip=5e-324, minimum_survivors=3).encoding(5), 5)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_a_specification_with_endless_noise_is_refused_as_one(bits: Any) -> None:
    spec = Table(Setting(parameters={"bits": bits})).spec
    dp = DpSpec("distributed_discrete_gaussian", sigma=1.7e308, delta=1e-6, l2_bound=1e9)
    spec = msgspec.structs.replace(spec, dp=dp, encoding=msgspec.structs.replace(spec.encoding, l2_clip=1.0))
    with pytest.raises(SpecRefused, match="could wrap"):
        read_spec(spec.to_bytes())
