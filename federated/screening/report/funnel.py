"""Where patients drop out: every view is computed from one table of masks.

A mask is an integer whose bit *i* stands for the criterion at position *i*. A row of the table says how
many patients (or eyes) share one triple of masks, so the table holds no person and is small enough to
travel inside a report, where what-if switches recompute the same views.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Masks = tuple[int, int, int]
"""Failed, unknown and not applicable, as `Outcome.masks` gives them."""

MaskTable = Mapping[Masks, int]


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One criterion of the ordered funnel.

    Args:
        criterion: its id.
        entering: no fail in any earlier step.
        possible: no fail up to and including this step; ``entering - lost``.
        sure: no fail and nothing unknown up to and including this step.
        lost: fail here, and nowhere before.
        unsure: became unsure here: unknown here, and neither failed nor unknown before.
    """

    criterion: str
    entering: int
    possible: int
    sure: int
    lost: int
    unsure: int


@dataclass(frozen=True, slots=True)
class IndependentLoss:
    """One criterion over everyone evaluated, whatever the others say.

    Args:
        criterion: its id.
        passed, failed, unknown, not_applicable: they add up to everyone evaluated.
        gained_eligible, gained_undecided: not eligible because of this criterion alone; what they would be
            without it.
        unknown_alone: undecided because of this criterion alone; they would be eligible without it.
    """

    criterion: str
    passed: int
    failed: int
    unknown: int
    not_applicable: int
    gained_eligible: int
    gained_undecided: int
    unknown_alone: int

    @property
    def fails_alone(self) -> int:
        """Not eligible because of this criterion and of no other."""
        return self.gained_eligible + self.gained_undecided


@dataclass(frozen=True, slots=True)
class Decided:
    """How many are what, from the masks alone."""

    eligible: int
    undecided: int
    not_eligible: int


@dataclass(frozen=True, slots=True)
class Funnel:
    """Both kinds of funnel over the same patients.

    Args:
        evaluated: patients (or eyes) in the table.
        decided: their decisions.
        ordered: one step per criterion, in file order.
        independent: one row per criterion, in file order.
    """

    evaluated: int
    decided: Decided
    ordered: tuple[FunnelStep, ...]
    independent: tuple[IndependentLoss, ...]


def mask_table(masks: Iterable[Masks]) -> dict[Masks, int]:
    """Count equal triples; sorted, so that equal input gives equal bytes."""
    return dict(sorted(Counter(masks).items()))


def merged(tables: Iterable[MaskTable]) -> dict[Masks, int]:
    """The table of several sites that asked the same criteria in the same order."""
    total: Counter[Masks] = Counter()
    for table in tables:
        total.update(table)
    return dict(sorted(total.items()))


def without(table: MaskTable, positions: Collection[int]) -> dict[Masks, int]:
    """What-if: the table as it would be if the criteria at these positions were not asked."""
    keep = ~sum(1 << position for position in set(positions))
    total: Counter[Masks] = Counter()
    for (failed, unknown, skipped), count in table.items():
        total[failed & keep, unknown & keep, skipped & keep] += count
    return dict(sorted(total.items()))


def decided(table: MaskTable) -> Decided:
    """Decisions: any fail is not eligible, else any unknown is undecided, else eligible."""
    eligible = undecided = not_eligible = 0
    for (failed, unknown, _), count in table.items():
        if failed:
            not_eligible += count
        elif unknown:
            undecided += count
        else:
            eligible += count
    return Decided(eligible, undecided, not_eligible)


def funnel(ids: Sequence[str], table: MaskTable, skip: Collection[str] = ()) -> Funnel:
    """Both funnels from one table.

    Args:
        ids: the criteria; position *i* is bit *i* of every mask.
        table: see `mask_table`.
        skip: criteria that were listed and not evaluated; they have no step and no row.
    """
    asked = [(name, bit) for bit, name in enumerate(ids) if name not in skip]
    return Funnel(
        evaluated=sum(table.values()),
        decided=decided(table),
        ordered=_ordered(asked, table),
        independent=tuple(_independent(name, position, table) for name, position in asked),
    )


def _ordered(criteria: Iterable[tuple[str, int]], table: MaskTable) -> tuple[FunnelStep, ...]:
    steps, before, entering = [], 0, sum(table.values())
    for name, position in criteria:
        bit = 1 << position
        seen = before | bit
        lost = sure = unsure = 0
        for (failed, unknown, _), count in table.items():
            if failed & before:
                continue
            if failed & bit:
                lost += count
            elif not unknown & seen:
                sure += count
            elif not unknown & before:
                unsure += count
        steps.append(FunnelStep(name, entering, entering - lost, sure, lost, unsure))
        before, entering = seen, entering - lost
    return tuple(steps)


def _independent(name: str, position: int, table: MaskTable) -> IndependentLoss:
    bit = 1 << position
    counts: Counter[str] = Counter()
    for (failed, unknown, skipped), count in table.items():
        if failed & bit:
            counts["failed"] += count
            if failed == bit:
                counts["gained_undecided" if unknown else "gained_eligible"] += count
        elif unknown & bit:
            counts["unknown"] += count
            if unknown == bit and not failed:
                counts["unknown_alone"] += count
        elif skipped & bit:
            counts["not_applicable"] += count
        else:
            counts["passed"] += count
    return IndependentLoss(
        name,
        counts["passed"],
        counts["failed"],
        counts["unknown"],
        counts["not_applicable"],
        counts["gained_eligible"],
        counts["gained_undecided"],
        counts["unknown_alone"],
    )
