"""E. Resource mapping: visits, appointments, who saw the patient, images."""

from __future__ import annotations

from typing import Any

from ehr.records.fetched import State
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.cases.e_clinical import ANA_PATH, whole
from ehr.testing.expect import equal, expect
from ehr.testing.synthetic import ANA, PERSON, appointment, encounter, ids, practitioner

_APPOINTMENTS = needs.resource("Appointment")
TODAY = "2026-03-02"  # of the standing clock, which stands at noon


async def row(context: CaseContext, *kinds: str) -> dict[str, Any]:
    """The usual person's row of the table."""
    async with context.open() as site:
        result = await site.query([PERSON], kinds or ("appointments",))
        (only,) = result.table(context.clock.now())
    return only


@case(94, needs=needs.resource("Encounter"))
async def enc_period_open_ended(context: CaseContext) -> None:
    """A stay without an end still goes on."""
    context.people(
        encounter("e1", status="in-progress", period={"start": "2026-02-27T10:00:00Z"}), encounter("e2")
    )
    async with context.open() as site:
        records = whole(await site.encounters(ANA), "e1", "e2")
    equal((records["e1"].when.start, records["e1"].when.end), ("2026-02-27T10:00:00Z", None), "open stay")
    equal([key for key, stay in records.items() if stay.when.end is None], ["e1"], "stays that still go on")


@case(95, needs=_APPOINTMENTS)
async def appt_today_included_once(context: CaseContext) -> None:
    """An appointment of today is the next one until it is kept, and is never in both lists."""
    context.people(appointment("a1", f"{TODAY}T09:00:00Z"), appointment("a2", "2026-03-09T09:00:00Z"))
    async with context.open() as site:
        equal(sorted(ids((await site.appointments(ANA)).items)), ["a1", "a2"], "appointments")
    found = await row(context)
    equal(
        (found["Next Appointment Date"], found["Previous Appointments Info"]),
        (TODAY, []),
        "next and previous",
    )


@case(96, needs=_APPOINTMENTS)
async def appt_cancelled_deleted_noshow_excluded_both_directions(context: CaseContext) -> None:
    """What was cancelled, missed or entered in error counts neither as past nor as next."""
    off = ("cancelled", "noshow", "entered-in-error")
    for number, status in enumerate(off):
        context.ehr.put(
            appointment(f"past-{number}", f"2025-11-0{number + 1}T09:00:00Z", status),
            appointment(f"next-{number}", f"2026-03-0{number + 3}T09:00:00Z", status),
        )
    context.people(
        appointment("kept", "2025-12-01T09:00:00Z", "fulfilled"),
        appointment("booked", "2026-04-01T09:00:00Z"),
    )
    found = await row(context)
    previous = [one["Appointment Date"] for one in found["Previous Appointments Info"]]
    equal((previous, found["Next Appointment Date"]), (["2025-12-01"], "2026-04-01"), "previous and next")


@case(97, needs=_APPOINTMENTS)
async def appt_timezone_and_midnight_boundary(context: CaseContext) -> None:
    """The day of an appointment is the site's day, to the minute around midnight."""
    context.zone = "America/New_York"
    context.people(
        appointment("a1", "2026-02-28T04:59:00Z", "fulfilled"),  # 23:59 on the 27th
        appointment("a2", "2026-02-28T05:00:00Z", "fulfilled"),  # midnight: the 28th
        appointment("a3", "2026-03-05T04:30:00Z"),  # the evening of the 4th
    )
    found = await row(context)
    previous = [one["Appointment Date"] for one in found["Previous Appointments Info"]]
    equal(previous, ["2026-02-27", "2026-02-28"], "previous days")
    equal(found["Next Appointment Date"], "2026-03-04", "next day")


@case(98, needs=_APPOINTMENTS)
async def appt_full_history_requested(context: CaseContext) -> None:
    """Without a window, appointments of many years back and ahead are read."""
    context.people(
        appointment("old", "2011-01-03T09:00:00Z", "fulfilled"),
        appointment("last", "2026-01-05T09:00:00Z", "fulfilled"),
        appointment("far", "2028-01-03T09:00:00Z"),
    )
    async with context.open() as site:
        whole(await site.appointments(ANA), "old", "last", "far")


@case(99)
async def appt_fallback_source_labelled(context: CaseContext) -> None:
    """An appointment says where it was read; a visit that stands in for one is marked as that."""
    context.people(appointment("a1", "2026-04-01T09:00:00Z"), encounter("e1"))
    async with context.open() as site:
        found = await site.appointments(ANA)
    labels = {one.source for one in found.items}
    expect(found.state in (State.OK, State.UNSUPPORTED), f"state of the appointments: {found.state.name}")
    equal(labels - {context.profile.appointment_source}, set(), "other sources than the profile's")


@case(100, needs=needs.resource("Practitioner", "Appointment"))
async def pract_reference_case_insensitive_and_latest(context: CaseContext) -> None:
    """Who saw the patient last is found, however the reference is written."""
    context.people(
        appointment("a1", "2026-02-01T09:00:00Z", "fulfilled", practitioner="Practitioner/kit-early"),
        appointment("a2", "2026-02-20T09:00:00Z", "fulfilled", practitioner="practitioner/kit-late"),
        appointment("a3", "2026-02-10T09:00:00Z", "fulfilled", practitioner="Practitioner/kit-early"),
        practitioner("kit-early", "Early"),
        practitioner("kit-late", "Late"),
    )
    async with context.open() as site:
        found = await site.practitioner(ANA)
    equal((found.state, ids(found.items)), (State.OK, ["kit-late"]), "who saw the patient last")


@case(101, level="should", needs=needs.resource("ImagingStudy"))
async def img_study_reference_mapped(context: CaseContext) -> None:
    """An imaging study is read with its identifier, its time and its modality."""
    study = {
        "resourceType": "ImagingStudy",
        "id": "i1",
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}],
        "modality": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "OPT"}],
        "subject": {"reference": ANA_PATH},
        "started": "2025-01-02T03:04:05Z",
    }
    context.people(study)
    async with context.open() as site:
        record = whole(await site.imaging(ANA), "i1")["i1"]
    equal([one.value for one in record.identifier], ["urn:oid:1.2.3.4"], "identifier")
    equal((record.started, [one.code for one in record.modality]), ("2025-01-02T03:04:05Z", ["OPT"]), "study")
