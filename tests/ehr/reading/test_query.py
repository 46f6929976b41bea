"""The table of a query: the reference's columns, and no outage that looks like an empty record."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from ehr.errors import ConfigurationError
from ehr.people.identity import Ambiguous, Grade, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.people.people_file import Row
from ehr.reading.cohort import Reading
from ehr.reading.query import COLUMNS, QueryResult, match_word, pseudonym
from ehr.records.patient import (
    Appointment,
    Condition,
    Fetched,
    Kind,
    Patient,
    PatientRecord,
    PatientRef,
    Practitioner,
    Procedure,
    Resource,
    State,
    complete,
    nothing,
)
from tests.ehr.people.patients import number, patient

KEY = b"k" * 32
ZONE = ZoneInfo("America/New_York")
NOW = datetime(2026, 6, 2, 2, 30, tzinfo=UTC)  # still the first of June at the site
ICD, CPT = "http://hl7.org/fhir/sid/icd-10-cm", "http://www.ama-assn.org/go/cpt"
KINDS = (Kind.CONDITION, Kind.PROCEDURE, Kind.APPOINTMENT, Kind.PRACTITIONER)

AMY = patient(
    "p1",
    "Shaw",
    "Amy Maud",
    gender="female",
    identifier=[number("M-77")],
    telecom=[
        {"system": "phone", "use": "home", "value": "555-1"},
        {"system": "phone", "use": "mobile", "value": "555-2"},
        {"system": "phone", "use": "work", "value": "555-3"},
        {"system": "email", "value": "amy@mail.example"},
    ],
    address=[
        {"use": "old", "city": "Gone"},
        {"use": "home", "line": ["1 Elm"], "city": "Hull", "postalCode": "HU1"},
    ],
)


def made(shape: type[Resource], **members: Any) -> Any:
    return msgspec.convert({"resourceType": shape.__name__, "id": "x", **members}, shape)


def visit(start: str, status: str | None = "booked", place: str = "Eye clinic") -> Appointment:
    who = [{"actor": {"reference": "Location/l1", "display": place}}]
    found: Appointment = made(Appointment, start=start, participant=who, appointmentType={"text": "Check-up"})
    return found if status is None else msgspec.structs.replace(found, status=status)


def diagnosis(code: str, system: str = ICD, **more: Any) -> Condition:
    found: Condition = made(Condition, code={"coding": [{"system": system, "code": code}]}, **more)
    return found


def procedure(code: str, **more: Any) -> Procedure:
    found: Procedure = made(Procedure, code={"coding": [{"system": CPT, "code": code}]}, **more)
    return found


def reading(person: Patient = AMY, columns: dict[str, str] | None = None, **kinds: Fetched[Any]) -> Reading:
    ref = PatientRef(person.id or "")
    fetched = {Kind[name.upper()]: value for name, value in kinds.items()}
    record = PatientRecord(ref, person, fetched, columns or {})
    return Reading(Row(1, Person(mrn="M-77"), columns or {}), Matched(ref, person, Grade.A, ("mrn",)), record)


def result(*readings: Reading, zone: ZoneInfo = ZONE) -> QueryResult:
    return QueryResult(readings, KINDS, KEY, zone)


def row(one: Reading, now: datetime = NOW) -> dict[str, Any]:
    (found,) = result(one).table(now)
    return found


def test_the_columns_are_the_reference_s_in_its_order_then_states() -> None:
    frame = pytest.importorskip("pandas") and result(reading()).to_pandas(NOW)
    assert list(frame.columns) == [
        *("BitfountPatientID", "Patient's Birth Date", "Patient's Name", "Sex (EHR)", "Home Numbers"),
        *("Cell Numbers", "Emails", "Mailing Address", "Medical Record Number (MRN)", "Extracted Given Name"),
        *("Extracted Family Name", "Next Appointment Date", "Previous Appointments Info", "New Patient"),
        *("_original_filename", "Acquisition DateTime", "Scan Laterality", "ICD10", "CPT4"),
        *("Latest Practitioner Name", "Match Status"),
        *("Condition Status", "Procedure Status", "Appointment Status", "Practitioner Status"),
    ]
    assert len(COLUMNS) == 20


def test_columns_of_the_input_come_through_and_age_only_where_it_was_given() -> None:
    given = {"_original_filename": "a.dcm", "Scan Laterality": "L", "Age (yrs)": "39", "other": "x"}
    frame = pytest.importorskip("pandas") and result(reading(columns=given), reading()).to_pandas(NOW)
    assert frame["_original_filename"][0] == "a.dcm"
    assert list(frame["_original_filename"].isna()) == [False, True]
    assert list(frame.columns[20:22]) == ["Age (yrs)", "Match Status"]
    assert "other" not in frame.columns


def test_a_person_is_shown_as_the_record_has_them() -> None:
    shown = row(reading())
    assert shown["Patient's Name"] == "Amy Maud Shaw"
    assert shown["Patient's Birth Date"] == "1987-02-20"
    assert (shown["Extracted Given Name"], shown["Extracted Family Name"]) == ("Amy Maud", "Shaw")
    assert (shown["Home Numbers"], shown["Cell Numbers"], shown["Emails"]) == (
        ["555-1"],
        ["555-2"],
        ["amy@mail.example"],
    )
    assert shown["Mailing Address"] == "1 Elm, Hull, HU1"
    assert shown["Medical Record Number (MRN)"] == ["M-77"]
    assert shown["Sex (EHR)"] == "female"


def test_a_person_without_anything_but_an_id_is_shown_too() -> None:
    shown = row(reading(patient("p2", None, None, birthDate=None)))
    assert (shown["Patient's Name"], shown["Mailing Address"], shown["Emails"]) == (None, None, [])


@pytest.mark.parametrize(
    ("match", "word"),
    [
        (NotFound(), "not found"),
        (Ambiguous(2), "ambiguous"),
        (Undetermined(State.UNAVAILABLE), "undetermined"),
    ],
)
def test_nobody_certain_means_an_empty_row_that_says_why(match: MatchResult, word: str) -> None:
    shown = row(Reading(Row(1, Person(mrn="M-77")), match))
    assert shown["Match Status"] == word == match_word(Reading(Row(1, None), match))
    assert {shown[name] for name in COLUMNS} == {None}
    assert shown["Condition Status"] == "UNAVAILABLE"


# --- an outage is not an empty record ----------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if not state.complete])
def test_an_outage_shows_no_visits_and_no_codes_and_says_so(state: State) -> None:
    failed: Fetched[Any] = nothing(state)
    shown = row(reading(condition=failed, procedure=failed, appointment=failed, practitioner=failed))
    assert (shown["Next Appointment Date"], shown["Previous Appointments Info"]) == (None, None)
    assert shown["New Patient"] == "Unknown"
    assert (shown["ICD10"], shown["CPT4"]) == (None, None)
    assert {shown[f"{kind.capitalize()} Status"] for kind in KINDS} == {state.value}


def test_a_complete_record_without_entries_shows_empty_lists() -> None:
    none: Fetched[Any] = complete(())
    shown = row(reading(condition=none, procedure=none, appointment=none))
    assert (shown["ICD10"], shown["CPT4"], shown["Previous Appointments Info"]) == ([], [], [])
    assert shown["New Patient"] is True


def test_a_part_of_the_record_shows_what_is_there_and_never_an_empty_list() -> None:
    some = Fetched((diagnosis("H35.31"),), State.PARTIAL)
    assert row(reading(condition=some))["ICD10"] == ["H35.31"]
    other = Fetched((diagnosis("44054006", "http://snomed.info/sct"),), State.PARTIAL)
    assert row(reading(condition=other))["ICD10"] is None


def test_a_part_of_the_visits_shows_none_of_them() -> None:
    some = Fetched((visit("2026-07-01"),), State.PARTIAL)
    shown = row(reading(appointment=some))
    assert (shown["Next Appointment Date"], shown["New Patient"]) == (None, "Unknown")


def test_a_kind_that_was_not_asked_for_counts_as_unavailable() -> None:
    assert row(reading())["Condition Status"] == "UNAVAILABLE"


# --- codes -------------------------------------------------------------------------------------------------


def test_codes_are_of_their_system_alone_once_each_and_never_denied_ones() -> None:
    def verified(word: str) -> dict[str, Any]:
        return {"verificationStatus": {"coding": [{"code": word}]}}

    found = complete(
        (
            diagnosis("h353131"),
            diagnosis("H35.3131"),
            diagnosis("44054006", "http://snomed.info/sct"),
            diagnosis("I10", **verified("refuted")),
            diagnosis("I11", **verified("entered-in-error")),
            diagnosis("I12", **verified("provisional")),
        )
    )
    done = complete(
        (
            procedure("67028", status="completed"),
            procedure("67036", status="entered-in-error"),
            procedure("67040", status="not-done"),
        )
    )
    shown = row(reading(condition=found, procedure=done))
    assert shown["ICD10"] == ["H35.3131", "I12"]
    assert shown["CPT4"] == ["67028"]


def test_a_vendor_s_own_spelling_of_a_system_is_understood() -> None:
    one = reading(condition=complete((diagnosis("I10", "10"),)))
    spoken = QueryResult((one,), KINDS, KEY, ZONE, {"10": ICD})
    assert spoken.table(NOW)[0]["ICD10"] == ["I10"]
    assert row(one)["ICD10"] == []


# --- visits ------------------------------------------------------------------------------------------------


def test_a_visit_of_today_is_the_next_one_until_it_is_kept() -> None:
    today = "2026-06-01T16:00:00-04:00"
    for status, following, kept in (
        ("booked", "2026-06-01", 0),
        ("arrived", "2026-06-01", 0),
        ("fulfilled", None, 1),
    ):
        shown = row(reading(appointment=complete((visit(today, status),))))
        assert shown["Next Appointment Date"] == following
        assert len(shown["Previous Appointments Info"]) == kept


def test_today_is_the_site_s_day_and_not_the_server_s() -> None:
    late = visit("2026-06-02T01:00:00Z", "fulfilled")  # nine in the evening of the first
    assert row(reading(appointment=complete((late,))))["Previous Appointments Info"] == [
        {"Appointment Date": "2026-06-01", "Location Name": "Eye clinic", "Event Name": "Check-up"}
    ]


@pytest.mark.parametrize("status", ["cancelled", "noshow", "entered-in-error"])
def test_what_did_not_take_place_counts_in_neither_direction(status: str) -> None:
    shown = row(reading(appointment=complete((visit("2026-05-01", status), visit("2026-07-01", status)))))
    assert (shown["Next Appointment Date"], shown["Previous Appointments Info"]) == (None, [])


def test_the_next_visit_is_the_earliest_and_previous_ones_are_in_order() -> None:
    visits = [
        visit("2026-09-01"),
        visit("2026-07-01T09:00:00-04:00"),
        visit("2026-05-01", "fulfilled"),
        visit("2020-05-01", "fulfilled"),
        visit("2019-05-01", None),
        visit("2026-05-20", "proposed"),
    ]
    shown = row(reading(appointment=complete(visits)))
    assert shown["Next Appointment Date"] == "2026-07-01"
    days = [entry["Appointment Date"] for entry in shown["Previous Appointments Info"]]
    assert days == ["2019-05-01", "2020-05-01", "2026-05-01"]
    assert shown["New Patient"] is False


def test_one_kept_visit_is_still_a_new_patient() -> None:
    shown = row(reading(appointment=complete((visit("2026-05-01", "fulfilled"),))))
    assert shown["New Patient"] is True


def test_a_visit_without_a_readable_time_is_in_neither_list() -> None:
    undated: Appointment = made(Appointment, status="booked")
    shown = row(reading(appointment=complete((undated,))))
    assert (shown["Next Appointment Date"], shown["Previous Appointments Info"]) == (None, [])


def test_the_latest_practitioner_is_named() -> None:
    doctor = made(Practitioner, name=[{"family": "Wong", "given": ["Li"]}])
    assert row(reading(practitioner=complete((doctor,))))["Latest Practitioner Name"] == "Li Wong"


# --- secrets -----------------------------------------------------------------------------------------------


def test_a_pseudonym_needs_the_site_s_key() -> None:
    found = row(reading())["BitfountPatientID"]
    assert found == pseudonym(KEY, "Patient/p1")
    assert found != pseudonym(b"o" * 32, "Patient/p1")
    plain = {hashlib.new(name, b"Patient/p1").hexdigest()[:16] for name in ("md5", "sha1", "sha256")}
    assert found not in plain
    assert len(found) == 16


def test_no_text_form_shows_a_patient_or_the_key() -> None:
    shown = result(
        reading(condition=complete((diagnosis("I10"),)), appointment=complete((visit("2026-07-01"),)))
    )
    text = f"{shown!r} {shown} {shown._repr_html_()} {list(shown)!r}"
    assert not [
        word for word in ("Shaw", "Amy", "M-77", "1987", "I10", "2026-07", "p1", "kkkk") if word in text
    ]


def test_a_result_can_be_walked_through() -> None:
    assert [one.row.number for one in result(reading(), reading())] == [1, 1]


def test_without_pandas_the_table_still_works_and_the_frame_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigurationError, match="trialveil\\[pandas\\]"):
        result(reading()).to_pandas(NOW)
    assert result(reading()).table(NOW)


def test_importing_the_module_does_not_load_pandas() -> None:
    code = "import sys, ehr.reading.query; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"
