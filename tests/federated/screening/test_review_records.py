"""Which records count: codes, statuses, categories, versions, subjects."""

from __future__ import annotations

from tests.federated.screening.fhir_cases import (
    SYSTEMS,
    Row,
    check,
    coded,
    cond,
    drug,
    obs,
    proc,
    row,
    table,
    visit,
)

AMD, ANY_AMD = "{condition: {in: amd}}", "{condition: {in: amd, clinical: any}}"
DM, ON_INSULIN = "{condition: {in: dm}}", "{medication: {in: insulin, status: [active]}}"
EPIC = "urn:oid:1.2.840.114350.1.13.0.1.7.4.698084.30"


def status(*codings: dict[str, str], text: str | None = None) -> dict[str, object]:
    return {"coding": list(codings)} | ({"text": text} if text else {})


def hl7(code: str, which: str = "clinical") -> dict[str, str]:
    return {"system": SYSTEMS[which], "code": code}


def classed(kind: dict[str, str] | None) -> dict[str, object]:
    return visit("2024-05-01") | {"class": kind}


@table(
    row("2.3", "dots, case and spaces of ICD are one code", AMD, [cond(coded(" h353112 "))], 2),
    row("2.3", "an excluded prefix takes a member away", AMD, [cond("H35.3190")], 0),
    row("2.3", "the parent of a prefix is no member", "{condition: {in: wet}}", [cond("H35.3")], 0),
    row("2.3", "a code without its system never matches", DM, [cond({"coding": [{"code": "E11.9"}]})], 0),
    row("2.3", "a code in a wrong system never matches", DM, [cond(coded("44054006", "icd"))], 0),
    row("2.3", "a system as OID", DM, [cond(coded("E11.9", "urn:oid:2.16.840.1.113883.6.90"))], 2),
    row("2.3", "a system as bare OID", DM, [cond(coded("44054006", "2.16.840.1.113883.6.96"))], 2),
    row("2.3", "a system with another case and a slash", DM, [cond(coded("44054006",
        "HTTP://SNOMED.info/sct/"))], 2),
    row("2.3", "a system with its edition", DM,
        [cond(coded("44054006", "http://snomed.info/sct/731000124108/version/20240301"))], 2),
    row("2.3", "a system with its version", DM, [cond(coded("E11.9", f"{SYSTEMS['icd']}|2024"))], 2),
    row("2.3", "a system that only begins alike", DM, [cond(coded("44054006", "http://snomed.info/sctid"))], 0),
    row("2.3", "any of several codings makes a member", DM,
        [cond({"coding": [{"system": "urn:x", "code": "1"}, {"system": SYSTEMS["icd"], "code": "E11.9"}]})], 2),
    row("2.3", "a hint in a text-only entry is unknown", "{condition: {in: wet}}",
        [cond({"text": "Wet AMD OD"})], 1),
    row("2.3", "a hint is a whole word", "{condition: {in: wet}}", [cond({"text": "sweat amdahl"})], 0),
    row("2.3", "a hint in an unmapped entry is unknown", "{condition: {in: wet}}",
        [cond({"coding": [{"system": "urn:x", "code": "1", "display": "wet AMD"}]})], 1),
    row("2.3", "a hint in a mapped entry says nothing", "{condition: {in: wet}}",
        [cond(coded("H40.11", "icd", "no wet amd"))], 0),
    row("3.3", "a text-only entry without a hint changes nothing", AMD, [cond({"text": "Drusen"})], 0),
    row("3.3", "a diagnosis that says nothing at all may be any", AMD, [cond({}), cond(None)], 1),
    row("3.3", "a prescription of nothing may be of any drug", ON_INSULIN,
        [drug(medicationCodeableConcept=None)], 1),
    row("3.3", "a drug with an empty code may be any drug", ON_INSULIN, [drug(medicationCodeableConcept={})],
        1),
    row("3.3", "a drug that is only pointed to may be any drug", ON_INSULIN,
        [drug(medicationReference={"reference": "Medication/9"})], 1),
    row("3.3", "a drug that is pointed to by its name may be any drug", ON_INSULIN,
        [drug(medicationReference={"display": "Aspirin"})], 1),
    row("3.3", "a stopped drug that is only pointed to is not taken", ON_INSULIN,
        [drug(medicationReference={"reference": "Medication/9"}, status="stopped")], 0),
)  # fmt: skip
def test_codes(case: Row) -> None:
    check(case)


