"""What a result says: units, comparators, components, texts, many results."""

from __future__ import annotations

from typing import Any

from tests.federated.screening.fhir_cases import Row, check, coded, obs, row, table

A1C = "{observation: {in: a1c, take: latest, is: '%s', unit: '%%'}}"
KILOS = "{observation: {in: weight, take: latest, is: '%s', unit: kg}}"
SUGAR = "{observation: {in: glucose, take: latest, is: '%s', unit: mg/dL}}"


def quantity(**more: Any) -> dict[str, Any]:
    return obs(None, valueQuantity=more)


def kilos(value: float, unit: str | None = "kg", **more: Any) -> dict[str, Any]:
    return obs(value, "29463-7", unit, **more)


def sugar(value: float, unit: str | None = "mg/dL", **more: Any) -> dict[str, Any]:
    return obs(value, "2345-7", unit, **more)


@table(
    row("3.2", "equal", A1C % "= 5.7", [obs(5.7)], 2),
    row("3.2", "not equal", A1C % "!= 5.7", [obs(5.7)], 0),
    row("3.2", "a trailing zero is no other number", A1C % "= 5.7", [obs(5.70)], 2),
    row("3.2", "without unit", A1C % ">= 6", [obs(7, unit=None)], 1),
    row("3.2", "an empty unit", A1C % ">= 6", [quantity(value=7, unit=" ")], 1),
    row("3.2", "a unit that is not known", A1C % ">= 6", [obs(7, unit="furlong")], 1),
    row("3.2", "a unit of another kind", A1C % ">= 6", [obs(7, unit="mg/dL")], 1),
    row("3.2", "a unit in words only", A1C % ">= 6", [quantity(value=7, unit="%")], 2),
    row("4.2", "code and words name two units", KILOS % "<= 100", [quantity(value=90, unit="lb", code="kg")
        | {"code": coded("29463-7", "loinc")}], 1),
    row("4.2", "a code of another kind than the words", KILOS % "<= 100", [quantity(value=90, unit="kg",
        code="cm")
        | {"code": coded("29463-7", "loinc")}], 1),
    row("4.2", "words that are no unit beside a code", KILOS % "<= 100", [quantity(value=90, unit="Kilogramm",
        code="kg")
        | {"code": coded("29463-7", "loinc")}], 2),
    row("4.2", "pounds", KILOS % ">= 100", [kilos(220.5, "[lb_av]")], 2),
    row("4.2", "pounds, a little less", KILOS % ">= 100", [kilos(220.4, "lb")], 0),
    row("4.2", "units keep their case", KILOS % ">= 1", [kilos(5, "KG")], 1),
    row("4.2", "IFCC", A1C % ">= 6.5", [obs(48, unit="mmol/mol")], 2),
    row("4.2", "IFCC, a little less", A1C % ">= 6.5", [obs(47, unit="mmol/mol")], 0),
    row("4.2", "a fraction of one", A1C % ">= 6.5", [obs(0.07, unit="1")], 2),
    row("4.2", "glucose by its molar mass", SUGAR % ">= 126", [sugar(7.0, "mmol/L")], 2),
    row("4.2", "glucose by its molar mass, less", SUGAR % ">= 126", [sugar(6.9, "mmol/L")], 0),
    row("4.2", "no molar mass is known for another analyte",
        "{observation: {in: systolic, take: latest, is: '>= 126', unit: mg/dL}}", [obs(7, "8480-6", "mmol/L")], 1),
    row("3.2", "below, against at most more", A1C % "<= 6", [quantity(value=5, comparator="<", unit="%",
        code="%")], 2),
    row("3.2", "below, against at most less", A1C % "<= 4", [quantity(value=5, comparator="<", unit="%",
        code="%")], 1),
    row("3.2", "below, against its own bound", A1C % ">= 5", [quantity(value=5, comparator="<", unit="%",
        code="%")], 0),
    row("3.2", "at most, against its own bound", A1C % ">= 5", [quantity(value=5, comparator="<=", unit="%",
        code="%")], 1),
    row("3.2", "above, equal asked", A1C % "= 200", [quantity(value=200, comparator=">", unit="%", code="%")],
        0),
    row("3.2", "above, unequal asked", A1C % "!= 200", [quantity(value=200, comparator=">", unit="%",
        code="%")], 2),
    row("3.2", "a comparator of a later FHIR", A1C % ">= 5", [quantity(value=9, comparator="ad", unit="%",
        code="%")], 1),
    row("4.2", "a comparator in another unit", A1C % "<= 6.5",
        [quantity(value=47, comparator="<", unit="mmol/mol", code="mmol/mol")], 2),
    row("4.2", "a comparator in another unit, more", A1C % "<= 6.5",
        [quantity(value=50, comparator="<", unit="mmol/mol", code="mmol/mol")], 1),
    row("3.2", "text that looks like a number", A1C % ">= 5", [obs(None, valueString="7.2")], 1),
    row("3.2", "text with a comma", A1C % ">= 5", [obs(None, valueString="7,2")], 1),
    row("3.2", "yes is no number", A1C % ">= 0", [obs(None, valueBoolean=True)], 1),
    row("3.2", "an integer has no unit", A1C % ">= 5", [obs(None, valueInteger=7)], 1),
    row("3.2", "a range inside", A1C % ">= 5", [obs(None, valueRange={
        "low": {"value": 6, "unit": "%"}, "high": {"value": 7, "unit": "%"}})], 2),
    row("3.2", "a range around the bound", A1C % ">= 5", [obs(None, valueRange={
        "low": {"value": 4, "unit": "%"}, "high": {"value": 7, "unit": "%"}})], 1),
    row("3.2", "a range with two units", A1C % ">= 5", [obs(None, valueRange={
        "low": {"value": 6, "unit": "%"}, "high": {"value": 70, "unit": "mmol/mol"}})], 1),
    row("3.2", "a range the wrong way round", A1C % ">= 5", [obs(None, valueRange={
        "low": {"value": 9, "unit": "%"}, "high": {"value": 7, "unit": "%"}})], 1),
    row("3.2", "a ratio is no number", A1C % ">= 5", [obs(None, valueRatio={
        "numerator": {"value": 14}, "denominator": {"value": 0}})], 1),
    row("3.2", "a negative number", A1C % ">= 0", [obs(-1)], 0),
    row("3.2", "a large number", A1C % ">= 0", [obs(1e250)], 2),
    row("3.2", "a value beside the reason for its absence", A1C % ">= 6",
        [obs(7, dataAbsentReason=coded("error", "urn:r"))], 1),
    row("2.4", "between, both ends",
        "{observation: {in: a1c, take: latest, is: {between: [6, 7]}, unit: '%'}}", [obs(7)], 2),
    row("2.4", "between, without the upper",
        "{observation: {in: a1c, take: latest, is: {between: [6, 7], ends: '[)'}, unit: '%'}}",
        [obs(7)], 0),
    row("3.2", "not around unknown", "{not: " + A1C % ">= 6" + "}", [obs(7, unit=None)], 1),
)  # fmt: skip
def test_one_result(case: Row) -> None:
    check(case)


