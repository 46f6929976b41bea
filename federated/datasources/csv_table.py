"""A CSV file as a data source: UTF-8, commas, one header; every mistake with its line, never with a value."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from federated.errors import ConfigurationError, InvalidArgument
from federated.types.datasources import SemanticType

Cell = str | float | None
"""Text, a finite number, or None for a missing value."""

LEVELS = 1000
"""A column with more different values than this is text, where its type is not declared."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CODE = re.compile(r"[+-]?0\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file that is read anew at each use, row by row.

    Attributes:
        path: the file.
        types: every column of the file to its type, in the file's order.
        missing: what stands for a missing value; an empty cell always does.
    """

    path: Path
    types: Mapping[str, SemanticType]
    missing: frozenset[str] = field(default_factory=frozenset)

    def columns(self) -> Sequence[str]:
        """Names of all columns, in order."""
        return tuple(self.types)

    def rows(self, columns: Sequence[str]) -> Iterator[Mapping[str, Cell]]:
        """The asked columns of every row; numbers as float, missing values as None.

        Raises:
            ConfigurationError: the file is not as its header and types say; with the line.
            InvalidArgument: there is no such column.
        """
        wanted = [(name, self._reader(name), place) for name, place in self._places(columns).items()]
        lines = _records(self.path)
        _same_header(self.path, next(lines), tuple(self.types))
        for line, cells in lines:
            yield {name: read(line, cells[place]) for name, read, place in wanted}

    def _places(self, columns: Sequence[str]) -> dict[str, int]:
        order = {name: place for place, name in enumerate(self.types)}
        if strange := [name for name in columns if name not in order]:
            raise InvalidArgument(f"{len(strange)} of {len(columns)} columns are not in the table")
        return {name: order[name] for name in columns}

    def _reader(self, name: str) -> Callable[[int, str], Cell]:
        nothing = self.missing | {""}

        def text(line: int, cell: str) -> Cell:
            return None if cell in nothing else cell

        def number(line: int, cell: str) -> Cell:
            if cell in nothing:
                return None
            value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
            if not math.isfinite(value):
                raise _wrong(
                    self.path,
                    line,
                    f"column {name!r} is continuous, and this is no finite number "
                    "(list what stands for a missing value under 'missing')",
                )
            return value

        return number if self.types[name] == "continuous" else text


def header_of(path: Path) -> tuple[str, ...]:
    """The names of a file's columns.

    Raises:
        ConfigurationError: the file cannot be read, or has no usable header.
    """
    _, names = next(_records(path))
    return tuple(names)


def inferred(path: Path, missing: frozenset[str]) -> dict[str, SemanticType]:
    """A type for every column, from all rows: continuous where all are numbers, else categorical or text.

    A number with a zero in front, such as a postcode, is no number.

    Raises:
        ConfigurationError: the file is not as its header says.
    """
    names = header_of(path)
    numbers, seen = dict.fromkeys(names, True), {name: set[str]() for name in names}
    lines = _records(path)
    next(lines)
    for _, cells in lines:
        for name, cell in zip(names, cells, strict=True):
            if cell == "" or cell in missing:
                continue
            if numbers[name]:
                numbers[name] = bool(_NUMBER.fullmatch(cell)) and not _CODE.match(cell)
            if len(seen[name]) <= LEVELS:
                seen[name].add(cell)
    return {name: _type(numbers[name], len(seen[name])) for name in names}


def _type(is_number: bool, values: int) -> SemanticType:
    if is_number and values:
        return "continuous"
    return "categorical" if values <= LEVELS else "text"


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header and every row, each with the line where it begins."""
    reader = csv.reader(_lines(path), strict=True)
    line, width = 1, 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error:
            raise _wrong(
                path, line, "the row is no CSV (a quote is not closed, or a line end is odd)"
            ) from None
        if cells is None:
            break
        if cells:
            if width and len(cells) != width:
                raise _wrong(path, line, f"has {len(cells)} cells; the header has {width}")
            width = width or len(_checked_header(path, line, cells))
            yield line, cells
        line = reader.line_num + 1
    if not width:
        raise _wrong(path, 1, "the file is empty; expected a header")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield _decoded(path, number, raw)
    except OSError as error:
        raise ConfigurationError(f"{path.name}: cannot be read ({type(error).__name__}).") from None


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise _wrong(path, number, "is not UTF-8") from None
    if "\x00" in text:
        raise _wrong(path, number, "holds a NUL character")
    return text


def _checked_header(path: Path, line: int, names: list[str]) -> list[str]:
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise _wrong(path, line, "the header has one column with semicolons or tabs in it; expected commas")
    if not all(names) or len(set(names)) < len(names):
        raise _wrong(path, line, "a column of the header has no name, or two have the same")
    return names


def _same_header(path: Path, found: tuple[int, list[str]], expected: tuple[str, ...]) -> None:
    if tuple(found[1]) != expected:
        raise _wrong(path, found[0], "the header is another than when the file was opened")


def _wrong(path: Path, line: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"{path.name}:{line}: {what}.")
