"""Counts that may be shown to others: no small number, and none that subtraction gives back (7.4, rules 1 and 2).

A *group* is a list of counts that add up to a published total. Every hidden count of a group looks the same,
whether it is small or only protects a small one, so the reader cannot tell which is which.

Each group and the funnel are safe on their own. Groups that share patients (the first step of a funnel loses
whom the first criterion fails) can narrow each other: what is released together is for the policy to choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federated.errors import InvalidArgument

DEFAULT = 11
"""Cells of 1 to 10 are not shown."""
LOWEST = 5
"""A policy may lower the limit to this, not below."""


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as they may be shown: None is hidden. Where the total is hidden, all are."""

    total: int | None
    cells: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Merged:
    """Steps of a funnel as they may be shown.

    Args:
        last: 0-based position of the last original step in it.
        possible: who is still possible after it.
    """

    last: int
    possible: int


def protected(cells: Sequence[int], smallest: int = DEFAULT) -> Group:
    """Hide every count of 1 to ``smallest - 1``, and with them those that would give them back.

    With the small counts, all that equal the smallest other one are hidden. So any small count could change
    places with a larger hidden one, and everything shown would be the same: even a reader who knows this rule
    cannot tell. Where there is no larger one, the whole group is hidden, its total and its zeros too.

    Args:
        cells: counts, 0 or more; their sum is the group's total.
        smallest: the smallest count that may be shown.

    Raises:
        InvalidArgument: ``smallest`` is below `LOWEST`, or a count is negative.
    """
    _check(cells, smallest)
    large = [count for count in cells if count >= smallest]
    if not any(0 < count < smallest for count in cells):
        return Group(sum(cells), tuple(cells))
    if not large:
        return Group(None, (None,) * len(cells))
    highest = min(large)
    return Group(sum(cells), tuple(None if 0 < count <= highest else count for count in cells))


def protected_funnel(evaluated: int, lost: Sequence[int], smallest: int = DEFAULT) -> tuple[Merged, ...]:
    """Merge steps until each shown difference, and who is left at the end, is 0 or at least ``smallest``.

    Args:
        evaluated: who entered.
        lost: who was lost at each step; together at most ``evaluated``.
        smallest: as in `protected`.

    Returns:
        The steps that may be shown, in order; none if the funnel is too small. What is lost after the last
        one is not shown.

    Raises:
        InvalidArgument: as `protected`, or more are lost than entered.
    """
    _check([evaluated, *lost], smallest)
    if sum(lost) > evaluated:
        raise InvalidArgument("lost: more in all than were evaluated; expected at most as many")
    shown: list[Merged] = []
    pending, left = 0, evaluated
    for place, count in enumerate(lost):
        pending, left = pending + count, left - count
        if (pending == 0 or pending >= smallest) and (left == 0 or left >= smallest):
            shown.append(Merged(place, left))
            pending = 0
    return tuple(shown) if evaluated >= smallest else ()


def _check(counts: Sequence[int], smallest: int) -> None:
    if smallest < LOWEST:
        raise InvalidArgument(f"the smallest count is {smallest}; expected {LOWEST} or more")
    if any(count < 0 for count in counts):
        raise InvalidArgument("counts: one of them is negative; expected 0 or more")
