"""E. Resource mapping: conditions, procedures, drugs, allergies and observations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from ehr.dates import interval_of
from ehr.records.codes import Code, code_of
from ehr.records.elements import CodeableConcept, Quantity, Range, Ratio
from ehr.records.fetched import Fetched, State
from ehr.sandbox.faults import Fault, Status, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.clock import START
from ehr.testing.expect import equal, expect
from ehr.testing.synthetic import (
    ANA,
    LOINC,
    PERSON,
    RXNORM,
    SNOMED,
    Resource,
    allergy,
    concept,
    condition,
    ids,
    medication_request,
    observation,
    procedure,
    quantity,
    without,
)

ICD_OID = "urn:oid:2.16.840.1.113883.6.90"
_NO_KNOWN_ALLERGY = "716186003"


def by_id(found: Fetched[Any]) -> dict[str, Any]:
    """The records by their ids."""
    return {record.id: record for record in found.items}


def whole(found: Fetched[Any], *wanted: str) -> dict[str, Any]:
    """The records of a collection that must be complete and hold just these."""
    equal(found.state, State.OK, "state")
    equal(sorted(ids(found.items)), sorted(wanted), "ids")
    return by_id(found)


async def conditions(context: CaseContext, *resources: Resource) -> Fetched[Any]:
    """The usual person's conditions."""
    context.people(*resources)
    return await context.conditions()


@case(85)
async def cond_all_codings_kept_and_system_aliases_normalised(context: CaseContext) -> None:
    """Every coding of a diagnosis is kept as it was sent, and spellings of one system are one system."""
    codings = [
        {"system": ICD_OID, "code": "E119", "display": "Type 2 diabetes"},
        {"system": SNOMED, "code": "44054006"},
        {"system": "urn:example:local", "code": "DM2"},
    ]
    context.people(condition("c1", code={"coding": codings, "text": "Diabetes"}), condition("c2", "I10"))
    async with context.open() as site:
        record = whole(await site.conditions(ANA), "c1", "c2")["c1"]
        equal(
            [(c.system, c.code) for c in record.code.coding],
            [(c["system"], c["code"]) for c in codings],
            "codings",
        )
        equal(record.code.text, "Diabetes", "text")
        spellings = site.adapter.profile.code_systems
    equal(
        [code_of(coding.system, coding.code, spellings) for coding in record.code.coding],
        [Code("icd10cm", "E11.9"), Code("snomed", "44054006"), Code("uri:urn:example:local", "DM2")],
        "codes",
    )


@case(86)
async def cond_entered_in_error_and_refuted_excluded(context: CaseContext) -> None:
    """What was entered in error or refuted is never counted as a diagnosis."""
    word = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
    denied = {"c2": "entered-in-error", "c3": "refuted"}
    extra = [
        condition(key, f"I1{number}", verificationStatus=concept(status, word))
        for number, (key, status) in enumerate(denied.items())
    ]
    erased = without(
        condition("c4", "I15", verificationStatus=concept("entered-in-error", word)), "clinicalStatus"
    )
    context.people(condition("c1"), *extra, erased)
    async with context.open() as site:
        found = by_id(await site.conditions(ANA))
        (row,) = (await site.query([PERSON], ["conditions"])).table(START)
    equal(row["ICD10"], ["E11.9"], "diagnoses in the table")
    told = {key: found[key].verification for key in denied if key in found}
    expect(told.items() <= denied.items(), "a denied diagnosis lost its verification status")


