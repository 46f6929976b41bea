"""The patients file: a CSV with any of ``id``, ``mrn``, ``family``, ``given``, ``birth_date``.

Other columns are kept for ``column`` predicates. Messages name rows and columns, never what stands in them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ehr.dates import BadDate, parse_date
from ehr.errors import ConfigurationError
from ehr.people.identity import Person

IDENTITY = ("id", "mrn", "family", "given", "birth_date")
MAX_ROWS = 1_000_000
_MAX_CELL = 10_000
_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        number: from 1, without the header.
        person: who is meant; None where the row names nobody who could be found.
        columns: the other columns, by the names that the header gives them.
    """

    number: int
    person: Person | None
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        return f"<Row {self.number}>"


def read_people(data: bytes) -> tuple[Row, ...]:
    """Read a patients file.

    Raises:
        ConfigurationError: not UTF-8, empty, no identity column, a row with too many cells, or a birth date of
            another form; the message lists the row numbers.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError("patients file: not UTF-8. Save it as UTF-8 CSV.") from None
    if "\x00" in text:
        raise ConfigurationError("patients file: holds NUL characters; it is not a CSV file.")
    header, body = _cells(text)
    rows, wrong_dates, wrong_widths = [], [], []
    for number, cells in enumerate(body, start=1):
        if len(cells) > len(header):
            wrong_widths.append(number)
            continue
        values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        if not _date_fits(values.get("birth_date")):
            wrong_dates.append(number)
        rows.append(_row(number, values))
    _refuse(
        {
            "have more cells than the header": wrong_widths,
            "have a birth_date that is not YYYY-MM-DD, YYYY-MM or YYYY": wrong_dates,
        }
    )
    if not rows:
        raise ConfigurationError("patients file: has a header and no row.")
    return tuple(rows)


def _cells(text: str) -> tuple[list[str], list[list[str]]]:
    if not text.strip():
        raise ConfigurationError("patients file: is empty.")
    first = _LINE_END.split(text.lstrip("\r\n"), maxsplit=1)[0]
    delimiter = max(",;\t", key=first.count)
    lines: list[list[str]] = []
    try:
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if cells:
                lines.append(cells)
            if len(lines) > MAX_ROWS + 1:
                raise ConfigurationError(f"patients file: more than {MAX_ROWS} rows; make it several files.")
            if max(map(len, cells), default=0) > _MAX_CELL:
                raise csv.Error
    except csv.Error:
        raise ConfigurationError(
            f"patients file: near row {max(len(lines) - 1, 0)} a quoted cell is not closed, or a cell is too long."
        ) from None
    return _header(lines[0]), lines[1:]


def _header(cells: list[str]) -> list[str]:
    names = [name.strip() for name in cells]
    names = [name.lower() if name.lower() in IDENTITY else name for name in names]
    if not set(names) & set(IDENTITY):
        raise ConfigurationError(
            f"patients file: none of the {len(names)} columns is one of {', '.join(IDENTITY)}."
        )
    named = [name for name in names if name]
    if len(set(named)) < len(named):
        raise ConfigurationError("patients file: two columns have the same name.")
    return names


def _date_fits(text: str | None) -> bool:
    if not text:
        return True
    try:
        parse_date(text)
    except BadDate:
        return False
    return True


def _row(number: int, values: Mapping[str, str]) -> Row:
    identity = {name: values.get(name) or None for name in IDENTITY}
    others = {name: value for name, value in values.items() if name and name not in IDENTITY}
    # A name without a birth date, or a birth date alone, would match strangers: nobody is asked for.
    named = identity["birth_date"] and (identity["family"] or identity["given"])
    person = Person(**identity) if identity["id"] or identity["mrn"] or named else None
    return Row(number, person, MappingProxyType(others))


def _refuse(wrong: Mapping[str, list[int]]) -> None:
    sentences = []
    for what, rows in wrong.items():
        more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
        if rows:
            sentences.append(f"rows {', '.join(map(str, rows[:10]))}{more} {what}")
    if sentences:
        raise ConfigurationError(f"patients file: {'; '.join(sentences)}.")


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["Row"]
