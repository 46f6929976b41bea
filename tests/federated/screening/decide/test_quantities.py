"""Values: comparators, units, texts, codes, acuity (tests 41 to 44, 47)."""

from __future__ import annotations

from decimal import Decimal
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr.records.elements import CodeableConcept, Coding, Quantity, Range, Ratio
from federated.screening.decide.quantities import NumberRange, compared, letters_of
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.nodes import Scale
from tests.federated.screening.making import (
    LOINC,
    SNOMED,
    at,
    codes,
    compare,
    concept,
    evidence,
    lab,
    observation,
    pressure,
    record,
    truth,
)

LETTERS = {"codes": codes("98498-9", system="loinc", name="acuity"), "unit": "{letters}"}
GLUCOSE = {"codes": codes("2345-7", system="loinc", name="glucose"), "unit": "mg/dL"}


def of(leaf: object, *values: object, **more: object) -> int:
    return truth(leaf, record(*values), **more)  # type: ignore[arg-type]


def result(value: object, **more: object) -> object:
    return observation(None, value_quantity=value, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "value", "expected"),
    [(">= 5.7", 5.7, YES), ("> 5.7", 5.7, NO), ("<= 5.7", 5.7, YES), ("< 5.7", 5.7, NO), ("= 5.7", 5.7, YES),
     ("!= 5.7", 5.7, NO), (">= 5.7", 5.6999, NO), ("> 5.7", 5.7001, YES), ("5..6", 5, YES), ("5..6", 6, YES),
     ("5..6", 6.01, NO), ("= 5.7", 5.6, NO), ("!= 5.7", 5.6, YES)],
)  # fmt: skip
def test_a_bound_belongs_to_its_comparison(asked: str, value: float, expected: int) -> None:
    assert of(lab(asked), observation(value)) == expected


def test_a_decided_value_says_on_which_side_it_lies() -> None:
    def reason(asked: str, value: float) -> tuple[str, float | None]:
        one = evidence(lab(asked), record(observation(value)))
        return one.reason, one.margin

    assert reason(">= 5.7", 5.2) == ("BELOW_MIN", -0.5)
    assert reason("<= 5.7", 6.0) == ("ABOVE_MAX", -0.3)
    assert reason("5..6", 5.9) == ("IN_RANGE", 0.1)
    assert reason("!= 5.7", 5.7) == ("NOT_EQUAL", None)


def test_comparators_are_intervals() -> None:
    def less(asked: str, comparator: str, value: float) -> int:
        return of(lab(asked), observation(value, comparator=comparator))

    assert [less(asked, "<", 5) for asked in ("<= 6", "<= 5", "< 5", "<= 4", "> 5", ">= 5", ">= 4")] == [
        YES, YES, YES, UNKNOWN, NO, NO, UNKNOWN,
    ]  # fmt: skip
    assert [less(asked, "<=", 5) for asked in ("<= 5", "< 5", "> 5", ">= 5")] == [YES, UNKNOWN, NO, UNKNOWN]
    assert [less(asked, ">", 200) for asked in ("< 100", "> 200", ">= 200", "<= 200", "> 300")] == [
        NO, YES, YES, NO, UNKNOWN,
    ]  # fmt: skip
    assert [less(asked, ">=", 200) for asked in (">= 200", "> 200", "< 200", "<= 200")] == [
        YES,
        UNKNOWN,
        NO,
        UNKNOWN,
    ]
    assert less(">= 5", "~", 9) == UNKNOWN
    one = evidence(lab("<= 4"), record(observation(5, comparator="<")))
    assert (one.value, one.value_low, one.value_high, one.original_value) == (None, None, 5.0, "<5")


bounds = st.integers(-3, 3)


