"""From FHIR resources, as vendors send them, to records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ehr.dates import interval_of
from ehr.records.codes import Code, code_of
from ehr.records.elements import CodeableConcept, Quantity, Range, Ratio
from ehr.records.fetched import Fetched, State
from ehr.records.patient import (
    AllergyIntolerance,
    Appointment,
    Condition,
    Encounter,
    ImagingStudy,
    MedicationRequest,
    MedicationStatement,
    Observation,
    PatientRef,
    Practitioner,
    Procedure,
)
from ehr.records.people import Resource
from tests.ehr.fhir.server import Server, answer, bundle, condition, entry, opened

P1 = PatientRef("p1")
WHO = {"subject": {"reference": "Patient/p1"}}
LONDON = ZoneInfo("Europe/London")


async def fetch(shape: type[Resource], *entries: Mapping[str, Any], **options: Any) -> Fetched[Any]:
    server = Server({shape.__name__: bundle(*entries)} | options.pop("answers", {}))
    async with opened(server, **options) as session:
        return await session.search(shape, patient=P1)


def resource(name: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": name, "id": "x", **WHO, **more}


async def test_every_coding_of_a_condition_is_kept() -> None:
    """cond_all_codings_kept_and_system_aliases_normalised"""
    codings = [
        {"system": "urn:oid:2.16.840.1.113883.6.90", "code": "h353112"},
        {"system": "http://hl7.org/fhir/sid/icd-10", "code": "H35.31"},
        {"system": "http://snomed.info/sct", "code": "267718000", "display": "AMD"},
        {"system": "http://vendor.example", "code": "aB"},
    ]
    found = await fetch(
        Condition, condition(code={"coding": codings, "text": "AMD"}), condition("t", code={"text": "x"})
    )
    coded, text_only = found.require()
    vendor = {"http://hl7.org/fhir/sid/icd-10": "http://hl7.org/fhir/sid/icd-10-cm"}
    assert [code_of(c.system, c.code, vendor) for c in coded.concepts[0].coding] == [
        Code("icd10cm", "H35.3112"),
        Code("icd10cm", "H35.31"),
        Code("snomed", "267718000"),
        Code("uri:http://vendor.example", "aB"),
    ]
    assert coded.concepts[0].coding[0].code == "h353112"
    assert text_only.concepts[0].label == "x"


async def test_refuted_and_mistaken_conditions_are_told_apart() -> None:
    """cond_entered_in_error_and_refuted_excluded: kept and marked here, dropped by the consumers"""
    status = lambda code: {"verificationStatus": {"coding": [{"code": code}]}}  # noqa: E731 - short
    found = await fetch(
        Condition,
        condition("a", **status("refuted")),
        condition("b", **status("Entered-In-Error")),
        condition("c", **status("confirmed"), clinicalStatus={"coding": [{"code": "active"}]}),
    )
    assert [one.verification for one in found.require()] == ["refuted", "entered-in-error", "confirmed"]
    assert [one.clinical for one in found.require()] == [None, None, "active"]


async def test_every_way_to_write_an_onset_is_kept() -> None:
    """cond_onset_variants_age_period_string_recorded"""
    found = await fetch(
        Condition,
        condition("a", onsetDateTime="2019-05"),
        condition("b", onsetAge={"value": 60, "code": "a"}),
        condition("c", onsetPeriod={"start": "2019", "end": "2020"}),
        condition("d", onsetString="in youth", recordedDate="2020-01-01"),
        condition("e", onsetRange={"low": {"value": 50}}),
        condition("f", abatementDateTime="2021"),
    )
    a, b, c, d, e, f = found.require()
    assert a.onset is not None and a.onset.at == "2019-05"
    assert b.onset is not None and b.onset.age == Quantity(value=Decimal(60), code="a")
    assert c.onset is not None and (c.onset.start, c.onset.end) == ("2019", "2020")
    assert d.onset is not None and d.onset.text == "in youth"
    assert d.recorded is not None and d.recorded.at == "2020-01-01"
    assert e.onset is not None and e.onset.text == "range"
    assert f.onset is None and f.abatement is not None and f.abatement.at == "2021"


async def test_a_condition_needs_no_optional_element() -> None:
    """cond_missing_optional_fields_accepted"""
    bare = {"resourceType": "Condition", "id": "x", **WHO}
    with_recorder = condition("y", recorder={"reference": "Practitioner/d"})
    found = await fetch(Condition, bare, with_recorder)
    assert found.state is State.OK
    first = found.items[0]
    assert (first.concepts, first.clinical, first.verification, first.categories, first.onset) == (
        (),
        None,
        None,
        (),
        None,
    )


async def test_a_procedure_has_a_status_and_a_time() -> None:
    """proc_performed_period_and_status_mapped"""
    found = await fetch(
        Procedure,
        resource(
            "Procedure", status="Completed", performedPeriod={"start": "2020-01-01", "end": "2020-01-02"}
        ),
        resource("Procedure", id="y", status="not-done", performedDateTime="2021"),
    )
    first, second = found.require()
    assert (first.status, second.status) == ("completed", "not-done")
    assert (first.performed.start, first.performed.end, second.performed.at) == (
        "2020-01-01",
        "2020-01-02",
        "2021",
    )
    assert [issue.code for issue in found.issues] == ["repair:lower-case"]


DRUG = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "1"}]}


def _drug(record: Any) -> str | None:
    return record.concepts[0].coding[0].code if record.concepts else None


async def test_a_drug_is_found_wherever_it_is_written() -> None:
    """med_request_statement_reference_and_contained"""
    inside = resource(
        "MedicationRequest",
        id="inside",
        contained=[
            {"resourceType": "Weird", "id": "m", "code": [1]},
            {"resourceType": "Medication", "id": "m", "code": DRUG},
        ],
        medicationReference={"reference": "#m"},
    )
    included = resource(
        "MedicationRequest", id="included", medicationReference={"reference": "Medication/inc"}
    )
    absolute = resource(
        "MedicationRequest",
        id="absolute",
        medicationReference={"reference": "https://ehr.example/api/r4/Medication/inc"},
    )
    by_uuid = resource("MedicationRequest", id="uuid", medicationReference={"reference": "urn:uuid:1"})
    elsewhere = resource("MedicationRequest", id="read", medicationReference={"reference": "Medication/far"})
    plain = resource("MedicationRequest", id="plain", medicationCodeableConcept=DRUG)
    drug = {"resourceType": "Medication", "id": "inc", "code": DRUG}
    other = {"resourceType": "Medication", "id": "u", "code": DRUG}
    found = await fetch(
        MedicationRequest,
        *(inside, included, absolute, by_uuid, elsewhere, plain),
        entry(drug, "include"),
        entry(other, "include", fullUrl="urn:uuid:1"),
        answers={"Medication/far": answer({"resourceType": "Medication", "id": "far", "code": DRUG})},
        change={
            "search_parameters": {"MedicationRequest": frozenset({"patient"}), "Medication": frozenset()}
        },
    )
    assert [_drug(one) for one in found.require()] == ["1"] * 6
    assert all(one.medication_reference is None and one.contained == () for one in found.items)
    statement = resource(
        "MedicationStatement", status="active", medicationCodeableConcept=DRUG, effectiveDateTime="2020"
    )
    taken = (await fetch(MedicationStatement, statement)).require()[0]
    assert (taken.kind, taken.intent, taken.do_not_perform, taken.authored.at) == (
        "statement",
        None,
        False,
        "2020",
    )
    assert found.items[0].kind == "request"


@pytest.mark.parametrize(
    "pointer", ["Medication/far", "#none", "urn:uuid:none", "Group/x", "Medication/codeless", "#codeless"]
)
async def test_an_unknown_drug_could_be_any_drug(pointer: str) -> None:
    request = resource(
        "MedicationRequest",
        medicationReference={"reference": pointer},
        contained=[{"resourceType": "Medication", "id": "codeless"}],
    )
    known = resource("MedicationRequest", id="y", medicationCodeableConcept=DRUG)
    change = {"search_parameters": {"MedicationRequest": frozenset({"patient"}), "Medication": frozenset()}}
    answers = {"Medication/codeless": answer({"resourceType": "Medication", "id": "codeless"})}
    found = await fetch(MedicationRequest, request, known, change=change, answers=answers)
    assert (found.state, [_drug(one) for one in found.items]) == (State.PARTIAL, [None, "1"])
    assert [(issue.code, issue.count) for issue in found.issues] == [("medication-not-resolved", 1)]


async def test_a_drug_that_an_outage_hides_is_to_be_asked_for_again() -> None:
    request = resource("MedicationRequest", medicationReference={"reference": "Medication/far"})
    change = {"search_parameters": {"MedicationRequest": frozenset({"patient"}), "Medication": frozenset()}}
    found = await fetch(
        MedicationRequest, request, change=change, answers={"Medication/far": answer({}, 503)}
    )
    assert (found.state, found.again) == (State.PARTIAL, True)
    assert {issue.code for issue in found.issues} == {"medication-not-resolved", "http-503"}


async def test_no_known_allergies_is_a_statement_and_no_silence() -> None:
    """allergy_no_known_allergies_vs_empty_vs_unknown"""
    statement = {
        "resourceType": "AllergyIntolerance",
        "id": "x",
        "patient": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]},
        "clinicalStatus": {"coding": [{"code": "active"}]},
        "verificationStatus": {"coding": [{"code": "confirmed"}]},
    }
    said = await fetch(AllergyIntolerance, statement)
    assert (said.state, said.items[0].clinical, said.items[0].verification) == (
        State.OK,
        "active",
        "confirmed",
    )
    assert said.items[0].concepts[0].coding[0].code == "716186003"
    assert (await fetch(AllergyIntolerance)).state is State.EMPTY
    failed = await fetch(AllergyIntolerance, answers={"AllergyIntolerance": answer({}, 500)})
    assert failed.state is State.UNAVAILABLE


async def test_an_observation_has_any_type_of_value() -> None:
    """obs_value_types_comparator_components_absent_reason"""
    values: dict[str, tuple[dict[str, Any], Any]] = {
        "quantity": (
            {"valueQuantity": {"value": 7.250, "comparator": "<", "unit": "mm", "code": "mm"}},
            Quantity(value=Decimal("7.25"), comparator="<", unit="mm", code="mm"),
        ),
        "concept": ({"valueCodeableConcept": {"text": "x"}}, CodeableConcept(text="x")),
        "string": ({"valueString": "20/40"}, "20/40"),
        "false": ({"valueBoolean": False}, False),
        "zero": ({"valueInteger": 0}, Quantity(value=Decimal(0))),
        "range": ({"valueRange": {"low": {"value": 1}}}, Range(low=Quantity(value=Decimal(1)))),
        "ratio": ({"valueRatio": {"numerator": {"value": 1}}}, Ratio(numerator=Quantity(value=Decimal(1)))),
        "absent": ({"dataAbsentReason": {"coding": [{"code": "not-performed"}]}}, None),
    }
    sent = [resource("Observation", id=name, status="final", **raw) for name, (raw, _) in values.items()]
    panel = resource(
        "Observation", id="panel", component=[{"valueQuantity": {"value": 120}}, {"valueString": "x"}, {}]
    )
    found = (await fetch(Observation, *sent, panel)).require()
    for record, (name, (_, value)) in zip(found, values.items(), strict=False):
        assert record.value == value, name
    assert [part.value for part in found[-1].component] == [Quantity(value=Decimal(120)), "x", None]
    assert found[-2].data_absent_reason is not None


async def test_the_time_of_an_observation_is_when_it_held() -> None:
    """obs_latest_by_effective_not_by_order"""
    found = await fetch(
        Observation,
        resource("Observation", id="new", effectiveDateTime="2021-05-01", issued="2021-05-02T00:00:00Z"),
        resource(
            "Observation", id="old", effectiveInstant="2019-05-01T10:00:00Z", issued="2026-01-01T00:00:00Z"
        ),
        resource("Observation", id="span", effectivePeriod={"start": "2020-01-01"}),
        resource("Observation", id="undated", issued="2026-01-01T00:00:00Z"),
    )
    times = {one.id: one.effective for one in found.require()}
    assert times["undated"] is None

    def began(name: str) -> Any:
        moment = times[name]
        return None if moment is None else interval_of(moment.at or moment.start, LONDON)

    assert max(("new", "old", "span"), key=lambda name: began(name) or (0, 0)) == "new"


async def test_an_encounter_may_still_be_open() -> None:
    """enc_period_open_ended"""
    found = await fetch(
        Encounter,
        resource(
            "Encounter",
            status="in-progress",
            **{"class": {"code": "imp"}},
            period={"start": "2026-01-01T10:00:00Z"},
        ),
        resource(
            "Encounter",
            id="y",
            type=[{"text": "visit"}],
            hospitalization={"dischargeDisposition": {"text": "home"}},
        ),
    )
    first, second = found.require()
    assert (first.class_code, first.when.start, first.when.end, first.discharge) == (
        "IMP",
        "2026-01-01T10:00:00Z",
        None,
        None,
    )
    assert (second.class_code, second.when, second.discharge.text) == (None, None, "home")


def appointment(record_id: str, start: str, status: str = "booked", **more: Any) -> dict[str, Any]:
    people = [
        {"actor": {"reference": "Location/l", "display": "Eye clinic"}},
        {"actor": {"reference": "practitioner/d"}, "required": "required"},
        {"actor": {"reference": "Patient/p1"}, "required": "required", "status": "accepted"},
        {"type": [{"text": "no actor"}]},
    ]
    return {
        "resourceType": "Appointment",
        "id": record_id,
        "status": status,
        "start": start,
        "participant": people,
        **more,
    }


async def test_an_r4_appointment_with_required_participants_is_read() -> None:
    """parse_r4_appointment_participant_required_accepted"""
    found = await fetch(Appointment, appointment("a", "2026-11-01T09:00:00Z", serviceType=[{"text": "OCT"}]))
    visit = found.require()[0]
    assert (visit.location, visit.source, visit.concepts[0].text) == ("Eye clinic", "appointment", "OCT")
    assert visit.practitioner.target == ("practitioner", "d")


async def test_appointments_of_today_are_there_once_on_the_sites_day() -> None:
    """appt_today_included_once, appt_timezone_and_midnight_boundary"""
    found = await fetch(
        Appointment,
        appointment("late", "2026-06-30T23:30:00Z"),
        appointment("early", "2026-07-01T00:00:00+01:00"),
        appointment("late", "2026-06-30T23:30:00Z"),
    )
    days = {one.id: interval_of(one.when.at, LONDON) for one in found.require()}
    assert len(found.items) == 2
    first = interval_of("2026-07-01", LONDON)
    assert first is not None
    assert all(span is not None and first.lo <= span.lo <= first.hi for span in days.values())


async def test_cancelled_appointments_keep_their_status_for_the_consumer() -> None:
    """appt_cancelled_deleted_noshow_excluded_both_directions: the status is there to exclude by"""
    found = await fetch(
        Appointment,
        *(
            appointment(status, "2026-01-01", status)
            for status in ("cancelled", "noshow", "entered-in-error")
        ),
    )
    assert [one.status for one in found.require()] == ["cancelled", "noshow", "entered-in-error"]


async def test_appointments_of_nobody_or_of_others_are_not_this_patients() -> None:
    nobody = appointment("a", "2026-01-01") | {"participant": [{"actor": {"reference": "Location/l"}}]}
    other = appointment("b", "2026-01-01") | {"participant": [{"actor": {"reference": "Patient/p2"}}]}
    found = await fetch(Appointment, nobody, other)
    assert (found.state, found.items) == (State.PARTIAL, ())
    assert sorted(issue.code for issue in found.issues) == ["no-patient-reference", "security:other-patient"]


async def test_a_stand_in_says_that_it_is_one() -> None:
    """appt_fallback_source_labelled"""
    visit = Appointment(id="e", start="2026-01-01", source="encounter", location_name="Clinic")
    assert (visit.source, visit.location, visit.practitioner) == ("encounter", "Clinic", None)


async def test_references_are_compared_without_case_of_the_type() -> None:
    """pract_reference_case_insensitive_and_latest"""
    answers = {
        "Practitioner/D1": answer({"resourceType": "Practitioner", "id": "D1", "name": [{"family": "Who"}]})
    }
    async with opened(Server(answers)) as session:
        found = await session.read(Practitioner, "D1")
    assert found.require()[0].name[0].family == "Who"


async def test_an_imaging_study_is_mapped() -> None:
    """img_study_reference_mapped"""
    study = resource(
        "ImagingStudy",
        identifier=[{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        modality=[{"code": "OPT"}],
        started="2026-01-01T10:00:00Z",
        series=[{"uid": "1.2.3.4", "modality": {"code": "OPT"}}],
    )
    found = (await fetch(ImagingStudy, study)).require()[0]
    assert (found.identifier[0].value, found.concepts[0].coding[0].code, found.series[0].uid) == (
        "urn:oid:1.2.3",
        "OPT",
        "1.2.3.4",
    )
    assert found.when.at == "2026-01-01T10:00:00Z"


async def test_one_bad_entry_is_set_aside_and_the_others_are_kept() -> None:
    """parse_bad_entry_quarantined_others_kept"""
    bad = condition("bad", code={"coding": [{"code": ["CANARY"]}]})
    found = await fetch(Condition, condition("a"), bad, condition("b"))
    assert (found.state, [one.id for one in found.items]) == (State.PARTIAL, ["a", "b"])
    assert (found.quarantined, found.received) == (1, 3)
    assert [(issue.code, issue.count, issue.path) for issue in found.issues] == [
        ("quarantined", 1, "$.code.coding[0].code")
    ]
    assert "CANARY" not in str(found.issues)


async def test_many_bad_entries_are_an_error() -> None:
    good = [condition(f"g{n}") for n in range(20)]
    bad = [condition(f"b{n}", code="x") for n in range(6)]
    assert (await fetch(Condition, *good, *bad[:5])).state is State.PARTIAL
    assert (await fetch(Condition, *good, *bad)).state is State.ERROR
    assert (await fetch(Condition, *good, *bad, quarantine_rate=0.5)).state is State.PARTIAL
    assert (await fetch(Condition, *bad[:4], good[0])).state is State.PARTIAL
    assert (await fetch(Condition, *bad[:5], good[0])).state is State.ERROR


async def test_vendors_slips_are_repaired_and_counted() -> None:
    """parse_vendor_empty_strings_and_object_for_list"""
    slips = condition(
        "x",
        category={"coding": {"system": "", "code": "Problem-List-Item"}},
        code={"coding": [{"code": 42, "system": "", "display": None}, {}], "text": ""},
        recordedDate="2020-01-01T10:00",
    )
    found = await fetch(Condition, slips, condition("y"))
    record = found.require()[0]
    assert record.categories == ("problem-list-item",)
    assert [(c.code, c.system) for c in record.code.coding] == [("42", None)]
    assert record.recorded_date == "2020-01-01T10:00:00+00:00"
    assert {issue.code: issue.count for issue in found.issues} == {
        "repair:empty": 5,
        "repair:number-for-text": 1,
        "repair:object-for-list": 2,
        "repair:zone": 1,
    }


async def test_empty_texts_alone_do_no_harm() -> None:
    harmless = condition("x", code={"coding": [{"system": "", "code": "", "display": ""}]}, recordedDate="")
    found = await fetch(Condition, harmless)
    assert (found.state, found.issues) == (State.OK, ())


async def test_unknown_things_inside_do_not_crash() -> None:
    """parse_unknown_contained_type_no_crash"""
    strange = condition(
        "x", contained=[{"resourceType": "Nonsense", "id": 1}], extension=[{"x": 1}], unheardOf={"a": []}
    )
    found = await fetch(Condition, strange, {"resourceType": "Nonsense", "id": "n"})
    assert (found.state, len(found.items)) == (State.OK, 1)
    full = await fetch(Condition, strange, validation="full")
    assert (full.state, [issue.code for issue in full.issues]) == (State.OK, ["invalid"])


async def test_two_values_for_one_choice_are_no_value() -> None:
    """parse_two_choice_values_handled"""
    both = condition("x", onsetDateTime="2020-01-01", onsetString="2021")
    found = await fetch(Condition, both, condition("y"))
    assert (found.state, [one.id for one in found.items], found.quarantined) == (State.PARTIAL, ["y"], 1)


async def test_strict_reading_repairs_nothing() -> None:
    """parse_strict_mode_rejects"""
    slip = condition("x", category={"text": "object for list"})
    found = await fetch(Condition, slip, condition("y"), strict=True)
    assert (found.state, [one.id for one in found.items], found.quarantined) == (State.PARTIAL, ["y"], 1)
    assert (await fetch(Condition, slip, condition("y"))).state is State.OK
    shouting = await fetch(Procedure, resource("Procedure", status="DONE"), strict=True)
    assert shouting.require()[0].status == "DONE"


async def test_full_validation_names_what_r4_forbids() -> None:
    slip = condition("x", recordedDate="01/02/2020", code={"coding": [{"code": ""}]})
    light = await fetch(Condition, slip)
    assert [issue.code for issue in light.issues] == ["bad-date"]
    full = await fetch(Condition, slip, validation="full")
    assert full.state is State.OK
    assert {(i.code, i.path) for i in full.issues} == {
        ("invalid", "$.code.coding[0].code"),
        ("invalid", "$.recordedDate"),
        ("bad-date", "$.recordedDate"),
    }
    assert (await fetch(Condition, slip, validation="full", strict=True)).state is State.PARTIAL
    assert (await fetch(Condition, condition("ok"), validation="full")).issues == ()


async def test_a_text_that_is_no_date_is_counted() -> None:
    found = await fetch(
        Condition,
        condition("a", recordedDate="yesterday"),
        condition("b", recordedDate="2020-02-30"),
        condition("c", onsetPeriod={"start": "2020", "end": "soon"}),
        condition("d", recordedDate="2020-02"),
    )
    assert found.state is State.OK
    assert [(issue.code, issue.path, issue.count) for issue in found.issues] == [
        ("bad-date", "$.recordedDate", 2),
        ("bad-date", "$.onsetPeriod", 1),
    ]


def test_the_birth_date_stays_a_calendar_day() -> None:
    assert interval_of("1987-02-20", ZoneInfo("Pacific/Auckland")) == interval_of("1987-02-20", LONDON)
    assert date(1987, 2, 20).isoformat() == "1987-02-20"
