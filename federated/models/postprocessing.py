"""What is done to predictions after they are made, in the order of the task; one that cannot be done is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from federated.errors import InvalidArgument

Columns = dict[str, NDArray[np.float64]]
_STRICT = {"extra": "forbid"}


_NAME = re.compile(r"\w[\w .()/%+-]{0,99}")


def check_names(names: Iterable[str]) -> None:
    """Refuse a name of a column that a spreadsheet could take for a formula, or that is no word.

    Raises:
        ValueError: a name is none.
    """
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError("a column's name begins with a letter, digit or _ and has at most 100 characters")


@dataclass(frozen=True, slots=True)
class Rename:
    """Gives columns other names.

    Args:
        columns: old name to new name.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    kind: Literal["rename"]
    columns: Mapping[str, str]

    def __post_init__(self) -> None:
        check_names(self.columns.values())

    def __call__(self, found: Columns) -> Columns:
        for name in self.columns:
            _require(found, name)
        names = [self.columns.get(name, name) for name in found]
        if len(set(names)) < len(names):
            raise InvalidArgument("a rename gives two columns the same name")
        return dict(zip(names, found.values(), strict=True))


@dataclass(frozen=True, slots=True)
class Threshold:
    """Adds a column of 0 and 1: whether another one is at least ``at``.

    Args:
        column: which one.
        at: finite.
        name: of the new column.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    kind: Literal["threshold"]
    column: str
    at: float
    name: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.at):
            raise ValueError("at must be finite")
        check_names([self.name])

    def __call__(self, found: Columns) -> Columns:
        if self.name in found:
            raise InvalidArgument(f"a threshold gives column {self.name!r} that is there already")
        return {**found, self.name: (_require(found, self.column) >= self.at).astype(np.float64)}


@dataclass(frozen=True, slots=True)
class Softmax:
    """Turns all columns into probabilities that add up to 1."""

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    kind: Literal["softmax"]

    def __call__(self, found: Columns) -> Columns:
        if len(found) < 2:
            raise InvalidArgument("softmax needs two columns or more")
        table = np.column_stack(list(found.values()))
        powers = np.exp(table - table.max(axis=1, keepdims=True, initial=-np.inf))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return {name: shares[:, place] for place, name in enumerate(found)}


Postprocessor = Annotated[Rename | Threshold | Softmax, Field(discriminator="kind")]


def processed(found: Columns, steps: Sequence[Postprocessor]) -> Columns:
    """The columns after all steps.

    Raises:
        InvalidArgument: a step cannot be done.
    """
    for step in steps:
        found = step(found)
    return found


def _require(found: Columns, name: str) -> NDArray[np.float64]:
    if name not in found:
        raise InvalidArgument(f"a postprocessor names column {name!r}; there are {', '.join(found)}")
    return found[name]
