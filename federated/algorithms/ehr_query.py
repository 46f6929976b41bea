"""``EHRPatientQueryAlgorithm``: find the patients of a table in the EHR and read what it has about them.

The input has the reference's columns (``Patient's Name``, ``Patient's Birth Date``) or ours (``family``, ``given``,
``birth_date``, ``id``, ``mrn``); the output has the reference's exact columns and a state column per kind. All of it
stays in the pod: the modeller gets nothing, as in the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ehr.dates import BadDate, parse_date
from ehr.people.identity import Person
from ehr.people.names import split_name
from ehr.people.people_file import IDENTITY, Row
from ehr.reading.query import QueryResult
from ehr.records.patient import Kind
from ehr.site import Site
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.errors import InvalidArgument, TaskRefused
from federated.types import BaseSource

__all__ = ["Parameters", "modeller", "rows_of", "step", "worker"]

NAME = "Patient's Name"
BIRTH_DATE = "Patient's Birth Date"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to read.

    Args:
        get_appointments, get_conditions_and_procedures, get_practitioner, get_visual_acuity: the reference's flags.
        kinds: kinds of our own, beside those of the flags.
    """

    get_appointments: bool = True
    get_conditions_and_procedures: bool = True
    get_practitioner: bool = True
    get_visual_acuity: bool = False
    kinds: tuple[str, ...] = ()

    def wanted(self) -> tuple[Kind, ...]:
        """The kinds, each once, in a fixed order.

        Raises:
            InvalidArgument: a kind is not known.
        """
        flags = (
            (self.get_appointments, (Kind.APPOINTMENT,)),
            (self.get_conditions_and_procedures, (Kind.CONDITION, Kind.PROCEDURE)),
            (self.get_practitioner, (Kind.PRACTITIONER,)),
            (self.get_visual_acuity, (Kind.OBSERVATION,)),
        )
        try:
            own = [Kind.parse(kind) for kind in self.kinds]
        except ValueError as error:
            raise InvalidArgument(f"kinds: {error}") from None
        named = [kind for flag, group in flags if flag for kind in group]
        return tuple(kind for kind in Kind if kind in {*named, *own})


async def worker(
    parameters: Parameters, site: Site, table: Iterable[Mapping[str, Any]]
) -> WorkerResult[QueryResult]:
    """Query the EHR for each row of a table.

    Args:
        parameters: what to read.
        site: the open EHR.
        table: rows as mappings of column to cell; see the module for the columns.

    Returns:
        Typed results in input order; ``.local.to_pandas()`` has the reference's columns. Nothing leaves.

    Raises:
        InvalidArgument: the table has none of the columns, or a birth date of another form.
        AuthError: the EHR refused the login.
    """
    return await _queried(parameters.wanted(), site, rows_of(table))


async def _queried(
    kinds: tuple[Kind, ...],
    site: Site,
    rows: Sequence[Row],
    on_progress: Callable[[int], object] = lambda done: None,
) -> WorkerResult[QueryResult]:
    readings = []
    async for reading in site.readings(rows, kinds):
        readings.append(reading)
        on_progress(len(readings))
    profile = site.adapter.profile
    return WorkerResult(QueryResult(tuple(readings), kinds, site.key, site.zone, dict(profile.code_systems)))


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[QueryResult]:
    """Query in a task: for the people of the task's data source, or of the site's cohort where it has none.

    Args:
        parameters: what to read.
        place: with the EHR.
        inputs: none is used.

    Raises:
        TaskRefused: the pod has no EHR, or the data source has no column that says who is meant.
        AuthError: the EHR refused the login.
    """
    if place.open_site is None:
        raise TaskRefused("MISSING_EHR_CONNECTION", "The pod has no EHR connected. Nothing was read.")
    kinds = parameters.wanted()
    async with place.open_site() as site:
        rows = await site.rows() if place.data is None else _rows_in(place.data.datasource)
        return await _queried(
            kinds, site, rows, lambda done: place.progress("patients read", done, len(rows))
        )


def _rows_in(source: BaseSource) -> tuple[Row, ...]:
    try:
        return rows_of(source.rows(source.columns()))
    except InvalidArgument as error:
        raise TaskRefused("INCOMPATIBLE_DATASOURCE", f"EHRPatientQueryAlgorithm: {error}") from None


def rows_of(table: Iterable[Mapping[str, Any]]) -> tuple[Row, ...]:
    """The people of a table.

    Raises:
        InvalidArgument: no identity column, or a birth date that is no date; rows are named by number.
    """
    every = [dict(row) for row in table]
    if every and not any({*IDENTITY, NAME} & set(row) for row in every):
        raise InvalidArgument(f"the table has none of the columns {', '.join((NAME, *IDENTITY))}.")
    rows, wrong = [], []
    for number, cells in enumerate(every, start=1):
        try:
            rows.append(Row(number, _person(cells), _others(cells)))
        except BadDate:
            wrong.append(number)
    if wrong:
        shown = ", ".join(map(str, wrong[:10]))
        raise InvalidArgument(f"the birth date of rows {shown} is not YYYY-MM-DD, YYYY-MM or YYYY.")
    return tuple(rows)


def _person(cells: Mapping[str, Any]) -> Person | None:
    family, given = _text(cells.get("family")), _text(cells.get("given"))
    whole = _text(cells.get(NAME))
    if family is None and given is None and whole is not None:
        split = split_name(whole)
        family, given = split[0] or None, split[1] or None
    born = _date(cells.get("birth_date", cells.get(BIRTH_DATE)))
    number, logical_id = _text(cells.get("mrn")), _text(cells.get("id"))
    # A name without a birth date, or a birth date alone, would match strangers: nobody is asked for.
    if not (number or logical_id or (born and (family or given))):
        return None
    return Person(family=family, given=given, birth_date=born, mrn=number, id=logical_id)


def _others(cells: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(name): text
        for name, value in cells.items()
        if name not in (*IDENTITY, NAME, BIRTH_DATE) and (text := _text(value)) is not None
    }


def _text(value: Any) -> str | None:
    # NaN is the only value that differs from itself; frames write empty cells so.
    if value is None or value != value:
        return None
    return str(value).strip() or None


def _date(value: Any) -> str | None:
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    text = _text(value)
    if text is None:
        return None
    day = text.split("T")[0].split(" ")[0]
    if len(day) == 8 and day.isdigit():  # DICOM's form
        day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    parse_date(day)
    return day
