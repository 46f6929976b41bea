"""Test 63: whoever knows the rule and the rest cannot compute a small count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.counts.suppression import ShownGroup, protected
from federated.errors import InvalidArgument

K = 5


def worlds(cells: int, largest: int) -> Iterator[tuple[int, ...]]:
    return product(range(largest + 1), repeat=cells)


@pytest.mark.parametrize(("cells", "largest"), [(2, 30), (3, 14), (4, 8)])
def test_small_cells_cannot_be_computed_from_the_rest(cells: int, largest: int) -> None:
    """An exhaustive integer solver that knows the rule: all inputs that give one output, compared cell by cell.

    Inputs up to twice ``largest`` count as explanations, so that the edge of the search hides nothing.
    """
    explained: dict[ShownGroup, list[set[int]]] = defaultdict(lambda: [set() for _ in range(cells)])
    for world in worlds(cells, largest + K):
        for seen, count in zip(explained[protected(world, K)], world, strict=True):
            seen.add(count)
    for world in worlds(cells, largest):
        for count, seen in zip(world, explained[protected(world, K)], strict=True):
            if 0 < count < K:
                assert len(seen) > 1, world


def test_hiding_the_small_cell_alone_is_not_enough() -> None:
    """What the rule is for: the naive way gives the cell back."""
    group = protected((3, 40, 60))
    naive = (None, 40, 60)
    assert group.total is not None
    assert group.total - sum(count for count in naive if count) == 3
    assert group == ShownGroup(103, (None, None, 60))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(5, 20))
def test_what_is_shown_is_true_and_never_small(cells: list[int], smallest: int) -> None:
    group = protected(cells, smallest)
    for shown, count in zip(group.cells, cells, strict=True):
        assert shown in {None, count}
        assert shown is None or shown == 0 or shown >= smallest
    assert group.total is None or group.total == 0 or group.total >= smallest
    hidden = [count for shown, count in zip(group.cells, cells, strict=True) if shown is None]
    if hidden and group.total is not None:
        assert len(hidden) > 1
        assert sum(hidden) >= smallest


def test_equal_counts_are_hidden_together() -> None:
    """Hiding one of two equal counts would tell, by its place, which of the hidden ones is small."""
    assert protected((11, 11, 4)) == ShownGroup(26, (None, None, None))


@pytest.mark.parametrize("call", [lambda: protected((1,), 4), lambda: protected((-1,))])
def test_limits_below_five_and_impossible_counts_are_refused(call: object) -> None:
    with pytest.raises(InvalidArgument, match="expected"):
        call()  # type: ignore[operator]  # one of the two above
