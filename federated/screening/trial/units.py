"""Units of results: which are one scale, and which may be converted (docs/write-a-trial.md, "Units").

The table is ``units.toml``. Sizes are exact fractions. What is not in it is refused, never guessed: a general
UCUM library turns HbA1c 6.5 % into 65 mmol/mol, and the right number is 47.5. Where two units measure a
substance differently (mass and moles), the rule belongs to the analyte, which its LOINC code tells.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, NamedTuple

ANY: Final = "any"


class Line(NamedTuple):
    """``slope × value + offset``, exactly."""

    slope: Fraction
    offset: Fraction = Fraction(0)

    def at(self, value: Fraction) -> Fraction:
        """The value on the line."""
        return self.slope * value + self.offset

    def then(self, after: Line) -> Line:
        """This line, and ``after`` on its result."""
        return Line(self.slope * after.slope, after.at(self.offset))


@dataclass(frozen=True, slots=True)
class Bridge:
    """How one kind of quantity becomes another for an analyte: from the first unit of one to the other's."""

    source: str
    target: str
    line: Line


@dataclass(frozen=True, slots=True)
class Table:
    """``units.toml``, read."""

    kind: Mapping[str, str]
    size: Mapping[str, Fraction]
    repairs: Mapping[str, str]
    bridges: Mapping[str, tuple[Bridge, ...]]
    analyte_of: Mapping[str, str]


@cache
def table() -> Table:
    """The packaged table; read once."""
    raw: dict[str, Any] = tomllib.loads(files(__package__).joinpath("units.toml").read_text("utf-8"))
    kind = {unit: name for name, units in raw["kinds"].items() for unit in units}
    size = {unit: Fraction(text) for units in raw["kinds"].values() for unit, text in units.items()}
    bridges: dict[str, tuple[Bridge, ...]] = {}
    analyte_of: dict[str, str] = {}
    for analyte in raw["analytes"]:
        bridges[analyte["name"]] = tuple(
            bridge for rule in analyte["rules"] for bridge in _bridges(rule, analyte["rules"], kind, size)
        )
        analyte_of.update(dict.fromkeys(analyte["loinc"], analyte["name"]))
    return Table(
        MappingProxyType(kind),
        MappingProxyType(size),
        MappingProxyType(dict(raw["repairs"])),
        MappingProxyType(bridges),
        MappingProxyType(analyte_of),
    )


def _bridges(
    rule: Mapping[str, str],
    rules: Iterable[Mapping[str, str]],
    kind: Mapping[str, str],
    size: Mapping[str, Fraction],
) -> list[Bridge]:
    """The rule between the kinds' base units, and its inverse unless the table has an equation of its own."""
    one, other = rule["from"], rule["into"]
    line = Line(Fraction(rule["slope"]), Fraction(rule.get("offset", "0")))
    into_one, out_of_other = Line(1 / size[one]), Line(size[other])
    made = [Bridge(kind[one], kind[other], into_one.then(line).then(out_of_other))]
    if not any(back["from"] == other and back["into"] == one for back in rules):
        inverse = Line(1 / line.slope, -line.offset / line.slope)
        made.append(Bridge(kind[other], kind[one], Line(1 / size[other]).then(inverse).then(Line(size[one]))))
    return made


def repaired(unit: str) -> str:
    """The unit as the table spells it, where it is one of the known misspellings; else as it came."""
    text = unit.strip().replace("µ", "u").replace("μ", "u")
    return table().repairs.get(text, text)


def dimension_of(unit: str) -> str | None:
    """The kind of quantity that a unit measures, such as ``mass_concentration``; None for an unknown unit."""
    return table().kind.get(repaired(unit))


def analyte_of(loinc: Iterable[str]) -> str | None:
    """The analyte that all these LOINC codes measure; None where one has no rule or they differ."""
    names = {table().analyte_of.get(code) for code in loinc}
    return names.pop() if len(names) == 1 else None


def line(unit: str, into: str, analyte: str | None = None) -> Line | None:
    """How a number in one unit becomes one in another.

    Args:
        unit, into: UCUM codes, or spellings that the table repairs.
        analyte: name of a group of ``units.toml``, which may allow more than the units alone.

    Returns:
        The exact line, or None where the conversion is not known to be right.
    """
    known = table()
    source, target = repaired(unit), repaired(into)
    if source not in known.kind or target not in known.kind:
        return None
    start, end = Line(known.size[source]), Line(1 / known.size[target])
    if known.kind[source] == known.kind[target]:
        return start.then(end)
    for bridge in (*known.bridges[ANY], *known.bridges.get(analyte or ANY, ())):
        if (bridge.source, bridge.target) == (known.kind[source], known.kind[target]):
            return start.then(bridge.line).then(end)
    return None


def convert(value: Fraction, unit: str, into: str, analyte: str | None = None) -> Fraction | None:
    """A value in another unit, exactly; None where the conversion is not known to be right."""
    found = line(unit, into, analyte)
    return None if found is None else found.at(value)


def convertible(into: str, analyte: str | None = None) -> tuple[str, ...]:
    """All spellings of units whose numbers can be compared with one in ``into``, sorted."""
    known = table()
    good = {unit for unit in known.kind if line(unit, into, analyte) is not None}
    return tuple(sorted(good | {wrong for wrong, right in known.repairs.items() if right in good}))
