"""Updates become words and sums become means again: within the bound, or not at all."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg import fixed_point
from secure_agg.errors import (
    InputRefused,
    NonFiniteUpdateError,
    ParameterError,
    RangeError,
    SchemaMismatchError,
    UnmaskIntegrityError,
    WeightError,
)
from secure_agg.fixed_point import Decoded, Encoded, Extras, decode, encode, suggest_clip
from secure_agg.layout import canaries, encoded_length, payload_length
from secure_agg.parameters import LANE_SCALE, Encoding, Weighting, check_encoding, largest_scale
from tests.secure_agg.vectors import frozen, seed

ROTATION = seed("rotation")


def encoding(pods: int = 5, **changes: Any) -> Encoding:
    made = Encoding(bits=32, clip=4.0, scale=1.0)
    made = msgspec.structs.replace(made, **changes)
    scale = changes.get("scale", largest_scale(made.bits, made.clip, pods, made.weighting))
    return msgspec.structs.replace(made, scale=scale)


def chance(label: object) -> np.random.Generator:
    return np.random.default_rng(list(seed(label)))


@dataclass
class Summed:
    vector: np.ndarray
    lane: np.ndarray


def summed(parts: list[Encoded]) -> Summed:
    vector, lane = parts[0].vector.copy(), parts[0].lane.copy()
    for part in parts[1:]:
        vector += part.vector
        lane += part.lane
    return Summed(vector, lane)


def round_trip(updates: list[Any], weights: list[float], how: Encoding, label: object = 0) -> Decoded:
    extras = Extras(rotation_seed=ROTATION)
    parts = [
        encode(np.asarray(update), weight, how, seed((label, i)), extras)
        for i, (update, weight) in enumerate(zip(updates, weights, strict=True))
    ]
    total = summed(parts)
    return decode(total.vector, total.lane, how, len(parts), len(updates[0]), ROTATION)


def weighted_mean(updates: list[Any], weights: list[float]) -> np.ndarray:
    columns = zip(*(np.asarray(update, float).tolist() for update in updates), strict=True)
    total = sum(map(Fraction, weights))
    return np.array(
        [
            float(sum(Fraction(w) * Fraction(x) for w, x in zip(weights, c, strict=True)) / total)
            for c in columns
        ]
    )


def test_words_are_those_of_the_slow_oracle() -> None:
    for known in frozen()["fixed_point"]:
        how = encoding(
            scale=float(known["scale"]),
            rounding=known["rounding"],
            weighting="per_round",
            maximum_weight=float(LANE_SCALE),
        )
        weight = float(known["relative_weight_times_2_to_40"])
        made = encode(np.array(known["values"]), weight, how, bytes.fromhex(known["seed"]))
        assert made.vector[: len(known["words"])].tolist() == known["words"]
        assert made.lane.tolist() == [1, int(weight), 0, 0]


@settings(max_examples=80)
@given(
    pods=st.integers(2, 12),
    length=st.integers(1, 20),
    weighting=st.sampled_from(["equal", "weights_first", "per_round"]),
    rounding=st.sampled_from(["stochastic", "nearest"]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    number=st.integers(0, 10**6),
)
def test_weighted_mean_matches_float64(
    pods: int, length: int, weighting: Weighting, rounding: Any, dtype: Any, number: int
) -> None:
    numbers = chance(number)
    weights = [1.0] * pods if weighting == "equal" else numbers.integers(1, 1000, pods).astype(float).tolist()
    most = {"equal": 1.0, "weights_first": sum(weights), "per_round": 1000.0}[weighting]
    how = encoding(pods, weighting=weighting, rounding=rounding, maximum_weight=most)
    check_encoding(how, pods)
    updates = [numbers.uniform(-4, 4, length).astype(dtype) for _ in range(pods)]
    found = round_trip(updates, weights, how, number)
    error = np.abs(found.mean - weighted_mean(updates, weights)).max()
    assert error <= found.error_bound
    assert found.weight == pytest.approx(sum(weights), rel=1e-9)
    if weighting != "per_round":
        # A step is that of the plain form, in which every relative weight may be 1.
        assert error <= 2 / largest_scale(32, 4.0, pods, "equal")


@pytest.mark.parametrize("pods", [2, 3, 10, 100, 128, 1000])
@pytest.mark.parametrize("clip", [0.01, 1.0, 3.0, 4.0])
def test_weights_first_is_proven_to_be_within_two_steps(pods: int, clip: float) -> None:
    how = encoding(pods, clip=clip, weighting="weights_first")
    bound = fixed_point.error_bound(how, pods, 1.0, 10)
    assert bound < 2.001 / largest_scale(32, clip, pods, "equal")


def test_bounds_say_a_step_per_pod_or_half_of_one() -> None:
    step = 1 / encoding().scale
    assert fixed_point.error_bound(encoding(), 5, 5.0, 10) == step
    assert fixed_point.error_bound(encoding(rounding="nearest"), 5, 5.0, 10) == step / 2
    weighted = fixed_point.error_bound(encoding(weighting="per_round"), 5, 2.5, 10)
    assert weighted == pytest.approx(2 * (step + 4 / LANE_SCALE))
    short = encoding(bits=16)
    assert fixed_point.error_bound(short, 5, 5.0, 1025) == math.sqrt(2048) / short.scale


@pytest.mark.parametrize("value", [0.1, -0.1, 0.5, 1 / 3, -2.7, 0.999, 2.0**-20])
def test_stochastic_rounding_unbiased(value: float) -> None:
    how = encoding(scale=1.0)
    count = 250_000
    words = encode(np.full(count, value), 1.0, how, seed(("rounding", value))).vector[:count].view(np.int32)
    assert set(np.unique(words)) <= {math.floor(value), math.floor(value) + 1}
    fraction = value - math.floor(value)
    spread = math.sqrt(fraction * (1 - fraction) / count)
    assert abs(words.mean() - value) < 6.5 * spread + 2.0**-22


def test_whole_steps_are_never_rounded_away() -> None:
    how = encoding(pods=2, clip=2.0**28, scale=2.0)
    values = np.array([2.0**28, -(2.0**28), 2.0**28 - 0.5, 0.0, 0.5, -0.5] * 20_000)
    words = encode(values, 1.0, how, seed("whole")).vector[: len(values)].view(np.int32)
    assert np.array_equal(words, (values * 2).astype(np.int32))


def test_rounding_to_nearest_is_within_half_a_step() -> None:
    how = encoding(scale=1.0, rounding="nearest")
    values = chance(1).uniform(-4, 4, 1000)
    words = encode(values, 1.0, how, seed(1)).vector[:1000].view(np.int32)
    assert np.abs(words - values).max() <= 0.5


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("weighting", ["equal", "weights_first", "per_round"])
@pytest.mark.parametrize("pods", [2, 3, 10, 100])
def test_no_overflow_at_bound_and_refusal_beyond(bits: Any, weighting: Weighting, pods: int) -> None:
    clip = 0.75
    how = encoding(pods, bits=bits, clip=clip, weighting=weighting)
    check_encoding(how, pods)
    whole = {16: np.int16, 32: np.int32}[bits]
    relative = [1 / pods] * pods if weighting == "weights_first" else [1.0] * pods
    # The largest words that pods can send, rounded outwards, summed without a ring.
    largest = sum(math.floor(r * clip * how.scale) + 1 for r in relative)
    assert largest <= np.iinfo(whole).max
    assert -largest >= np.iinfo(whole).min
    with pytest.raises(ParameterError, match=r"could wrap: .*2\^"):
        check_encoding(msgspec.structs.replace(how, scale=how.scale * 2), pods)


def test_a_sum_at_the_bound_does_not_wrap() -> None:
    pods = 9
    how = encoding(pods)
    for value in (4.0, -4.0):
        found = round_trip([np.full(10, value)] * pods, [1.0] * pods, how)
        assert np.array_equal(found.mean, np.full(10, value))


@pytest.mark.parametrize("length", [0, 1, 31, 262_136, 262_137, 300_000, 600_000])
def test_canaries_end_every_mebibyte(length: int) -> None:
    how = encoding()
    made = encode(np.full(length, 4.0, np.float32), 1.0, how, seed(length))
    assert len(made.vector) == encoded_length(length, 32)
    groups = list(canaries(made.vector, length, 32))
    assert len(groups) == max(1, -(-length // 262_136))
    assert all(len(group) == 8 and not group.any() for group in groups)
    assert np.count_nonzero(made.vector) == length
    assert len(made.vector) == length + 8 * len(groups)
    assert not made.vector[-8:].any()


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_canary_detects_missing_or_wrong_mask(bits: Any) -> None:
    how = encoding(bits=bits, clip=4.0)
    length = 300_000
    values = np.zeros(length, int if bits == 64 else float)
    parts = [encode(values, 1.0, how, seed(i), Extras(ROTATION)) for i in range(3)]
    total = summed(parts)
    decode(total.vector, total.lane, how, 3, length, ROTATION)
    for group in canaries(total.vector.copy(), payload_length(length, bits), bits):
        for place in (0, 7):
            wrong = total.vector.copy()
            at = (group.ctypes.data - group.base.ctypes.data) // group.itemsize + place
            wrong[at] += 1
            with pytest.raises(UnmaskIntegrityError, match="canary"):
                decode(wrong, total.lane, how, 3, length, ROTATION)


LANES = {
    "too few": [2, 3 * LANE_SCALE, 0, 0],
    "too many": [4, 3 * LANE_SCALE, 0, 0],
    "spare": [3, 3 * LANE_SCALE, 0, 1],
    "weight": [3, 3 * LANE_SCALE - 1, 0, 0],
    "weight above": [3, 3 * LANE_SCALE + 1, 0, 0],
    "clipped": [3, 3 * LANE_SCALE, 31, 0],
    "masked": [2**63, 2**62 + 5, 77, 2**61],
}


@pytest.mark.parametrize("name", LANES)
def test_count_lane_mismatch_aborts(name: str) -> None:
    how = encoding()
    total = summed([encode(np.ones(10), 1.0, how, seed(i)) for i in range(3)])
    with pytest.raises(UnmaskIntegrityError, match="There is no sum"):
        decode(total.vector, np.array(LANES[name], np.uint64), how, 3, 10)
    with pytest.raises(UnmaskIntegrityError):
        decode(total.vector, total.lane, how, 4, 10)


def test_every_coordinate_of_every_pod_may_have_been_clipped() -> None:
    how = encoding(on_clip="clip")
    total = summed([encode(np.full(10, 9.0), 1.0, how, seed(i)) for i in range(3)])
    assert decode(total.vector, total.lane, how, 3, 10).clipped == 30


def test_weights_that_sum_to_more_than_was_agreed_abort() -> None:
    how = encoding(3, weighting="weights_first", maximum_weight=10.0)
    total = summed([encode(np.ones(5), 4.0, how, seed(i)) for i in range(3)])
    with pytest.raises(UnmaskIntegrityError, match="weights have changed"):
        decode(total.vector, total.lane, how, 3, 5)


@pytest.mark.parametrize("shape", [(9,), (11,), (19,), (1, 18)])
def test_a_sum_of_another_length_is_no_sum(shape: tuple[int, ...]) -> None:
    how = encoding()
    part = encode(np.ones(10), 1.0, how, seed(1))
    with pytest.raises(UnmaskIntegrityError, match="shape"):
        decode(np.zeros(shape, np.uint32), part.lane, how, 1, 10)
    with pytest.raises(UnmaskIntegrityError, match="shape"):
        decode(part.vector, part.lane[:3], how, 1, 10)


def test_clip_policy_error_and_count() -> None:
    values = np.array([0.0, 5.04, -9.123, 4.0, -4.0, 3.0])
    with pytest.raises(RangeError) as refused:
        encode(values, 1.0, encoding(), seed(1))
    text = str(refused.value)
    assert "clip is 4" in text
    assert "least clip that fits is 9.2" in text
    assert "9.123" not in text
    found = round_trip([values, np.zeros(6)], [1.0, 1.0], encoding(2, on_clip="clip"))
    assert found.clipped == 2
    assert np.allclose(found.mean, np.array([0, 2, -2, 2, -2, 1.5]), atol=1e-6)


def test_the_clip_that_the_message_names_is_enough() -> None:
    for largest in (5.04, 9.999, 4.0000001, 1e30, 4.1):
        how = encoding(2)
        with pytest.raises(RangeError) as refused:
            encode(np.array([0.0, -largest]), 1.0, how, seed(1))
        named = float(str(refused.value).split("least clip that fits is ")[1].split(";")[0])
        assert largest <= named <= largest * 1.11


BAD_WEIGHTS = [0.0, -1.0, math.nan, math.inf, -math.inf, 10.001, 1e-13]


@pytest.mark.parametrize("weight", BAD_WEIGHTS)
@pytest.mark.parametrize("weighting", ["weights_first", "per_round"])
def test_bad_weights_refused(weight: float, weighting: Weighting) -> None:
    how = encoding(weighting=weighting, maximum_weight=10.0)
    with pytest.raises(WeightError, match="weight"):
        encode(np.ones(3), weight, how, seed(1))


def test_a_weight_where_all_count_the_same_is_refused() -> None:
    with pytest.raises(WeightError, match="must be 1"):
        encode(np.ones(3), 0.5, encoding(), seed(1))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "how", [{}, {"bits": 16}, {"l2_clip": 1.0}, {"on_clip": "clip"}, {"rounding": "nearest"}]
)
@pytest.mark.parametrize("at", [0, 40_000, 65_999])
def test_nan_and_infinity_are_refused_and_the_tensor_is_named(
    bad: float, how: dict[str, Any], at: int
) -> None:
    values = np.zeros(66_000, np.float32)
    values[at] = bad
    names = (("first", 1), ("second", 39_999), ("third", 26_000))
    expected = {0: "first", 40_000: "third", 65_999: "third"}[at]
    with pytest.raises(NonFiniteUpdateError, match=repr(expected)):
        encode(values, 1.0, encoding(**how), seed(1), Extras(ROTATION, tensors=names))
    with pytest.raises(NonFiniteUpdateError, match="'update'"):
        encode(values, 1.0, encoding(**how), seed(1), Extras(ROTATION))


WRONG = {
    "two dimensions": np.zeros((3, 4)),
    "no dimension": np.float64(1.0),
    "complex": np.zeros(3, complex),
    "objects": np.array([1, 2], object),
    "text": np.array(["a"]),
    "booleans": np.array([True]),
    "integers": np.arange(3),
    "dates": np.array(["2026-01-01"], "datetime64[D]"),
    "long doubles": np.zeros(3, np.longdouble),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_shape_dtype_order_refused(name: str) -> None:
    with pytest.raises(SchemaMismatchError, match="Nothing was sent"):
        encode(np.asarray(WRONG[name]), 1.0, encoding(), seed(1))


@pytest.mark.parametrize("values", [np.zeros(3), np.array([True]), np.zeros(2, complex)])
def test_exact_words_take_integers_alone(values: np.ndarray) -> None:
    with pytest.raises(SchemaMismatchError, match="64-bit words are exact"):
        encode(values, 1.0, encoding(bits=64, clip=9.0), seed(1))


def test_every_refusal_is_one_of_the_pods_own_input() -> None:
    assert all(
        issubclass(each, InputRefused) and issubclass(each, ValueError)
        for each in (NonFiniteUpdateError, SchemaMismatchError, RangeError, WeightError)
    )


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f2", ">f2"])
@pytest.mark.parametrize("strided", [False, True])
def test_byte_order_and_strides_do_not_matter(dtype: str, strided: bool) -> None:
    plain = chance(1).uniform(-4, 4, 500).astype(dtype)
    given = np.repeat(plain, 2)[::2] if strided else plain
    made = encode(given, 1.0, encoding(), seed(1))
    assert np.array_equal(made.vector, encode(plain.astype("<f8"), 1.0, encoding(), seed(1)).vector)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_an_empty_update_has_an_empty_mean(bits: Any) -> None:
    dtype = int if bits == 64 else float
    found = round_trip([np.zeros(0, dtype)] * 3, [1.0] * 3, encoding(bits=bits))
    assert found.mean.shape == (0,)


@settings(max_examples=50)
@given(
    rows=st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4), min_size=2, max_size=8),
    dtype=st.sampled_from([np.int64, ">i8"]),
)
def test_whole_numbers_add_exactly(rows: list[list[int]], dtype: Any) -> None:
    how = encoding(bits=64, clip=float(2**40))
    found = round_trip([np.array(row, dtype) for row in rows], [1.0] * len(rows), how)
    assert found.total is not None
    assert found.total.tolist() == [sum(column) for column in zip(*rows, strict=True)]
    assert found.error_bound == 0


@pytest.mark.parametrize(
    "values", [np.array([2**63], np.uint64), np.array([-(2**63)]), np.array([-11]), np.array([11])]
)
def test_whole_numbers_beyond_the_bound_are_refused_or_clipped(values: np.ndarray) -> None:
    with pytest.raises(RangeError, match="Raise clip"):
        encode(values, 1.0, encoding(bits=64, clip=10.0), seed(1))
    found = round_trip([values], [1.0], encoding(bits=64, clip=10.0, on_clip="clip"))
    assert found.clipped == 1
    assert abs(found.total[0]) == 10


@pytest.mark.parametrize("length", [1, 1000, 1024, 1025, 20_000])
def test_short_words_give_the_mean_within_their_bound(length: int) -> None:
    pods = 5
    updates = [chance(i).normal(size=length).astype(np.float32) for i in range(pods)]
    how = encoding(pods, bits=16, clip=8.0)
    found = round_trip(updates, [1.0] * pods, how)
    error = np.abs(found.mean - np.mean(updates, axis=0))
    assert np.linalg.norm(error) <= found.error_bound
    # Errors of the coordinates are independent, so the usual one is that of one coordinate.
    assert math.sqrt(np.mean(error**2)) < 2 / how.scale


def test_a_spike_uses_short_words_as_well_as_a_flat_update() -> None:
    spike = np.zeros(16_384, np.float32)
    spike[77] = 100.0
    how = encoding(3, bits=16, clip=1.0)
    found = round_trip([spike] * 3, [1.0] * 3, how)
    assert found.mean[77] == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_of_every_width_are_clipped_and_counted(dtype: Any) -> None:
    values = np.array([0, 5, 120, 100, 101] * 20_000, dtype)
    found = round_trip([values], [1.0], encoding(1, bits=64, clip=100.0, on_clip="clip"))
    assert found.clipped == 40_000
    assert found.total[:5].tolist() == [0, 5, 100, 100, 100]
    assert round_trip([values], [1.0], encoding(1, bits=64, clip=1000.0)).total.max() == 120


def test_the_norm_bound_is_kept_and_smaller_updates_are_left_alone() -> None:
    long, short = np.array([3.0, 4.0]), np.array([0.3, 0.4])
    how = encoding(2, l2_clip=1.0)
    assert round_trip([long], [1.0], how).mean == pytest.approx([0.6, 0.8], abs=1e-6)
    assert round_trip([short], [1.0], how).mean == pytest.approx([0.3, 0.4], abs=1e-6)
    assert round_trip([np.zeros(2)], [1.0], how).mean.tolist() == [0, 0]
    assert fixed_point.l2_norm(np.array([3e200, 4e200])) == pytest.approx(5e200)
    assert fixed_point.l2_norm(np.zeros(0)) == 0


def test_noise_is_added_to_numbers_and_never_to_canaries() -> None:
    how = encoding(scale=1.0)
    length = 300_000
    given: list[int] = []

    def noise(count: int) -> np.ndarray:
        start = sum(given)
        given.append(count)
        return np.arange(start, start + count) - 1000

    made = encode(np.zeros(length), 1.0, how, seed(1), Extras(noise=noise))
    assert sum(given) == length
    assert not any(group.any() for group in canaries(made.vector, length, 32))
    found = decode(made.vector, made.lane, how, 1, length)
    assert np.array_equal(found.mean, np.arange(length) - 1000)


def test_two_seeds_round_differently_and_one_seed_the_same() -> None:
    values = chance(1).uniform(-4, 4, 100)
    how = encoding()
    first, again, other = (encode(values, 1.0, how, seed(i)).vector for i in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_update_is_never_shown() -> None:
    part = encode(np.full(3, 1.2345), 1.0, encoding(), seed(1))
    assert repr(part).startswith("<secure_agg.fixed_point.Encoded object")
    total = summed([part])
    assert "1.23" not in repr(decode(total.vector, total.lane, encoding(), 1, 3))


def test_encoding_takes_little_more_memory_than_the_vector() -> None:
    values, how = np.zeros(2_000_000, np.float32), encoding()
    encode(values, 1.0, how, seed(1))
    tracemalloc.start()
    try:
        encode(values, 1.0, how, seed(1))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * encoded_length(2_000_000, 32) + 2_000_000


def test_a_clip_is_suggested_from_a_public_update() -> None:
    assert suggest_clip(np.array([0.3, -0.9])) == 2.0
    assert suggest_clip(np.array([0.5])) == 1.0
    for bad in (np.zeros(3), np.zeros(0), np.array([math.nan]), np.array([math.inf])):
        with pytest.raises(ParameterError):
            suggest_clip(bad)


@pytest.mark.parametrize("weight", [0.0, -1e-300, 10.000001, math.nan])
def test_a_weight_out_of_range_is_said_to_be_that(weight: float) -> None:
    how = encoding(weighting="per_round", maximum_weight=10.0)
    with pytest.raises(
        WeightError, match=r"^The weight is not a finite number above 0 and at most maximum_weight\."
    ):
        encode(np.ones(3), weight, how, seed(1))


def test_a_weight_is_carried_in_steps_of_2_to_the_minus_40_of_the_maximum() -> None:
    how = encoding(weighting="per_round", maximum_weight=10.0)
    for weight, steps in ((10.0, 2**40), (5.0, 2**39), (10 * 2.0**-40, 1), (10 * 0.51 * 2.0**-40, 1)):
        assert encode(np.zeros(3), weight, how, seed(1)).lane.tolist() == [1, steps, 0, 0]
    with pytest.raises(WeightError, match=r"below 2\^-41 of maximum_weight and would be lost"):
        encode(np.zeros(3), 10 * 0.49 * 2.0**-40, how, seed(1))


@pytest.mark.parametrize(
    ("largest", "named"), [(5.04, "5.1"), (123.0, "130"), (0.0234, "0.024"), (99.1, "100"), (7.0, "7")]
)
def test_the_largest_value_is_shown_to_two_digits_rounded_up(largest: float, named: str) -> None:
    how = encoding(2, clip=0.01)
    with pytest.raises(RangeError) as refused:
        encode(np.array([0.0, -largest]), 1.0, how, seed(1))
    text = str(refused.value)
    assert text.startswith(
        f"The largest absolute value is {named} (rounded up) and clip is 0.01. Nothing was sent."
    )
    assert f"The least clip that fits is {named}; or set" in text


@pytest.mark.parametrize("relative", [3, 2**40, 2**40 + 3])
def test_relative_weights_that_come_first_sum_to_about_one(relative: int) -> None:
    """At least one step for each pod, and above one by half a step of rounding for each at most."""
    how = encoding(3, weighting="weights_first", maximum_weight=10.0)
    total = np.zeros(encoded_length(5, 32), "<u4")
    found = decode(total, np.array([3, relative, 0, 0], np.uint64), how, 3, 5)
    assert found.weight == pytest.approx(10 * relative / 2**40)
    assert found.step == pytest.approx(2**40 / relative / how.scale)
    for wrong in (2, 2**40 + 4):
        with pytest.raises(UnmaskIntegrityError):
            decode(total, np.array([3, wrong, 0, 0], np.uint64), how, 3, 5)


def test_relative_weights_of_a_round_are_at_most_one_each() -> None:
    how = encoding(3, weighting="per_round", maximum_weight=10.0)
    total = np.zeros(encoded_length(5, 32), "<u4")
    for relative in (3, 3 * 2**40):
        decode(total, np.array([3, relative, 15, 0], np.uint64), how, 3, 5)
    for lane in (
        [3, 2, 0, 0],
        [3, 3 * 2**40 + 1, 0, 0],
        [3, 5, 16, 0],
        [3, 5, 0, 1],
        [2, 5, 0, 0],
        [4, 5, 0, 0],
    ):
        with pytest.raises(UnmaskIntegrityError):
            decode(total, np.array(lane, np.uint64), how, 3, 5)


@pytest.mark.parametrize("on_clip", ["error", "clip"])
def test_a_value_of_just_the_clip_is_within_it(on_clip: Any) -> None:
    how = encoding(2, clip=0.75, on_clip=on_clip)
    made = encode(np.array([0.75, -0.75]), 1.0, how, seed(1))
    assert made.lane[2] == 0
    assert made.vector[:2].view(np.int32).tolist() == [0.75 * how.scale, -0.75 * how.scale]
    exact = encoding(2, bits=64, clip=9.0, on_clip=on_clip)
    assert encode(np.array([9, -9]), 1.0, exact, seed(1)).vector[:2].view(np.int64).tolist() == [9, -9]


@pytest.mark.parametrize("room", [0, 16, 304])
def test_words_lie_behind_the_room_that_is_asked_for(room: int) -> None:
    made = encode(np.ones(3), 1.0, encoding(scale=1.0), seed(1), Extras(room=room))
    assert len(made.buffer) == room + 4 * 11
    assert not made.buffer[:room].any()
    assert made.buffer[room:].view("<u4").tolist() == made.vector.tolist() == [1, 1, 1] + [0] * 8


@pytest.mark.parametrize(
    ("largest", "clip"), [(0.5, 1.0), (0.51, 2.0), (3.0, 8.0), (4.0, 8.0), (1e-3, 2.0**-8)]
)
def test_a_suggested_clip_is_the_least_power_of_two_with_twice_the_room(largest: float, clip: float) -> None:
    assert suggest_clip(np.array([0.0, -largest])) == clip


def test_the_norm_is_that_of_all_chunks() -> None:
    values = chance("norm").normal(size=100_000)
    assert fixed_point.l2_norm(values) == pytest.approx(float(np.linalg.norm(values)), rel=1e-12)
    assert fixed_point.l2_norm(-np.abs(values)) == pytest.approx(float(np.linalg.norm(values)), rel=1e-12)
    assert fixed_point.l2_norm(np.array([0.0, -3.0])) == 3
    assert fixed_point._l2_factor(np.array([3.0, 4.0]), 10.0, ()) == 1
    assert fixed_point._l2_factor(np.array([3.0, 4.0]), 2.5, ()) == 0.5
    assert fixed_point._l2_factor(np.array([3.0, 4.0]), 0.0, ()) == 1


@pytest.mark.parametrize(("bits", "length"), [(16, 530_000), (32, 270_000), (64, 140_000)])
def test_noise_lies_on_every_number_in_order_and_canaries_stay_zero(bits: Any, length: int) -> None:
    """Runs of 1 MiB, each of which ends in eight words of zero."""
    drawn = 0

    def noise(count: int) -> np.ndarray:
        nonlocal drawn
        drawn += count
        return np.arange(drawn - count, drawn) % 1000 + 1

    zeros = np.zeros(length, np.int64 if bits == 64 else np.float32)
    made = encode(zeros, 1.0, encoding(bits=bits, scale=1.0), seed(1), Extras(ROTATION, noise=noise))
    payload = -(-length // 1024) * 1024 if bits == 16 else length
    run = 2**23 // bits - 8
    every = np.arange(payload) % 1000 + 1
    runs = [part for at in range(0, payload, run) for part in (every[at : at + run], np.zeros(8, int))]
    assert drawn == payload
    assert np.array_equal(made.vector, np.concatenate(runs))


def test_the_types_that_are_taken_are_named() -> None:
    with pytest.raises(SchemaMismatchError) as reals:
        encode(np.arange(3), 1.0, encoding(), seed(1))
    assert str(reals.value) == (
        "The update has type int64; expected float16, float32 or float64. Nothing was sent."
    )
    with pytest.raises(SchemaMismatchError) as whole:
        encode(np.zeros(3), 1.0, encoding(bits=64, clip=9.0), seed(1))
    assert str(whole.value) == (
        "The update has type float64; expected integers (64-bit words are exact). Nothing was sent."
    )
