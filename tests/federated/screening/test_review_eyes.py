"""Right, left, this, fellow, same; the study eye (docs/write-a-trial.md, "Eyes")."""

from __future__ import annotations

from typing import Any

import pytest

from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Outcome
from tests.federated.screening.fhir_cases import (
    SYSTEMS,
    Row,
    check,
    coded,
    cond,
    obs,
    patient_record,
    plan_of,
    proc,
    row,
    table,
    trial_of,
)  # fmt: skip

RIGHT, LEFT = "{condition: {in: amd, eye: right}}", "{condition: {in: amd, eye: left}}"
DONE = "{procedure: {in: injection, eye: %s}}"
SITES = {"right": "18944008", "left": "8966001", "both": "40638003", "an": "81745001"}


def site(eye: str) -> list[Any]:
    return [coded(SITES[eye], "snomed")]


def icd(*codes: str) -> dict[str, Any]:
    return {"coding": [{"system": SYSTEMS["icd"], "code": code} for code in codes]}


def modified(modifier: str) -> dict[str, Any]:
    return {
        "coding": [{"system": SYSTEMS["cpt"], "code": "67028"}, {"system": SYSTEMS["cpt"], "code": modifier}]
    }


@table(
    row("2.6", "the character of the code, right", RIGHT, [cond("H35.3112")], 2),
    row("2.6", "the character of the code, not left", LEFT, [cond("H35.3112")], 0),
    row("2.6", "the character of the code, both", LEFT, [cond("H35.3132")], 2),
    row("2.6", "a code that is too short names no eye", LEFT, [cond("H35.31")], 1),
    row("2.6", "unspecified is no eye", "{condition: {in: wet, eye: left}}", [cond("H35.3290")], 1),
    row("2.6", "two codes of one entry are both eyes", LEFT, [cond(icd("H35.3112", "H35.3122"))], 2),
    row("2.6", "two codes of one entry, the member second", LEFT, [cond(icd("H35.3190", "H35.3122"))], 2),
    row("2.6", "a code of another system beside it", "{condition: {in: dm, eye: left}}",
        [cond({"coding": [{"system": SYSTEMS["snomed"], "code": "44054006"},
                          {"system": SYSTEMS["icd"], "code": "E11.3511"}]})], 0),
    row("2.6", "the body site before the code", RIGHT, [cond("H35.3122", bodySite=site("right"))], 2),
    row("2.6", "a body site that names no side leaves the code", LEFT, [cond("H35.3122",
        bodySite=site("an"))], 2),
    row("2.6", "two body sites", LEFT, [cond("H35.31", bodySite=[*site("right"), *site("left")])], 2),
    row("2.6", "a body site in words", LEFT, [cond("H35.31", bodySite=[{"text": "Left eye"}])], 2),
    row("2.6", "any eye, of an entry without one", "{condition: {in: amd, eye: any}}", [cond("H35.31")], 2),
    row("2.6", "all eyes, right and unknown", "{condition: {in: amd, eye: all}}", [cond("H35.3112"),
        cond("H35.31")], 1),
    row("2.6", "all eyes, both", "{condition: {in: amd, eye: all}}", [cond("H35.3112"), cond("H35.3122")], 2),
    row("2.6", "all eyes, one", "{condition: {in: amd, eye: all}}", [cond("H35.3112")], 0),
    row("2.6", "a modifier, right", DONE % "right", [proc(code=modified("RT"))], 2),
    row("2.6", "a modifier, not left", DONE % "left", [proc(code=modified("RT"))], 0),
    row("2.6", "a modifier, both", DONE % "left", [proc(code=modified("50"))], 2),
    row("2.6", "a modifier in lower case", DONE % "left", [proc(code=modified("rt"))], 0),
    row("2.6", "no modifier", DONE % "left", [proc()], 1),
    row("2.6", "two injections, one eye unknown", "{procedure: {in: injection, eye: left, count: '>= 1'}}",
        [proc(code=modified("RT")), proc()], 1),
    row("2.6", "same: the diagnosis in one eye, the injection in the other",
        "{all: [{condition: {in: amd, eye: same}}, {procedure: {in: injection, eye: same}}]}",
        [cond("H35.3112"), proc(code=modified("LT"))], 0),
    row("2.6", "same: both in one eye",
        "{all: [{condition: {in: amd, eye: same}}, {procedure: {in: injection, eye: same}}]}",
        [cond("H35.3112"), proc(code=modified("RT")), proc(code=modified("LT"))], 2),
    row("2.6", "same: the eye of the injection is not known",
        "{all: [{condition: {in: amd, eye: same}}, {procedure: {in: injection, eye: same}}]}",
        [cond("H35.3112"), proc()], 1),
)  # fmt: skip
def test_the_eye_of_a_record(case: Row) -> None:
    check(case)


LETTERS = "{observation: {in: letters, take: latest, is: '%s', unit: '{letters}', eye: right}}"


def acuity(value: Any, eye: str = "right", **more: Any) -> dict[str, Any]:
    made = {"valueString": value} if isinstance(value, str) else {
        "valueQuantity": {"value": value, "unit": "{letters}", "code": "{letters}"}
    }  # fmt: skip
    return obs(None, "98498-9", bodySite=site(eye)[0], **made) | more


