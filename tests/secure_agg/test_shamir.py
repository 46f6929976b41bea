"""Sharing is exact and perfect, and damaged shares are errors, never secrets."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg import shamir
from secure_agg.errors import BadMaskInput, BadShare
from tests.oracles import masking as oracle
from tests.secure_agg.vectors import Entropy, frozen, seed, standards


def test_kat_shamir_gf65537_1234_166_94() -> None:
    known = standards()["shamir"]
    constant, *rest = known["coefficients"]
    drawn = b"".join(each.to_bytes(4, "little") for each in rest)
    rows = shamir.share([constant.to_bytes(2, "little")], 6, 3, lambda count: drawn)
    assert rows[:, 0, 0].tolist() == known["values"]
    for chosen in combinations(range(6), 3):
        holders = [each + 1 for each in chosen]
        assert shamir.combine(holders, rows[list(chosen)], 3) == [constant.to_bytes(2, "little")]


def test_shares_are_those_of_the_slow_oracle() -> None:
    known = frozen()["shamir"]
    drawn = bytes.fromhex(known["entropy"])
    rows = shamir.share([bytes.fromhex(known["secret"])], 7, known["threshold"], lambda count: drawn[:count])
    assert rows[:, 0].tolist() == known["shares"]


@settings(max_examples=60)
@given(data=st.data(), holders=st.integers(1, 40), secrets=st.integers(1, 3))
def test_any_threshold_of_holders_gives_the_secrets_back(data: Any, holders: int, secrets: int) -> None:
    threshold = data.draw(st.integers(1, holders))
    kept = [data.draw(st.binary(min_size=8, max_size=8)) for _ in range(secrets)]
    rows = shamir.share(kept, holders, threshold, Entropy((holders, threshold)))
    order = data.draw(st.permutations(range(holders)))[: data.draw(st.integers(threshold, holders))]
    assert shamir.combine([each + 1 for each in order], rows[order], threshold) == kept
    used = order[:threshold]
    points = {each + 1: int(rows[each, 0, 0]) for each in used}
    assert oracle.at_zero(points) == int.from_bytes(kept[0][:2], "little")


def test_shamir_t_minus_1_shares_independent_of_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exhaustive in the field of 5: all secrets, all coefficients, every pair of four holders."""
    monkeypatch.setattr(shamir, "PRIME", 5)
    shamir._powers.cache_clear()
    seen: dict[tuple[int, int], dict[int, Counter[tuple[int, int]]]] = {}
    for secret, first, second in product(range(5), repeat=3):
        words = np.array([first, second], "<u4").tobytes()
        rows = shamir.share([secret.to_bytes(2, "little")], 4, 3, lambda count, words=words: words)
        for a, b in combinations(range(4), 2):
            views = seen.setdefault((a, b), {}).setdefault(secret, Counter())
            views[int(rows[a, 0, 0]), int(rows[b, 0, 0])] += 1
    shamir._powers.cache_clear()
    for by_secret in seen.values():
        assert all(
            views == Counter(dict.fromkeys(product(range(5), repeat=2), 1)) for views in by_secret.values()
        )


def test_coefficients_are_uniform_and_the_one_word_too_many_is_drawn_again() -> None:
    answers = [
        np.array([2**32 - 1, 65_537, 65_536, 2**32 - 2], "<u4").tobytes(),
        np.array([2**32 - 1], "<u4").tobytes(),
        np.array([7], "<u4").tobytes(),
    ]
    assert shamir.uniform(4, lambda count: answers.pop(0)).tolist() == [7, 0, 65_536, (2**32 - 2) % 65_537]
    assert answers == []
    drawn = shamir.uniform(200_000, Entropy("uniform")).astype(float)
    assert abs(drawn.mean() - 32_768) < 7 * 65_537 / np.sqrt(12 * 200_000)


def test_entropy_that_runs_short_is_refused() -> None:
    with pytest.raises(BadMaskInput, match="entropy"):
        shamir.share([seed(1)], 5, 3, lambda count: bytes(count - 4))


def test_products_of_the_largest_elements_are_exact() -> None:
    threshold = 4097
    left = np.full((1, threshold), 65_536.0)
    assert shamir._exact_product(left, left.T)[0, 0] == threshold * 65_536**2 % 65_537
    assert shamir.EXACT_TERMS == 2**21
    assert shamir.EXACT_TERMS * 65_536**2 <= 2**53


