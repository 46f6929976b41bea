"""In which part a row is: by what it is about, whatever other rows there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from federated.datasources.settings import SourceSettings
from federated.datasources.tables import open_table
from federated.models.interface import Rows
from federated.models.rows import Part, read_rows
from federated.models.selection import Selection

HEADER = "person,age,part\n"
SPLITS: tuple[Part, ...] = ("train", "validation", "test")


def lines(count: int, start: int = 0) -> list[str]:
    return [f"p{number},{number},x\n" for number in range(start, start + count)]


def rows(folder: Path, text: str, part: Part, **split: object) -> Rows:
    (folder / "lung.csv").write_text(text)
    settings = SourceSettings.model_validate(
        {"file": "lung.csv", "split": split} if split else {"file": "lung.csv"}
    )
    return read_rows(open_table("lung", settings, folder), Selection(include=("age",)), part)


def ages(found: Rows) -> set[float]:
    return set(found.inputs[:, 0])


def test_percentages_are_kept_and_the_parts_share_no_row(tmp_path: Path) -> None:
    text = HEADER + "".join(lines(2000))
    parts = [ages(rows(tmp_path, text, part, train=60, validation=30, test=10)) for part in SPLITS]
    assert [len(part) for part in parts] == pytest.approx([1200, 600, 200], abs=70)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 2000


def test_rows_that_are_added_or_moved_do_not_move_the_others(tmp_path: Path) -> None:
    before = {part: ages(rows(tmp_path, HEADER + "".join(lines(300)), part)) for part in SPLITS}
    more = HEADER + "".join([*lines(50, 1000), *reversed(lines(300))])
    for part in SPLITS:
        assert ages(rows(tmp_path, more, part)) & set(range(300)) == before[part]


def test_all_rows_of_one_person_are_in_one_part(tmp_path: Path) -> None:
    text = HEADER + "".join(f"p{number % 40},{number},x\n" for number in range(400))
    parts = [{age % 40 for age in ages(rows(tmp_path, text, part, by=["person"]))} for part in SPLITS]
    assert sum(map(len, parts)) == 40
    assert len(parts[0]) > 20


def test_a_part_of_nothing_stays_empty(tmp_path: Path) -> None:
    text = HEADER + "".join(lines(200))
    assert len(rows(tmp_path, text, "test", train=90, validation=10, test=0)) == 0
    assert len(rows(tmp_path, text, "all", train=90, validation=10, test=0)) == 200


def test_a_column_can_say_the_part_and_other_values_are_in_none(tmp_path: Path) -> None:
    text = HEADER + "a,1,train\nb,2,test\nc,3,validation\nd,4,\ne,5,Train\n"
    found = [ages(rows(tmp_path, text, part, column="part")) for part in (*SPLITS, "all")]
    assert found == [{1.0}, {3.0}, {2.0}, {1.0, 2.0, 3.0, 4.0, 5.0}]
