"""Static checks over a whole trial: what is well formed and still wrong, or probably not meant.

The readers check each value where it stands; here is what needs more than one of them, and whether a unit is known,
measures what is asked and is on the analyte's scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from ehr.dates import BadDate, Duration, shift
from ehr.files.problems import Mark, quoted
from ehr.files.yaml_nodes import Table
from federated.screening.trial import criteria as model
from federated.screening.trial.lock import canonical
from federated.screening.trial.scalars import ReaderContext
from federated.screening.trial.units import analyte_of, dimension_of, line

_SOME_DAY = date(2024, 7, 15)
Sides = tuple[Sequence[model.Criterion], Sequence[model.Criterion]]


def check(
    trial: model.Trial | None, sides: Sides, settings: dict[str, Any], reading: ReaderContext, root: Table
) -> None:
    """Note what is wrong with the whole.

    Args:
        trial: the model, or None where a mistake was found already; then only what needs no model is checked.
        sides: inclusion and exclusion, as far as they could be read.
        settings: the top level's values.
        reading: gets the problems; knows every predicate that was read, also in a criterion with a mistake.
        root: the file, for places.
    """
    _settings(settings, reading, root)
    for leaf, table in list(reading.places.values()):
        if isinstance(leaf, model.Leaf):
            _eyes(leaf, table, reading)
            if isinstance(leaf, model.Measurement):
                _measurement(leaf, table, reading)
            elif isinstance(leaf, model.Observation):
                _observation(leaf, table, reading)
            _statuses(leaf, table, reading)
    if trial is not None:
        for criterion in trial.criteria:
            _criterion(criterion, reading)
        _same_in_one_eye(trial, reading)
        _contradictions(trial, reading)
        _twice(trial.criteria, reading)
        if not any(criterion.enabled for criterion in trial.criteria):
            reading.bad(root, "TV117", "every criterion is switched off; there is nothing to decide.")


def _settings(settings: dict[str, Any], reading: ReaderContext, root: Table) -> None:
    grain = settings.get("grain", "patient")
    if "study_eye" in settings and grain != "eye":
        message = f'"study_eye" chooses between eyes; the grain is {grain}. Write "grain: eye".'
        reading.bad(root.keys["study_eye"], "TV161", message)
    if "pairing" in settings and grain != "visit":
        message = f'"pairing" joins the images of a visit; with grain {grain} it is not used.'
        reading.problems.warn(root.keys["pairing"], "TV163", message)
    if "reduce" in settings and grain != "visit" and "pairing" not in settings:
        message = f'"reduce" joins the visits of a patient; with grain {grain} it is not used.'
        reading.problems.warn(root.keys["reduce"], "TV163", message)


def _eyes(leaf: model.Leaf, table: Table, reading: ReaderContext) -> None:
    eye, mark = getattr(leaf, "eye", None), table.entries.get("eye")
    if mark is None:
        return
    if eye in ("this", "fellow") and reading.grain != "eye":
        message = (
            f'"eye: {eye}" needs "grain: eye"; with grain {reading.grain} say any, all, right, left or same.'
        )
        reading.bad(mark, "TV162", message)
    if eye == "same" and reading.grain == "eye":
        reading.bad(mark, "TV162", '"eye: same" is for grain patient; with grain eye say "this".')


def _statuses(leaf: model.Leaf, table: Table, reading: ReaderContext) -> None:
    maybe = set(getattr(leaf, "maybe", ()))
    both = sorted(maybe & set(getattr(leaf, "verification", ())))
    if both and "maybe" in table.entries:
        message = f"{quoted(both[0])} is in verification and in maybe; it cannot prove and not prove."
        reading.bad(table.entries["maybe"], "TV149", message)


def _criterion(criterion: model.Criterion, reading: ReaderContext) -> None:
    if criterion.side == "exclusion" and isinstance(criterion.where, model.NotOf):
        message = 'an exclusion is written positively ("has had a stroke"); is this "not" meant?'
        reading.problems.warn(_mark(criterion.where), "TV152", message)
    if criterion.near is not None and not any(
        getattr(leaf, "compare", None) for leaf in model.leaves(criterion)
    ):
        message = f'criterion {quoted(criterion.id)} has "near", but compares no number.'
        reading.problems.warn(_mark(criterion), "TV154", message)
    for node in model.walk(criterion.where):
        if isinstance(node, model.AllOf):
            _split_range(node, reading)
        if isinstance(node, model.NotOf) and isinstance(node.of, model.NotOf):
            reading.problems.warn(_mark(node), "TV155", '"not" of "not" is the node itself.')
        _repeated_children(node, reading)


def _mark(node: model.Node | model.Criterion) -> Mark:
    return Mark(node.at.file, node.at.line, node.at.column)


def _split_range(node: model.AllOf, reading: ReaderContext) -> None:
    """Two comparisons of one latest value: unknown twice where one range is unknown once."""
    seen: dict[str, model.Leaf] = {}
    for child in node.of:
        if (
            isinstance(child, model.Observation)
            and child.compare is not None
            and child.take in ("latest", "earliest")
        ):
            key = repr({k: v for k, v in canonical(child).items() if k != "compare"})
            if key in seen:
                message = 'two comparisons of one value; write one "between", which is decided more often.'
                reading.problems.warn(_mark(child), "TV153", message)
            seen[key] = child


def _repeated_children(node: model.Node, reading: ReaderContext) -> None:
    of = model.children(node)
    for index, child in enumerate(of):
        if child in of[:index]:
            reading.problems.warn(
                _mark(child), "TV151", f"the same node stands on line {of[of.index(child)].at.line}."
            )


def _same_in_one_eye(trial: model.Trial, reading: ReaderContext) -> None:
    users = [leaf for c in trial.criteria for leaf in model.leaves(c) if getattr(leaf, "eye", None) == "same"]
    if len(users) == 1:
        message = '"eye: same" binds several criteria to one eye; only this one has it. Say "any".'
        reading.problems.warn(_mark(users[0]), "TV164", message)


def _twice(criteria: Sequence[model.Criterion], reading: ReaderContext) -> None:
    for index, criterion in enumerate(criteria):
        for earlier in criteria[:index]:
            if criterion.where is None or (criterion.where, criterion.applies_if) != (
                earlier.where,
                earlier.applies_if,
            ):
                continue
            mark = Mark(criterion.at.file, criterion.at.line)
            if criterion.side == earlier.side:
                message = (
                    f"criterion {quoted(criterion.id)} asks the same as the one on line {earlier.at.line}."
                )
                reading.problems.warn(mark, "TV151", message)
            elif criterion.enabled and earlier.enabled:
                message = (
                    f"nobody meets both lists: the same is asked on line {earlier.at.line} and excluded here."
                )
                reading.problems.warn(mark, "TV150", message)


def _contradictions(trial: model.Trial, reading: ReaderContext) -> None:
    """Age or one latest value asked to be in ranges that do not meet."""
    asked = [
        (leaf, c) for c in trial.inclusion if c.enabled and c.applies_if is None for leaf in _certain(c.where)
    ]
    for index, (leaf, criterion) in enumerate(asked):
        for earlier, of in asked[:index]:
            if not _same_thing(leaf, earlier) or not _disjoint(leaf, earlier):
                continue
            one, other = (f"{_name(x)} {x.compare} (line {x.at.line})" for x in (earlier, leaf))
            mark = Mark(criterion.at.file, leaf.at.line)
            if of is not criterion or of.at.line != leaf.at.line:
                reading.problems.warn(mark, "TV150", f"nobody meets {one} and {other}.")


Ranged = model.AgeAt | model.Observation | model.Measurement


def _certain(node: model.Node | None) -> Iterator[Ranged]:
    """Predicates with a range that must hold."""
    if isinstance(node, model.AllOf):
        for child in node.of:
            yield from _certain(child)
    elif isinstance(node, model.AgeAt | model.Measurement) or (
        isinstance(node, model.Observation) and node.compare is not None
    ):
        yield node


def _name(leaf: Ranged) -> str:
    if isinstance(leaf, model.AgeAt):
        return "age"
    return leaf.metric if isinstance(leaf, model.Measurement) else leaf.codes.name


def _same_thing(one: Ranged, other: Ranged) -> bool:
    if isinstance(one, model.AgeAt) and isinstance(other, model.AgeAt):
        return one.when == other.when
    left_out = ("compare", "unit") if isinstance(one, model.AgeAt) else ("compare",)
    if isinstance(one, model.Observation) and one.take not in (
        "latest",
        "earliest",
        "all",
        "mean",
        "min",
        "max",
    ):
        return False
    if isinstance(one, model.Measurement) and one.eye == "any":
        return False
    keys = [{k: v for k, v in canonical(leaf).items() if k not in left_out} for leaf in (one, other)]
    return keys[0] == keys[1]


def _disjoint(one: Ranged, other: Ranged) -> bool:
    first, second = _span(one), _span(other)
    if first is None or second is None:
        return False
    (low, low_in), (high, high_in) = (
        max(first[0], second[0], key=_as_low),
        min(first[1], second[1], key=_as_high),
    )
    return low is not None and high is not None and (low > high or (low == high and not (low_in and high_in)))


End = tuple[Decimal | None, bool]


def _as_low(end: End) -> tuple[Decimal, bool]:
    return (Decimal("-Infinity") if end[0] is None else end[0], not end[1])


def _as_high(end: End) -> tuple[Decimal, bool]:
    return (Decimal("Infinity") if end[0] is None else end[0], end[1])


def _span(leaf: Ranged) -> tuple[End, End] | None:
    compare = leaf.compare
    if compare is None or compare.negated:
        return None
    low: End = (compare.low, compare.low_closed)
    high: End = (compare.high, compare.high_closed)
    if not isinstance(leaf, model.AgeAt):
        return low, high
    return _age(low, leaf.unit), _age(high, leaf.unit)


def _age(end: End, unit: str) -> End:
    """An age in days, counted from some day; exact enough to find a contradiction of whole units."""
    value, closed = end
    if value is None or value != value.to_integral_value() or unit == "d":
        return end if value is None or unit == "d" else (None, closed)
    try:
        return Decimal(
            (shift(_SOME_DAY, Duration(int(value), "a" if unit == "a" else "mo"), 1) - _SOME_DAY).days
        ), closed
    except (BadDate, ValueError):
        return None, closed


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


def _kind(unit: str) -> str:
    name = dimension_of(unit)
    return "not a unit that is known" if name is None else f"{_article(name)} {name.replace('_', ' ')}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _measurement(leaf: model.Measurement, table: Table, reading: ReaderContext) -> None:
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


def _observation(leaf: model.Observation, table: Table, reading: ReaderContext) -> None:
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


def analyte(leaf: model.Observation) -> str | None:
    """The analyte that an observation's LOINC codes name, or None."""
    codes = (leaf.component or leaf.codes).codes
    return analyte_of(code.code for code in codes if code.system == "loinc")


def _without_unit(leaf: model.Observation, table: Table, reading: ReaderContext) -> None:
    name = analyte(leaf)
    if leaf.compare is not None and name is not None:
        message = f'{name} has a unit, and results come in several; write "unit" beside the number.'
        reading.bad(table, "TV132", message)
    elif leaf.compare is not None:
        message = 'a number without "unit" is compared with whatever unit a result has; write "unit", or "1".'
        reading.problems.warn(table.keys["is"], "TV132", message)


def _scale(leaf: model.Observation, table: Table, reading: ReaderContext) -> None:
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
    from federated.screening.trial.units import table as known

    kinds = {kind for bridge in known().bridges.get(name, ()) for kind in (bridge.source, bridge.target)}
    return dimension_of(unit) in kinds
