"""The patients file: what is read, and what is refused with its row number and without its content."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.errors import ConfigurationError
from ehr.people import people_file
from ehr.people.identity import Person
from ehr.people.people_file import Row, read_people

FULL = b"id,mrn,family,given,birth_date\n,,Shaw,Amy,1987-02-20\n"


def one(text: str) -> Row:
    (row,) = read_people(text.encode())
    return row


def test_a_row_names_a_person() -> None:
    (row,) = read_people(FULL)
    assert row.person == Person(family="Shaw", given="Amy", birth_date="1987-02-20")
    assert row.number == 1
    assert dict(row.columns) == {}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("delimiter", [b",", b";", b"\t"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_delimiters_and_line_ends_of_common_programs_are_read(
    mark: bytes, delimiter: bytes, end: bytes
) -> None:
    text = b'Family,BIRTH_DATE,note\n"O\'Neil",1950-01-02,"one, two; three"\nLee,1951,x\n'
    data = mark + text.replace(b",", delimiter).replace(b"\n", end)
    rows = read_people(data)
    assert [row.person.family for row in rows if row.person] == ["O'Neil", "Lee"]
    assert len(rows) == 2


def test_quotes_hold_delimiters_quotes_and_line_ends() -> None:
    row = one('family,birth_date,note\n"Shaw, ""Amy""",1987,"two\nlines"\n')
    assert row.person is not None
    assert row.person.family == 'Shaw, "Amy"'
    assert row.columns["note"] == "two\nlines"


def test_other_columns_keep_the_names_that_the_header_gives_them() -> None:
    row = one("MRN,Scan Laterality,_original_filename\n7,L,a.dcm\n")
    assert dict(row.columns) == {"Scan Laterality": "L", "_original_filename": "a.dcm"}
    assert row.person == Person(mrn="7")


def test_columns_without_a_name_are_left_out() -> None:
    assert dict(one("mrn,,\n7,x,y\n").columns) == {}


def test_rows_are_counted_without_header_and_empty_lines() -> None:
    rows = read_people(b"\n\nmrn\n\n1\n\n\n2\n")
    assert [(row.number, row.person.mrn) for row in rows if row.person] == [(1, "1"), (2, "2")]


@pytest.mark.parametrize(
    ("cells", "person"),
    [
        (",,Shaw,Amy,", None),
        (",,,,1987-02-20", None),
        (",,Shaw,,1987-02-20", Person(family="Shaw", birth_date="1987-02-20")),
        (",,,Amy,1987-02-20", Person(given="Amy", birth_date="1987-02-20")),
        ("a,,,,", Person(id="a")),
        (",7,,,", Person(mrn="7")),
        (" , , , , ", None),
        ("", None),
        (",,Shaw", None),
        (
            ",,=cmd|' /C calc'!A0,x,1987-02-20",
            Person(family="=cmd|' /C calc'!A0", given="x", birth_date="1987-02-20"),
        ),
    ],
)
def test_a_row_that_would_match_strangers_names_nobody(cells: str, person: Person | None) -> None:
    text = f"id,mrn,family,given,birth_date\n{cells}\nlast,,,,\n"
    first = read_people(text.encode())[0]
    assert first.person == (person if cells else Person(id="last"))


@pytest.mark.parametrize(
    "day", ["20/02/1987", "1987-2-3", "02-20-1987", "1987-02-30", "yesterday", "1987-02-20T00:00"]
)
def test_a_date_of_another_form_is_refused_by_its_row(day: str) -> None:
    data = f"family,birth_date\nA,1987-02-20\nB,{day}\nC,{day}\n".encode()
    with pytest.raises(ConfigurationError, match=r"rows 2, 3 have a birth_date") as refused:
        read_people(data)
    assert day not in str(refused.value)


def test_a_long_list_of_wrong_rows_is_cut() -> None:
    data = b"mrn,birth_date\n" + b"1,x\n" * 25
    with pytest.raises(ConfigurationError, match=r"rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 15 more have"):
        read_people(data)


def test_a_row_wider_than_the_header_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rows 2 have more cells"):
        read_people(b"mrn,family\n1,a\n2,b,c\n")


def test_rows_that_are_wrong_in_two_ways_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_people(b"mrn,birth_date\n1,x\n2,1950,c\n")
    assert str(refused.value) == (
        "patients file: rows 2 have more cells than the header; "
        "rows 1 have a birth_date that is not YYYY-MM-DD, YYYY-MM or YYYY."
    )


REFUSED = {
    "is empty": (b"", b"  \n \n", b"\xef\xbb\xbf"),
    "not UTF-8": (b"mrn\n\xff\n", "mrn\nJos\u00e9\n".encode("latin-1")),
    "NUL": (b"mrn\n\x001\n", "mrn\n1\n".encode("utf-16-le")),
    "header and no row": (b"mrn\n", b"mrn", b"mrn\n\n\n"),
    "none of the 2 columns": (b"name,dob\na,b\n", b"PK\x03\x04,zip\n1,2\n"),
    "same name": (b"mrn,MRN\n1,2\n", b"mrn,x,x\n1,2,3\n"),
    "quoted cell is not closed": (b'mrn,family\n1,"open\n2,x\n', b'mrn\n"a"b\n'),
    "a cell is too long": (b"mrn,x\n1," + b"y" * 10_001 + b"\n", b"mrn\n" + b"y" * 200_000),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_patients_file_is_refused_and_told_why(what: str) -> None:
    for data in REFUSED[what]:
        with pytest.raises(ConfigurationError, match=what) as refused:
            read_people(data)
        assert isinstance(refused.value, ValueError)
        assert refused.value.__cause__ is None


def test_more_rows_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert people_file.MAX_ROWS == 1_000_000
    monkeypatch.setattr(people_file, "MAX_ROWS", 100)
    assert len(read_people(b"mrn\n" + b"1\n" * 100)) == 100
    with pytest.raises(ConfigurationError, match="more than 100 rows"):
        read_people(b"mrn\n" + b"1\n" * 101)


def test_reading_changes_no_setting_of_the_whole_program() -> None:
    before = csv.field_size_limit()
    read_people(FULL)
    assert csv.field_size_limit() == before


def test_no_text_form_of_a_row_shows_who_it_names() -> None:
    (row,) = read_people(FULL)
    assert "Shaw" not in f"{row} {row!r} {row.person!r}"


cells = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8))
def test_what_a_csv_writer_wrote_is_read_again(written: list[tuple[str, str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "mrn", "Note"])
    writer.writerows(written)
    rows = read_people(text.getvalue().encode())
    kept = [(row.person.id or "", row.person.mrn or "") if row.person else ("", "") for row in rows]
    assert kept == [(a.strip(), b.strip()) for a, b, _ in written]
    assert [row.columns["Note"] for row in rows] == [c.strip() for _, _, c in written]


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        read_people(b"mrn,birth_date\n" + data)
