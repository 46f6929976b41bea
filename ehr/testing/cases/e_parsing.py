"""E. Resource mapping: entries that are not what they should be."""

from __future__ import annotations

from ehr.records.fetched import State
from ehr.sandbox.faults import Alien, Fault, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext, security_issues
from ehr.testing.cases.e_clinical import whole
from ehr.testing.expect import equal, expect
from ehr.testing.server import searchset
from ehr.testing.synthetic import (
    ANA,
    PERSON,
    appointment,
    ids,
    observation,
    patient,
    procedure,
    procedures,
    quantity,
)


@case(102)
async def parse_bad_entry_quarantined_others_kept(context: CaseContext) -> None:
    """An entry that cannot be read is set aside and counted; the others are kept."""
    good = context.dressed(*procedures(8))
    broken = [
        {"resource": {"resourceType": "Procedure", "id": "bad", "subject": 7}, "search": {"mode": "match"}},
        {
            "resource": {"resourceType": "Procedure", "id": "odd", "status": {"a": 1}},
            "search": {"mode": "match"},
        },
    ]
    context.ehr.says("Procedure", lambda _: searchset(*good[:4], *broken, *good[4:]))
    found = await context.procedures()
    equal((found.state, found.quarantined), (State.PARTIAL, 2), "state, and entries set aside")
    equal(ids(found.items), [f"p{n}" for n in range(1, 9)], "what was kept")


@case(103)
async def parse_vendor_empty_strings_and_object_for_list(context: CaseContext) -> None:
    """Empty texts and an object where a list belongs are mended, and the record is kept."""
    name = {"family": PERSON.family, "given": [PERSON.given], "suffix": [""]}
    (odd,) = context.dressed(
        patient(name=[name], generalPractitioner={"reference": "practitioner/kit-doctor"}, telecom=None)
    )
    odd["identifier"].append({"system": "", "value": ""})
    answer = searchset(odd)
    for end in ("Patient", "Patient/_search", "Patient/$match"):
        context.ehr.says(end, lambda _: answer)
    spelled = procedure("p1", status="Completed", bodySite={"text": "left"}, category="")
    context.ehr.says("Procedure", lambda _: searchset(*context.dressed(spelled)))
    async with context.open() as site:
        match = await site.find(PERSON)
        equal(match.require(), ANA, "who was found")
        record = whole(await site.procedures(ANA), "p1")["p1"]
    equal(record.status, "completed", "status, mended")


@case(104)
async def parse_unknown_contained_type_no_crash(context: CaseContext) -> None:
    """A contained resource of a type that nobody knows does no harm."""
    strange = [{"resourceType": "NoSuchThing", "id": "x", "valueDecimal": "1"}, {"resourceType": 5}, {}]
    context.people(procedure("p1", contained=strange), procedure("p2"))
    whole(await context.procedures(), "p1", "p2")


@case(105)
async def parse_two_choice_values_handled(context: CaseContext) -> None:
    """A record with two values where one may be is not read as either of them in silence."""
    two = observation("two", valueQuantity=quantity("6.1", "%"), valueString="nine")
    context.people(*(observation(f"o{n}") for n in range(6)), two)
    async with context.open() as site:
        found = await site.observations(ANA)
    expect({f"o{n}" for n in range(6)} <= set(ids(found.items)), "good records were lost beside the odd one")
    expect(found.state is State.PARTIAL, f"state beside a record with two values: {found.state.name}")


@case(106, needs=needs.resource("Appointment"))
async def parse_r4_appointment_participant_required_accepted(context: CaseContext) -> None:
    """An R4 appointment whose participant is "required", which R5 writes otherwise, is read."""
    one = appointment("a1", "2026-04-01T09:00:00Z")
    for part in one["participant"]:
        part["required"] = "required"
    context.people(one)
    async with context.open() as site:
        whole(await site.appointments(ANA), "a1")


@case(107, level="should")
async def parse_strict_mode_rejects(context: CaseContext) -> None:
    """In strict mode nothing is mended: what would need it is set aside."""
    odd = context.dressed(procedure("odd", bodySite={"text": "an object where a list belongs"}))
    good = context.dressed(*procedures(6))
    context.ehr.says("Procedure", lambda _: searchset(*good, *odd))
    strict = await context.procedures(strict=True)
    lenient = await context.procedures()
    equal((lenient.state, len(lenient.items)), (State.OK, 7), "what was read with repairs")
    equal(
        (strict.state, len(strict.items), strict.quarantined), (State.PARTIAL, 6, 1), "what was read without"
    )


@case(108)
async def subject_other_patient_dropped_and_reported(context: CaseContext) -> None:
    """Another patient's entry is dropped, and reported as a matter of security."""
    context.people(*procedures(3), *procedures(3, "kit-other"))
    context.ehr.put(patient("kit-other", "Otherfamily"))
    context.ehr.fails(Fault(Alien(), When(resource_type="Procedure")))
    found = await context.procedures()
    equal(ids(found.items), ["p1", "p2", "p3"], "what was kept")
    expect(not found.complete, "the collection reads as complete")
    expect(bool(security_issues(found.issues)), "nothing was reported")