@table(
    row("2.4", "active and confirmed", AMD, [cond()], 2),
    row("2.4", "resolved is not active", AMD, [cond(clinicalStatus=coded("resolved", "clinical"))], 0),
    row("2.4", "relapse by default", AMD, [cond(clinicalStatus=coded("relapse", "clinical"))], 2),
    row("2.4", "relapse is a kind of active, and was not listed", "{condition: {in: amd, clinical: [active]}}",
        [cond(clinicalStatus=coded("relapse", "clinical"))], 1),
    row("2.4", "resolved is no kind of active", "{condition: {in: amd, clinical: [active]}}",
        [cond(clinicalStatus=coded("resolved", "clinical"))], 0),
    row("2.4", "any clinical status", ANY_AMD, [cond(clinicalStatus=coded("resolved", "clinical"))], 2),
    row("2.4", "any clinical status, none given", ANY_AMD, [cond(clinicalStatus=None)], 2),
    row("2.4", "no clinical status is unknown", AMD, [cond(clinicalStatus=None)], 1),
    row("2.4", "a clinical status in words is unknown", AMD, [cond(clinicalStatus={"text": "Active"})], 1),
    row("2.4", "no verification is unknown", AMD, [cond(verificationStatus=None)], 1),
    row("2.4", "provisional is unknown", AMD, [cond(verificationStatus=coded("provisional", "ver"))], 1),
    row("2.4", "refuted never counts", AMD, [cond(verificationStatus=coded("refuted", "ver"))], 0),
    row("3.3", "a diagnosis entered in error does not exist", ANY_AMD,
        [cond(verificationStatus=coded("entered-in-error", "ver"))], 0),
    row("2.4", "a status in another case", AMD, [cond(clinicalStatus=coded("Active ", "clinical"))], 2),
    row("2.4", "a vendor's own word before HL7's", AMD,
        [cond(clinicalStatus=status({"system": EPIC, "code": "2"}, hl7("active")),
              verificationStatus=status({"system": EPIC, "code": "1"}, hl7("confirmed", "ver")))], 2),
    row("2.4", "a vendor's own word after HL7's", AMD,
        [cond(clinicalStatus=status(hl7("resolved"), {"system": EPIC, "code": "2"}))], 0),
    row("2.4", "a vendor's own word alone is no status", AMD,
        [cond(clinicalStatus=status({"system": EPIC, "code": "2"}))], 1),
    row("2.4", "a vendor's own verification alone is none", AMD,
        [cond(verificationStatus=status({"system": EPIC, "code": "7"}))], 1),
    row("2.4", "two words that contradict each other", AMD,
        [cond(clinicalStatus=status(hl7("resolved"), hl7("active")))], 1),
    row("2.4", "two verifications that contradict each other", AMD,
        [cond(verificationStatus=status(hl7("confirmed", "ver"), hl7("refuted", "ver")))], 1),
    row("2.4", "two words of one meaning", AMD,
        [cond(verificationStatus=status(hl7("unconfirmed", "ver"), hl7("provisional", "ver")))], 1),
    row("2.4", "a word and a broader one", AMD, [cond(clinicalStatus=status(hl7("active"), hl7("relapse")))], 2),
    row("3.3", "entered in error in any coding", ANY_AMD,
        [cond(verificationStatus=status({"system": EPIC, "code": "7"}, hl7("entered-in-error", "ver")))], 0),
    row("3.3", "a family history never counts", AMD, [cond(category=[coded("family-history", "urn:x")])], 0),
    row("2.4", "one of the categories", "{condition: {in: amd, category: [problem-list-item]}}",
        [cond(category=[coded("x", "urn:x"), coded("problem-list-item", "urn:c")])], 2),
    row("2.4", "another category", "{condition: {in: amd, category: [problem-list-item]}}",
        [cond(category=[coded("encounter-diagnosis", "urn:c")])], 0),
    row("2.4", "no category", "{condition: {in: amd, category: [problem-list-item]}}", [cond()], 1),
    row("2.4", "a category in a vendor's own words", "{condition: {in: amd, category: [problem-list-item]}}",
        [cond(category=[coded("439401001", "snomed")])], 1),
)  # fmt: skip
def test_statuses_of_conditions(case: Row) -> None:
    check(case)


DONE, SEEN = "{procedure: {in: injection}}", "{encounter: {count: '>= 1'}}"
ORDERED = "{medication: {in: insulin, status: [active], intent: [order]}}"
LAB = "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%'}}"


