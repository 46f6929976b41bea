"""`TrialInclusionCriteriaMatchAlgorithm` with a trial file: its edges; what it decides is tested end to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ehr.files.settings import SiteFile
from ehr.people.identity import Ambiguous, Grade, Matched, NotFound, Person, Undetermined
from ehr.people.matching import CONFLICTS
from ehr.people.people_file import Row
from ehr.reading.checkpoint import Checkpoint
from ehr.reading.cohort import Reading
from ehr.records.fetched import Issue, Severity
from ehr.records.patient import (
    Appointment,
    Kind,
    Patient,
    PatientRecord,
    PatientRef,
    State,
    complete,
    nothing,
)
from federated.algorithms import criteria_match
from federated.algorithms.criteria_match import Parameters
from federated.errors import ConfigurationError, NameWaits
from federated.screening.decide.evidence import Decision
from federated.screening.patients import UNREAD, ResumeState, StoredResult
from federated.screening.report import wording
from federated.screening.report.results import MatchState, Run
from federated.screening.trial.load import read_trial

TRIAL = """\
trialveil: 1
id: adults
title: Adults
version: "1"
status: final
{head}
inclusion:
  - {{id: age, text: Adult, source: "18 or older", where: {{age: {{is: ">= 18", unit: a}}}}}}
