"""The official UCUM functional tests: what the unit table does not know it refuses, and it is never wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from federated.screening.trial.units import convert, convertible, dimension_of, table

DATA = Path(__file__).parents[3] / "shared" / "data" / "ucum"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs shared/data/ucum")


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((DATA / name).read_text()) if DATA.is_dir() else []  # type: ignore[no-any-return]


@needs_data
def test_no_invalid_unit_is_known() -> None:
    wrong = [
        case["id"]
        for case in cases("validation.json")
        if dimension_of(case["unit"]) and not case["expected_valid"]
    ]
    assert wrong == []


@needs_data
def test_conversions_are_right_or_refused() -> None:
    known = 0
    for case in cases("conversion.json"):
        found = convert(Fraction(case["value"]), case["from"], case["to"])
        if found is None:
            continue
        known += 1
        expected = Decimal(case["expected"])
        # The expectation is rounded to the digits that it is written with.
        step = Fraction(1, 2) * Fraction(Decimal(1).scaleb(int(expected.as_tuple().exponent)))
        assert abs(found - Fraction(expected)) <= max(step, Fraction(3, 1000)), case["id"]
    assert known >= 5


def test_a_general_library_agrees_where_no_analyte_matters() -> None:
    """pint with UCUM names: the sizes of the table against another implementation."""
    ucumvert = pytest.importorskip("ucumvert")
    registry = ucumvert.PintUcumRegistry()
    checked = 0
    for unit, kind in sorted(table().kind.items()):
        if "{" in unit or kind in (
            "celsius",
            "fahrenheit",
            "letters",
            "logmar",
            "fraction",
            "arbitrary_concentration",
        ):
            continue
        for other in convertible(unit):
            if table().kind.get(other) != kind or "{" in other or other <= unit:
                continue
            found = convert(Fraction(1), unit, other)
            assert found is not None
            expected = registry.Quantity(1.0, registry.from_ucum(unit).units).to(
                registry.from_ucum(other).units
            )
            assert float(found) == pytest.approx(float(expected.magnitude), rel=1e-5), (unit, other)
            checked += 1
    assert checked > 100
