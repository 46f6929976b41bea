"""Patterns of dropouts of five and six pods, up to their names: the sum over the survivors, or none."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest

from tests.proof import dropouts
from tests.secure_agg.test_simulation import POINTS, check, multisets, outcome

FRACTION = 6
"""One in so many patterns is tried every day; all of them in the proof."""
Pattern = dict[str, str | None]


def expected(pattern: Pattern) -> list[str] | None:
    threshold = 2 * len(pattern) // 3 + 1
    return outcome(pattern, max(3, threshold), threshold)


def sample(pods: int) -> list[Pattern]:
    """One in `FRACTION` of each class, and at least one: a class is a set of moments at which pods are lost, and
    whether there is a sum."""
    classes: dict[tuple[frozenset[str | None], bool], list[Pattern]] = defaultdict(list)
    for pattern in multisets(pods):
        classes[frozenset(pattern.values()), expected(pattern) is None].append(pattern)
    draw = random.Random(pods)
    return [one for each in classes.values() for one in draw.sample(each, -(-len(each) // FRACTION))]


@pytest.mark.parametrize("pods", [5, 6])
def test_a_sample_of_the_dropouts_of_five_and_six_gives_the_sum_or_none(pods: int) -> None:
    for pattern in sample(pods):
        check(pattern)


@pytest.mark.parametrize("pods", [5, 6])
def test_the_sample_holds_every_set_of_moments_and_both_ends(pods: int) -> None:
    every, drawn = list(multisets(pods)), sample(pods)
    assert {frozenset(one.values()) for one in drawn} == {frozenset(one.values()) for one in every}
    assert {expected(one) is None for one in drawn} == {True, False}
    assert drawn == sample(pods)
    assert len(drawn) * 3 < len(every)


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("pods", [5, 6])
def test_every_multiset_of_dropouts_of_five_and_six_gives_the_sum_or_none(pods: int) -> None:
    for pattern in multisets(pods):
        check(pattern)


def test_the_proof_tries_each_pattern_once() -> None:
    assert sorted(map(repr, dropouts.patterns(3))) == sorted(map(repr, itertools.product(POINTS, repeat=3)))


def test_the_proof_sees_a_round_that_ends_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = (None, None, None)
    assert dropouts.tried(everyone) == (everyone, "sum")
    assert dropouts.tried(("after_upload", None, None)) == (("after_upload", None, None), "no sum")

    def wrong(pattern: dict[str, str | None]) -> None:
        raise AssertionError("another set of survivors")

    monkeypatch.setattr(dropouts, "check", wrong)
    assert dropouts.tried(everyone) == (everyone, "failed")
    tally = dropouts.Tally({3: dropouts.Counter(failed=1)}, {3: 216}, [everyone])
    assert not tally.holds