def test_more_terms_than_are_exact_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shamir, "EXACT_TERMS", 3)
    with pytest.raises(BadMaskInput, match="4 terms; expected at most 3 terms"):
        shamir.share([seed(1)], 5, 4, Entropy(1))


def test_a_limb_of_65536_is_an_error() -> None:
    rows = np.full((3, 1, 1), 65_536, np.uint32)  # a constant polynomial
    with pytest.raises(BadShare, match="no 16-bit limb"):
        shamir.combine([1, 2, 3], rows, 3)


def test_too_few_shares_or_doubled_holders_give_nothing() -> None:
    rows = shamir.share([seed(1)], 5, 3, Entropy(1))
    for holders in ([1, 2], [1, 2, 2], [0, 1, 2], [1, 2, 65_537]):
        with pytest.raises(BadShare, match="othing was recovered"):
            shamir.combine(holders, rows[: len(holders)], 3)
    with pytest.raises(BadShare, match="shape"):
        shamir.combine([1, 2, 3], rows[:2], 3)


def test_a_share_outside_the_field_is_an_error() -> None:
    rows = shamir.share([seed(1)], 3, 3, Entropy(1))
    rows[1, 0, 4] = 65_537
    with pytest.raises(BadShare, match="outside the field"):
        shamir.combine([1, 2, 3], rows, 3)
    with pytest.raises(BadShare, match="outside the field"):
        shamir.from_bytes(shamir.to_bytes(rows[1]), 1)


def test_a_changed_share_changes_the_secret_or_is_an_error() -> None:
    rows = shamir.share([seed(1)], 5, 3, Entropy(1))
    rows[0, 0, 0] = (rows[0, 0, 0] + 1) % 65_537
    assert shamir.combine([1, 2, 3], rows[:3], 3) != [seed(1)]


@pytest.mark.parametrize(
    ("secrets", "holders", "threshold"),
    [
        ([], 3, 2),
        ([b""], 3, 2),
        ([b"odd"], 3, 2),
        ([b"aa", b"aaaa"], 3, 2),
        ([b"aa"], 3, 4),
        ([b"aa"], 3, 0),
        ([b"aa"], 65_537, 2),
    ],
)
def test_what_cannot_be_shared_is_refused(secrets: list[bytes], holders: int, threshold: int) -> None:
    with pytest.raises(BadMaskInput):
        shamir.share(secrets, holders, threshold, Entropy(1))


def test_owners_with_the_same_responders_are_recovered_together() -> None:
    secrets = {f"pod{i}": seed(("owner", i)) for i in range(12)}
    asked = {}
    for i, (owner, secret) in enumerate(secrets.items()):
        rows = shamir.share([secret], 9, 5, Entropy(owner))[:, 0]
        chosen = list(range(5)) if i % 3 else [8, 2, 3, 4, 7, 1]
        asked[owner] = ([each + 1 for each in chosen], rows[chosen])
    found = shamir.combine_all(asked, 5)
    assert found == secrets
    assert list(found) == list(secrets)


def test_shares_travel_as_four_byte_words() -> None:
    rows = shamir.share([seed(1), seed(2)], 3, 2, Entropy(1))
    packed = shamir.to_bytes(rows[0])
    assert len(packed) == 128
    assert np.array_equal(shamir.from_bytes(packed, 2), rows[0])
    for bad, secrets in ((packed[:-1], 2), (b"", 1), (packed, 3), (packed, 0)):
        with pytest.raises(BadShare):
            shamir.from_bytes(bad, secrets)


@pytest.mark.proof
def test_a_thousand_holders() -> None:
    rows = shamir.share([seed(1), seed(2)], 1000, 667, Entropy(1))
    chosen = list(range(333, 1000))
    assert shamir.combine([each + 1 for each in chosen], rows[chosen], 667) == [seed(1), seed(2)]


def test_as_many_terms_as_are_exact_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shamir, "EXACT_TERMS", 3)
    rows = shamir.share([seed(1)], 5, 3, Entropy(1))
    assert shamir.combine([1, 2, 3], rows[:3], 3) == [seed(1)]


def test_every_refused_word_is_drawn_again_and_no_more() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        words = {1: [2**32 - 1, 3, 2**32 - 1, 2**32 - 1, 9], 2: [4, 2**32 - 1, 6], 3: [5]}[len(asked)]
        return np.array(words, "<u4").tobytes()

    assert shamir.uniform(5, entropy).tolist() == [4, 3, 5, 6, 9]
    assert asked == [20, 12, 4]