@given(
    bounds,
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
    bounds,
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_a_stretch_of_numbers_is_decided_by_all_its_members(
    a: int, b: int, c: bool, d: bool, e: int, f: int, g: bool, h: bool
) -> None:
    """Half steps stand for everything between two integers."""
    value, scale = NumberRange(a, a + b, c or not b, d or not b), Scale(e, e + f, g or not f, h or not f)
    halves = [n / 2 for n in range(-8, 16)]

    def within(x: float, low: float, high: float, closed: tuple[bool, bool]) -> bool:
        return (low < x or (low == x and closed[0])) and (x < high or (x == high and closed[1]))

    members = [x for x in halves if within(x, value.low, value.high, (value.low_closed, value.high_closed))]
    answers = {within(x, scale.low, scale.high, (scale.low_closed, scale.high_closed)) for x in members}
    expected = UNKNOWN if len(answers) == 2 else YES if answers == {True} else NO
    assert compared(value, scale)[0] == expected
    assert compared(value, scale, negated=True)[0] == YES - expected


def test_infinite_bounds_hold_everything() -> None:
    assert compared(NumberRange(-inf, inf), Scale(-inf, inf, True, True)) == (YES, 0)


def test_hba1c_scales_agree_and_ucum_does_not() -> None:
    assert [of(lab(">= 6.5"), observation(value, unit="mmol/mol")) for value in (47, 48)] == [NO, YES]
    ifcc = lab(">= 48", unit="mmol/mol", method="ifcc")
    assert [of(ifcc, observation(value)) for value in (6.5, 6.6)] == [NO, YES]
    one = evidence(lab(">= 6.5"), record(observation(48, unit="mmol/mol")))
    assert (one.value, one.unit, one.original_value, one.original_unit) == (6.542, "%", "48", "mmol/mol")
    # By dimension alone 6.5 % would be 65 mmol/mol.
    other = {"codes": codes("33762-6", system="loinc")}
    assert of(lab(">= 6.5", **other), observation(48, unit="mmol/mol", code="33762-6")) == UNKNOWN


def test_glucose_needs_its_molar_mass() -> None:
    leaf = lab(">= 126", **GLUCOSE)
    assert [of(leaf, observation(value, unit="mmol/L", code="2345-7")) for value in (6.99, 7.0)] == [NO, YES]
    nothing_known = {"codes": codes("33762-6", system="loinc"), "unit": "mg/dL"}
    one = evidence(lab(">= 126", **nothing_known), record(observation(7, unit="mmol/L", code="33762-6")))
    assert (one.outcome.value, one.reason) == ("unknown", "UNIT_NOT_CONVERTIBLE")


def test_an_unknown_unit_is_unknown() -> None:
    one = evidence(lab(), record(observation(9, unit="furlong")))
    assert (one.outcome.value, one.reason, one.original_unit) == (
        "unknown",
        "UNIT_NOT_CONVERTIBLE",
        "furlong",
    )
    assert evidence(lab(), record(observation(9, unit=None))).reason == "UNIT_MISSING"
    assert of(lab(unit=None), observation(9, unit=None)) == YES
    assert of(lab(unit=None), observation(9, unit="{score}")) == YES
    assert of(lab(unit=None), observation(9, unit="mg")) == UNKNOWN
    assert of(lab(unit="1"), observation(9, unit=None)) == YES
    assert of(lab(), observation(9, unit="{score}")) == UNKNOWN


def test_the_coded_unit_comes_before_the_printed_one() -> None:
    both = Quantity(value=Decimal(6), unit="percent by mass", code="%", system="http://unitsofmeasure.org")
    assert of(lab(), result(both)) == YES
    assert of(lab(), result(Quantity(value=Decimal(6), unit="%", code="PCT"))) == YES


def test_units_as_is_the_authors_word() -> None:
    egfr = {"codes": codes("33914-3", system="loinc"), "unit": "mL/min/{1.73_m2}"}
    plain = observation(70, unit="mL/min", code="33914-3")
    assert of(lab(">= 60", **egfr), plain) == UNKNOWN
    assert of(lab(">= 60", **egfr, units_as=("mL/min",)), plain) == YES
    assert of(lab(">= 60", **egfr), observation(70, unit="mL/min/1.73m2", code="33914-3")) == YES


def test_bounds_are_exact_in_every_unit() -> None:
    """0.07 × 100 is 7.000000000000001 in floating point; the bound is converted, not the value."""
    assert of(lab("<= 7"), observation("0.07", unit="1")) == YES
    assert of(lab("< 7"), observation("0.07", unit="1")) == NO
    height = {"codes": codes("8302-2", system="loinc"), "unit": "m"}
    assert of(lab("<= 1.77", **height), observation(177, unit="cm", code="8302-2")) == YES
    assert of(lab(">= 1.77", **height), observation(177, unit="cm", code="8302-2")) == YES


def test_a_negative_slope_turns_the_bounds_round() -> None:
    """logMAR falls while letters rise: 24 letters are 1.22."""
    at_least_24 = lab(">= 24", **LETTERS)
    values = [observation(value, unit="logMAR", code="98498-9") for value in ("1.22", "1.23", "1.21")]
    assert [of(at_least_24, value) for value in values] == [YES, NO, YES]
    assert evidence(at_least_24, record(values[1])).reason == "BELOW_MIN"
    assert evidence(lab("<= 24", **LETTERS), record(values[2])).reason == "ABOVE_MAX"
    assert of(lab("> 24", **LETTERS), values[0]) == NO


def test_counting_fingers_is_below_every_letter_score() -> None:
    for word in ("CF", "HM", "LP", "NLP", "Counting Fingers", "no light perception"):
        seen = observation(None, code="98498-9", value_string=word)
        assert of(lab("24..73", **LETTERS), seen) == NO
        assert of(lab("< 24", **LETTERS), seen) == YES
        assert of(lab(">= 0", **LETTERS), seen) == NO
    coded = observation(None, code="98498-9", value_codeable_concept=CodeableConcept(text="HM"))
    assert of(lab("< 1", **LETTERS), coded) == YES


@pytest.mark.parametrize(
    ("text", "letters"),
    [("20/20", 85.0), ("20/200", 35.0), ("6/60", 35.0), ("20/20-2", 83.0), ("20/20 +1", 86.0), ("0.1", 35.0),
     ("20/0", None), ("20/40 glasses", None), ("0.0", None), ("5.2", None), ("20-40", None), ("6/6", 85.0)],
)  # fmt: skip
def test_snellen_is_read_by_three_patterns(text: str, letters: float | None) -> None:
    assert letters_of(text) == letters
    seen = observation(None, code="98498-9", value_string=text)
    one = evidence(lab(">= 0", **LETTERS), record(seen))
    assert (one.value, one.reason) == (
        (letters, "IN_RANGE") if letters is not None else (None, "NOT_NUMERIC")
    )


def test_a_ratio_may_be_a_snellen_fraction() -> None:
    ratio = Ratio(numerator=Quantity(value=Decimal(20)), denominator=Quantity(value=Decimal("200")))
    assert (
        evidence(lab("<= 40", **LETTERS), record(observation(None, code="98498-9", value_ratio=ratio))).value
        == 35.0
    )


def test_a_number_that_came_as_text_is_not_numeric() -> None:
    for text in ("5,2", "7.1", "negative"):
        one = evidence(lab(), record(observation(None, value_string=text)))
        assert (one.outcome.value, one.reason) == ("unknown", "NOT_NUMERIC")
    assert evidence(lab(), record(observation(None))).reason == "VALUE_MISSING"
    assert (
        evidence(lab(), record(observation(None, value_quantity=Quantity(unit="%")))).reason
        == "VALUE_MISSING"
    )


def test_a_range_is_an_interval() -> None:
    def span(low: str | None, high: str | None, unit: str = "%") -> object:
        ends = [None if end is None else Quantity(value=Decimal(end), unit=unit) for end in (low, high)]
        return observation(None, value_range=Range(low=ends[0], high=ends[1]))

    assert [of(lab(), span(*ends)) for ends in (("6", "7"), ("5", "6"), ("4", "5"), ("6", None), (None, "5"))] == [
        YES, UNKNOWN, NO, YES, NO,
    ]  # fmt: skip
    assert of(lab(), span("7", "6")) == UNKNOWN
    assert of(lab(), span("6", "7", "furlong")) == UNKNOWN


def test_coded_values_are_compared_by_code() -> None:
    yes = codes("373066001", system="snomed", name="yes")
    leaf = lab(None, "any", unit=None, code_in=yes)

    def said(value: CodeableConcept) -> object:
        return observation(None, value_codeable_concept=value)

    assert of(leaf, said(concept("373066001", SNOMED))) == YES
    assert of(leaf, said(concept("373067005", SNOMED))) == NO
    assert of(leaf, said(CodeableConcept(text="yes"))) == UNKNOWN
    assert of(leaf, said(concept("LA33-6", LOINC))) == UNKNOWN
    assert evidence(leaf, record(said(CodeableConcept(text="yes")))).reason == "CODE_NOT_MAPPED"
    assert of(leaf, observation(5)) == UNKNOWN
    both = CodeableConcept(
        coding=(Coding(system=LOINC, code="LA33-6"), Coding(system=SNOMED, code="373066001"))
    )
    assert of(leaf, said(both)) == YES


def test_texts_are_compared_without_case_and_spacing() -> None:
    leaf = lab(None, "latest", unit=None, texts=("not detected",))
    assert of(leaf, observation(None, value_string="Not  detected ")) == YES
    assert of(leaf, observation(None, value_string="detected")) == NO
    assert (
        of(leaf, observation(None, value_codeable_concept=concept("x", "urn:x", display="NOT DETECTED")))
        == YES
    )
    assert of(leaf, observation(None, value_codeable_concept=concept("x", "urn:x"))) == UNKNOWN


def test_a_component_is_read_instead_of_the_whole() -> None:
    leaf = lab(
        "> 180",
        codes=codes("85354-9", system="loinc"),
        unit="mm[Hg]",
        component=codes("8480-6", system="loinc"),
    )
    assert [of(leaf, pressure("2024-06-01", value)) for value in (181, 180)] == [YES, NO]
    assert evidence(leaf, record(pressure("2024-06-01", None))).reason == "VALUE_MISSING"
    assert evidence(leaf, record(observation(None, code="85354-9"))).reason == "VALUE_MISSING"


def test_extremes_and_means_are_what_they_say() -> None:
    three = [observation(value, f"2024-06-0{n}", id=f"o{n}") for n, value in enumerate((5, 7, 9), 1)]
    assert [of(lab(asked, "max"), *three) for asked in (">= 9", "> 9", "<= 9", "< 9", "= 9", "!= 9")] == [
        YES, NO, YES, NO, YES, NO,
    ]  # fmt: skip
    assert [of(lab(asked, "min"), *three) for asked in ("<= 5", "< 5", ">= 5", "> 5")] == [YES, NO, YES, NO]
    assert [of(lab(asked, "mean"), *three) for asked in (">= 6.9", ">= 7.1", ">= 7")] == [YES, NO, UNKNOWN]
    assert [of(lab(asked, "all"), *three) for asked in (">= 5", ">= 6")] == [YES, NO]
    assert [of(lab(asked, "any"), *three) for asked in (">= 9", "> 9")] == [YES, NO]
    assert evidence(lab(">= 9", "max"), record(*three)).value == 9.0
    assert evidence(lab(">= 6.9", "mean"), record(*three)).value == 7.0
    one_vague = [*three, observation(100, "2024", id="o4")]
    assert of(lab(">= 9", "max"), *one_vague) == YES
    assert of(lab("<= 9", "max"), *one_vague) == UNKNOWN
    assert of(lab(">= 6.9", "mean"), *one_vague) == UNKNOWN


def test_one_value_under_two_ids_is_one_value() -> None:
    twice = [observation(5, "2024-06-01T08:00:00Z", id=name) for name in ("a", "b")]
    other = observation(9, "2024-06-02T08:00:00Z", id="c")
    assert evidence(lab(">= 6.9", "mean"), record(*twice, other)).value == 7.0
    from federated.screening.trial import criteria as c

    number = c.Observation(
        take="count", codes=codes("4548-4", system="loinc"), count=c.CountBound(">=", 3), at=at()
    )
    closed = {"observation": "closed"}
    assert of(number, *twice, other, world=closed) == NO
    assert of(number, *twice, other) == UNKNOWN
    days = [observation(5, "2024-06-01", id=name) for name in ("a", "b")]
    assert of(number, *days, other) == YES


def test_the_near_miss_is_a_share_of_the_bound() -> None:
    from federated.screening.decide.evaluate import compile_plan
    from federated.screening.plan.trial_plan import make_plan
    from tests.federated.screening.making import INDEX, facts, rule, trial

    def near(value: float) -> bool:
        plan = make_plan(trial(rule(lab(">= 50", unit="%"), near=Decimal(10))), facts(), INDEX)
        return compile_plan(plan)(record(observation(value))).criteria[0].near_miss

    assert [near(value) for value in (44.9, 45, 49, 50)] == [False, True, True, False]


def test_comparisons_are_written_as_the_author_did() -> None:
    assert str(compare("5..6")) == "between 5 and 6"
    assert evidence(lab("5..6"), record(observation(5))).threshold == "between 5 and 6 %"
