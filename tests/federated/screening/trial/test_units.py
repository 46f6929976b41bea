"""Units: what may be converted, exactly, and what must not (tests 41 to 43)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.screening.trial.units import (
    analyte_of,
    convert,
    convertible,
    dimension_of,
    line,
    repaired,
    table,
)

UNITS = sorted(table().kind)
ANALYTES = sorted(table().bridges)


@pytest.mark.parametrize(
    ("value", "unit", "into", "analyte", "expected"),
    [
        ("6.5", "%", "mmol/mol", "hba1c", "47.545"),  # IFCC network: 10.93 × NGSP − 23.5
        ("48", "mmol/mol", "%", "hba1c", "6.542"),
        ("7", "mmol/L", "mg/dL", "glucose", "126.112"),
        ("126.112", "mg/dL", "mmol/L", "glucose", "7"),
        ("5", "mmol/L", "mg/dL", "cholesterol", "193.35"),
        ("1", "mg/dL", "umol/L", "creatinine", "88.42"),
        ("1", "mg/dL", "umol/L", "bilirubin", "17.1"),
        ("10", "g/dL", "mmol/L", "haemoglobin", "6.206"),
        ("30", "mg/g", "mg/mmol", "albumin creatinine ratio", "3.393"),
        ("4", "meq/L", "mmol/L", "monovalent ion", "4"),
        ("85", "{letters}", "{logMAR}", None, "0"),
        ("1", "{logMAR}", "{letters}", None, "35"),
        ("98.6", "[degF]", "Cel", None, "37"),
        ("37", "Cel", "[degF]", None, "98.6"),
        ("760", "mm[Hg]", "kPa", None, "101.32472"),
        ("1", "[in_i]", "cm", None, "2.54"),
        ("1", "[lb_av]", "g", None, "453.59237"),
        ("5", "10*3/uL", "10*9/L", None, "5"),
        ("5000", "/uL", "10*9/L", None, "5"),
        ("1.5", "mg/dL", "g/L", None, "0.015"),
        ("7", "%", "1", None, "0.07"),
        ("1", "u[iU]/mL", "m[iU]/L", None, "1"),
    ],
)
def test_conversions_are_exact(value: str, unit: str, into: str, analyte: str | None, expected: str) -> None:
    assert convert(Fraction(value), unit, into, analyte) == Fraction(expected)


@pytest.mark.parametrize(
    ("unit", "into", "analyte"),
    [
        ("%", "mmol/mol", None),
        ("mg/dL", "mmol/L", None),
        ("mmol/L", "mg/dL", "creatinine creatinine"),
        ("meq/L", "mmol/L", None),
        ("meq/L", "mmol/L", "calcium"),
        ("U/L", "[iU]/L", None),
        ("mL/min", "mL/min/{1.73_m2}", None),
        ("mg/g", "mg/mmol", None),
        ("mg/g", "1", None),
        ("mm", "mm2", None),
        ("furlong", "m", None),
        ("m", "furlong", None),
        ("furlong", "furlong", None),
        ("MG/DL", "mg/dL", None),
        ("ML/min", "mL/min", None),
    ],
)
def test_what_is_not_known_to_be_right_is_refused(unit: str, into: str, analyte: str | None) -> None:
    assert convert(Fraction(1), unit, into, analyte) is None
    assert line(unit, into, analyte) is None


def test_known_spellings_are_repaired_and_case_is_kept() -> None:
    assert [repaired(unit) for unit in ("mcg/L", "mmHg", "K/uL", "µmol/L", "μg", " mg ", "Mg", "IU/L")] == [
        "ug/L", "mm[Hg]", "10*3/uL", "umol/L", "ug", "mg", "Mg", "[iU]/L",
    ]  # fmt: skip
    assert dimension_of("mL/min/1.73m2") == "indexed_filtration"
    assert dimension_of("Mg") is None
    assert all(right in table().kind for right in table().repairs.values())
    assert not set(table().repairs) & set(table().kind)


def test_the_analyte_is_told_by_all_codes_alike() -> None:
    assert analyte_of(["4548-4", "17856-6"]) == "hba1c"
    assert analyte_of(["4548-4", "2345-7"]) is None
    assert analyte_of(["4548-4", "0-0"]) is None
    assert analyte_of([]) is None


@given(
    st.sampled_from(UNITS), st.sampled_from(UNITS), st.sampled_from([None, *ANALYTES]), st.integers(-50, 50)
)
def test_there_and_back_is_the_same_number(unit: str, into: str, analyte: str | None, value: int) -> None:
    there = convert(Fraction(value), unit, into, analyte)
    assert (there is None) == (convert(Fraction(0), into, unit, analyte) is None)
    if there is not None and analyte != "hba1c":
        assert convert(there, into, unit, analyte) == value


def test_everything_convertible_has_both_directions() -> None:
    for unit in UNITS:
        others = convertible(unit)
        assert unit in others
        assert all(line(other, unit) is not None and line(unit, other) is not None for other in others)


def test_the_table_has_sixty_units() -> None:
    assert len(UNITS) >= 60
