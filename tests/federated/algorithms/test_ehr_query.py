"""`EHRPatientQueryAlgorithm`, both sides, against a running EHR."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ehr.people.people_file import Row
from ehr.reading.query import COLUMNS, QueryResult
from ehr.records.patient import Kind, State
from ehr.sandbox.faults import Fault, Status, When
from ehr.sandbox.server import Sandbox
from ehr.site import ClockAndWire, open_site_async
from federated.algorithms import ehr_query
from federated.algorithms.ehr_query import Parameters, rows_of
from federated.errors import InvalidArgument
from tests.end_to_end.clinics import Pod, clinic_ehr, make_pod, patients, ring_in, truth
from tests.fakes.clock import FakeClock

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sandbox, Pod, FakeClock]]:
    folder: Path = tmp_path_factory.mktemp("query")
    clock = FakeClock()
    with clinic_ehr("north", ring_in(folder), clock=clock.now) as ehr:
        yield ehr, make_pod(folder, ehr.base_url, patients("north")), clock


def _table(limit: int = 8) -> list[dict[str, Any]]:
    import csv
    import io

    rows = list(csv.DictReader(io.StringIO(patients("north"))))
    named = [row for row in rows if row["family"] and row["given"] and row["birth_date"]][:limit]
    return [
        {
            "Patient's Name": f"{row['family']}^{row['given']}",
            "Patient's Birth Date": row["birth_date"].replace("-", ""),
            "_original_filename": f"scan-{number}.dcm",
            "Acquisition DateTime": "2026-05-01T10:00:00",
            "Scan Laterality": "R",
        }
        for number, row in enumerate(named)
    ]


def _query(pod: Pod, clock: FakeClock, table: list[dict[str, Any]], parameters: Parameters) -> QueryResult:
    async def run() -> QueryResult:
        async with open_site_async(pod.config, ClockAndWire(clock=clock.clock)) as site:
            result = await ehr_query.worker(parameters, site, table)
            assert result.leaves == {}
            return result.local

    return asyncio.run(run())


def test_the_output_has_the_reference_columns_in_order_and_a_state_per_kind(
    stage: tuple[Sandbox, Pod, FakeClock],
) -> None:
    _, pod, clock = stage
    frame = _query(pod, clock, _table(), Parameters()).to_pandas(NOW)
    assert tuple(frame.columns[: len(COLUMNS)]) == COLUMNS
    assert list(frame.columns[len(COLUMNS) :]) == [
        "Match Status",
        "Condition Status",
        "Procedure Status",
        "Appointment Status",
        "Practitioner Status",
    ]
    assert list(frame["_original_filename"]) == [f"scan-{number}.dcm" for number in range(8)]
    matched = frame[frame["Match Status"] == "matched"]
    assert len(matched) >= 6
    assert set(matched["Condition Status"]) <= {"OK", "EMPTY"}


def test_a_patient_id_is_keyed_and_no_hash_of_name_or_birth_date(
    stage: tuple[Sandbox, Pod, FakeClock],
) -> None:
    _, pod, clock = stage
    first = _query(pod, clock, _table(1), Parameters()).table(NOW)[0]
    assert len(first["BitfountPatientID"]) == 16
    (pod.folder / "site.key").write_bytes(b"another key of more than thirty-two bytes")
    try:
        second = _query(pod, clock, _table(1), Parameters()).table(NOW)[0]
    finally:
        (pod.folder / "site.key").write_bytes(b"k" * 40)
    assert first["BitfountPatientID"] != second["BitfountPatientID"]


def test_an_outage_is_not_an_empty_code_list(stage: tuple[Sandbox, Pod, FakeClock]) -> None:
    ehr, pod, clock = stage
    ehr.faults = (Fault(Status(500), When(resource_type="Condition")),)
    try:
        row = _query(pod, clock, _table(1), Parameters(get_practitioner=False)).table(NOW)[0]
    finally:
        ehr.faults = ()
    assert row["Condition Status"] == "UNAVAILABLE"
    assert row["ICD10"] is None


def test_an_outage_of_appointments_is_not_a_new_patient(stage: tuple[Sandbox, Pod, FakeClock]) -> None:
    ehr, pod, clock = stage
    ehr.faults = (Fault(Status(500), When(resource_type="Appointment")),)
    try:
        row = _query(pod, clock, _table(1), Parameters(get_practitioner=False)).table(NOW)[0]
    finally:
        ehr.faults = ()
    assert row["Appointment Status"] == "UNAVAILABLE"
    assert row["New Patient"] == "Unknown"
    assert row["Next Appointment Date"] is None


def test_rows_that_name_nobody_are_not_asked_for(stage: tuple[Sandbox, Pod, FakeClock]) -> None:
    ehr, pod, clock = stage
    before = len(ehr.witness.requests)
    result = _query(pod, clock, [{"family": "Shaw"}, {"birth_date": "1950-01-01"}], Parameters())
    assert [reading.record for reading in result] == [None, None]
    asked = ehr.witness.requests[before:]
    assert not [request for request in asked if request.resource_type == "Patient"]


def test_the_flags_of_the_reference_choose_the_kinds() -> None:
    assert Parameters().wanted() == (Kind.CONDITION, Kind.PROCEDURE, Kind.APPOINTMENT, Kind.PRACTITIONER)
    none = Parameters(get_appointments=False, get_conditions_and_procedures=False, get_practitioner=False)
    assert none.wanted() == ()
    assert Parameters(kinds=("allergies",)).wanted()[2] is Kind.ALLERGY
    with pytest.raises(InvalidArgument, match="kinds"):
        Parameters(kinds=("horoscopes",)).wanted()


def test_names_are_read_in_every_form() -> None:
    table = [
        {"Patient's Name": "SHAW^AMY^V", "Patient's Birth Date": "19870220"},
        {"Patient's Name": "Amy Shaw", "Patient's Birth Date": date(1987, 2, 20)},
        {"family": "Shaw", "given": "Amy", "birth_date": datetime(1987, 2, 20)},
        {"mrn": "M1", "note": "kept", "birth_date": float("nan")},
    ]
    rows = rows_of(table)
    assert [(row.person.family, row.person.given) for row in rows[:3] if row.person] == [
        ("SHAW", "AMY V"),
        ("Shaw", "Amy"),
        ("Shaw", "Amy"),
    ]
    assert {row.person.birth_date for row in rows[:3] if row.person} == {"1987-02-20"}
    assert rows[3] == Row(4, rows[3].person, {"note": "kept"})
    assert rows[3].person is not None and rows[3].person.birth_date is None


def test_a_table_without_identity_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="none of the columns"):
        rows_of([{"colour": "blue"}])


def test_wrong_birth_dates_are_named_by_row_and_not_repeated() -> None:
    with pytest.raises(InvalidArgument, match="rows 2") as caught:
        rows_of([{"family": "A", "birth_date": "1990-01-01"}, {"family": "B", "birth_date": "31.12.1990"}])
    assert "1990" not in str(caught.value)


def test_the_modeller_gets_what_leaves_which_is_nothing() -> None:
    assert ehr_query.modeller({"north": {}, "leeds": {}}) == {"leeds": {}, "north": {}}


def test_the_same_people_are_found_as_the_truth_says(stage: tuple[Sandbox, Pod, FakeClock]) -> None:
    _, pod, clock = stage

    async def run() -> list[bool]:
        async with open_site_async(pod.config, ClockAndWire(clock=clock.clock)) as site:
            rows = await site.rows()
            return [reading.record is not None async for reading in site.readings(rows, [])]

    found = asyncio.run(run())
    expected = [
        row["decision"] != "not_evaluated"
        for _, row in sorted(truth("north")["rows"].items(), key=lambda kv: int(kv[0]))
    ]
    assert found == expected


def test_states_survive_to_the_typed_result(stage: tuple[Sandbox, Pod, FakeClock]) -> None:
    ehr, pod, clock = stage
    ehr.faults = (Fault(Status(403), When(resource_type="Procedure")),)
    try:
        result = _query(pod, clock, _table(1), Parameters(get_practitioner=False))
    finally:
        ehr.faults = ()
    record = result.readings[0].record
    assert record is not None
    assert record.kinds[Kind.PROCEDURE].state is State.FORBIDDEN
