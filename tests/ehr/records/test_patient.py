"""Records: FHIR resources as frozen structs that say nothing about their content."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.records.elements import (
    CodeableConcept,
    Coding,
    HumanName,
    Quantity,
    Range,
    Reference,
    codes_in,
    one_choice,
    when,
)
from ehr.records.elements import Period as Span
from ehr.records.fetched import State, complete, nothing
from ehr.records.patient import (
    RESOURCES,
    Appointment,
    Condition,
    DeviceRequest,
    DiagnosticReport,
    DocumentReference,
    Encounter,
    Immunization,
    Kind,
    Observation,
    Patient,
    PatientRecord,
    PatientRef,
    Procedure,
    ServiceRequest,
)
from ehr.records.people import Resource


def read(shape: type[Resource], **raw: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode({"resourceType": shape.__name__, **raw}), type=shape)


def test_every_kind_has_its_resource_types() -> None:
    assert set(RESOURCES) == set(Kind)
    for shapes in RESOURCES.values():
        for shape in shapes:
            record = read(shape, id="x")
            assert record.type_name == shape.__name__
            assert record.reference == f"{shape.__name__}/x"


def test_no_record_shows_its_content() -> None:
    record = read(Patient, id="canary", name=[{"family": "canary"}], birthDate="1987-02-20")
    for shown in (record, record.name[0], PatientRef("canary"), PatientRecord(PatientRef("canary"), record)):
        assert "canary" not in repr(shown) + str(shown) + f"{shown}"
    assert repr(record.name[0]) == "<HumanName>"


def test_a_patient_record_shows_states_only() -> None:
    kinds = {Kind.CONDITION: complete(["canary"]), Kind.ALLERGY: nothing(State.UNAVAILABLE)}
    record = PatientRecord(PatientRef("x"), None, kinds, {"note": "canary"})
    assert repr(record) == "<PatientRecord allergy=UNAVAILABLE, condition=OK>"


def test_a_ref_counts_its_aliases() -> None:
    assert PatientRef("new", frozenset({"old"})).ids == {"new", "old"}
    assert PatientRef("a").ids == {"a"}


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Patient/p1", ("patient", "p1")),
        ("patient/P1", ("patient", "P1")),
        ("https://x.example/r4/Patient/p1", ("patient", "p1")),
        ("Patient/p1/_history/2", ("patient", "p1")),
        ("Patient/p1/", ("patient", "p1")),
        ("#p1", None),
        ("urn:uuid:1/2", None),
        ("p1", None),
        ("", None),
        (None, None),
    ],
)
def test_references_point_to_a_type_and_an_id(text: str | None, target: tuple[str, str] | None) -> None:
    assert Reference(reference=text).target == target


def _extended(url: str, **value: Any) -> dict[str, Any]:
    return {"extension": [{"url": url, **value}]}


US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-birthsex"


@pytest.mark.parametrize(
    ("raw", "administrative", "legal", "birth"),
    [
        ({"gender": " Female "}, "female", None, None),
        ({}, None, None, None),
        (_extended(US_CORE, valueCode="F"), None, None, "female"),
        (_extended("x/Legal-Sex", valueCodeableConcept={"coding": [{"code": "male"}]}), None, "male", None),
        (_extended("x/birthsex", valueCoding={"code": "248152002"}), None, None, "female"),
        (_extended("x/birthsex", valueString="UNK"), None, None, "unk"),
        (_extended("x/birthsex"), None, None, None),
        (_extended("x/birthsex", valueCodeableConcept={}), None, None, None),
    ],
)
def test_the_sex_is_read_from_three_places(
    raw: dict[str, Any], administrative: str | None, legal: str | None, birth: str | None
) -> None:
    record = read(Patient, **raw)
    assert record.sex("administrative") == administrative
    assert record.sex("legal") == legal
    assert record.sex("birth") == birth


def test_death_is_known_unknown_or_denied() -> None:
    assert read(Patient).deceased is None
    assert read(Patient, deceasedBoolean=False).deceased is False
    assert read(Patient, deceasedBoolean=True).deceased is True
    assert read(Patient, deceasedDateTime="2020").deceased is True


def test_only_a_replacing_record_takes_a_patients_place() -> None:
    other = {"other": {"reference": "Patient/new"}}
    assert read(Patient, link=[{**other, "type": "replaced-by"}]).replaced_by == "new"
    assert read(Patient, link=[{**other, "type": "seealso"}]).replaced_by is None
    assert (
        read(Patient, link=[{"type": "replaced-by"}, {"type": "replaced-by", "other": {}}]).replaced_by
        is None
    )
    assert read(Patient).replaced_by is None


def test_sensitivity_labels_are_in_lower_case() -> None:
    assert read(Patient, meta={"security": [{"code": "R"}, {}]}).labels == {"r", ""}
    assert read(Patient).labels == frozenset()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "sNaN"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(Observation, valueQuantity={"value": value})
    with pytest.raises(ValueError, match="finite"):
        Quantity(value=Decimal(value))


def test_numbers_keep_every_digit() -> None:
    raw = b'{"resourceType": "Observation", "valueQuantity": {"value": 7.250, "unit": "mm"}}'
    quantity = msgspec.json.decode(raw, type=Observation).value
    assert isinstance(quantity, Quantity)
    assert str(quantity.value) == "7.250"
    assert quantity.unit_code == "mm"
    assert Quantity(unit="millimetre", code="mm").unit_code == "mm"
    assert Quantity(value=Decimal("1e300")).value == Decimal("1e300")


CHOICES: list[tuple[type[Resource], str, dict[str, Any]]] = [
    (Patient, "deceased", {"Boolean": True, "DateTime": "2020"}),
    (Condition, "onset", {"DateTime": "2020", "Age": {"value": 1}, "Period": {}, "Range": {}, "String": "x"}),
    (
        Condition,
        "abatement",
        {"DateTime": "2020", "Age": {"value": 1}, "Period": {}, "Range": {}, "String": "x"},
    ),
    (
        Procedure,
        "performed",
        {"DateTime": "2020", "Age": {"value": 1}, "Period": {}, "Range": {}, "String": "x"},
    ),
    (Observation, "effective", {"DateTime": "2020", "Period": {}, "Instant": "2020-01-01T00:00:00Z"}),
    (
        Observation,
        "value",
        {
            "Quantity": {},
            "CodeableConcept": {},
            "String": "",
            "Boolean": False,
            "Integer": 0,
            "Range": {},
            "Ratio": {},
        },
    ),
]


@pytest.mark.parametrize(("shape", "name", "values"), CHOICES)
def test_one_choice_has_one_type(shape: type[Resource], name: str, values: dict[str, Any]) -> None:
    for suffix, value in values.items():
        assert read(shape, **{f"{name}{suffix}": value}) is not None
        for other, second in values.items():
            if other != suffix:
                with pytest.raises(msgspec.ValidationError):
                    read(shape, **{f"{name}{suffix}": value, f"{name}{other}": second})


def test_a_choice_may_be_empty() -> None:
    one_choice()
    one_choice(None, None)
    one_choice(None, 0, None)
    with pytest.raises(ValueError, match="2 types"):
        one_choice(False, None, "")


def test_the_first_way_to_write_a_time_wins() -> None:
    period, age = Span(start="2019", end="2020"), Quantity(value=Decimal(60))
    first = when("2020", period, age, Range(), "x")
    assert first is not None and first.at == "2020" and first.start is None
    second = when(None, period, age)
    assert second is not None and (second.start, second.end, second.age) == ("2019", "2020", None)
    third = when(None, None, age, None, "x")
    assert third is not None and (third.age, third.text) == (age, None)
    assert (found := when(span=Range())) is not None and found.text == "range"
    assert (found := when(text="in youth")) is not None and found.text == "in youth"
    assert when() is None


def test_a_concept_shows_a_display_or_its_text() -> None:
    assert CodeableConcept(coding=(Coding(code="a"), Coding(display="AMD")), text="x").label == "AMD"
    assert CodeableConcept(coding=(Coding(code="a", display=""),), text="x").label == "x"
    assert CodeableConcept().label is None


def test_codes_are_bare_and_in_lower_case() -> None:
    one = CodeableConcept(coding=(Coding(code=" Active "), Coding(code=None), Coding(code="x")))
    assert codes_in(one) == ("active", "x")
    assert codes_in((one, one)) == ("active", "x", "active", "x")
    assert codes_in(None) == codes_in(()) == ()


def test_an_age_is_kept_in_its_type() -> None:
    assert read(Condition, onsetAge={"value": 60, "unit": "years"}).onset.age.unit == "years"


def test_times_of_the_other_records() -> None:
    assert read(Encounter, period={"start": "2020"}).when.start == "2020"
    assert read(Appointment, start="2020-01-01T10:00:00Z", end="x").when.at == "2020-01-01T10:00:00Z"
    assert read(Immunization, occurrenceDateTime="2020").occurred.at == "2020"
    assert read(Immunization, occurrenceString="as a child").occurred.text == "as a child"
    assert read(ServiceRequest, authoredOn="2020").authored.at == "2020"
    assert read(DeviceRequest, authoredOn="2020").authored.at == "2020"
    assert (read(ServiceRequest).kind, read(DeviceRequest).kind) == ("service", "device")
    assert read(DocumentReference, date="2020").when.at == "2020"
    assert read(DiagnosticReport, effectivePeriod={"end": "2020"}).effective.end == "2020"
    for empty in (Encounter, Appointment):
        assert read(empty).when is None


def test_concepts_of_the_other_records() -> None:
    concept = {"text": "x"}
    assert read(DeviceRequest, codeCodeableConcept=concept).concepts[0].text == "x"
    assert read(Immunization, vaccineCode=concept).concepts[0].text == "x"
    assert read(DocumentReference, type=concept).concepts[0].text == "x"
    both = read(Appointment, appointmentType=concept, serviceType=[{"text": "y"}])
    assert [one.text for one in both.concepts] == ["x", "y"]
    for shape in (
        DeviceRequest,
        Immunization,
        DocumentReference,
        Appointment,
        ServiceRequest,
        DiagnosticReport,
    ):
        assert read(shape).concepts == ()


def test_records_cannot_be_changed() -> None:
    record = read(Patient, id="a")
    with pytest.raises(AttributeError):
        record.id = "b"


@given(st.lists(st.text(max_size=8), max_size=3), st.text(max_size=8))
def test_a_record_is_read_back_as_it_is_written(given_names: list[str], family: str) -> None:
    record = Patient(id="x", name=(HumanName(family=family, given=tuple(given_names)),))
    assert msgspec.json.decode(msgspec.json.encode(record), type=Patient) == record