@case(87)
async def cond_onset_variants_age_period_string_recorded(context: CaseContext) -> None:
    """An onset is kept in each form that FHIR has."""
    bare = {key: without(condition(key), "onsetDateTime") for key in ("c1", "c2", "c3", "c4", "c5")}
    bare["c1"] |= {"onsetDateTime": "2019-05"}
    bare["c2"] |= {"onsetPeriod": {"start": "2018-01-02", "end": "2018-02-03"}}
    bare["c3"] |= {"onsetAge": quantity("42", "a")}
    bare["c4"] |= {"onsetString": "in childhood"}
    bare["c5"] |= {"recordedDate": "2020-06-07"}
    records = whole(await conditions(context, *bare.values()), *bare)
    equal(records["c1"].onset.at, "2019-05", "onset as a date")
    equal(
        (records["c2"].onset.start, records["c2"].onset.end),
        ("2018-01-02", "2018-02-03"),
        "onset as a period",
    )
    equal(records["c3"].onset_age.value, Decimal(42), "onset as an age")
    equal(records["c4"].onset_string, "in childhood", "onset as a text")
    equal(
        (records["c5"].onset, records["c5"].recorded.at), (None, "2020-06-07"), "no onset, and when recorded"
    )


@case(88)
async def cond_missing_optional_fields_accepted(context: CaseContext) -> None:
    """A diagnosis without clinical status, category, code or onset is valid R4, and is kept."""
    sparse = without(condition("c1"), "clinicalStatus", "verificationStatus", "onsetDateTime")
    textual = condition(
        "c2", code={"text": "Diabetes of some kind"}, recorder={"reference": "Practitioner/x"}
    )
    records = whole(await conditions(context, sparse, textual, condition("c3")), "c1", "c2", "c3")
    equal(
        (records["c1"].clinical, records["c1"].verification, records["c1"].onset), (None, None, None), "gaps"
    )
    equal(records["c2"].code.text, "Diabetes of some kind", "text without a code")


@case(89)
async def proc_performed_period_and_status_mapped(context: CaseContext) -> None:
    """When a procedure was done, and how it stands, is kept."""
    begun = without(procedure("p1", status="in-progress"), "performedDateTime")
    begun |= {"performedPeriod": {"start": "2024-01-02T08:00:00Z"}}
    context.people(begun, procedure("p2", status="not-done"))
    records = whole(await context.procedures(), "p1", "p2")
    when = records["p1"].performed
    equal(
        (records["p1"].status, when.start, when.end),
        ("in-progress", "2024-01-02T08:00:00Z", None),
        "procedure",
    )
    equal(
        (records["p2"].status, records["p2"].performed.at), ("not-done", "2021-04-05"), "procedure not done"
    )


@case(90, needs=needs.resource("MedicationRequest", "Medication"))
async def med_request_statement_reference_and_contained(context: CaseContext) -> None:
    """The drug is known whether it is written in the order, inside it, or beside it."""
    inside = {"resourceType": "Medication", "id": "m", "code": concept("197361", RXNORM)}
    context.people(
        medication_request("r1"),
        medication_request("r2", medicationReference={"reference": "Medication/kit-drug"}),
        medication_request("r3", medicationReference={"reference": "#m"}, contained=[inside]),
        {"resourceType": "Medication", "id": "kit-drug", "code": concept("860975", RXNORM)},
    )
    wanted = {"r1": "6809", "r2": "860975", "r3": "197361"}
    if "MedicationStatement" in context.profile.search_parameters:
        drug = {"medicationCodeableConcept": concept("5640", RXNORM), "status": "active"}
        context.ehr.put(
            {"resourceType": "MedicationStatement", "id": "s1", "subject": {"reference": ANA_PATH}} | drug
        )
        wanted["s1"] = "5640"
    async with context.open() as site:
        records = whole(await site.medications(ANA), *wanted)
    drugs = {key: one.concepts[0].coding[0].code if one.concepts else None for key, one in records.items()}
    equal(drugs, wanted, "drugs")


ANA_PATH = f"Patient/{ANA.id}"


