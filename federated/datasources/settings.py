"""One entry of ``data:`` in ``pod.yaml``: a named table, its columns, and how its rows are divided.

Here are only its shape and its rules; the table itself is read by `federated.datasources.tables`.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ehr.files.settings import Section

Format = Literal["csv", "parquet"]
ColumnType = Literal["continuous", "categorical", "text"]


class SplitSettings(Section):
    """How rows are divided into training, validation and test.

    Give either percentages, or a column that says it.

    Args:
        train, validation, test: percent, together 100.
        by: columns that say whom a row is about, such as a patient number: all rows of one person come into the
            same part. Empty takes the whole row. They may be ignored ones.
        column: whose values say the part: ``train``, ``validation`` or ``test``; a row with another value is in
            none of them.
    """

    train: float = Field(80.0, ge=0, le=100)
    validation: float = Field(10.0, ge=0, le=100)
    test: float = Field(10.0, ge=0, le=100)
    by: tuple[str, ...] = ()
    column: str | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> SplitSettings:
        if self.column is not None and self.model_fields_set - {"column"}:
            raise ValueError('"column" stands alone: give either it, or percentages')
        if abs(self.train + self.validation + self.test - 100) > 1e-9:
            raise ValueError("train, validation and test must add up to 100")
        return self


class SourceSettings(Section):
    """A table that tasks may use.

    Args:
        file: path, relative to the folder of ``pod.yaml``.
        format: by default what the file's ending says.
        columns: type of each column that tasks may use; others are ignored. Empty takes every column, and numbers
            are what looks like numbers in every row.
        ignore: columns that no task may use.
        missing: what stands for a missing value in a CSV file, besides an empty cell.
        split: see `SplitSettings`.
        display_name: how it is shown to others; by default its name.
        description: a sentence about it.
    """

    file: str = Field(min_length=1)
    format: Format | None = None
    columns: dict[str, ColumnType] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    split: SplitSettings = SplitSettings()
    display_name: str = ""
    description: str = ""

    @field_validator("file")
    @classmethod
    def _is_local(cls, text: str) -> str:
        # DuckDB would fetch a URL, and would take a pattern for many files.
        if "://" in text or any(mark in text for mark in "*?[]\0"):
            raise ValueError("must be the path of one local file")
        return text

    @model_validator(mode="after")
    def _is_one_of_two(self) -> SourceSettings:
        if self.format is None and PurePath(self.file).suffix.lower() not in (".csv", ".parquet"):
            raise ValueError("the file ends in neither .csv nor .parquet; say its format")
        if set(self.ignore) & set(self.columns):
            raise ValueError("a column is both in columns and in ignore")
        return self

    @property
    def kind(self) -> Format:
        """The format, given or by the file's ending."""
        if self.format is not None:
            return self.format
        return "csv" if PurePath(self.file).suffix.lower() == ".csv" else "parquet"
