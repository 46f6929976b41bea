"""Random screenings as tables of verdicts, and an integer solver that reads what pods have published."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from federated.counts.cells import CountCells, Profile

Table = dict[Profile, int]


def cells(criteria: int) -> CountCells:
    return CountCells(tuple(f"c{number}" for number in range(criteria)))


def random_table(seed: int, criteria: int, patients: int) -> Table:
    """Patients who fail, are unknown or not asked with chances of their own for each criterion."""
    chance = random.Random(seed)
    odds = [(chance.choice([0.02, 0.1, 0.4]), chance.choice([0, 0.05, 0.2]), chance.choice([0, 0, 0.1]))
            for _ in range(criteria)]  # fmt: skip
    return dict(
        Counter(
            tuple(chance.choices((1, 2, 3, 0), (*one, 1 - sum(one)))[0] for one in odds)
            for _ in range(patients)
        )
    )


@dataclass(frozen=True)
class Published:
    """What one pod has shown: a number for each cell, and the set of those that are held back."""

    counts: Sequence[int]
    hidden: int


@dataclass
class Reader:
    """Knows the trial, what is published and that a cell with nobody in it is held back only with all others.

    Every table of patients of every pod is possible for it that agrees with that.
    """

    cells: CountCells
    published: Sequence[Published]
    sum_only: bool = False

    def __post_init__(self) -> None:
        self.profiles = list(product(range(4), repeat=len(self.cells.criteria)))
        inside = np.array(
            [
                [self.cells.of(one) >> place & 1 for one in self.profiles]
                for place in range(len(self.cells.names))
            ]
        )
        rows, low, high = [], [], []
        for pod, one in enumerate(self.published):
            all_hidden = one.hidden == self.cells.everything
            for place in range(len(self.cells.names)):
                row = self._row(pod, inside[place])
                if one.hidden >> place & 1:
                    rows.append(row), low.append(0 if all_hidden else 1), high.append(np.inf)
                elif not self.sum_only or place == 0:
                    rows.append(row), low.append(one.counts[place]), high.append(one.counts[place])
        if self.sum_only:
            for place in range(1, len(self.cells.names)):
                showing = [pod for pod, one in enumerate(self.published) if not one.hidden >> place & 1]
                rows.append(
                    sum((self._row(pod, inside[place]) for pod in showing), self._row(0, inside[0] * 0))
                )
                total = sum(self.published[pod].counts[place] for pod in showing)
                low.append(total), high.append(total)
        self.inside, self.constraint = inside, LinearConstraint(np.array(rows), low, high)

    def _row(self, pod: int, inside: np.ndarray) -> np.ndarray:
        row = np.zeros(len(self.profiles) * len(self.published))
        row[pod * len(self.profiles) : (pod + 1) * len(self.profiles)] = inside
        return row

    def bounds(self, pod: int, place: int) -> tuple[int, int]:
        """The smallest and the largest number that a cell of a pod can have."""
        return self._between(self._row(pod, self.inside[place]))

    def _between(self, row: np.ndarray) -> tuple[int, int]:
        ends = []
        for sign in (1, -1):
            found = milp(
                sign * row, constraints=self.constraint, integrality=np.ones_like(row), bounds=Bounds(0)
            )
            assert found.success, "the true table is possible"
            ends.append(round(sign * found.fun))
        return ends[0], ends[1]

    def determined(self, pod: int, smallest: int, true: Sequence[int]) -> list[str]:
        """The small cells of a pod that only one number fits."""
        found = []
        for place, count in enumerate(true):
            if 0 < count < smallest and len(set(self.bounds(pod, place))) == 1:
                found.append(self.cells.names[place])
        return found

    def given_away(self, pod: int, smallest: int, true: Sequence[int]) -> list[tuple[list[str], list[str]]]:
        """The small numbers of a pod that only one number fits: cells, differences that are counts of patients
        themselves, and what is held back of a group that adds up; each as the names added and those taken."""
        hidden = self.published[pod].hidden
        asked = [(1 << place, 0) for place in range(1, len(true))]
        asked += [*self.cells.differences, *((group & hidden, 0) for group in self.cells.partitions)]
        found = []
        for parts in asked:
            added, taken = ([place for place in range(len(true)) if part >> place & 1] for part in parts)
            number = sum(true[place] for place in added) - sum(true[place] for place in taken)
            if not 0 < number < smallest:
                continue
            row = self.inside[added].sum(axis=0) - self.inside[taken].sum(axis=0)
            if len(set(self._between(self._row(pod, row)))) == 1:
                found.append(([self.cells.names[p] for p in added], [self.cells.names[p] for p in taken]))
        return found
