"""Checks of units: is the unit known, does it measure what is asked, is it the analyte's scale."""

from __future__ import annotations

from ehr.problems import quoted
from ehr.yaml_nodes import Table
from federated.screening.criteria import Leaf, Measurement, Observation
from federated.screening.scalars import Reading
from federated.screening.units import analyte_of, dimension_of, line

# What the image half measures, and in which unit.
METRICS = {
    "total_ga_area": "mm2",
    "largest_lesion_size": "mm2",
    "smallest_lesion_size": "mm2",
    "num_ga_lesions": "1",
    "num_bscans_with_ga": "1",
    "distance_from_fovea_centre": "mm",
    "distance_from_image_centre": "mm",
    "est_fovea_distance": "mm",
    "central_subfield_thickness": "um",
    "max_cnv_probability": "1",
    "max_drusen_probability": "1",
}
_WORDS = {"1": "a number without unit"}


def check_units(leaf: Leaf, table: Table, reading: Reading) -> None:
    """Note what is wrong with the unit of one predicate."""
    if isinstance(leaf, Measurement):
        _measurement(leaf, table, reading)
    elif isinstance(leaf, Observation):
        _observation(leaf, table, reading)


def _kind(unit: str) -> str:
    name = dimension_of(unit)
    return "not a unit that is known" if name is None else f"{_article(name)} {name.replace('_', ' ')}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _measurement(leaf: Measurement, table: Table, reading: Reading) -> None:
    place = table.entries["unit"]
    asked = METRICS.get(leaf.metric)
    if asked is None:
        if dimension_of(leaf.unit) is None:
            reading.bad(
                place, "TV133", f"unit {quoted(leaf.unit)} is not known; write UCUM, such as mm2 or um."
            )
        return
    if line(leaf.unit, asked) is None:
        shown = _WORDS.get(asked, asked)
        message = f"{leaf.metric} is measured in {shown}; {quoted(leaf.unit)} is {_kind(leaf.unit)}."
        reading.bad(place, "TV130", message)


def _observation(leaf: Observation, table: Table, reading: Reading) -> None:
    if leaf.unit is None:
        _without_unit(leaf, table, reading)
        return
    place = table.entries["unit"]
    if leaf.compare is None:
        reading.problems.warn(table.keys["unit"], "TV134", 'there is a "unit", but no number is compared.')
        return
    if dimension_of(leaf.unit) is None:
        message = f"unit {quoted(leaf.unit)} is not known; results are never converted to it. Write UCUM."
        reading.bad(place, "TV133", message)
        return
    _scale(leaf, table, reading)


def _loinc(leaf: Observation) -> list[str]:
    codes = (leaf.component or leaf.codes).codes
    return sorted(code.code for code in codes if code.system == "loinc")


def analyte(leaf: Observation) -> str | None:
    """The analyte that an observation's LOINC codes name, or None."""
    return analyte_of(_loinc(leaf)) if _loinc(leaf) else None


def _without_unit(leaf: Observation, table: Table, reading: Reading) -> None:
    name = analyte(leaf)
    if leaf.compare is not None and name is not None:
        message = f'{name} has a unit, and results come in several; write "unit" beside the number.'
        reading.bad(table, "TV132", message)
    elif leaf.compare is not None:
        message = 'a number without "unit" is compared with whatever unit a result has; write "unit", or "1".'
        reading.problems.warn(table.keys["is"], "TV132", message)


def _scale(leaf: Observation, table: Table, reading: Reading) -> None:
    name, unit, place = analyte(leaf), leaf.unit or "", table.entries["unit"]
    if name is None:
        return
    if name == "hba1c" and dimension_of(unit) != dimension_of("%"):
        if line("%", unit, name) is None:
            reading.bad(
                place, "TV130", f"{name} is measured in % or mmol/mol; {quoted(unit)} is {_kind(unit)}."
            )
        elif leaf.method != "ifcc":
            message = (
                f'hba1c in {quoted(unit)} is the IFCC scale; write "method: ifcc" to convert by its equation.'
            )
            reading.bad(place, "TV131", message)
        return
    if not _measures(name, unit):
        reading.bad(place, "TV130", f"{name} is not measured in {quoted(unit)}, which is {_kind(unit)}.")


def _measures(name: str, unit: str) -> bool:
    from federated.screening.units import table as known

    kinds = {kind for bridge in known().bridges.get(name, ()) for kind in (bridge.source, bridge.target)}
    return dimension_of(unit) in kinds