"""
FILE = SiteFile.model_validate(
    {
        "name": "site",
        "ehr": {"provider": "smarthealthit r4", "base_url": "https://ehr.example/r4", "auth": "none"},
        "site": {"time_zone": "Europe/London", "key": {"env": "KEY"}},
    }
)


def trial(head: str = "index_date: 2026-06-01") -> Any:
    return read_trial(TRIAL.format(head=head)).require()


@dataclass
class FakeSite:
    """A site whose EHR holds what the test says; counts what it is asked."""

    readings_of: dict[int, Reading]
    asked: list[int] = field(default_factory=list)
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/London"))
    key: bytes = b"k" * 32
    file: SiteFile = FILE
    adapter: Any = field(default_factory=lambda: SimpleNamespace(profile=SimpleNamespace(code_systems={})))

    async def finished(
        self, rows: Sequence[Row], kinds: Sequence[Kind], finish: Callable[[Sequence[Reading]], Sequence[Any]]
    ) -> AsyncIterator[Any]:
        for row in rows:
            self.asked.append(row.number)
            yield finish([replace(self.readings_of[row.number], row=row)])[0]


def person(number: int, born: str = "1980-05-05", **kinds: Any) -> Reading:
    patient = Patient(id=f"p{number}", birth_date=born, gender="female")
    fetched = {
        Kind.PATIENT: complete((patient,)),
        Kind.APPOINTMENT: complete(()),
        Kind.ENCOUNTER: complete(()),
    }
    fetched |= {Kind[name.upper()]: value for name, value in kinds.items()}
    ref = PatientRef(f"p{number}")
    match = Matched(ref, patient, Grade.A, ("id",))
    return Reading(row(number), match, PatientRecord(ref, patient, fetched))


def row(number: int, **columns: str) -> Row:
    return Row(number, Person(id=f"p{number}"), columns)


def run_of(
    site: FakeSite, rows: Sequence[Row], checked: Any = None, ongoing: ResumeState | None = None
) -> Run:
    parameters = Parameters(trial=checked or trial(), tool_version="0")
    work = criteria_match.worker(parameters, site, rows, ongoing or ResumeState())  # type: ignore[arg-type]  # a fake
    return asyncio.run(work).local


def test_the_bare_name_is_the_jade_colour_and_waits() -> None:
    with pytest.raises(NameWaits, match="Jade"):
        asyncio.run(criteria_match.worker(Parameters(), FakeSite({}), []))  # type: ignore[arg-type]  # a fake


def test_each_row_has_one_result_in_input_order() -> None:
    site = FakeSite({1: person(1), 2: person(2, "2015-01-01"), 3: person(3, "2008-06")})
    run = run_of(site, [row(1), row(2), row(3)])
    assert [patient.decision for patient in run.patients] == [
        Decision.ELIGIBLE,
        Decision.NOT_ELIGIBLE,
        Decision.UNDECIDED,
    ]


def test_who_was_not_found_for_certain_is_not_evaluated() -> None:
    readings = {
        1: Reading(row(1), NotFound()),
        2: Reading(row(2), Ambiguous(2, (Grade.B, Grade.B))),
        3: Reading(row(3), Undetermined(State.UNAVAILABLE)),
        4: Reading(Row(4, None), Undetermined(State.ERROR)),
    }
    run = run_of(FakeSite(readings), [row(1), row(2), row(3), Row(4, None)])
    assert [patient.match for patient in run.patients] == [
        MatchState.NOT_FOUND,
        MatchState.AMBIGUOUS,
        MatchState.UNDETERMINED,
        MatchState.BAD_ROW,
    ]
    assert {patient.decision for patient in run.patients} == {Decision.NOT_EVALUATED}
    assert len({patient.ref for patient in run.patients}) == 4


@pytest.mark.parametrize("code", sorted({*CONFLICTS, "nothing-to-search-by"}))
def test_a_doubt_that_asking_again_cannot_end_is_no_outage(code: str) -> None:
    unsure = Undetermined(State.ERROR, (Issue(code, Severity.ERROR),))
    (patient,) = run_of(FakeSite({1: Reading(row(1), unsure)}), [row(1)]).patients
    assert patient.issues == (code,)
    assert "run again" not in wording.nobody(patient.match, patient.issues)
    down = Undetermined(State.UNAVAILABLE, (Issue("http-503", Severity.ERROR),))
    (patient,) = run_of(FakeSite({1: Reading(row(1), down)}), [row(1)]).patients
    assert UNREAD in patient.issues
    assert "run again" in wording.nobody(patient.match, patient.issues)


def test_no_id_of_a_patient_is_in_the_run() -> None:
    run = run_of(FakeSite({1: person(1)}), [row(1)])
    assert "p1" not in str(run.patients[0].ref)
    assert len(run.patients[0].ref) == 16


def test_the_next_appointment_is_the_first_on_or_after_the_index_date() -> None:
    visits = [
        Appointment(id="a", start="2026-05-31T23:59:00+01:00", status="booked"),
        Appointment(id="b", start="2026-06-01", status="cancelled"),
        Appointment(id="c", start="2026-07-02T09:00:00Z", status="booked"),
        Appointment(id="d", start="2026-06-02T09:00:00Z", status="booked"),
        Appointment(id="e", start=None, status="booked"),
    ]
    run = run_of(FakeSite({1: person(1, appointment=complete(visits))}), [row(1)])
    assert run.patients[0].next_appointment == "2026-06-02"


def test_an_unread_kind_shows_its_state() -> None:
    run = run_of(FakeSite({1: person(1, appointment=nothing(State.FORBIDDEN))}), [row(1)])
    assert run.patients[0].fetched["appointment"] == "FORBIDDEN"
    assert run.patients[0].next_appointment is None


def test_a_column_gives_each_row_its_own_index_date() -> None:
    site = FakeSite({1: person(1, "2008-01-01"), 2: person(2, "2008-01-01"), 3: person(3)})
    rows = [row(1, visit="2025-12-31"), row(2, visit="2026-01-01"), row(3, visit="soon")]
    checked = trial("index_date: {column: visit}")
    parameters = Parameters(trial=checked, index_date=date(2026, 6, 1), tool_version="0")
    work = criteria_match.worker(parameters, site, rows)  # type: ignore[arg-type]  # a fake
    run = asyncio.run(work).local
    assert [patient.decision for patient in run.patients] == [
        Decision.NOT_ELIGIBLE,
        Decision.ELIGIBLE,
        Decision.NOT_EVALUATED,
    ]
    assert run.patients[2].issues == ("MISSING_COLUMN",)


def test_a_trial_for_the_day_of_the_run_needs_that_day() -> None:
    with pytest.raises(ConfigurationError, match="index_date"):
        run_of(FakeSite({}), [], trial("index_date: run"))


def test_finished_patients_are_not_asked_again(tmp_path: Path) -> None:
    rows = [row(1), row(2), row(3)]
    site = FakeSite({number: person(number) for number in (1, 2, 3)})

    def checkpoint() -> Checkpoint[StoredResult]:
        found = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
        found.load()
        found.start({"index_date": "2026-06-01"})
        return found

    first = checkpoint()
    whole = run_of(site, rows, ongoing=ResumeState(first))
    first.close(finished=False)
    lines = (tmp_path / "c").read_bytes().split(b"\n")
    (tmp_path / "c").write_bytes(
        b"\n".join(lines[:3]) + b"\n" + lines[3][:20]
    )  # killed while writing the third
    site.asked.clear()
    second = checkpoint()
    seen: list[tuple[int, int]] = []
    again = run_of(site, rows, ongoing=ResumeState(second, lambda done, total: seen.append((done, total))))
    assert site.asked == [3]
    assert seen == [(2, 3), (3, 3)]
    assert again == whole


def test_a_row_that_now_names_someone_else_is_asked_again(tmp_path: Path) -> None:
    site = FakeSite({1: person(1)})
    stored = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
    stored.start({"index_date": "2026-06-01"})
    run_of(site, [row(1)], ongoing=ResumeState(stored))
    stored.close(finished=False)
    after = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
    after.load()
    after.start({})
    site.asked.clear()
    run_of(site, [Row(1, Person(id="other"))], ongoing=ResumeState(after))
    assert site.asked == [1]


def test_what_the_server_failed_to_give_is_asked_again(tmp_path: Path) -> None:
    stored = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
    stored.start({"index_date": "2026-06-01"})
    broken = FakeSite({1: person(1, encounter=nothing(State.UNAVAILABLE)), 2: person(2)})
    run_of(broken, [row(1), row(2)], ongoing=ResumeState(stored))
    stored.close(finished=False)
    after = Checkpoint(tmp_path / "c", {"trial": "x"}, StoredResult)
    after.load()
    assert list(after.done) == [2]
