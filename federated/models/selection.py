"""Which columns of a pod's table a model takes, and by which constants of the task they become numbers.

A pod never fits a scale, a code list or a value for what is missing to its own rows: they would differ from pod to
pod, and would tell something about the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

Value = bool | int | float | str
"""A value of a column as a task writes it; a task file turns what looks like a number into one."""


def text_of(value: Value) -> str:
    """A value of a categorical column as the column has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns a model takes, and how they become numbers.

    Args:
        include: columns of the inputs, in order.
        include_prefix: takes every column that begins so, in the order of their names, after ``include``; the
            model must say how many inputs it has.
        exclude: columns to leave out of these.
        target: column to be learned; None where nothing is learned or measured.
        codes: by categorical column: text to number. A row with another text is left out and counted.
        levels: by categorical column: its values, of which each but the first becomes one input of 0 or 1.
        center, scale: by input column: what is subtracted, and what the rest is divided by. 0 and 1 by default.
        impute: by column: the value that stands for a missing one, before it is scaled or coded.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    include: tuple[str, ...] = ()
    include_prefix: str | None = None
    exclude: tuple[str, ...] = ()
    target: str | None = None
    codes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    levels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    center: Mapping[str, float] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    impute: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.include and not self.include_prefix:
            raise ValueError("names no column: give include or include_prefix")
        if len(set(self.include)) < len(self.include):
            raise ValueError("include names a column twice")
        if self.target in self.include:
            raise ValueError("the target is also an input")
        if set(self.codes) & set(self.levels):
            raise ValueError("a column has both codes and levels")
        if any(not 2 <= len(values) == len(set(map(text_of, values))) for values in self.levels.values()):
            raise ValueError("levels need at least two different values")
        if not all(math.isfinite(number) for number in self._numbers()):
            raise ValueError("a code, center, scale or imputed value is not finite")
        if any(divisor == 0 for divisor in self.scale.values()):
            raise ValueError("a scale is 0")

    def _numbers(self) -> Iterable[float]:
        yield from self.center.values()
        yield from self.scale.values()
        for codes in self.codes.values():
            yield from codes.values()
        yield from (value for value in self.impute.values() if not isinstance(value, str))

    def inputs(self, known: Iterable[str]) -> tuple[str, ...]:
        """The input columns, given the columns of a data source."""
        prefix = self.include_prefix
        more = sorted(name for name in known if prefix and name.startswith(prefix))
        chosen = dict.fromkeys((*self.include, *more))
        return tuple(name for name in chosen if name not in self.exclude and name != self.target)

    def features(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Names of a model's inputs, given its input columns; one with levels has several."""
        return tuple(name for column in columns for name in self._features(column))

    def _features(self, column: str) -> Iterable[str]:
        if column not in self.levels:
            return (column,)
        return (f"{column}={text_of(value)}" for value in self.levels[column][1:])

    def named(self) -> set[str]:
        """Every column for which the task states a constant."""
        return {*self.codes, *self.levels, *self.center, *self.scale, *self.impute}
