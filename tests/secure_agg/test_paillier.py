"""Paillier sums: packing carries nothing over, and roles stay apart."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg.errors import (
    ExtraMissing,
    ParameterError,
    RangeError,
    SchemaMismatchError,
    TooFewPods,
)
from secure_agg.paillier import Aggregate, Aggregator, KeyHolder, Packing, PublicKey, encrypt

BITS = 2048


@pytest.fixture(scope="module")
def holder() -> KeyHolder:
    pytest.importorskip("phe", reason="needs the he extra")
    pytest.importorskip("gmpy2", reason="needs the he extra")
    return KeyHolder(3, BITS)


def packing(length: int = 5, value_bits: int = 20, pods: int = 6) -> Packing:
    return Packing(length, value_bits, pods, BITS)


def total(holder: KeyHolder, rows: list[list[int]], how: Packing) -> Aggregate:
    aggregator = Aggregator(holder.public, how, 3)
    for number, row in enumerate(rows):
        aggregator.add(encrypt(f"pod{number}", row, how, holder.public))
    return aggregator.total()


@pytest.mark.parametrize("pods", [3, 4])
def test_paillier_packing_no_carry_between_slots(holder: KeyHolder, pods: int) -> None:
    how = Packing(150, 20, pods, BITS)
    low, high = -(2**19), 2**19 - 1
    for pattern in ([low, high], [high, high], [low, low], [high, low, 0]):
        row = (pattern * 150)[:150]
        assert holder.open(total(holder, [row] * pods, how)) == [pods * value for value in row]


@settings(max_examples=30)
@given(pods=st.integers(1, 9), number=st.integers(0, 10**6))
def test_packed_plaintexts_add_like_numbers(pods: int, number: int) -> None:
    chance = np.random.default_rng(number)
    rows = np.clip(chance.integers(-400, 400, (pods, 300)), -128, 127).tolist()
    how = Packing(300, 8, 9, BITS)
    columns = zip(*map(how.pack, rows), strict=True)
    sums = [sum(column) for column in columns]
    assert all(each < 2 ** (BITS - 2) for each in sums)
    assert how.unpack(sums, len(rows)) == [sum(column) for column in zip(*rows, strict=True)]


def test_the_smallest_packing_there_is() -> None:
    how = Packing(1, 1, 2, BITS)
    assert how.slot_bits == 3
    assert how.unpack([sum(how.pack([value])[0] for value in (-1, 0))], 2) == [-1]


def test_a_slot_holds_value_pods_and_guard() -> None:
    assert Packing(10, 32, 100, 3072).slot_bits == 32 + 7 + 1
    assert Packing(10, 32, 128, 3072).slot_bits == 32 + 7 + 1
    assert Packing(10, 32, 129, 3072).slot_bits == 32 + 8 + 1
    assert Packing(10, 32, 100, 3072).slots == 76


@pytest.mark.parametrize(
    ("length", "value_bits", "pods", "key_bits"),
    [
        (0, 8, 3, BITS),
        (10_001, 8, 3, BITS),
        (5, 0, 3, BITS),
        (5, 8, 1, BITS),
        (5, 8, 3, 1024),
        (5, 2044, 3, BITS),
    ],
)
def test_a_packing_that_does_not_fit_is_refused(
    length: int, value_bits: int, pods: int, key_bits: int
) -> None:
    with pytest.raises(ParameterError):
        Packing(length, value_bits, pods, key_bits)


@pytest.mark.parametrize("value", [2**19, -(2**19) - 1])
def test_a_number_that_needs_more_bits_is_refused(value: int) -> None:
    with pytest.raises(RangeError, match="more than 20 bits"):
        packing().pack([0, 0, value, 0, 0])


@pytest.mark.parametrize(
    "row", [[1, 2], [1.0] * 5, [True] * 5, ["1"] * 5, [1, 2, 3, 4, 5.0], [True, 1, 1, 1, 1]]
)
def test_what_are_no_whole_numbers_are_refused(row: list[object]) -> None:
    with pytest.raises(SchemaMismatchError, match="Nothing was sent"):
        packing().pack(row)  # type: ignore[arg-type]


def test_one_contribution_cannot_be_opened(holder: KeyHolder) -> None:
    part = encrypt("a", [1] * 5, packing(), holder.public)
    with pytest.raises(ParameterError, match="never one pod's"):
        holder.open(part)  # type: ignore[arg-type]
    alone = Aggregate(("a",), part.packing, part.key, part.ciphertexts)
    with pytest.raises(TooFewPods):
        holder.open(alone)
    with pytest.raises(TooFewPods):
        holder.open(Aggregate(("a", "a", "a"), part.packing, part.key, part.ciphertexts))
    with pytest.raises(ParameterError):
        holder.open(
            Aggregate(("a", "b", "c"), part.packing, PublicKey(holder.public.modulus + 2), part.ciphertexts)
        )


def test_the_key_holder_cannot_be_the_aggregator(holder: KeyHolder) -> None:
    with pytest.raises(ParameterError, match="must not aggregate"):
        Aggregator(holder, packing(), 3)  # type: ignore[arg-type]
    assert not any(hasattr(holder, name) for name in ("add", "total"))


def test_fewer_than_the_minimum_give_no_total(holder: KeyHolder) -> None:
    aggregator = Aggregator(holder.public, packing(), 3)
    for pod in ("a", "b"):
        aggregator.add(encrypt(pod, [1] * 5, packing(), holder.public))
    with pytest.raises(TooFewPods):
        aggregator.total()
    for minimum in (0, 2):
        with pytest.raises(ParameterError, match="fewer than 3"):
            Aggregator(holder.public, packing(), minimum)
        with pytest.raises(ParameterError):
            KeyHolder(minimum, BITS)


def test_contributions_that_do_not_belong_are_not_added(holder: KeyHolder) -> None:
    aggregator = Aggregator(holder.public, packing(pods=3), 3)
    good = encrypt("a", [1] * 5, packing(pods=3), holder.public)
    aggregator.add(good)
    other_key = type(good)("b", good.packing, PublicKey(holder.public.modulus + 2), good.ciphertexts)
    wrong = [
        good,
        encrypt("b", [1] * 5, packing(pods=4), holder.public),
        other_key,
        type(good)("b", good.packing, good.key, ()),
        type(good)("b", good.packing, good.key, (0,)),
        type(good)("b", good.packing, good.key, (holder.public.modulus**2,)),
    ]
    for part in wrong:
        with pytest.raises(SchemaMismatchError, match="not added"):
            aggregator.add(part)
    for pod in ("b", "c"):
        aggregator.add(encrypt(pod, [1] * 5, packing(pods=3), holder.public))
    with pytest.raises(SchemaMismatchError, match="more pods than were agreed"):
        aggregator.add(encrypt("d", [1] * 5, packing(pods=3), holder.public))
    assert holder.open(aggregator.total()) == [3] * 5


def test_totals_and_contributions_are_randomised_every_time(holder: KeyHolder) -> None:
    how = packing()
    parts = [encrypt(pod, [1] * 5, how, holder.public) for pod in ("a", "b", "c")]
    assert encrypt("a", [1] * 5, how, holder.public).ciphertexts != parts[0].ciphertexts
    aggregator = Aggregator(holder.public, how, 3)
    product = 1
    for part in parts:
        aggregator.add(part)
        product = product * part.ciphertexts[0] % holder.public.modulus**2
    first, second = aggregator.total(), aggregator.total()
    assert len({first.ciphertexts[0], second.ciphertexts[0], product}) == 3
    assert holder.open(first) == holder.open(second) == [3] * 5


def test_a_key_of_another_size_is_refused(holder: KeyHolder) -> None:
    with pytest.raises(ParameterError, match="2048 bits; the packing is for 3072"):
        encrypt("a", [1] * 5, Packing(5, 20, 6, 3072), holder.public)
    with pytest.raises(ParameterError):
        KeyHolder(3, 1024)


def test_a_key_holder_shows_and_gives_away_nothing(holder: KeyHolder) -> None:
    assert repr(holder) == "KeyHolder()"
    part = encrypt("a", [1] * 5, packing(), holder.public)
    for shown in (repr(part), repr(holder.public), repr(total(holder, [[1] * 5] * 3, packing()))):
        assert str(holder.public.modulus) not in shown
        assert str(part.ciphertexts[0]) not in shown
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            attempt(holder)


@pytest.mark.parametrize("missing", ["phe.paillier", "gmpy2"])
def test_a_missing_extra_is_one_clear_sentence(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ExtraMissing, match=r"pip install 'trialveil\[he\]'") as refused:
        KeyHolder(3, BITS)
    assert "GPLv3" in str(refused.value)


@pytest.mark.proof
def test_ten_thousand_numbers_at_the_default_size() -> None:
    pytest.importorskip("phe", reason="needs the he extra")
    holder = KeyHolder(3)
    how = Packing(10_000, 32, 3)
    rows = [[(i * (pod + 1)) % 2**31 - 2**30 for i in range(10_000)] for pod in range(3)]
    assert holder.open(total(holder, rows, how)) == [sum(column) for column in zip(*rows, strict=True)]


def test_packings_at_their_bounds_are_taken() -> None:
    assert Packing(10_000, 1, 2).key_bits == 3072
    assert Packing(1, 2043, 3, BITS).slots == 1  # 2043 + 2 + 1 of 2046 bits
    with pytest.raises(
        ParameterError, match=r"A slot of 2044 \+ 2 \+ 1 bits does not fit into 2048 - 2 bits"
    ):
        Packing(1, 2044, 3, BITS)
    with pytest.raises(
        ParameterError, match="value_bits 0, pods 3, key_bits 2048: expected at least 1, 2 and 2048"
    ):
        Packing(1, 0, 3, BITS)
    with pytest.raises(ParameterError, match="length is 10001; expected 1 to 10000"):
        Packing(10_001, 8, 3, BITS)


def test_plaintexts_are_slots_from_the_lowest_on() -> None:
    how = Packing(5, 1000, 2, BITS)  # slots of 1002 bits, two in a plaintext
    assert (how.slot_bits, how.slots) == (1002, 2)
    low = 1 << 999
    packed = how.pack([0, 1, -low, low - 1, 5])
    assert packed == [low + ((low + 1) << 1002), (2 * low - 1) << 1002, low + 5]
    assert how.unpack(packed, 1) == [0, 1, -low, low - 1, 5]


def test_a_total_is_a_number_below_the_square_of_the_modulus(holder: KeyHolder) -> None:
    found = total(holder, [[1] * 5] * 3, packing())
    assert all(0 < each < holder.public.modulus**2 for each in found.ciphertexts)
    assert found.pods == ("pod0", "pod1", "pod2")


@pytest.mark.parametrize("at", [0, 1])
def test_one_ciphertext_that_is_none_spoils_a_contribution(holder: KeyHolder, at: int) -> None:
    """Numbers from 1 to below the square of the modulus are ciphertexts."""
    how = Packing(5, 1000, 3, BITS)
    good = encrypt("a", [1] * 5, how, holder.public)
    square = holder.public.modulus**2
    aggregator = Aggregator(holder.public, how, 3)
    for wrong in (0, -1, square, square + 1):
        ciphertexts = list(good.ciphertexts)
        ciphertexts[at] = wrong
        with pytest.raises(SchemaMismatchError, match="another key, packing or length"):
            aggregator.add(type(good)("a", how, good.key, tuple(ciphertexts)))
    for pod, each in (("a", 1), ("b", square - 1)):
        aggregator.add(type(good)(pod, how, good.key, (each, *good.ciphertexts[1:])))
