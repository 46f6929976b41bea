"""Counts on their way out of a pod and, added up, in the modeller's program.

A pod gives two vectors of one length: the counts, in which what is suppressed is 0, and for each count whether it is
held back (0 or 1). Both are added up under the same mask, so a total reads "at least N; m pods held back".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.counts.cells import CountCells, Profile, bits_of
from federated.counts.suppression import LOWEST, held_back
from federated.errors import CheckFailed, InvalidArgument

HELD = "held/"
"""Before the name of a cell: how many pods hold it back."""


@dataclass(frozen=True, slots=True)
class Released:
    """What leaves one pod.

    Args:
        names: of all numbers: the cells, then `HELD` and each cell.
        numbers: int64, of the length of ``names``, 0 or more.
        hidden: the cells that are suppressed, as a set.
    """

    names: tuple[str, ...]
    numbers: NDArray[np.int64] = field(repr=False)
    hidden: int = field(repr=False)

    def named(self) -> dict[str, int]:
        """Name to number, in order."""
        return dict(zip(self.names, map(int, self.numbers), strict=True))


def vector_names(cells: CountCells) -> tuple[str, ...]:
    """Names of the numbers that leave, in order; they follow from the trial alone."""
    return (*cells.names, *(HELD + name for name in cells.names))


def released(cells: CountCells, table: Mapping[Profile, int], smallest: int, secret: bytes) -> Released:
    """The two vectors of one pod, as one.

    Args:
        cells, table, smallest, secret: see `suppression`.

    Raises:
        InvalidArgument: as `suppression`.
    """
    counts, hidden = held_back(cells, table, smallest, secret)
    held = np.zeros(len(counts), np.int64)
    held[list(bits_of(hidden))] = 1
    shown = np.where(held == 1, 0, np.asarray(counts, np.int64))
    return Released(vector_names(cells), np.concatenate([shown, held]), hidden)


@dataclass(frozen=True, slots=True)
class Total:
    """One number over all pods.

    Args:
        at_least: the sum of what the pods showed; exact where none suppressed it. None where it is not shown, because
            it or a number beside it is smaller than may be seen.
        held_back: how many pods showed nothing here, because they have fewer people than may be seen, or to protect
            such a number.
    """

    at_least: int | None
    held_back: int

    def __str__(self) -> str:
        if self.at_least is None:
            return "not shown"
        if not self.held_back:
            return str(self.at_least)
        return f"at least {self.at_least}; {self.held_back} pod{'s' * (self.held_back != 1)} held back"


@dataclass(frozen=True, slots=True)
class SummedCounts:
    """Counts over several pods as they may be written down.

    Args:
        criteria: asked, in order.
        pods: how many are in the sum.
        smallest: the smallest number that may be seen.
        totals: by the names of `CountCells.names`.
    """

    criteria: tuple[str, ...]
    pods: int
    smallest: int
    totals: Mapping[str, Total] = field(repr=False)

    def total(self, *name: str) -> Total:
        """One number, such as ``total("decision", "eligible")``."""
        return self.totals["/".join(name)]


def totals(
    cells: CountCells, sums: Sequence[int] | NDArray[np.int64], pods: int, smallest: int
) -> SummedCounts:
    """The sums of both vectors over the pods, with the small-cell rule applied to them.

    The pods that follow the rule with a limit of at least ``smallest`` leave no small sum. Where there is one all the
    same, its whole group is not shown, nor decisions and funnel, which are linked to every group.

    Args:
        cells: of the trial that was asked.
        sums: of the vectors named by `vector_names`.
        pods: how many are in the sum.
        smallest: the smallest number that may be seen.

    Raises:
        InvalidArgument: another length, or ``smallest`` below `LOWEST`.
        CheckFailed: numbers that no pods that follow the rule can add up to.
    """
    size = len(cells.names)
    if len(sums) != 2 * size or smallest < LOWEST:
        raise InvalidArgument(
            f"the sum has {len(sums)} numbers and the smallest count is {smallest}; expected {2 * size} numbers and "
            f"{LOWEST} or more"
        )
    counts, held = [int(each) for each in sums[:size]], [int(each) for each in sums[size:]]
    if any(not 0 <= one <= pods for one in held) or min(counts) < 0 or max(counts) > counts[0]:
        raise CheckFailed("counts: a sum is out of its range; nothing is shown of it")
    hidden = _small_in_sum(cells, counts, smallest)
    shown = {
        name: Total(None if hidden >> place & 1 else counts[place], held[place])
        for place, name in enumerate(cells.names)
    }
    return SummedCounts(cells.criteria, pods, smallest, shown)


def _small_in_sum(cells: CountCells, counts: Sequence[int], smallest: int) -> int:
    small = sum(1 << place for place, count in enumerate(counts) if 0 < count < smallest)
    if not small:
        return 0
    if small & 1:
        return cells.everything | 1
    groups = [partition for partition in cells.partitions[1:-1] if partition & small]
    linked = cells.partitions[0] | cells.partitions[-1] | sum(map(cells.entering, range(len(cells.criteria))))
    return linked | sum(groups)


def read_counts(cells: CountCells, named: Mapping[str, int], pods: int, smallest: int) -> SummedCounts:
    """`totals` of sums that come by name.

    Raises:
        InvalidArgument: other names than `vector_names`, or another order.
        CheckFailed: as `totals`.
    """
    if tuple(named) != vector_names(cells):
        raise InvalidArgument(f"the sum has {len(named)} names; expected those of the trial, in order")
    return totals(cells, [int(number) for number in named.values()], pods, smallest)
