"""A Parquet file as a data source, read by DuckDB (extra ``bulk``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from federated.datasources.csv_table import LEVELS, Cell
from federated.errors import ConfigurationError, InvalidArgument, MissingExtra
from federated.types.datasources import SemanticType

if TYPE_CHECKING:
    import duckdb

_BATCH = 10_000
_FROM = "FROM read_parquet($path)"
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_UNSIGNED = ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")
_WORDS = ("VARCHAR", "BOOLEAN", "DATE", "TIME", "TIMESTAMP", "UUID", "ENUM")


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A Parquet file that is read anew at each use.

    Attributes:
        path: the file.
        types: every usable column of the file to its type, in the file's order; lists and structures have none.
    """

    path: Path
    types: Mapping[str, SemanticType]

    def columns(self) -> Sequence[str]:
        """Names of all columns, in order."""
        return tuple(self.types)

    def rows(self, columns: Sequence[str]) -> Iterator[Mapping[str, Cell]]:
        """The asked columns of every row; numbers as float, null and NaN as None.

        Raises:
            ConfigurationError: the file cannot be read, or a continuous column is infinite; with the row.
            InvalidArgument: there is no such column.
        """
        if strange := [name for name in columns if name not in self.types]:
            raise InvalidArgument(f"{len(strange)} of {len(columns)} columns are not in the table")
        cast = [_cast(name, self.types[name]) for name in columns]
        found = _query(self.path, f"SELECT {', '.join(cast) or '1'} {_FROM}")
        for number, cells in enumerate(_fetched(self.path, found), start=1):
            yield {name: self._cell(name, number, cell) for name, cell in zip(columns, cells, strict=False)}

    def _cell(self, name: str, number: int, value: Any) -> Cell:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if isinstance(value, float) and math.isinf(value):
            raise ConfigurationError(f"{self.path.name}: row {number}: column {name!r} is infinite.")
        return value if isinstance(value, float) else str(value)


def described(path: Path) -> dict[str, SemanticType]:
    """The columns that can be used, with the types that the file itself declares.

    Raises:
        ConfigurationError: the file cannot be read.
        MissingExtra: DuckDB is not installed.
    """
    found = _query(path, f"DESCRIBE SELECT * {_FROM}")
    declared = {str(row[0]): str(row[1]).split("(")[0].split(" ")[0] for row in _fetched(path, found)}
    types: dict[str, SemanticType] = {}
    for name, kind in declared.items():
        if kind in _NUMBERS + _UNSIGNED:
            types[name] = "continuous"
        elif kind in _WORDS:
            types[name] = _word_type(path, name)
    return types


def _word_type(path: Path, name: str) -> SemanticType:
    found = _query(path, f"SELECT count(DISTINCT {_quoted(name)}) {_FROM}")
    return "categorical" if next(_fetched(path, found))[0] <= LEVELS else "text"


def _cast(name: str, kind: SemanticType) -> str:
    return f"CAST({_quoted(name)} AS {'DOUBLE' if kind == 'continuous' else 'VARCHAR'})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _query(path: Path, statement: str) -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ImportError:
        raise MissingExtra("Reading Parquet", "bulk") from None
    if not path.is_file():
        raise ConfigurationError(f"{path.name}: there is no such file.")
    # One thread keeps the order of the file; nothing is fetched, installed or spilled to another place.
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "autoinstall_known_extensions": False,
    }
    connection = duckdb.connect(":memory:", config=settings)
    try:
        return connection.execute(statement, {"path": str(path)})
    except duckdb.Error as error:
        raise _unreadable(path, error) from None


def _fetched(path: Path, found: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    import duckdb

    try:
        while batch := found.fetchmany(_BATCH):
            yield from batch
    except duckdb.Error as error:
        raise _unreadable(path, error) from None
    finally:
        found.close()


def _unreadable(path: Path, error: Exception) -> ConfigurationError:
    # The library's own sentence can hold a value.
    return ConfigurationError(f"{path.name}: cannot be read as Parquet ({type(error).__name__}).")
