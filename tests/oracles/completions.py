"""Every way in which uncertain records could really have been, and what a leaf is in each of them.

A slow, plain, independent version of the leaves: no intervals, no three values. A record with a partial date is
each of its possible days, at each of a few moments of the day; an uncertain one counts or does not; a missing
value is a very small or a very large one. If all ways agree the leaf is decided, and only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from typing import Literal

Take = Literal["exists", "latest", "earliest", "any", "all", "max", "min"]
FAR = 10_000.0


@dataclass(frozen=True)
class Fact:
    """A record in plain words: a date of some precision or none, whether it surely counts, its value or none."""

    day: str | None
    sure: bool = True
    value: float | None = 0.0


@dataclass(frozen=True)
class Real:
    """One way a record could be."""

    counts: bool
    moment: float
    value: float


def days(text: str | None, around: list[date]) -> list[date]:
    """The days worth trying: those of ``around``, with a day before and after, that the text allows."""
    every = sorted({day + timedelta(days=step) for day in around for step in (-1, 0, 1)})
    if text is None:
        return every
    fitting = [day for day in every if day.isoformat().startswith(text)]
    return fitting or [date.fromisoformat((text + "-01-01")[:10])]


def ways(fact: Fact, around: list[date], slots: int) -> list[Real]:
    """All ways that one record could be."""
    values = [-FAR, FAR] if fact.value is None else [fact.value]
    return [
        Real(counts, day.toordinal() + slot / 10, value)
        for counts in ([True] if fact.sure else [True, False])
        for day in days(fact.day, around)
        for slot in range(slots)
        for value in values
    ]


def worlds(facts: list[Fact], around: list[date]) -> Iterator[tuple[Real, ...]]:
    """All ways that all records could be together; no two at one moment."""
    for world in product(*(ways(fact, around, len(facts)) for fact in facts)):
        if len({real.moment for real in world}) == len(world):
            yield world


def answer(
    take: Take,
    facts: list[Fact],
    window: tuple[date, date],
    fits: Callable[[float], bool],
    silence: bool | None,
) -> int:
    """0, 1 or 2 for a leaf over these records.

    Args:
        silence: what no record at all means; None: not known.
    """
    first, last = window[0].toordinal(), window[1].toordinal() + 0.99
    around = [*window, *(date.fromisoformat(fact.day) for fact in facts if fact.day and len(fact.day) == 10)]
    found: set[bool | None] = set()
    for world in worlds(facts, around):
        inside = sorted(
            (real for real in world if real.counts and first <= real.moment <= last),
            key=lambda real: real.moment,
        )
        found.add(_of(take, inside, fits) if inside else silence)
        if None in found or len(found) == 2:
            return 1
    return {True: 2, False: 0}[next(iter(found)) is True]


def _of(take: Take, inside: list[Real], fits: Callable[[float], bool]) -> bool:
    if take == "exists":
        return True
    if take == "latest":
        return fits(inside[-1].value)
    if take == "earliest":
        return fits(inside[0].value)
    if take == "any":
        return any(fits(real.value) for real in inside)
    if take == "all":
        return all(fits(real.value) for real in inside)
    return fits((max if take == "max" else min)(real.value for real in inside))