PANEL = "{observation: {in: bp, component: systolic, take: latest, is: '<= 140', unit: 'mm[Hg]'%s}}"
ALONE = "{observation: {in: systolic, take: %s, is: '<= 140', unit: 'mm[Hg]'}}"


def part(value: float | None, code: str = "8480-6", **more: Any) -> dict[str, Any]:
    number = {} if value is None else {"valueQuantity": {"value": value, "unit": "mm[Hg]", "code": "mm[Hg]"}}
    return {"code": coded(code, "loinc")} | number | more


def panel(*parts: dict[str, Any], day: str = "2024-06-01", **more: Any) -> dict[str, Any]:
    return obs(None, "85354-9", effectiveDateTime=day, component=list(parts), **more)


@table(
    row("2.4", "a component", PANEL % "", [panel(part(130), part(90, "8462-4"))], 2),
    row("2.4", "a panel without the component", PANEL % "", [panel(part(90, "8462-4"))], 1),
    row("2.4", "a component without a value", PANEL % "", [panel(part(None, dataAbsentReason=coded("unknown",
        "urn:r")))], 1),
    row("2.4", "a component with a value and a reason for its absence", PANEL % "",
        [panel(part(130, dataAbsentReason=coded("error", "urn:r")))], 1),
    row("2.4", "a panel that says why it has no value of its own", PANEL % "",
        [panel(part(130), dataAbsentReason=coded("not-applicable", "urn:r"))], 2),
    row("2.4", "a component twice, disagreeing", PANEL % "", [panel(part(130), part(150))], 1),
    row("2.4", "the newest panel lacks it", PANEL % "", [panel(part(90, "8462-4")), panel(part(130),
        day="2024-05-01")], 1),
    row("2.4", "the lowest of the day", PANEL % ", same_day: lowest", [panel(part(150)), panel(part(130))],
        2),
    row("3.2", "a newer value inside a panel is not overlooked", ALONE % "latest",
        [obs(130, "8480-6", "mm[Hg]", effectiveDateTime="2024-01-01"), panel(part(180))], 0),
    row("3.2", "a value inside a panel is a value", ALONE % "max", [panel(part(180))], 0),
    row("3.2", "a value inside a panel that was entered in error is none", ALONE % "any",
        [panel(part(130), status="entered-in-error")], 1),
)  # fmt: skip
def test_components(case: Row) -> None:
    check(case)


HCG = "{observation: {in: hcg, take: latest, code_in: positive}}"
WORD = "{observation: {in: hcg, take: latest, text_is: [positive]}}"


def answer(value: dict[str, Any]) -> dict[str, Any]:
    return obs(None, "2106-3", valueCodeableConcept=value)