@case(91, needs=needs.resource("AllergyIntolerance"))
async def allergy_no_known_allergies_vs_empty_vs_unknown(context: CaseContext) -> None:
    """ "No known allergy", no entry, and no answer are three different things."""
    context.people(allergy("a1", code=concept(_NO_KNOWN_ALLERGY, SNOMED)))
    context.ehr.put({"resourceType": "Patient", "id": "kit-other", "birthDate": "1960-01-01"})
    async with context.open() as site:
        said = whole(await site.allergies(ANA), "a1")["a1"]
        equal(said.code.coding[0].code, _NO_KNOWN_ALLERGY, "the statement that none is known")
        silent = await site.allergies(type(ANA)("kit-other"))
        equal((silent.state, silent.items), (State.EMPTY, ()), "a record without an entry")
        context.ehr.fails(Fault(Status(503), When(resource_type="AllergyIntolerance")))
        equal((await site.allergies(ANA)).state, State.UNAVAILABLE, "state without an answer")


_VALUES: dict[str, Resource] = {
    "quantity": {"valueQuantity": quantity("6.1", "%", comparator="<")},
    "concept": {"valueCodeableConcept": concept("260385009", SNOMED)},
    "string": {"valueString": "trace"},
    "boolean": {"valueBoolean": False},
    "integer": {"valueInteger": 3},
    "range": {"valueRange": {"low": quantity("1", "%"), "high": quantity("2", "%")}},
    "ratio": {"valueRatio": {"numerator": quantity("1", "mg"), "denominator": quantity("2", "mL")}},
}


@case(92)
async def obs_value_types_comparator_components_absent_reason(context: CaseContext) -> None:
    """Each type of value is kept as what it is, with its comparator, its components, or why it is missing."""
    parts = [{"code": concept("8480-6", LOINC), "valueQuantity": quantity("120", "mm[Hg]")}]
    panel = without(observation("panel", component=parts), "valueQuantity")
    absent = without(
        observation("absent", dataAbsentReason=concept("not-performed", "urn:example")), "valueQuantity"
    )
    context.people(*(observation(key, **value) for key, value in _VALUES.items()), panel, absent)
    async with context.open() as site:
        records = whole(await site.observations(ANA), *_VALUES, "panel", "absent")
    value = records["quantity"].value
    expect(isinstance(value, Quantity) and value.comparator == "<", "a comparator was lost")
    equal(value.value, Decimal("6.1"), "a decimal number")
    kinds = {"concept": CodeableConcept, "range": Range, "ratio": Ratio, "string": str, "boolean": bool}
    wrong = [key for key, kind in kinds.items() if not isinstance(records[key].value, kind)]
    equal(wrong, [], "values of another type than sent")
    expect(records["boolean"].value is False, "false was read as something else")
    equal(records["integer"].value.value, Decimal(3), "a whole number")
    equal(records["panel"].component[0].value.value, Decimal(120), "a component")
    equal(
        (records["absent"].value, records["absent"].data_absent_reason is None),
        (None, False),
        "a missing value",
    )


@case(93)
async def obs_latest_by_effective_not_by_order(context: CaseContext) -> None:
    """When a value held is kept as a moment, so that the latest is the latest, whatever the order and zone."""
    times = {
        "o1": "2025-03-01T23:30:00-05:00",  # the latest: 04:30 UTC on the second
        "o2": "2025-03-02T04:00:00Z",
        "o3": "2025-03-02T05:00:00+02:00",
    }
    context.people(
        *(observation(key, effectiveDateTime=text, issued=f"2026-01-0{n}T00:00:00Z") for n, (key, text) in
          enumerate(times.items(), 1))
    )  # fmt: skip
    async with context.open() as site:
        records = whole(await site.observations(ANA), *times)
    zone = ZoneInfo(context.zone)
    spans = {
        key: interval_of(one.effective.at, zone) for key, one in records.items() if one.effective is not None
    }
    known = {key: span.lo for key, span in spans.items() if span is not None}
    equal(sorted(known, key=lambda key: known[key]), ["o3", "o2", "o1"], "from the earliest to the latest")
