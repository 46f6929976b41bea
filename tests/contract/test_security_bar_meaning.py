"""The security bar, S35 to S38: what an answer means, from the socket to the criteria."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ehr import dates
from ehr.dates import interval_of, is_sentinel
from ehr.errors import NotMatched, Unavailable
from ehr.people.identity import Ambiguous, Matched, NotFound, Person, Undetermined
from ehr.people.matching import known_date
from ehr.reading.query import status_column
from ehr.records.fetched import Fetched, State, nothing
from ehr.records.patient import Kind, PatientRef
from ehr.site import ClockAndWire, open_site_async
from ehr.transport.client import Clock
from federated.screening.run import Options, screen_async
from tests.contract.wire import ANA as RECORD
from tests.contract.wire import condition, page, said, wired
from tests.ehr.site_folder import Folder
from tests.fakes.clock import FakeClock

ANA = PatientRef("ana")
INCOMPLETE = [state for state in State if state not in (State.OK, State.EMPTY)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "site")


@pytest.fixture
def around() -> ClockAndWire:
    return ClockAndWire(clock=FakeClock().clock)


@pytest.mark.parametrize("state", INCOMPLETE)
def test_s35_a_failure_is_never_taken_for_nothing(state: State) -> None:
    found: Fetched[object] = nothing(state)
    assert not found.complete
    with pytest.raises(Unavailable):
        found.require()
    for ask in (bool, len, iter, list):
        with pytest.raises(TypeError):
            ask(found)


@pytest.mark.parametrize(
    "status", ["401 No", "403 No", "404 No", "408 No", "410 No", "429 No", "500 No", "503 No"]
)
async def test_s35_an_error_of_the_server_is_never_an_empty_record(
    folder: Folder, around: ClockAndWire, status: str
) -> None:
    async with (
        wired(Condition=lambda _: said({}, status)) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        result = await site.query([Person(id="ana")], ["conditions"])
    row = result.table(datetime(2026, 3, 1, tzinfo=UTC))[0]
    assert row["ICD10"] is None
    assert row[status_column(Kind.CONDITION)] not in ("OK", "EMPTY")


TRIAL = """
trialveil: 1
id: silence
title: Silence decides here
version: "1.0"
nct: none
status: final
provenance: Invented for tests.
index_date: 2026-03-01
value_sets: {wet_amd: {title: Wet AMD, include: [{system: icd10cm, codes: ["H35.32*"]}]}}
inclusion:
  - {id: age, text: Adult, source: "18 or older.", where: {age: {is: ">= 18", unit: a}}}
exclusion:
  - {id: wet, text: Wet AMD, source: "None.", where: {condition: {in: wet_amd, clinical: any}}}
