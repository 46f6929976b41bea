"""From columns to arrays: by the task's constants, and with nothing filled in silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.errors import TaskRefused
from federated.models.rows import TableReading, read
from federated.models.selection import Selection

TEXT = """age,sex,stage,x_b,x_a,free,dead
60,F,I,1,2,words,1
,M,II,3,4,words,0
80,?,III,5,6,words,1
70,M,III,7,8,words,0
"""
COLUMNS = {
    "age": "continuous",
    "sex": "categorical",
    "stage": "categorical",
    "x_a": "continuous",
    "x_b": "continuous",
    "free": "text",
    "dead": "continuous",
}
SEX = {"sex": {"F": 0, "M": 1}}


def reading(folder: Path, text: str = TEXT, **selection: Any) -> TableReading:
    (folder / "lung.csv").write_text(text)
    settings = SourceSettings.model_validate({"file": "lung.csv", "columns": COLUMNS})
    return read(open_table("lung", settings, folder), TypeAdapter(Selection).validate_python(selection))


def test_rows_with_missing_or_uncoded_values_are_left_out_and_counted(tmp_path: Path) -> None:
    found = reading(tmp_path, include=["age", "sex"], target="dead", codes=SEX)
    assert found.left_out == {"missing": 1, "uncoded": 1}
    assert found.rows.inputs.tolist() == [[60, 0], [70, 1]]
    assert (found.rows.targets.tolist(), found.rows.keys) == ([1, 0], ("1", "4"))


def test_a_missing_value_in_a_column_that_is_not_used_leaves_nothing_out(tmp_path: Path) -> None:
    assert len(reading(tmp_path, include=["x_a"]).rows) == 4


def test_only_the_value_that_the_task_states_stands_for_a_missing_one(tmp_path: Path) -> None:
    found = reading(tmp_path, include=["age"], impute={"age": 65}, center={"age": 60}, scale={"age": 10})
    assert found.rows.inputs.ravel().tolist() == [0, 0.5, 2, 1]
    assert found.left_out == {"missing": 0, "uncoded": 0}


def test_levels_become_inputs_of_zero_and_one(tmp_path: Path) -> None:
    found = reading(tmp_path, include=["stage"], levels={"stage": ["I", "II", "III"]})
    assert found.rows.features == ("stage=II", "stage=III")
    assert found.rows.inputs.tolist() == [[0, 0], [1, 0], [0, 1], [0, 1]]


def test_values_that_a_task_file_read_as_numbers_are_still_those_of_the_column(tmp_path: Path) -> None:
    text = TEXT.replace("F,I", "1,true").replace("M,II", ",false")
    found = reading(
        tmp_path,
        text,
        include=["sex", "stage"],
        levels={"sex": [0, 1], "stage": [True, False]},
        impute={"sex": 0},
    )
    assert found.rows.inputs.tolist() == [[1, 0], [0, 1]]
    assert found.rows.features == ("sex=1", "stage=false")
    assert found.left_out == {"missing": 0, "uncoded": 2}


def test_columns_are_taken_by_prefix_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = reading(tmp_path, include=["age"], include_prefix="x_", exclude=["x_b"], target="dead")
    assert found.rows.features == ("age", "x_a")
    assert reading(tmp_path, include_prefix="x_").rows.features == ("x_a", "x_b")


def test_numbers_can_be_codes(tmp_path: Path) -> None:
    found = reading(tmp_path, include=["x_a"], target="dead", codes={"dead": {"1": 0, "0.0": 1}})
    assert found.rows.targets.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"include": ["height"]}, "no column 'height'"),
        ({"include": ["free"]}, "'free' is text"),
        ({"include": ["sex"]}, "'sex' is categorical"),
        ({"include": ["age"], "target": "sex", "levels": {"sex": ["F", "M"]}}, "target has levels"),
        ({"include": ["age"], "scale": {"x_a": 2}}, "constant for 'x_a'"),
        ({"include": ["age"], "impute": {"age": "old"}}, "'age' has numbers"),
        ({"include_prefix": "y_"}, "no column of the data source"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, selection: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskRefused, match=words) as caught:
        reading(tmp_path, **selection)
    assert caught.value.code == "INCOMPATIBLE_DATASOURCE"


@pytest.mark.parametrize(
    "selection",
    [
        {},
        {"include": ["age", "age"]},
        {"include": ["age"], "target": "age"},
        {"include": ["age"], "scale": {"age": 0}},
        {"include": ["age"], "center": {"age": float("nan")}},
        {"include": ["sex"], "codes": SEX, "levels": {"sex": ["F", "M"]}},
        {"include": ["sex"], "levels": {"sex": ["F"]}},
        {"include": ["age"], "fill": {}},
    ],
)
def test_a_selection_that_says_nothing_clear_is_refused(selection: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Selection).validate_python(selection)


def test_the_modeller_learns_nothing_of_where_a_file_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TaskRefused) as caught:
        reading(tmp_path, TEXT + "SECRET,F,I,1,2,w,1\n", include=["age"])
    assert caught.value.code == "DATASOURCE_INACCESSIBLE"
    assert "lung" not in str(caught.value)
    assert "lung.csv:6" in caplog.text
    assert "SECRET" not in caplog.text


def test_without_data_there_is_nothing_to_read() -> None:
    with pytest.raises(TaskRefused) as caught:
        read(None, Selection(include=("age",)))
    assert caught.value.code == "NO_DATA"
