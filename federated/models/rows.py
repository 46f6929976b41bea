"""The rows of a pod's table as the arrays of a model.

A row with a missing value in a column that is used, or with a text that the task has no code for, is left out and
counted; nothing is ever filled in silently.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from federated.datasources.splits import SPLITS, columns_of, part_of
from federated.errors import ConfigurationError, TaskRefused
from federated.models.interface import Rows
from federated.models.selection import Selection, Value, text_of
from federated.types.datasources import DatasourceContainer, SemanticType

logger = logging.getLogger(__name__)

Part = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, slots=True)
class TableReading:
    """What was read of one table.

    Attributes:
        rows: all that can be used, in the order of the table.
        parts: of each row: 0 training, 1 validation, 2 test, -1 none of them.
        left_out: rows that cannot be used, by reason: "missing" or "uncoded".
    """

    rows: Rows
    parts: NDArray[np.int8] = field(repr=False)
    left_out: Mapping[str, int]

    def part(self, name: Part) -> Rows:
        """The rows of one part; "all" takes also those that are in none."""
        if name == "all":
            return self.rows
        chosen = np.flatnonzero(self.parts == SPLITS.index(name))
        keys = tuple(self.rows.keys[place] for place in chosen)
        targets = self.rows.targets[chosen] if len(self.rows.targets) else self.rows.targets
        return Rows(self.rows.inputs[chosen], targets, self.rows.features, keys)


@dataclass(frozen=True, slots=True)
class _Column:
    """How the cells of one column become numbers."""

    name: str
    instead: Any
    codes: Mapping[Any, tuple[float, ...]] | None
    center: float
    scale: float

    def numbers(self, cell: Any) -> tuple[float, ...] | str:
        """One input or several; the reason where there is none."""
        value = self.instead if cell is None else cell
        if value is None:
            return "missing"
        if self.codes is None:
            return ((float(value) - self.center) / self.scale,)
        coded = self.codes.get(value)
        return "uncoded" if coded is None else tuple((one - self.center) / self.scale for one in coded)


def read(container: DatasourceContainer | None, selection: Selection) -> TableReading:
    """Read a table once, for all its parts.

    Raises:
        TaskRefused: the pod has no such data, the columns do not fit, or the table cannot be read; the pod's own
            log then says where.
    """
    if container is None:
        raise TaskRefused("NO_DATA", "The task names no data source of this pod. Nothing was read.")
    known = container.schema.columns
    inputs = selection.inputs(known)
    _check_columns(known, inputs, selection)
    columns = [_column(name, known[name], selection) for name in inputs]
    if selection.target is not None:
        columns.append(_column(selection.target, known[selection.target], selection))
    try:
        return _read(container, columns, selection.features(inputs), selection.target is not None)
    except ConfigurationError as error:
        logger.error("data source %s: %s", container.name, error)
        raise TaskRefused(
            "DATASOURCE_INACCESSIBLE", "The data source cannot be read; the pod's own log says where."
        ) from None


def read_rows(container: DatasourceContainer | None, selection: Selection, part: Part) -> Rows:
    """The rows of one part; see `read`.

    Raises:
        TaskRefused: see `read`.
    """
    return read(container, selection).part(part)


def _check_columns(known: Mapping[str, SemanticType], inputs: tuple[str, ...], selection: Selection) -> None:
    target = () if selection.target is None else (selection.target,)
    used = (*inputs, *target)
    if not inputs:
        raise _incompatible("no column of the data source is an input of the task")
    if absent := [name for name in used if name not in known]:
        raise _incompatible(f"the data source has no column {absent[0]!r} that tasks may use")
    if strange := sorted(selection.named() - set(used)):
        raise _incompatible(f"the task states a constant for {strange[0]!r}, which is no column that it uses")
    for name in used:
        coded = name in selection.codes or name in selection.levels
        if known[name] not in ("continuous", "categorical"):
            raise _incompatible(f"column {name!r} is {known[name]}; a model takes numbers and categories")
        if known[name] == "categorical" and not coded:
            raise _incompatible(
                f"column {name!r} is categorical, and the task states no codes or levels for it "
                "(arguments.data.codes or .levels)"
            )
    if selection.target in selection.levels:
        raise _incompatible("the target has levels; expected codes")


def _column(name: str, kind: SemanticType, selection: Selection) -> _Column:
    codes = _codes(name, selection)
    instead = selection.impute.get(name)
    if kind == "continuous":
        codes = None if codes is None else {_number(name, text): coded for text, coded in codes.items()}
        instead = None if instead is None else _number(name, instead)
    elif instead is not None:
        instead = text_of(instead)
    return _Column(name, instead, codes, selection.center.get(name, 0.0), selection.scale.get(name, 1.0))


def _codes(name: str, selection: Selection) -> Mapping[Any, tuple[float, ...]] | None:
    if name in selection.codes:
        return {text: (float(number),) for text, number in selection.codes[name].items()}
    if name not in selection.levels:
        return None
    levels = tuple(map(text_of, selection.levels[name]))
    return {level: tuple(float(level == one) for one in levels[1:]) for level in levels}


def _number(name: str, text: Value) -> float:
    try:
        return float(text)
    except ValueError:
        raise _incompatible(f"column {name!r} has numbers, and the task states a text for it") from None


def _read(
    container: DatasourceContainer, columns: list[_Column], features: tuple[str, ...], has_target: bool
) -> TableReading:
    split = container.data_config.data_split
    deciding = () if split is None else columns_of(split)
    wanted = list(dict.fromkeys([*(column.name for column in columns), *deciding]))
    numbers: list[float] = []
    keys: list[str] = []
    parts: list[int] = []
    left_out: Counter[str] = Counter(missing=0, uncoded=0)
    for key, row in enumerate(container.datasource.rows(wanted), start=1):
        found = _numbers(columns, row)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        part = "train" if split is None else part_of(row, split)
        numbers += found
        keys.append(str(key))
        parts.append(-1 if part is None else SPLITS.index(part))
    # NumPy's own rows would be slower here than one flat list.
    width = len(features) + has_target
    table = np.array(numbers, np.float64).reshape(-1, width)
    targets = table[:, -1].copy() if has_target else np.empty(0)
    inputs = np.ascontiguousarray(table[:, : len(features)])
    return TableReading(
        Rows(inputs, targets, features, tuple(keys)), np.array(parts, np.int8), dict(left_out)
    )


def _numbers(columns: list[_Column], row: Mapping[str, Any]) -> list[float] | str:
    found: list[float] = []
    for column in columns:
        part = column.numbers(row[column.name])
        if isinstance(part, str):
            return part
        found += part
    return found


def _incompatible(why: str) -> TaskRefused:
    return TaskRefused("INCOMPATIBLE_DATASOURCE", f"The data does not fit the task: {why}. Nothing was run.")
