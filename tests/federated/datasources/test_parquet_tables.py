"""Parquet tables of a pod: typed by the file itself, read in its order."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from federated.datasources.csv_table import CsvTable
from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.errors import ConfigurationError, InvalidArgument, MissingExtra
from federated.models.rows import read
from federated.models.selection import Selection
from federated.types.datasources import DatasourceContainer

ROWS = '''
select * from (values
  (1, 61.5::double, 'F', true, date '2020-01-02', [1, 2], 1.5::decimal(4, 1), 7::utinyint),
  (2, null, 'M', false, date '2020-01-03', [3], null, 8),
  (3, 'nan'::double, null, null, null, null, 2.5, 9)
) as t(id, age, sex, smokes, seen, list, "dose ""mg""", visits)
'''


def table(folder: Path, rows: str = ROWS, **settings: Any) -> DatasourceContainer:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"copy ({rows}) to '{folder / 'lung.parquet'}' (format parquet)")
    return open_table("lung", SourceSettings.model_validate({"file": "lung.parquet"} | settings), folder)


def test_types_are_the_file_s_own_and_lists_are_left_out(tmp_path: Path) -> None:
    assert table(tmp_path).schema.columns == {
        "id": "continuous",
        "age": "continuous",
        "sex": "categorical",
        "smokes": "categorical",
        "seen": "categorical",
        'dose "mg"': "continuous",
        "visits": "continuous",
    }


def test_null_and_nan_are_missing_and_the_order_is_the_file_s(tmp_path: Path) -> None:
    found = table(tmp_path).datasource
    assert list(found.rows(["sex", "age", 'dose "mg"'])) == [
        {"sex": "F", "age": 61.5, 'dose "mg"': 1.5},
        {"sex": "M", "age": None, 'dose "mg"': None},
        {"sex": None, "age": None, 'dose "mg"': 2.5},
    ]
    assert [row["smokes"] for row in found.rows(["smokes"])] == ["true", "false", None]
    many = table(tmp_path, "select range as number from range(25000)").datasource
    assert [row["number"] for row in many.rows(["number"])] == list(range(25000))


def test_numbers_can_be_declared_categories_and_words_are_no_numbers(tmp_path: Path) -> None:
    found = table(tmp_path, columns={"id": "categorical"})
    assert [row["id"] for row in found.datasource.rows(["id"])] == ["1", "2", "3"]
    assert found.schema.columns == {"id": "categorical"}
    with pytest.raises(ConfigurationError, match="'sex' is continuous"):
        table(tmp_path, columns={"sex": "continuous"})


def test_a_csv_and_a_parquet_file_of_the_same_rows_give_the_same_arrays_and_parts(tmp_path: Path) -> None:
    rows = "select range as age, ['F', 'M'][1 + range % 2] as sex from range(200)"
    (tmp_path / "lung.csv").write_text(
        "age,sex\n" + "".join(f"{number},{'FM'[number % 2]}\n" for number in range(200))
    )
    one = table(tmp_path, rows)
    other = open_table("lung", SourceSettings(file="lung.csv"), tmp_path)
    assert isinstance(other.datasource, CsvTable)
    selection = Selection(include=("age", "sex"), codes={"sex": {"F": 0, "M": 1}})
    first, second = read(one, selection), read(other, selection)
    assert first.rows.inputs.tolist() == second.rows.inputs.tolist()
    assert first.parts.tolist() == second.parts.tolist()
    assert len(set(first.parts.tolist())) == 3


def test_what_is_no_parquet_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    (tmp_path / "lung.parquet").write_text("age\nSECRET\n")
    with pytest.raises(ConfigurationError, match=r"lung\.parquet: cannot be read as Parquet") as caught:
        open_table("lung", SourceSettings(file="lung.parquet"), tmp_path)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__
    with pytest.raises(ConfigurationError, match="no such file"):
        open_table("lung", SourceSettings(file="gone.parquet"), tmp_path)
    with pytest.raises(InvalidArgument, match="1 of 1"):
        list(table(tmp_path).datasource.rows(["list"]))
    infinite = table(tmp_path, "select 'inf'::double as age")
    with pytest.raises(ConfigurationError, match="row 1: column 'age' is infinite"):
        list(infinite.datasource.rows(["age"]))


def test_without_duckdb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lung.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtra) as caught:
        open_table("lung", SourceSettings(file="lung.parquet"), tmp_path)
    assert caught.value.extra == "bulk"
