"""Which numbers of a screening may be added up across pods: their names and order follow from the trial alone.

A *cell* is a number of patients (or eyes): those evaluated, those with one decision, with one verdict on one
criterion, and for each step of the ordered funnel those who enter it and those who are lost there. Sets of cells are
integers whose bit *i* stands for the cell at position *i*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from federated.screening.plan.trial_plan import ALIVE
from federated.screening.report.funnel import MaskTable
from federated.screening.trial.criteria import Trial

VERDICTS = ("passed", "failed", "unknown", "not_applicable")
DECISIONS = ("eligible", "undecided", "not_eligible")
PASSED, FAILED, UNKNOWN, NOT_APPLICABLE = range(4)

Profile = tuple[int, ...]
"""One patient's verdicts: for each criterion asked a position in `VERDICTS`."""

EVALUATED = "evaluated"


def asked(trial: Trial) -> tuple[str, ...]:
    """The criteria that every pod evaluates, in file order, the implicit one last."""
    named = tuple(criterion.id for criterion in trial.criteria if criterion.enabled)
    return named if trial.allow_deceased else (*named, ALIVE)


def positions(trial: Trial) -> tuple[int, ...]:
    """The bits of the masks (`Outcome.masks`) that stand for the criteria asked."""
    enabled = [bit for bit, criterion in enumerate(trial.criteria) if criterion.enabled]
    return tuple(enabled) if trial.allow_deceased else (*enabled, len(trial.criteria))


def profiles(table: MaskTable, bits: Iterable[int]) -> dict[Profile, int]:
    """How many patients have one list of verdicts."""
    found: dict[Profile, int] = {}
    kept = tuple(bits)
    for masks, count in table.items():
        profile = tuple(_verdict(masks, bit) for bit in kept)
        found[profile] = found.get(profile, 0) + count
    return found


def _verdict(masks: tuple[int, int, int], bit: int) -> int:
    failed, unknown, skipped = (mask >> bit & 1 for mask in masks)
    if failed:
        return FAILED
    return UNKNOWN if unknown else NOT_APPLICABLE if skipped else PASSED


def bits_of(cells: int) -> Iterator[int]:
    """The positions in a set of cells."""
    while cells:
        lowest = cells & -cells
        yield lowest.bit_length() - 1
        cells ^= lowest


@dataclass(frozen=True)
class CountCells:
    """The cells of one trial.

    Args:
        criteria: ids of the criteria asked, in order; see `asked`.
    """

    criteria: tuple[str, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each cell, in order; the first is `EVALUATED`."""
        return (
            EVALUATED,
            *(f"decision/{decision}" for decision in DECISIONS),
            *(f"criterion/{name}/{verdict}" for name in self.criteria for verdict in VERDICTS),
            *(f"funnel/{name}/{part}" for name in self.criteria for part in ("entering", "lost")),
        )

    @property
    def everything(self) -> int:
        """All cells but the number evaluated."""
        return (1 << len(self.names)) - 2

    def decision(self, number: int) -> int:
        """The cell of one decision, a position in `DECISIONS`."""
        return 1 << (1 + number)

    def verdict(self, criterion: int, verdict: int) -> int:
        """The cell of one verdict on one criterion."""
        return 1 << (4 + 4 * criterion + verdict)

    def entering(self, step: int) -> int:
        """The cell of who enters a step; after the last one the cells of who is still possible."""
        if step == len(self.criteria):
            return self.decision(0) | self.decision(1)
        return 1 << (4 + 4 * len(self.criteria) + 2 * step)

    def lost(self, step: int) -> int:
        """The cell of who fails here and nowhere before."""
        return 1 << (5 + 4 * len(self.criteria) + 2 * step)

    def of(self, profile: Profile) -> int:
        """The cells in which a patient with these verdicts counts."""
        found = 1
        for criterion, verdict in enumerate(profile):
            found |= self.verdict(criterion, verdict)
        first = profile.index(FAILED) if FAILED in profile else None
        for step in range(len(profile) if first is None else first + 1):
            found |= self.entering(step)
        if first is not None:
            return found | self.lost(first) | self.decision(2)
        return found | self.decision(1 if UNKNOWN in profile else 0)

    def counts(self, table: Mapping[Profile, int]) -> list[int]:
        """The number in each cell."""
        found = [0] * len(self.names)
        for profile, count in table.items():
            for position in bits_of(self.of(profile)):
                found[position] += count
        return found

    @cached_property
    def partitions(self) -> tuple[int, ...]:
        """Sets of cells of which every patient counts in exactly one."""
        steps = range(len(self.criteria))
        verdicts = (sum(self.verdict(i, v) for v in range(4)) for i in steps)
        ends = self.decision(0) | self.decision(1)
        return (ends | self.decision(2), *verdicts, ends | sum(map(self.lost, steps)))

    @cached_property
    def differences(self) -> tuple[tuple[int, int], ...]:
        """Sums of cells less sums of cells that are counts of patients themselves, because one lies in the other.

        Who is lost between two steps; who fails here and failed before; who failed before and not here; who is not
        eligible though not failing here; who passes here and is not eligible.
        """
        found: list[tuple[int, int]] = []
        last = len(self.criteria)
        for step in range(last):
            found += [(self.entering(step), self.entering(after)) for after in range(step + 1, last + 1)]
            failed = self.verdict(step, FAILED)
            meets = self.verdict(step, PASSED) | self.verdict(step, NOT_APPLICABLE)
            found += [
                (failed, self.lost(step)),
                (1, failed | self.entering(step + 1)),
                (self.decision(2), failed),
                (meets, self.decision(0)),
            ]
        return tuple(found)
