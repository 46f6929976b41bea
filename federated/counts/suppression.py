"""What a pod suppresses of its counts, so that no small one can be computed from the rest.

A *group* is a list of counts that add up to a published total. `protected` hides within one group: every hidden count
looks the same, whether it is small or only protects a small one, so the reader cannot tell which is which. In a
funnel many groups share patients: an eligible patient is also one who passed each criterion, and who is lost at the
first step has failed the first criterion. So the rule of `held_back` is stated with patients and not with groups:

    A small count may only be suppressed together with all that would change if one patient had been counted
    elsewhere, so that everything that is shown would be the same.

For each count of 1 to k - 1 there is such a patient, and with them another table of patients that shows the same and
has another count there. This *what-if* is the proof that the count cannot be computed, whatever is subtracted from
what. It holds for differences that are counts themselves (`CountCells.differences`) too. And what is suppressed of a
group that adds up is never small in all, so no small number of patients can be told apart by subtraction.

Which what-if is taken is the pod's secret and the same in each answer: a reader who knows this rule, but not the
secret, cannot tell from what is suppressed which of it is small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federated.counts.cells import CountCells, Profile, bits_of
from federated.errors import InvalidArgument

DEFAULT = 11
"""Cells of 1 to 10 are not shown."""
LOWEST = 5
"""A policy may lower the limit to this, not below."""
PAIRS = 60
"""Up to so many different lists of verdicts, one patient may also take those of any other patient."""

Quantity = tuple[int, int]
"""A count: the sum over a set of cells less that over another."""


@dataclass(frozen=True, slots=True, order=True)
class WhatIf:
    """One patient counted elsewhere.

    Args:
        gains: cells that would have one more.
        loses: cells that would have one less.
    """

    gains: int
    loses: int

    @property
    def touched(self) -> int:
        """All cells that would change."""
        return self.gains | self.loses

    def changes(self, quantity: Quantity) -> bool:
        """Whether a count would be another."""
        added, taken = quantity
        gain = (added & self.gains).bit_count() - (added & self.loses).bit_count()
        return gain != (taken & self.gains).bit_count() - (taken & self.loses).bit_count()


def held_back(
    cells: CountCells, table: Mapping[Profile, int], smallest: int, secret: bytes
) -> tuple[list[int], int]:
    """The counts of a pod, and which of them it suppresses.

    Args:
        cells: of the trial.
        table: how many patients have one list of verdicts; at least ``smallest`` in all.
        smallest: the smallest count that may be shown.
        secret: only this pod has it, and it is the same for the same patients.

    Returns:
        The exact counts, which stay in the pod, and the set of cells that are suppressed. The number evaluated is
        always shown, and so is a cell with nobody in it unless all are suppressed.

    Raises:
        InvalidArgument: ``smallest`` is below `LOWEST`, or fewer than ``smallest`` patients were evaluated.
    """
    counts = cells.counts(table)
    if smallest < LOWEST:
        raise InvalidArgument(f"the smallest count is {smallest}; expected {LOWEST} or more")
    if counts[0] < smallest:
        raise InvalidArgument(f"fewer patients were evaluated than {smallest}; they are not counted")
    rule = _Rule(cells, counts, smallest, secret)
    if rule.primary and counts[0] < 2 * smallest:
        # Two groups of so few patients cannot both be large: nothing but the whole would be shown anyway.
        return counts, cells.everything
    if not rule.small:
        return counts, 0
    return counts, rule.closed(_what_ifs(cells, table, counts))


class _Rule:
    """The search for what must be suppressed: from the small counts outwards until each has its what-if."""

    def __init__(self, cells: CountCells, counts: Sequence[int], smallest: int, secret: bytes) -> None:
        self._cells, self._counts, self._smallest = cells, counts, smallest
        self._cost = [_cost(secret, name) for name in cells.names]
        singles = [(1 << position, 0) for position in range(1, len(counts))]
        self.small = [one for one in (*singles, *cells.differences) if self._is_small(one)]
        self.primary = sum(added for added, taken in self.small if not taken and added.bit_count() == 1)

    def _is_small(self, quantity: Quantity) -> bool:
        added, taken = quantity
        sums = [sum(self._counts[position] for position in bits_of(part)) for part in (added, taken)]
        return 0 < sums[0] - sums[1] < self._smallest

    def closed(self, what_ifs: Sequence[WhatIf]) -> int:
        """The cells to suppress; all where no what-if serves."""
        hidden, grown = self.primary, True
        while grown:
            grown = False
            for quantity in (*self.small, *self._rests(hidden)):
                fits = [one for one in what_ifs if one.changes(quantity)]
                if not fits:
                    return self._cells.everything
                if all(one.touched & ~hidden for one in fits):
                    hidden |= min(fits, key=lambda one: self._price(one.touched & ~hidden)).touched
                    grown = True
        return hidden

    def _rests(self, hidden: int) -> list[Quantity]:
        """What is suppressed of each group that adds up, where that is small in all."""
        rests = [(partition & hidden, 0) for partition in self._cells.partitions]
        return [rest for rest in rests if self._is_small(rest)]

    def _price(self, cells: int) -> float:
        return sum(self._cost[position] for position in bits_of(cells))


def _cost(secret: bytes, name: str) -> float:
    # From 1 to 5: few cells are suppressed, and which ones the reader cannot foresee.
    digest = hashlib.sha256(b"trialveil/held-back" + secret + name.encode()).digest()
    return 1 + 4 * int.from_bytes(digest[:8]) / 2**64


def _what_ifs(cells: CountCells, table: Mapping[Profile, int], counts: Sequence[int]) -> list[WhatIf]:
    """Every way in which one patient could count elsewhere and all that is suppressed would still be somebody.

    A cell with nobody in it is shown as such, so it gains nobody; a cell that is suppressed has somebody in it, so it
    does not lose its only one.
    """
    here = {profile: cells.of(profile) for profile in sorted(table)}
    found: set[WhatIf] = set()
    for profile, old in here.items():
        others = list(here.values()) if len(here) <= PAIRS else []
        others += [cells.of(other) for other in _one_verdict_away(profile)]
        found.update(WhatIf(new & ~old, old & ~new) for new in others if new != old)
    return sorted(one for one in found if _possible(one, counts))


def _one_verdict_away(profile: Profile) -> list[Profile]:
    return [
        (*profile[:place], verdict, *profile[place + 1 :])
        for place, old in enumerate(profile)
        for verdict in range(4)
        if verdict != old
    ]


def _possible(one: WhatIf, counts: Sequence[int]) -> bool:
    # Two, not one: an empty cell would be shown, so the reader knows that a cell held back has somebody in it, and a
    # what-if that takes its only one is none to them. With "at least 1" counts of one patient can be solved for in
    # whole numbers, about one table in 200 of few patients; with "at least 3" more is held back than is needed.
    return all(counts[position] >= 1 for position in bits_of(one.gains)) and all(
        counts[position] >= 2 for position in bits_of(one.loses)
    )


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """Counts as they may be shown: None is hidden. Where the total is hidden, all are."""

    total: int | None
    cells: tuple[int | None, ...]


def protected(cells: Sequence[int], smallest: int = DEFAULT) -> ShownGroup:
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
    if smallest < LOWEST:
        raise InvalidArgument(f"the smallest count is {smallest}; expected {LOWEST} or more")
    if any(count < 0 for count in cells):
        raise InvalidArgument("counts: one of them is negative; expected 0 or more")
    large = [count for count in cells if count >= smallest]
    if not any(0 < count < smallest for count in cells):
        return ShownGroup(sum(cells), tuple(cells))
    if not large:
        return ShownGroup(None, (None,) * len(cells))
    highest = min(large)
    return ShownGroup(sum(cells), tuple(None if 0 < count <= highest else count for count in cells))


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["DEFAULT", "LOWEST", "ShownGroup", "protected"]
