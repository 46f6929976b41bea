"""Tables of a pod: a CSV or Parquet file with a typed schema, as a `DatasourceContainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from federated.datasources.csv_table import CsvTable, header_of, inferred
from federated.datasources.parquet_table import ParquetTable, described
from federated.datasources.settings import SourceSettings
from federated.datasources.splits import columns_of, split_config
from federated.errors import ConfigurationError
from federated.types.datasources import (
    BaseSource,
    BitfountSchema,
    DatasourceContainer,
    PodDataConfig,
    PodDetailsConfig,
    SemanticType,
)


def open_table(name: str, settings: SourceSettings, folder: Path) -> DatasourceContainer:
    """Open one entry of ``data:``; nothing is kept in memory.

    Args:
        name: of the data source.
        settings: its entry.
        folder: of ``pod.yaml``; the file's path is relative to it.

    Raises:
        ConfigurationError: the file cannot be read, or has no column that the settings name.
        MissingExtra: Parquet needs the extra ``bulk``.
    """
    path = folder / settings.file
    types = _types(path, settings)
    _require(name, types, (*settings.columns, *settings.ignore))
    source: BaseSource = (
        CsvTable(path, types, frozenset(settings.missing))
        if settings.kind == "csv"
        else ParquetTable(path, types)
    )
    split = split_config(settings.split, tuple(types))
    _require(name, types, columns_of(split))
    listed = settings.columns or types
    shown = {column: types[column] for column in types if column in listed and column not in settings.ignore}
    return DatasourceContainer(
        name,
        source,
        PodDetailsConfig(settings.display_name or name, settings.description),
        PodDataConfig(ignore_cols=list(settings.ignore), data_split=split),
        BitfountSchema(name, shown),
    )


def _types(path: Path, settings: SourceSettings) -> dict[str, SemanticType]:
    """Every column of the file to its type: as declared, else as found."""
    declared = dict[str, SemanticType](settings.columns)
    if settings.kind == "parquet":
        return _retyped(path, described(path), declared)
    if not declared:
        return inferred(path, frozenset(settings.missing))
    return {column: declared.get(column, "text") for column in header_of(path)}


def _retyped(
    path: Path, found: dict[str, SemanticType], declared: Mapping[str, SemanticType]
) -> dict[str, SemanticType]:
    """Found types with the declared ones in their places: numbers may be categories, words are no numbers."""
    for column, kind in declared.items():
        if kind == "continuous" and found.get(column, kind) != "continuous":
            raise ConfigurationError(f"{path.name}: column {column!r} is continuous, and holds no numbers.")
    return {column: declared.get(column, kind) for column, kind in found.items()}


def _require(name: str, types: Mapping[str, SemanticType], columns: tuple[str, ...]) -> None:
    if absent := [column for column in columns if column not in types]:
        raise ConfigurationError(
            f"data.{name}: the file has no column {absent[0]!r}; it has {len(types)} columns that can be used."
        )