def test_coefficients_are_drawn_for_every_limb_but_the_secrets_own() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    rows = shamir.share([seed(1), seed(2)], 5, 3, entropy)
    assert asked == [4 * 2 * 2 * 16]
    assert all(
        np.array_equal(row, rows[0]) for row in rows
    )  # constant polynomials: every share is the secret
    assert shamir.share([b"ab"], 1, 1, entropy).tolist() == [[[0x6261]]]


def test_a_threshold_below_1_is_refused_as_one() -> None:
    rows = shamir.share([seed(1)], 3, 1, Entropy(1))
    assert shamir.combine([2], rows[1:2], 1) == [seed(1)]
    for threshold in (0, -1):
        with pytest.raises(BadShare, match=f"3 shares came; {threshold} are needed"):
            shamir.combine([1, 2, 3], rows, threshold)
    with pytest.raises(BadShare, match="2 shares came; 3 are needed"):
        shamir.combine([1, 2], rows[:2], 3)


def test_holders_are_numbered_from_1_to_65536() -> None:
    """The weights of the two outermost holders, by the field's own arithmetic."""
    found = shamir.lagrange_at_zero((1, 65_536))
    inverse = pow(65_535, -1, 65_537)
    assert found.tolist() == [65_536 * inverse % 65_537, -inverse % 65_537]
    assert not found.flags.writeable
    for holders in ((), (0,), (65_537,), (5, 5), (-1,)):
        with pytest.raises(BadShare, match="distinct numbers from 1 to 65536"):
            shamir.lagrange_at_zero(holders)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 65_536), min_size=1, max_size=9, unique=True))
def test_weights_are_those_of_the_formula(holders: list[int]) -> None:
    expected = []
    for mine in holders:
        weight = 1
        for other in holders:
            if other != mine:
                weight = weight * other * pow(other - mine, -1, 65_537) % 65_537
        expected.append(weight)
    assert shamir.lagrange_at_zero(tuple(holders)).tolist() == expected


def test_logarithms_are_to_base_3() -> None:
    logarithm, power = shamir._logarithms()
    assert len(power) == 65_536
    assert power[:4].tolist() == [1, 3, 9, 27]
    for exponent in (0, 1, 1000, 32_768, 65_535):
        assert power[exponent] == pow(3, exponent, 65_537)
        assert logarithm[power[exponent]] == exponent


def test_powers_are_those_of_the_points() -> None:
    for holders, threshold in ((1, 1), (7, 2), (7, 5), (300, 8), (65_536, 3)):
        found = shamir._powers(holders, threshold)
        assert found.shape == (holders, threshold)
        for point in {1, 2, holders // 2 + 1, holders}:
            if point <= holders:
                assert found[point - 1].tolist() == [pow(point, each, 65_537) for each in range(threshold)]


def test_no_share_is_taken_beyond_the_field_and_the_largest_is() -> None:
    packed = np.array([65_536, 0, 1, 65_536], "<u4").tobytes()
    assert shamir.from_bytes(packed, 2).tolist() == [[65_536, 0], [1, 65_536]]
    with pytest.raises(BadShare, match="outside the field"):
        shamir.from_bytes(np.array([65_537], "<u4").tobytes(), 1)
    with pytest.raises(BadShare, match="a share is 12 bytes; expected a multiple of 8"):
        shamir.from_bytes(bytes(12), 2)
    with pytest.raises(BadShare, match="outside the field"):
        shamir.combine([1], np.full((1, 1, 1), 65_537, np.uint32), 1)
    with pytest.raises(BadShare, match="65536, which is no 16-bit limb"):
        shamir.combine([1], np.full((1, 1, 1), 65_536, np.uint32), 1)
    assert shamir.combine([1], np.full((1, 1, 1), 65_535, np.uint32), 1) == [b"\xff\xff"]


def test_shares_of_one_secret_have_to_be_for_each_holder() -> None:
    for shape in ((3, 1), (2, 1, 16), (3, 1, 16, 1)):
        with pytest.raises(BadShare, match=r"expected \(3, secrets, limbs\)"):
            shamir.combine([1, 2, 3], np.zeros(shape, np.uint32), 3)


def test_what_is_kept_for_the_next_round_cannot_be_changed() -> None:
    for kept in (shamir._powers(5, 3), shamir.lagrange_at_zero((1, 2, 3))):
        with pytest.raises(ValueError, match="read-only"):
            kept[...] = 0
