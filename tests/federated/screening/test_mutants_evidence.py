"""What a sample of mutants left over: reasons and values that evidence names, and which eye speaks for a patient."""

from __future__ import annotations

from typing import Any

import pytest

from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Decision, Evidence, Outcome
from tests.federated.screening.fhir_cases import cond, obs, patient_record, plan_of, trial_of


def found(node: str, records: list[dict[str, Any]], **more: Any) -> Outcome:
    plan = plan_of(trial_of(node, more.get("head", ""), more.get("rest", "")), more)
    return compile_plan(plan)(patient_record(records, more))


def leaf(node: str, records: list[dict[str, Any]], **more: Any) -> Evidence:
    return found(node, records, **more).criteria[0].evidence[0]


HIGHEST = "{observation: {in: a1c, take: max, is: '>= 7', unit: '%'}}"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(None, "NOT_RECORDED"), ("PARTIAL", "SOURCE_PARTIAL"), ("UNAVAILABLE", "SOURCE_UNAVAILABLE")],
)
def test_the_highest_of_nothing_says_why_there_is_nothing(state: str | None, reason: str) -> None:
    states = {} if state is None else {"observation": state}
    assert leaf(HIGHEST, [], states=states).reason == reason


def test_silence_about_the_sex_is_no_only_where_the_site_says_so() -> None:
    node = "{sex: {is: male}}"
    silent, odd = {"gender": None}, {"gender": "x-none-of-these"}
    assert leaf(node, [], patient=silent, world={"sex": "closed"}).outcome == "no"
    assert leaf(node, [], patient=silent).outcome == "unknown"
    assert leaf(node, [], patient=odd, world={"sex": "closed"}).outcome == "unknown"


def test_a_death_on_record_is_named_as_such() -> None:
    node = "{deceased: {is: true}}"
    assert leaf(node, [], patient={"deceasedBoolean": True}).reason == "CODE_PRESENT"
    assert leaf(node, [], patient={"deceasedBoolean": False}).reason == "NOT_EQUAL"


EYES = "grain: eye\n"


@pytest.mark.parametrize("doubtful", ["right", "left"])
def test_an_eligible_eye_speaks_before_an_undecided_one(doubtful: str) -> None:
    """Whichever side it is on."""
    codes = {"right": "H35.3112", "left": "H35.3122"}
    sure = "left" if doubtful == "right" else "right"
    records = [
        cond(codes[sure]),
        cond(codes[doubtful], verificationStatus={"coding": [{"code": "provisional"}]}),
    ]
    outcome = found("{condition: {in: amd, eye: this}}", records, head=EYES)
    assert outcome.eyes[sure].decision is Decision.ELIGIBLE
    assert outcome.eyes[doubtful].decision is Decision.UNDECIDED
    assert outcome.decision is Decision.ELIGIBLE
    assert [one.verdict for one in outcome.criteria] == [one.verdict for one in outcome.eyes[sure].criteria]


@pytest.mark.parametrize(("first", "second"), [("H35.3112", "H35.3122"), ("H35.3122", "H35.3112")])
def test_of_two_failing_eyes_the_one_with_fewer_failures_speaks(first: str, second: str) -> None:
    rest = (
        "  - {id: y, text: t, source: s, where: {condition: {in: amd, eye: this, count: '>= 2'}}}\n"
        "  - {id: z, text: t, source: s, where: {sex: {is: male}}}\n"
    )
    records = [cond(first, id="a"), cond(first, id="b", onsetDateTime="2020-01-01"), cond(second, id="c")]
    plan = plan_of(trial_of("{condition: {in: amd, eye: this}}", EYES, rest), {})
    who = patient_record(records)
    assert sum(truth == 0 for truth in compile_verdicts(plan)(who)) == 1
    assert sum(one.verdict == "fail" for one in compile_plan(plan)(who).criteria) == 1


def test_a_coded_result_shows_its_display_and_no_text() -> None:
    code = {"system": "http://snomed.info/sct", "code": "10828004", "display": "Positive"}
    records = [obs(code="2106-3", valueCodeableConcept={"coding": [code], "text": "words of the laboratory"})]
    told = leaf("{observation: {in: hcg, take: latest, code_in: positive}}", records)
    assert told.outcome == "yes"
    assert told.value == "Positive"


def test_of_two_equal_parts_of_a_panel_the_lower_is_shown() -> None:
    part = {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}}
    unit = {"unit": "mm[Hg]", "code": "mm[Hg]"}
    parts = [part | {"valueQuantity": {"value": value} | unit} for value in (150, 140)]
    node = "{observation: {in: bp, component: systolic, take: latest, is: '> 130', unit: 'mm[Hg]'}}"
    for order in (parts, parts[::-1]):
        assert leaf(node, [obs(code="85354-9", component=order)]).value == 140
