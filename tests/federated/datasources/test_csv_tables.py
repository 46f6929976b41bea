"""CSV tables of a pod: typed, strict, and silent about values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.errors import ConfigurationError, InvalidArgument
from federated.types.datasources import BaseSource, DatasourceContainer

TEXT = "id,age,sex,note\n1,61.5,F,fine\n2,,M,\n3,7e1,F,tall\n"


def table(folder: Path, text: str | bytes = TEXT, **settings: Any) -> DatasourceContainer:
    data = text.encode() if isinstance(text, str) else text
    (folder / "lung.csv").write_bytes(data)
    return open_table("lung", SourceSettings.model_validate({"file": "lung.csv"} | settings), folder)


def test_declared_columns_are_typed_and_an_empty_cell_is_missing(tmp_path: Path) -> None:
    found = table(tmp_path, columns={"age": "continuous", "sex": "categorical"})
    assert found.schema.columns == {"age": "continuous", "sex": "categorical"}
    assert isinstance(found.datasource, BaseSource)
    assert list(found.datasource.rows(["sex", "age"])) == [
        {"sex": "F", "age": 61.5},
        {"sex": "M", "age": None},
        {"sex": "F", "age": 70.0},
    ]


def test_types_are_found_from_all_rows_and_a_postcode_is_no_number(tmp_path: Path) -> None:
    text = "age,zip,mixed,empty\n1,01234,1,\n-2.5,1,x,\n"
    assert table(tmp_path, text).schema.columns == {
        "age": "continuous",
        "zip": "categorical",
        "mixed": "categorical",
        "empty": "categorical",
    }
    many = "note\n" + "".join(f"n{number}\n" for number in range(1001))
    assert table(tmp_path, many).schema.columns == {"note": "text"}


def test_an_ignored_column_is_not_in_the_schema(tmp_path: Path) -> None:
    found = table(tmp_path, ignore=["id", "note"])
    assert set(found.schema.columns) == {"age", "sex"}
    assert found.data_config.ignore_cols == ["id", "note"]


def test_other_texts_for_a_missing_value_are_named_by_the_owner(tmp_path: Path) -> None:
    text = "age\nNA\n5\n"
    assert list(table(tmp_path, text, missing=["NA"]).datasource.rows(["age"])) == [
        {"age": None},
        {"age": 5.0},
    ]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"age,sex\n1,F\nSECRET,F\n", 3, "continuous"),
        (b"age,sex\n1,F\ninf,F\n", 3, "continuous"),
        (b"age,sex\n1,F\n1_0,F\n", 3, "continuous"),
        (b"age,sex\n1,F\n1e999,F\n", 3, "continuous"),
        (b'age,sex\n1,"a\nb"\nSECRET,F\n', 4, "continuous"),
        (b"age,sex\n1,F\n1,SECRET,2\n", 3, "3 cells; the header has 2"),
        (b"age,sex\n1\n", 2, "1 cells; the header has 2"),
        (b"age,sex\n1,F\n\n1,SECRET\xff\n", 4, "UTF-8"),
        (b'age,sex\n1,"SECRET\n', 2, "no CSV"),
        (b"age,sex\n1,SE\x00CRET\n", 2, "NUL"),
        (b"age,age\n1,2\n", 1, "same"),
        (b"age,\n1,2\n", 1, "no name"),
        (b"age;sex\n1;F\n", 1, "commas"),
        (b"", 1, "empty"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_without_a_value(
    tmp_path: Path, text: bytes, line: int, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^lung\.csv:{line}: .*{words}") as caught:
        opened = table(tmp_path, text, columns={"age": "continuous", "sex": "categorical"})
        list(opened.datasource.rows(["age", "sex"]))
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    found = table(tmp_path, b"\xef\xbb\xbfage,sex\r\n1,F\r\n")
    assert list(found.datasource.rows(["age"])) == [{"age": 1.0}]


def test_a_file_whose_header_has_changed_is_refused(tmp_path: Path) -> None:
    found = table(tmp_path)
    (tmp_path / "lung.csv").write_text("id,sex,age,note\n1,2,3,4\n")
    with pytest.raises(ConfigurationError, match="the header is another"):
        list(found.datasource.rows(["age"]))


def test_absent_files_and_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        open_table("lung", SourceSettings(file="gone.csv"), tmp_path)
    with pytest.raises(ConfigurationError, match="no column 'height'"):
        table(tmp_path, columns={"height": "continuous"})
    with pytest.raises(ConfigurationError, match="no column 'mrn'"):
        table(tmp_path, split={"by": ["mrn"]})
    with pytest.raises(InvalidArgument, match="1 of 1"):
        list(table(tmp_path).datasource.rows(["height"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"file": "https://example.test/lung.csv"},
        {"file": "part-*.parquet"},
        {"file": "lung.txt"},
        {"file": "lung.csv", "columns": {"age": "number"}},
        {"file": "lung.csv", "columns": {"age": "text"}, "ignore": ["age"]},
        {"file": "lung.csv", "split": {"train": 50, "validation": 10, "test": 10}},
        {"file": "lung.csv", "split": {"column": "part", "train": 80}},
        {"file": "lung.csv", "colums": {}},
    ],
)
def test_settings_that_say_nothing_clear_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SourceSettings.model_validate(settings)