@table(
    row("2.4", "completed", DONE, [proc()], 2),
    row("2.4", "in progress is not completed", DONE, [proc(status="in-progress")], 0),
    row("2.4", "not done", DONE, [proc(status="not-done")], 0),
    row("2.4", "without status", DONE, [proc(status=None)], 1),
    row("2.4", "an empty status is none", DONE, [proc(status="")], 1),
    row("2.4", "status unknown", DONE, [proc(status="unknown")], 1),
    row("2.4", "status in another case", DONE, [proc(status="Completed")], 2),
    row("2.4", "a word that is no status of FHIR", DONE, [proc(status="done")], 1),
    row("3.3", "entered in error in another case", DONE, [proc(status="Entered-in-Error")], 0),
    row("2.4", "a visit with a status of a later FHIR", SEEN, [visit("2024-05-01", status="discharged")], 1),
    row("2.4", "a planned visit", SEEN, [visit("2024-05-01", status="planned")], 0),
    row("2.4", "a preliminary result is not read", LAB, [obs(7, status="preliminary")], 1),
    row("2.4", "an amended result is", LAB, [obs(7, status="amended")], 2),
    row("2.4", "a drug on hold is not active", ON_INSULIN, [drug(status="on-hold")], 0),
    row("2.4", "a drug that must not be given is none", ON_INSULIN, [drug(doNotPerform=True)], 0),
    row("2.4", "an intent in another case", ORDERED, [drug(intent="Order")], 2),
    row("2.4", "another intent", ORDERED, [drug(intent="plan")], 0),
    row("2.4", "a kind of order", ORDERED, [drug(intent="instance-order")], 1),
    row("2.4", "no intent", ORDERED, [drug(intent=None)], 1),
    row("2.4", "acute is a kind of inpatient, and was not listed", "{encounter: {class: [IMP], count: '>= 1'}}",
        [classed({"code": "ACUTE"})], 1),
    row("2.4", "a statement counts too", ON_INSULIN,
        [{"resourceType": "MedicationStatement", "status": "active",
          "medicationCodeableConcept": coded("106892", "rxnorm")}], 2),
    row("2.4", "requests only", "{medication: {in: insulin, status: [active], kind: [request]}}",
        [{"resourceType": "MedicationStatement", "status": "active",
          "medicationCodeableConcept": coded("106892", "rxnorm")}], 0),
    row("2.4", "an order that must not be done is none", "{order: {in: scan}}",
        [{"resourceType": "ServiceRequest", "status": "active", "intent": "order", "doNotPerform": True,
          "code": coded("252886007", "snomed")}], 0),
    row("2.4", "a class as HL7 writes it", "{encounter: {class: [AMB], count: '>= 1'}}",
        [visit("2024-05-01")], 2),
    row("2.4", "another class of HL7", "{encounter: {class: [IMP], count: '>= 1'}}", [visit("2024-05-01")],
        0),
    row("2.4", "a class in lower case", "{encounter: {class: [amb], count: '>= 1'}}",
        [classed({"code": "amb"})], 2),
    row("2.4", "no class", "{encounter: {class: [AMB], count: '>= 1'}}", [classed(None)], 1),
    row("2.4", "a class in a vendor's own numbers", "{encounter: {class: [AMB], count: '>= 1'}}",
        [classed({"system": EPIC, "code": "13"})], 1),
    row("2.4", "a vendor's class that the author lists", "{encounter: {class: ['13'], count: '>= 1'}}",
        [classed({"system": EPIC, "code": "13"})], 2),
    row("2.4", "a document that was entered in error by its own status", "{document: {type: consent}}",
        [{"resourceType": "DocumentReference", "status": "current", "docStatus": "entered-in-error",
          "type": coded("59284-0", "loinc")}], 1),
    row("2.4", "a result of another category", "{observation: {in: a1c, take: any, category: [laboratory]}}",
        [obs(7, category=[coded("survey", "urn:c")])], 1),
    row("2.4", "a result of the category in words of HL7 version 2",
        "{observation: {in: a1c, take: latest, category: [laboratory], is: '>= 6', unit: '%'}}",
        [obs(7, category=[coded("LAB", "urn:v2")]),
         obs(5, effectiveDateTime="2023-01-01", category=[coded("laboratory", "urn:c")])], 1),
)  # fmt: skip
def test_statuses_of_other_kinds(case: Row) -> None:
    check(case)


def version(number: str, **more: object) -> dict[str, object]:
    return proc(id="one", meta={"versionId": number}, **more)


MANY = "{procedure: {in: injection, distinct: records, count: '%s'}}"
AT = {"performedDateTime": "2024-06-01T10:00:00Z"}


@table(
    row("3.6", "the highest version wins", DONE, [version("2", status="not-done"), version("1")], 0),
    row("3.6", "versions are numbers", DONE, [version("10"), version("9", status="entered-in-error")], 2),
    row("3.6", "two versions are one record", MANY % "= 1", [version("1"), version("2")], 2),
    row("3.6", "one instant under two ids counts once", MANY % "= 1", [proc(**AT), proc(**AT)], 2),
    row("3.6", "one day under two ids is two", MANY % "= 2", [proc(), proc()], 2),
    row("2.4", "days are counted, not records", "{procedure: {in: injection, count: '= 1'}}", [proc(),
        proc()], 2),
    row("2.4", "a month is no day", "{procedure: {in: injection, count: '>= 2'}}",
        [proc(), proc(performedDateTime="2024-05")], 1),
    row("3.6", "a record of another patient", DONE, [proc(subject={"reference": "Patient/q"})], 0),
    row("3.6", "a record under a merged id", DONE, [proc(subject={"reference": "Patient/old"})], 2,
        aliases=["old"]),
    row("3.6", "a reference with address and version", DONE,
        [proc(subject={"reference": "https://ehr.example/fhir/Patient/p/_history/3"})], 2),
)  # fmt: skip
def test_identity(case: Row) -> None:
    check(case)