@table(
    row("2.4", "a code of the set", HCG, [answer(coded("10828004", "snomed"))], 2),
    row("2.4", "another code of the system", HCG, [answer(coded("260385009", "snomed"))], 0),
    row("2.4", "a code of another system", HCG, [answer(coded("LA6576-8", "loinc"))], 1),
    row("2.4", "a code in words", HCG, [answer({"text": "positive"})], 1),
    row("2.4", "a text where a code is asked", HCG, [obs(None, "2106-3", valueString="positive")], 1),
    row("2.4", "a number where a code is asked", HCG, [obs(4, "2106-3", "mIU/mL")], 1),
    row("2.4", "a text in another case", WORD, [obs(None, "2106-3", valueString=" Positive ")], 2),
    row("2.4", "another text", WORD, [obs(None, "2106-3", valueString="negative")], 0),
    row("2.4", "an empty text", WORD, [obs(None, "2106-3", valueString=" ")], 1),
)  # fmt: skip
def test_coded_results(case: Row) -> None:
    check(case)


TAKE = "{observation: {in: a1c, take: %s, is: '%s', unit: '%%'}}"
THERE = "{observation: {in: a1c, take: any}}"
PART = {"states": {"observation": "PARTIAL"}}


def labs(*values: float | None, **more: Any) -> list[dict[str, Any]]:
    return [obs(value, effectiveDateTime=f"2024-0{n + 1}-01", **more) for n, value in enumerate(values)]


@table(
    row("3.2", "any: one is enough", TAKE % ("any", "> 9"), labs(5, 10), 2),
    row("3.2", "any: none, and what is recorded is all", TAKE % ("any", "> 9"), labs(5, 6), 0),
    row("3.2", "any: nothing recorded", TAKE % ("any", "> 9"), [], 1),
    row("3.2", "any: none, partly read", TAKE % ("any", "> 9"), labs(5, 6), 1, **PART),
    row("3.2", "any: one, partly read", TAKE % ("any", "> 9"), labs(5, 10), 2, **PART),
    row("3.2", "any: one of them has no value", TAKE % ("any", "> 9"), labs(5, None), 1),
    row("3.2", "any: only uncertain ones", TAKE % ("any", "> 9"), labs(5, status="unknown"), 1),
    row("3.2", "all: nothing recorded is not all", TAKE % ("all", "> 4"), [], 1),
    row("3.2", "all", TAKE % ("all", "> 4"), labs(5, 6), 2),
    row("3.2", "all: one is not", TAKE % ("all", "> 5"), labs(5, 6), 0),
    row("3.2", "all: one is not, partly read", TAKE % ("all", "> 5"), labs(5, 6), 0, **PART),
    row("3.2", "all: partly read", TAKE % ("all", "> 4"), labs(5, 6), 1, **PART),
    row("3.2", "all: an uncertain one is not", TAKE % ("all", "> 5"), [*labs(6), obs(5, status="unknown")],
        1),
    row("3.2", "max: yes at one value, partly read", TAKE % ("max", ">= 9"), labs(5, 10), 2, **PART),
    row("3.2", "max: at most, partly read", TAKE % ("max", "<= 9"), labs(5, 6), 1, **PART),
    row("3.2", "max: too much is too much, partly read", TAKE % ("max", "<= 9"), labs(5, 10), 0, **PART),
    row("3.2", "max: one has no value", TAKE % ("max", "<= 9"), labs(5, None), 1),
    row("3.2", "max: in two units", TAKE % ("max", "<= 7"), [*labs(6), obs(60, unit="mmol/mol")], 0),
    row("3.2", "min: a bound below", TAKE % ("min", "<= 5"),
        [*labs(6), quantity(value=5, comparator="<", unit="%", code="%")], 2),
    row("3.2", "min: unequal", TAKE % ("min", "!= 5"), labs(5, 6), 0),
    row("3.2", "mean", TAKE % ("mean", ">= 5.5"), labs(5, 6.1), 2),
    row("3.2", "mean: next to the bound", TAKE % ("mean", ">= 5.5"), labs(5, 6), 1),
    row("3.2", "mean: partly read", TAKE % ("mean", ">= 5"), labs(5, 6.1), 1, **PART),
    row("3.2", "mean: a bound has no mean", TAKE % ("mean", ">= 5"),
        [*labs(6), quantity(value=5, comparator=">", unit="%", code="%")], 1),
    row("3.2", "there", THERE, labs(5), 2),
    row("3.2", "a result that was not obtained is not there", THERE,
        labs(None, dataAbsentReason=coded("not-performed", "urn:r")), 1),
    row("3.2", "results that were not obtained are not counted",
        "{observation: {in: a1c, take: count, is: '>= 2'}}",
        [*labs(5), obs(None, dataAbsentReason=coded("not-performed", "urn:r"))], 1),
    row("2.4", "a specimen", "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%', specimen: Blood}}",
        labs(7, specimen={"display": "blood "}), 2),
    row("2.4", "a specimen in other words may be the same",
        "{observation: {in: a1c, take: any, is: '>= 6', unit: '%', specimen: Blood}}",
        [*labs(5, specimen={"display": "Blood"}), obs(7, specimen={"display": "Venous blood"})], 1),
    row("2.4", "no specimen",
        "{observation: {in: a1c, take: latest, is: '>= 6', unit: '%', specimen: Blood}}", labs(7), 1),
)  # fmt: skip
def test_many_results(case: Row) -> None:
    check(case)
