"""What silence means, whole criteria, columns."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from ehr.records.fetched import Kind
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import Outcome
from tests.federated.screening.fhir_cases import (
    Row,
    check,
    coded,
    cond,
    drug,
    obs,
    patient_record,
    plan_of,
    proc,
    row,
    table,
    trial_of,
    visit,
)  # fmt: skip

ALLERGIC = "{allergy: {in: penicillin}}"
NO_ALLERGY = {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}


def allergy(code: Any, **more: Any) -> dict[str, Any]:
    made = {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": coded("active", "urn:c"),
        "verificationStatus": coded("confirmed", "urn:v"),
        "code": coded(code, "snomed") if isinstance(code, str) else code,
    }
    return made | more


LEAVES = {
    "condition": ("{condition: {in: amd}}", cond(), 0), "procedure": ("{procedure: {in: injection}}", proc(), 0),
    "medication": ("{medication: {in: insulin, status: [active]}}", drug(), 0), "allergy": (ALLERGIC,
        allergy("91936005"), 1),
    "encounter": ("{encounter: {count: '>= 1'}}", visit("2024-05-01"), 0),
    "observation": ("{observation: {in: a1c, take: any}}", obs(5), 1),
    "order": ("{order: {in: scan}}", {"resourceType": "ServiceRequest", "status": "active",
        "code": coded("252886007", "snomed")}, 0),
    "immunization": ("{immunization: {in: flu}}",
        {"resourceType": "Immunization", "status": "completed", "vaccineCode": coded("140", "cvx")}, 1),
    "document": ("{document: {type: consent}}",
        {"resourceType": "DocumentReference", "status": "current", "type": coded("59284-0", "loinc")}, 1),
}  # fmt: skip
ROWS = [
    made
    for kind, (node, record, none) in LEAVES.items()
    for made in (
        row("3.4", f"{kind}: silence by default", node, [], none),
        row("3.4", f"{kind}: silence in an open world", node, [], 1, world={kind: "open"}),
        row("3.4", f"{kind}: silence in a closed world", node, [], 0, world={kind: "closed"}),
        row("3.4", f"{kind}: silence, partly read", node, [], 1, world={kind: "closed"},
        states={kind: "PARTIAL"}),
        row("3.4", f"{kind}: silence, not allowed", node, [], 1, world={kind: "closed"},
        states={kind: "FORBIDDEN"}),
        row("3.4", f"{kind}: present", node, [record], 2),
        row("3.4", f"{kind}: present, partly read", node, [record], 2, states={kind: "PARTIAL"}),
        row("3.4", f"{kind}: a trial cannot close it", node, [], none, head=f"assume_complete: [{kind}]\n"),
        row("3.4", f"{kind}: a trial closes it where the site agrees", node, [], 0,
        head=f"assume_complete: [{kind}]\n",
            assume_complete=frozenset({kind})),
        row("3.4", f"{kind}: elsewhere matters", node.replace("}}", ", elsewhere: matters}}"), [], 1,
            world={kind: "closed"}),
    )
]  # fmt: skip


@table(*ROWS)
def test_silence(case: Row) -> None:
    check(case)


@table(
    row("3.4", "no known allergies closes", ALLERGIC, [allergy(NO_ALLERGY)], 0),
    row("3.4", "no known allergies, beside another allergy, does not", ALLERGIC,
        [allergy(NO_ALLERGY), allergy("300916003")], 1),
    row("3.4", "no known allergies, beside a refuted one, closes", ALLERGIC,
        [allergy(NO_ALLERGY), allergy("300916003", verificationStatus=coded("refuted", "urn:v"))], 0),
    row("3.4", "no known allergies, refuted, does not", ALLERGIC,
        [allergy(NO_ALLERGY, verificationStatus=coded("refuted", "urn:v"))], 1),
    row("3.4", "no known allergies, of which nobody says that it is so, does not", ALLERGIC,
        [allergy(NO_ALLERGY, verificationStatus=None)], 1),
    row("3.4", "no known allergies, partly read", ALLERGIC, [allergy(NO_ALLERGY)], 1,
        states={"allergy": "PARTIAL"}),
    row("3.4", "no known allergies, in a code without its system", ALLERGIC,
        [allergy({"coding": [{"code": "716186003"}]})], 1),
    row("2.4", "an unconfirmed allergy", ALLERGIC, [allergy("91936005",
        verificationStatus=coded("unconfirmed", "urn:v"))], 1),
    row("2.4", "an allergy without a status", ALLERGIC, [allergy("91936005", verificationStatus=None)], 1),
    row("3.3", "an allergy that was refuted counts as nothing", ALLERGIC,
        [allergy("91936005", verificationStatus=coded("refuted", "urn:v"))], 1),
)  # fmt: skip
def test_allergies(case: Row) -> None:
    check(case)


WINDOW = "{procedure: {in: injection, performed: {within: 12 mo}}}"
EARLY = "{observation: {in: a1c, take: %s, is: '%s', unit: '%%', within: 12 mo}}"
SINCE = {"care_since": date(2024, 1, 1)}


@table(
    row("3.4", "before care, silence is unknown", WINDOW, [], 1, **SINCE),
    row("3.4", "in care, silence is no", "{procedure: {in: injection, performed: {within: 1 mo}}}", [], 0,
        **SINCE),
    row("3.4", "found is found", WINDOW, [proc()], 2, **SINCE),
    row("3.4", "a count cannot end before care",
        "{procedure: {in: injection, performed: {within: 12 mo}, count: '= 1'}}",
        [proc()], 1, **SINCE),
    row("3.4", "any result: there may be one before care", EARLY % ("any", "> 9"), [obs(5)], 1, **SINCE),
    row("3.4", "any result: found", EARLY % ("any", "> 9"), [obs(10)], 2, **SINCE),
    row("3.4", "all results: there may be one before care", EARLY % ("all", "> 4"), [obs(5)], 1, **SINCE),
    row("3.4", "the largest: there may be one before care", EARLY % ("max", "<= 9"), [obs(5)], 1, **SINCE),
    row("3.4", "the earliest: there may be one before care", EARLY % ("earliest", "<= 9"), [obs(5)], 1, **SINCE),
    row("3.4", "the newest is in care", EARLY % ("latest", "<= 9"), [obs(5)], 2, **SINCE),
    row("3.4", "a period before care", "{encounter: {every: {period: 12 mo, times: 1, over: 24 mo}}}",
        [visit("2024-05-01")], 1, **SINCE),
)  # fmt: skip
def test_before_care(case: Row) -> None:
    check(case)


COUNT = "{encounter: {count: '%s'}}"
TWO = [visit("2024-05-01"), visit("2024-04-01")]
LESS = {"states": {"encounter": "PARTIAL"}}


@table(
    row("3.2", "at least", COUNT % ">= 2", TWO, 2), row("3.2", "at least, fewer", COUNT % ">= 3", TWO, 0),
    row("3.2", "at most", COUNT % "<= 2", TWO, 2), row("3.2", "at most, more", COUNT % "<= 1", TWO, 0),
    row("3.2", "exactly", COUNT % "= 2", TWO, 2), row("3.2", "exactly, more", COUNT % "= 1", TWO, 0),
    row("3.2", "exactly none", COUNT % "= 0", [], 2), row("3.2", "at most none", COUNT % "<= 0", TWO, 0),
    row("3.2", "at least, partly read", COUNT % ">= 3", TWO, 1, **LESS),
    row("3.2", "at most, partly read", COUNT % "<= 2", TWO, 1, **LESS),
    row("3.2", "at most, partly read, more", COUNT % "<= 1", TWO, 0, **LESS),
    row("3.2", "exactly, partly read", COUNT % "= 2", TWO, 1, **LESS),
    row("3.2", "exactly none, partly read", COUNT % "= 0", [], 1, **LESS),
    row("3.2", "exactly, with an uncertain one", COUNT % "= 2", [*TWO, visit("2024-03-01", status=None)], 1),
    row("2.4", "a visit without a type may be of any", "{encounter: {in: visit, count: '>= 1'}}", TWO, 1),
    row("2.4", "a visit without a type is a visit",
        "{all: [{encounter: {count: '= 2'}}, {not: {encounter: {in: visit, count: '>= 3'}}}]}", TWO, 2),
    row("2.4", "a visit without a type, beside the question for any",
        "{all: [{encounter: {count: '= 2'}}, {not: {encounter: {in: visit, count: '>= 1'}}}]}", TWO, 1),
    row("2.4", "a visit of another type", "{encounter: {in: visit, count: '>= 1'}}",
        [visit("2024-05-01", type=[coded("270427003", "snomed")])], 0),
    row("3.2", "a discharge", "{encounter: {discharge: hospice, count: '>= 1'}}",
        [visit("2024-05-01", hospitalization={"dischargeDisposition":
            coded("hosp", "http://terminology.hl7.org/CodeSystem/discharge-disposition")})], 2),
    row("3.2", "a stay without a written discharge", "{encounter: {discharge: hospice, count: '>= 1'}}",
        [visit("2024-05-01") | {"class": {"code": "IMP"}}], 1),
    row("3.2", "a visit that ends without a discharge", "{encounter: {discharge: hospice, count: '>= 1'}}",
        [visit("2024-05-01")], 0),
    row("3.2", "a discharge in words", "{encounter: {discharge: hospice, count: '>= 1'}}",
        [visit("2024-05-01", hospitalization={"dischargeDisposition": {"text": "hospice"}})], 1),
)  # fmt: skip
def test_counts(case: Row) -> None:
    check(case)


N, Y = "{condition: {in: dm}}", "{condition: {in: amd}}"
U = "{allergy: {in: penicillin}}"


@table(
    row("3.1", "all: no wins", f"{{all: [{Y}, {U}, {N}]}}", [cond()], 0),
    row("3.1", "all: unknown next", f"{{all: [{Y}, {U}]}}", [cond()], 1),
    row("3.1", "any: yes wins", f"{{any: [{Y}, {U}, {N}]}}", [cond()], 2),
    row("3.1", "any: unknown next", f"{{any: [{U}, {N}]}}", [cond()], 1),
    row("3.1", "not: unknown stays", f"{{not: {U}}}", [cond()], 1),
    row("3.1", "at least two: one and an unknown", f"{{at_least: {{n: 2, of: [{Y}, {U}, {N}]}}}}", [cond()],
        1),
    row("3.1", "at least three of which one is no", f"{{at_least: {{n: 3, of: [{Y}, {U}, {N}]}}}}", [cond()],
        0),
    row("3.1", "at least one", f"{{at_least: {{n: 1, of: [{Y}, {U}, {N}]}}}}", [cond()], 2),
    row("2.4", "an image is not measured",
        "{measurement: {metric: total_ga_area, is: '>= 1', unit: mm2, eye: any}}", [], 1),
)  # fmt: skip
def test_logic(case: Row) -> None:
    check(case)


YES_COLUMN, NUMBER = (
    "{column: {name: consented, is: 'yes'}}",
    "{column: {name: score, is: '>= 3', dtype: number}}",
)


@table(
    row("2.4", "a text", YES_COLUMN, [], 2, columns={"consented": " yes "}),
    row("2.4", "another text", YES_COLUMN, [], 0, columns={"consented": "no"}),
    row("2.4", "a text in another case is no answer", YES_COLUMN, [], 1, columns={"consented": "Yes"}),
    row("3.4", "an empty cell", YES_COLUMN, [], 1, columns={"consented": "  "}),
    row("3.4", "no such column", YES_COLUMN, [], 1),
    row("3.4", "no such column in a closed world", YES_COLUMN, [], 1, world={"column": "closed"}),
    row("3.4", "a cell that says that it is not known", YES_COLUMN, [], 1, columns={"consented": "N/A"}),
    row("3.4", "a cell that says unknown", YES_COLUMN, [], 1, columns={"consented": "Unknown"}),
    row("2.4", "unknown, if that is asked", "{column: {name: consented, is: unknown}}", [], 2,
        columns={"consented": "unknown"}),
    row("2.4", "a number", NUMBER, [], 2, columns={"score": "3.0"}),
    row("2.4", "a smaller number", NUMBER, [], 0, columns={"score": "-3"}),
    row("2.4", "a number with a comma", NUMBER, [], 1, columns={"score": "3,5"}),
    row("2.4", "a number in words", NUMBER, [], 1, columns={"score": "three"}),
    row("2.4", "a number that is none", NUMBER, [], 1, columns={"score": "nan"}),
    row("2.4", "a number without end", NUMBER, [], 1, columns={"score": "inf"}),
)  # fmt: skip
def test_columns(case: Row) -> None:
    check(case)


def decided(rest: str, *records: dict[str, Any], **more: Any) -> Outcome:
    """The outcome of ``{condition: {in: amd}}`` and further criteria, for a patient who has AMD."""
    plan = plan_of(trial_of(Y, more.pop("head", ""), rest), more)
    return compile_plan(plan)(patient_record([cond(), *records], more))


def exclusion(where: str, more: str = "") -> str:
    return f"exclusion:\n  - {{id: y, text: t, source: s, {where}{more}}}\n"


@pytest.mark.parametrize(
    ("section", "rest", "decision", "verdict"),
    [
        ("3.7", exclusion(f"where: {N}"), "eligible", "pass"),
        ("3.7", exclusion(f"where: {Y}"), "not_eligible", "fail"),
        ("3.7", exclusion(f"where: {U}"), "undecided", "unknown"),
        ("2.5", exclusion(f"where: {U}", ", if_unknown: note"), "undecided", "unknown"),
        ("2.2", exclusion("todo: read the chart"), "undecided", "unknown"),
        ("3.6", exclusion(f"where: {Y}, applies_if: {N}"), "eligible", "not_applicable"),
        ("3.6", exclusion(f"where: {Y}, applies_if: {U}"), "undecided", "unknown"),
        ("3.6", exclusion(f"where: {N}, applies_if: {U}"), "eligible", "pass"),
        ("3.6", exclusion(f"where: {Y}, applies_if: {Y}"), "not_eligible", "fail"),
        ("3.6", exclusion(f"todo: chart, applies_if: {N}"), "eligible", "not_applicable"),
        ("2.2", exclusion(f"where: {Y}, enabled: false"), "eligible", "not_evaluated"),
    ],
)
def test_whole_criteria(section: str, rest: str, decision: str, verdict: str) -> None:
    found = decided(rest)
    assert (found.decision.value, found.criteria[1].verdict.value) == (decision, verdict), section


@pytest.mark.parametrize(("near", "value", "miss"), [("10", 5.5, True), ("10", 5.3, False), ("10", 7, False)])
def test_a_near_miss_is_still_a_failure(near: str, value: float, miss: bool) -> None:
    """2.2: ``near`` marks, and never decides."""
    node = "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%'}}"
    found = decided(f"  - {{id: y, text: t, source: s, near: {near}, where: {node}}}\n", obs(value))
    assert found.criteria[1].near_miss is miss
    assert found.decision.value == ("eligible" if value >= 6 else "not_eligible")


def test_the_dead_are_never_eligible_unless_the_trial_says_so() -> None:
    dead = {"patient": {"deceasedBoolean": True}}
    assert decided("", **dead).decision.value == "not_eligible"
    assert decided("", head="allow_deceased: true\n", **dead).decision.value == "eligible"


@pytest.mark.parametrize(("kind", "node"), [(kind, node) for kind, (node, _, _) in LEAVES.items()])
def test_every_kind_that_decides_is_fetched(kind: str, node: str) -> None:
    assert Kind(kind) in plan_of(trial_of(node), {}).kinds
    asked = plan_of(trial_of(Y, "", exclusion(f"todo: t, applies_if: {{not: {node}}}")), {})
    assert Kind(kind) in asked.kinds


def test_the_acuity_that_chooses_the_study_eye_is_fetched() -> None:
    """2.6: without it, ``worse_acuity`` would silently give way to the next rule."""
    plan = plan_of(
        trial_of("{condition: {in: amd, eye: this}}", "grain: eye\nstudy_eye: [worse_acuity, right]\n"), {}
    )
    assert Kind.OBSERVATION in plan.kinds
