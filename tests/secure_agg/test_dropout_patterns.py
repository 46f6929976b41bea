"""Every pattern of dropouts of five and six pods, up to their names: the sum over the survivors, or none."""

from __future__ import annotations

import itertools

import pytest

from tests.proof import dropouts
from tests.secure_agg.test_simulation import POINTS, check, multisets


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
