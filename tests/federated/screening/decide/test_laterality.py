"""Eyes: which one a record is about, and what may be said of one eye (tests 45, 46)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept, Coding
from federated.screening.decide import laterality
from federated.screening.decide.evaluate import compile_plan, compile_verdicts
from federated.screening.decide.evidence import Decision, Outcome
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.trial_plan import PlanRefused, make_plan
from federated.screening.trial import criteria as c
from tests.federated.screening.making import (
    INDEX,
    SNOMED,
    codes,
    concept,
    condition,
    done,
    evidence,
    facts,
    has,
    lab,
    observation,
    plan_of,
    procedure,
    record,
    rule,
    trial,
    truth,
)

BY_CODE = [
    ("H35.3111", "right"), ("H35.3122", "left"), ("H35.3133", "both"), ("H35.3190", None), ("H35.3211", "right"),
    ("H35.3221", "left"), ("H35.3231", "both"), ("H35.3293", None), ("H35.30", None), ("H35.31", None),
    ("H35.351", "right"), ("H35.352", "left"), ("H35.353", "both"), ("H35.359", None), ("H35.81", None),
    ("H34.8110", "right"), ("H34.8120", "left"), ("H34.8130", "both"), ("H34.8190", None), ("H34.8310", "right"),
    ("H34.11", "right"), ("H34.12", "left"), ("H34.10", None), ("H40.1111", "right"), ("H40.1122", "left"),
    ("H40.1133", "both"), ("H40.10X0", None), ("H40.001", "right"), ("H25.11", "right"), ("H25.12", "left"),
    ("H25.13", "both"), ("H25.011", "right"), ("H33.001", "right"), ("H33.22", "left"), ("H43.11", "right"),
    ("H43.812", "left"), ("H47.011", "right"), ("H47.611", None), ("H54.0X33", None), ("H00.011", None),
    ("E11.3211", "right"), ("E11.3212", "left"), ("E11.3213", "both"), ("E11.3219", None), ("E11.311", None),
    ("E10.3511", "right"), ("E11.37X1", "right"), ("E11.9", None), ("I10", None), ("H3531", None),
    ("E113211", "right"),
    ("H44.21", "right"), ("H44.2A2", "left"),
]  # fmt: skip
BY_SITE: list[tuple[Any, str | None]] = [
    (concept("18944008", SNOMED), "right"), (concept("8966001", SNOMED), "left"),
    (concept("40638003", SNOMED), "both"), (concept("81745001", SNOMED), None),
    (CodeableConcept(text="OD"), "right"), (CodeableConcept(text="left eye"), "left"),
    (CodeableConcept(text="OU"), "both"), (CodeableConcept(text="Both eyes"), "both"),
    (CodeableConcept(text="right and left eye"), "both"), (CodeableConcept(text="eye"), None),
    (concept("99", "urn:x", display="Structure of right eye"), "right"), (CodeableConcept(text="bright"), None),
]  # fmt: skip
CPT = "http://www.ama-assn.org/go/cpt"
BY_MODIFIER: list[tuple[Any, str | None]] = [
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"), Coding(code="RT"))), "right"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"), Coding(code="LT"))), "left"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"), Coding(code="50"))), "both"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028", display="Injection-RT"),)), "right"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"),), text="Injection, LT"), "left"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"),), text="Injection, modifier 50"), "both"),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"),), text="START"), None),
    (CodeableConcept(coding=(Coding(system=CPT, code="67028"),), text="50"), None),
]


@pytest.mark.parametrize(("code", "eye"), BY_CODE)
def test_the_eye_of_a_record(code: str, eye: str | None) -> None:
    plain = code if "." in code or len(code) <= 3 else f"{code[:3]}.{code[3:]}"
    assert laterality.of_code(Code("icd10cm", plain)) == eye
    assert laterality.of_code(Code("icd10", plain)) is None
    leaf = has("H*", "E*", "I*", eye="right")
    expected = UNKNOWN if eye is None else YES if eye in ("right", "both") else NO
    assert truth(leaf, record(condition(code))) == expected


@pytest.mark.parametrize(("site", "eye"), BY_SITE)
def test_a_body_site_names_the_eye_before_the_code_does(site: CodeableConcept, eye: str | None) -> None:
    assert truth(has(eye="left"), record(condition(body_site=(site,)))) == (
        UNKNOWN if eye is None else YES if eye in ("left", "both") else NO
    )
    if eye is not None:
        assert (
            truth(
                has("H35.3122", eye=eye if eye != "both" else "left"),
                record(condition("H35.3122", body_site=(site,))),
            )
            == YES
        )


@pytest.mark.parametrize(("code", "eye"), BY_MODIFIER)
def test_a_modifier_names_the_eye(code: CodeableConcept, eye: str | None) -> None:
    expected = UNKNOWN if eye is None else YES if eye in ("right", "both") else NO
    assert truth(done(eye="right"), record(_injection(code))) == expected


def _injection(code: CodeableConcept) -> Any:
    import msgspec

    return msgspec.structs.replace(procedure(), code=code)


def test_positions_agree_with_the_published_descriptions() -> None:
    icd = pytest.importorskip("simple_icd_10_cm")
    sides = {"right eye": "right", "left eye": "left", "bilateral": "both"}
    checked = 0
    for bare in icd.get_all_codes(with_dots=False):
        if not {bare[:4], bare[:5]} & set(laterality.POSITION) or not icd.is_leaf(bare):
            continue
        text = icd.get_description(bare).lower()
        named = {side for word, side in sides.items() if re.search(rf"{word}(?! lid| upper| lower)", text)}
        if len(named) != 1:
            continue
        found = laterality.of_code(Code("icd10cm", f"{bare[:3]}.{bare[3:]}"))
        assert found == named.pop(), bare
        checked += 1
    assert checked > 1000


def test_both_eyes_make_two_leaves() -> None:
    both = condition("H35.3113", body_site=(CodeableConcept(text="OU"),))
    right = condition("H35.3112")
    everywhere = has("H35.31*", eye="all")
    assert truth(everywhere, record(both)) == YES
    assert truth(everywhere, record(right)) == NO
    assert truth(everywhere, record(condition("H35.3192"))) == UNKNOWN
    assert truth(has("H35.31*", eye="any"), record(condition("H35.3192"))) == YES
    paths = [one.path for one in _outcome(everywhere, right).criteria[0].evidence]
    assert paths == ["where[right]", "where[left]"]


def _outcome(node: Any, *items: Any) -> Outcome:
    return compile_plan(plan_of(node))(record(*items))


def letters(value: float, eye: str, **more: Any) -> Any:
    return observation(value, unit="{letters}", code="98498-9", body_site=CodeableConcept(text=eye), **more)


ACUITY: dict[str, Any] = {"codes": codes("98498-9", system="loinc"), "unit": "{letters}"}


def test_any_eye_of_a_latest_value_is_one_of_two_latest_values() -> None:
    pair = record(letters(30, "right eye", id="a"), letters(80, "left eye", id="b", day="2024-06-02"))
    assert truth(lab("<= 40", eye="any", **ACUITY), pair) == YES
    assert truth(lab("<= 40", eye="all", **ACUITY), pair) == NO
    assert truth(lab("<= 40", eye="left", **ACUITY), pair) == NO


def test_an_eye_that_is_not_known_is_told_so() -> None:
    one = evidence(has("H35.31*", eye="right"), record(condition("H35.3192")))
    assert (one.outcome.value, one.reason, one.records[0].eye) == ("unknown", "EYE_UNKNOWN", None)
    assert evidence(has("H35.31*", eye="right"), record(condition("H35.3112"))).records[0].eye == "right"


def same(*rules: tuple[str, Any], side: str = "inclusion", **more: Any) -> Any:
    return make_plan(trial(*(rule(leaf, side, name) for name, leaf in rules), **more), facts(), INDEX)


def test_same_eye_means_one_eye() -> None:
    plan = same(
        ("atrophy", has("H35.3113", "H35.3123", eye="same")),
        ("drusen", has("H35.361", "H35.362", eye="same")),
    )
    one_eye = record(condition("H35.3113"), condition("H35.361", id="c2"))
    two_eyes = record(condition("H35.3113"), condition("H35.362", id="c2"))
    decide = compile_plan(plan)
    assert decide(one_eye).decision is Decision.ELIGIBLE
    assert decide(two_eyes).decision is Decision.NOT_ELIGIBLE
    assert set(decide(two_eyes).eyes) == {"right", "left"}
    assert compile_verdicts(plan)(one_eye) == (YES, YES, YES)
    left = record(condition("H35.3123"), condition("H35.362", id="c2"))
    assert decide(left).decision is Decision.ELIGIBLE


def test_the_eye_of_a_grain_is_this_one() -> None:
    plan = same(("dx", has("H35.31*", eye="this")), ("fellow", c.NotOf(of=has("H35.32*", eye="fellow"))), grain="eye",
                study_eye=("right",))  # fmt: skip
    outcome = compile_plan(plan)(record(condition("H35.3112")))
    assert {eye: row.decision.value for eye, row in outcome.eyes.items()} == {
        "right": "eligible",
        "left": "not_eligible",
    }
    assert (outcome.decision, outcome.study_eye, outcome.eye) == (
        Decision.ELIGIBLE,
        ("right", "only_eligible"),
        None,
    )
    assert outcome.eyes["left"].eye == "left"
    wet_fellow = record(condition("H35.3112"), condition("H35.3221", id="c2"))
    assert compile_plan(plan)(wet_fellow).decision is Decision.NOT_ELIGIBLE


def test_the_study_eye_follows_the_rules_in_order() -> None:
    plan = same(
        ("dx", has("H35.3132", eye="this")), grain="eye", study_eye=("larger(area)", "worse_acuity", "left")
    )
    only = condition("H35.3132", body_site=(CodeableConcept(text="OU"),))

    def chosen(*items: Any) -> Any:
        return compile_plan(plan)(record(only, *items)).study_eye

    assert chosen() == ("left", "left")
    assert chosen(letters(40, "OD", id="a"), letters(50, "OS", id="b")) == ("right", "worse_acuity")
    assert chosen(letters(50, "OD", id="a"), letters(40, "OS", id="b")) == ("left", "worse_acuity")
    assert chosen(letters(50, "OD", id="a"), letters(50, "OS", id="b")) == ("left", "left")
    assert chosen(letters(50, "OD", id="a")) == ("left", "left")


def test_this_eye_needs_an_eye() -> None:
    with pytest.raises(PlanRefused, match="grain: eye"):
        plan_of(has(eye="this"))


def test_a_trial_by_eye_gives_two_undecided_eyes_with_something_to_look_up() -> None:
    plan = same(("acuity", lab("24..73", eye="this", **ACUITY)), grain="eye")
    outcome = compile_plan(plan)(record(letters(50, "OD")))
    assert [outcome.eyes[eye].decision.value for eye in ("right", "left")] == ["eligible", "undecided"]
    assert outcome.eyes["left"].lookups[0].do == "order_test"
    assert outcome.decision is Decision.ELIGIBLE