"""
WET = condition() | {
    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "H35.3211"}]},
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "verificationStatus": {"coding": [{"code": "confirmed"}]},
    "onsetDateTime": "2020-05-05",
}
NOT_UTF8 = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n\xff\xff"


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        (page(), "eligible"),  # the site says that silence is no
        (page(WET), "not_eligible"),
        (said({}, "503 No"), "undecided"),
        (said({}, "403 No"), "undecided"),
        (said({}, "404 No"), "undecided"),
        (b"", "undecided"),
        (NOT_UTF8, "undecided"),
        (page(next="http://evil.example/Condition"), "undecided"),
        (page(WET, next="http://evil.example/Condition"), "not_eligible"),  # a part proves presence
        (page(condition(of="eve")), "undecided"),
    ],
)
async def test_s35_absence_and_failure_differ_up_to_the_decision(
    folder: Folder, around: ClockAndWire, answer: bytes, decision: str
) -> None:
    async with wired(Condition=lambda _: answer) as ehr:
        more = "  world: {condition: closed}\ncohort: {patients: patients.csv}\n"
        config = folder.write(ehr.base, more=more)
        (folder.path / "patients.csv").write_text("id\nana\n")
        (folder.path / "trial.yaml").write_text(TRIAL)
        decided = await screen_async(config, folder.path / "trial.yaml", Options(), around)
    assert [patient.decision for patient in decided.run.patients] == [decision]


TWIN = RECORD | {"id": "eve"}
DOUBTFUL = {
    "two of one name and birth date": page(RECORD, TWIN),
    "another birth date than the number's": page(RECORD | {"birthDate": "1960-01-01"}),
    "a merge that leads nowhere": page(
        RECORD | {"link": [{"type": "replaced-by", "other": {"reference": "Patient/gone"}}]}
    ),
    "a part of the candidates": page(RECORD, next="http://evil.example/r4/Patient?page=2"),
    "nobody": page(),
    "an outage": said({}, "503 No"),
}


@pytest.mark.parametrize("doubt", DOUBTFUL)
async def test_s36_who_is_not_certain_is_never_asked_about(
    folder: Folder, around: ClockAndWire, doubt: str
) -> None:
    person = Person(family="Canaryfamily", given="Ana", birth_date="1950-02-03", mrn="M-1")
    raw = DOUBTFUL[doubt]
    gone = said({"resourceType": "OperationOutcome", "issue": []}, "404 No")
    async with wired(Patient=lambda _: raw, _search=lambda _: raw, gone=lambda _: gone) as ehr:
        async with open_site_async(folder.write(ehr.base), around) as site:
            result = await site.query([person], ["conditions", "observations", "medications"])
        reading = next(iter(result))
        assert not isinstance(reading.match, Matched)
        assert reading.record is None
        with pytest.raises(NotMatched):
            reading.match.require()
        assert not ehr.asked("Condition") and not ehr.asked("Observation")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (page(RECORD), Matched),
        (page(RECORD, TWIN), Ambiguous),
        (page(RECORD | {"identifier": []}), NotFound),
        (said({}, "503 No"), Undetermined),
    ],
)
async def test_s36_a_number_alone_is_one_patient_or_nobody_s(
    folder: Folder, around: ClockAndWire, raw: bytes, kind: type
) -> None:
    async with (
        wired(Patient=lambda _: raw, _search=lambda _: raw) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        assert isinstance(await site.find(Person(mrn="M-1")), kind)


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York", "Pacific/Pago_Pago", "UTC"])
def test_s37_a_birth_date_is_a_calendar_day_in_every_zone(zone: str) -> None:
    for text in ("1950-02-03", "1950-02-03T00:00:00Z", "1950-02-03T23:59:59-11:00", "1950-02-03T00:00:00"):
        assert str(known_date(text)) == "1950-02-03"
    day = interval_of("1950-02-03", ZoneInfo(zone))
    assert day is not None and day.hi - day.lo == 86_399


@pytest.mark.parametrize(
    ("zone", "today"),
    [
        ("Pacific/Kiritimati", date(2026, 3, 2)),
        ("Pacific/Pago_Pago", date(2026, 3, 1)),
        ("UTC", date(2026, 3, 1)),
    ],
)
async def test_s37_today_is_the_site_s_day(folder: Folder, zone: str, today: date) -> None:
    time = FakeClock()
    clock: Clock = time.clock
    async with wired() as ehr:
        config = folder.write(ehr.base)
        config.write_text(config.read_text().replace("America/New_York", zone))
        async with open_site_async(config, ClockAndWire(clock=clock)) as site:
            assert dates.today(site.zone, clock.now()) == today


def test_s37_a_time_without_a_zone_is_the_site_s_and_precision_stays() -> None:
    zone = ZoneInfo("America/New_York")
    naive, aware = interval_of("2026-03-01T08:00:00", zone), interval_of("2026-03-01T08:00:00-05:00", zone)
    assert naive == aware
    month = interval_of("2026-03", zone)
    assert month is not None and month.hi - month.lo > 30 * 86_400
    assert str(known_date("1950-02")) == "1950-02" and str(known_date("1950")) == "1950"


SENTINELS = ["0001-01-01", "1900-01-01", "1800-01-01", "1800-12-28", "0001-01-01T00:00:00Z", "9999-12-31"]


@pytest.mark.parametrize("text", SENTINELS)
def test_s38_a_placeholder_is_no_date(text: str) -> None:
    assert is_sentinel(text)
    assert known_date(text) is None
    assert interval_of(text, ZoneInfo("UTC")) is None


async def test_s38_two_people_with_a_placeholder_are_not_one(folder: Folder, around: ClockAndWire) -> None:
    raw = page(RECORD | {"birthDate": "1900-01-01", "identifier": []})
    async with (
        wired(Patient=lambda _: raw, _search=lambda _: raw) as ehr,
        open_site_async(folder.write(ehr.base), around) as site,
    ):
        match = await site.find(Person(family="Canaryfamily", given="Ana", birth_date="1900-01-01"))
    assert not isinstance(match, Matched)
