"""What is asked of a value, prepared: bounds in every unit that results may come in, code sets, texts.

Thresholds are converted, exactly, into the recorded unit; recorded values are compared as they are. So 0.07 and
7 % meet the same bound, and both evaluators compare the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import inf

from ehr.records.codes import Code
from federated.errors import ConfigurationError
from federated.screening.plan.nodes import Asked, CodeSet, Scale
from federated.screening.trial import checks, value_types
from federated.screening.trial.predicates import Column, Observation
from federated.screening.trial.units import Line, convertible, dimension_of, line

SAME = Line(Fraction(1))


class PlanRefused(ConfigurationError):
    """The trial asks for something that this release cannot decide; nothing was read."""


def code_set(values: value_types.ValueSet) -> CodeSet:
    """A value set as the plan keeps it."""
    return CodeSet(
        name=values.name,
        digest=values.digest,
        systems=frozenset(values.systems),
        codes=values.codes,
        prefixes=_by_system(values.prefixes),
        not_codes=values.not_codes,
        not_prefixes=_by_system(values.not_prefixes),
        hints=tuple(sorted(values.text_hints)),
        label=values.title or values.name,
    )


def _by_system(prefixes: frozenset[Code]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for system, beginning in sorted(prefixes):
        found.setdefault(system, []).append(beginning)
    return {system: tuple(beginnings) for system, beginnings in found.items()}


def asked_of(leaf: Observation) -> Asked:
    """What an observation predicate asks of the value.

    Raises:
        PlanRefused: a method that has no rule here.
    """
    if leaf.method not in (None, "ifcc"):
        raise PlanRefused('an observation\'s "method" has no rule here; known: ifcc')
    component = None if leaf.component is None else code_set(leaf.component)
    if leaf.compare is not None:
        return numeric(leaf.compare, leaf.unit, leaf.units_as, checks.analyte(leaf), component)
    if leaf.code_in is not None:
        codes = code_set(leaf.code_in)
        return Asked(text=f"in {codes.label}", codes=codes, component=component)
    return Asked(text=f"is {' or '.join(leaf.texts)}", texts=frozenset(leaf.texts), component=component)


def asked_of_column(leaf: Column) -> Asked | None:
    """What a numeric column must be; None for a column of texts."""
    return None if leaf.compare is None else numeric(leaf.compare, leaf.unit)


def numeric(
    compare: value_types.Comparison,
    unit: str | None,
    units_as: tuple[str, ...] = (),
    analyte: str | None = None,
    component: CodeSet | None = None,
) -> Asked:
    """A comparison with its bounds in every unit that is known to be convertible."""
    scales = {unit or "": _scale(compare, SAME, SAME)}
    if unit is not None:
        for other in convertible(unit, analyte):
            into, back = line(unit, other, analyte), line(other, unit, analyte)
            if into is not None and back is not None:
                scales[other] = _scale(compare, into, back)
        if unit == "1":
            scales[""] = scales[unit]
    scales.update(dict.fromkeys(units_as, scales[unit or ""]))
    return Asked(
        text=f"{compare} {unit}" if unit not in (None, "1") else str(compare),
        unit=unit,
        scales=scales,
        negated=compare.negated,
        acuity=unit is not None and dimension_of(unit) in ("letters", "logmar"),
        component=component,
    )


def _scale(compare: value_types.Comparison, into: Line, back: Line) -> Scale:
    low = -inf if compare.low is None else float(into.at(Fraction(compare.low)))
    high = inf if compare.high is None else float(into.at(Fraction(compare.high)))
    closed = (compare.low_closed, compare.high_closed)
    if into.slope < 0:
        low = -inf if compare.high is None else float(into.at(Fraction(compare.high)))
        high = inf if compare.low is None else float(into.at(Fraction(compare.low)))
        closed = (compare.high_closed, compare.low_closed)
    return Scale(low, high, *closed, slope=float(back.slope), offset=float(back.offset))