@table(
    row("4.2", "letters", LETTERS % ">= 70", [acuity(70)], 2),
    row("4.2", "Snellen", LETTERS % ">= 69", [acuity("20/40")], 2),
    row("4.2", "Snellen, two letters less", LETTERS % ">= 69", [acuity("20/40-2")], 0),
    row("4.2", "metres", LETTERS % ">= 69", [acuity("6/12")], 2),
    row("4.2", "a fraction of nothing", LETTERS % ">= 0", [acuity("20/0")], 1),
    row("4.2", "counting fingers is below every score", LETTERS % ">= 24", [acuity("CF")], 0),
    row("4.2", "counting fingers is at most anything", LETTERS % "<= 24", [acuity("CF 2ft"), acuity("CF")],
        1),
    row("4.2", "hand motion", LETTERS % "<= 24", [acuity("Hand Motion")], 2),
    row("4.2", "words", LETTERS % "<= 24", [acuity("unable to test")], 1),
    row("4.2", "logMAR", LETTERS % ">= 70", [acuity(0, valueQuantity={"value": 0.3, "code": "{logMAR}"})], 2),
    row("4.2", "a logMAR above is fewer letters", LETTERS % ">= 70",
        [acuity(0, valueQuantity={"value": 0.3, "comparator": ">", "code": "{logMAR}"})], 0),
    row("2.6", "the other eye's acuity", LETTERS % ">= 70", [acuity(80, "left")], 1),
)  # fmt: skip
def test_acuity(case: Row) -> None:
    check(case)


BY_EYE = "grain: eye\nstudy_eye: [worse_acuity, %s]\n"
OF_BOTH = [cond("H35.3132")]


def by_eye(node: str, *records: dict[str, Any], last: str = "right", rest: str = "", **more: Any) -> Outcome:
    plan = plan_of(trial_of(node, BY_EYE % last, rest), more)
    who = patient_record(records, more)
    found = compile_plan(plan)(who)
    lowest = {"eligible": 2, "undecided": 1, "not_eligible": 0}[found.decision.value]
    assert min(compile_verdicts(plan)(who)) == lowest
    return found


THIS = "{condition: {in: amd, eye: this}}"


@pytest.mark.parametrize(
    ("says", "records", "expected"),
    [
        ("the worse eye", [acuity(40, "left"), acuity(70)], ("left", "worse_acuity")),
        ("no acuity: the last rule", [], ("right", "right")),
        ("equal acuity: the last rule", [acuity(70, "left"), acuity(70)], ("right", "right")),
        ("one is not known: the last rule", [acuity(40, "left")], ("right", "right")),
        ("words below every score do not compare", [acuity("CF", "left"), acuity("HM")], ("right", "right")),
    ],
)
def test_the_study_eye(says: str, records: list[dict[str, Any]], expected: tuple[str, str]) -> None:
    assert by_eye(THIS, *OF_BOTH, *records).study_eye == expected, says


def test_an_acuity_that_was_read_in_part_chooses_no_eye() -> None:
    """3.2: the newest may be missing, so it is not known which eye is worse."""
    partly = {"observation": "PARTIAL"}
    found = by_eye(THIS, *OF_BOTH, acuity(40, "left"), acuity(70), states=partly)
    assert found.study_eye == ("right", "right")


@pytest.mark.parametrize(
    ("says", "node", "records", "right", "left"),
    [
        ("this", THIS, [cond("H35.3112")], "eligible", "not_eligible"),
        ("fellow", "{condition: {in: amd, eye: fellow}}", [cond("H35.3112")], "not_eligible", "eligible"),
        ("an entry without an eye", THIS, [cond("H35.31")], "undecided", "undecided"),
        (
            "an entry without an eye, and one with",
            THIS,
            [cond("H35.31"), cond("H35.3112")],
            "eligible",
            "undecided",
        ),
        ("not asked", "{condition: {in: amd}}", [cond("H35.3112")], "eligible", "eligible"),
    ],
)
def test_each_eye_for_itself(
    says: str, node: str, records: list[dict[str, Any]], right: str, left: str
) -> None:
    found = by_eye(node, *records)
    assert {eye: row.decision.value for eye, row in found.eyes.items()} == {"right": right, "left": left}, (
        says
    )
    best = max((right, left), key=["not_eligible", "undecided", "eligible"].index)
    assert found.decision.value == best


def test_criteria_that_say_same_hold_in_one_eye() -> None:
    """2.6: area and lesion come from one eye, over criteria and not only inside one."""
    rest = "  - {id: y, text: t, source: s, where: {procedure: {in: injection, eye: same}}}\n"
    also_wet = "{condition: {in: wet, clinical: any, eye: same}}"
    exclusion = f"exclusion:\n  - {{id: z, text: t, source: s, where: {also_wet}}}\n"

    def of(*records: dict[str, Any], more: str = "") -> str:
        plan = plan_of(trial_of("{condition: {in: amd, eye: same}}", "", rest + more), {})
        return compile_plan(plan)(patient_record(records)).decision.value

    one, other = proc(code=modified("RT")), proc(code=modified("LT"))
    assert of(cond("H35.3112"), one) == "eligible"
    assert of(cond("H35.3112"), other) == "not_eligible"
    assert of(cond("H35.3112"), proc()) == "undecided"
    wet = cond("H35.3211", category=None)
    assert of(cond("H35.3112"), one, wet, more=exclusion) == "not_eligible"
    assert of(cond("H35.3132"), one, other, wet, more=exclusion) == "eligible"
