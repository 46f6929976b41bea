"""The grammar of nodes and predicates (docs/write-a-trial.md) as one table of keys.

Reading, messages about unknown keys and the JSON Schema all come from `PREDICATES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ehr.files.problems import quoted
from ehr.files.yaml_nodes import Table, Text, Yaml, shape
from federated.screening.trial import predicates as model
from federated.screening.trial import time_windows
from federated.screening.trial.scalars import (
    BAD,
    BOOLEAN,
    COMPARISON,
    COUNT,
    DURATION,
    POINT,
    TEXT,
    VALUE_SET,
    ReaderContext,
    ScalarKind,
    any_or,
    decimal,
    lowered,
    several,
    unknown_keys,
    word,
)
from federated.screening.trial.time_windows import EVERY, KINDS, WINDOW
from federated.screening.trial.value_types import Comparison

Values = dict[str, Any]
Finish = Callable[[Values, Table, ReaderContext], None]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a predicate: how it is read, the field it fills (its own name if empty), if it must be there."""

    kind: ScalarKind
    field: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """One predicate.

    Args:
        made: its class.
        keys: what may stand in it, besides ``elsewhere``.
        finish: turns the values of keys into the fields of the class, and notes what does not fit together.
    """

    made: type[model.Leaf]
    keys: Mapping[str, Key]
    finish: Finish = lambda values, table, reading: None


def _kind_of_count(values: Values, table: Table, reading: ReaderContext) -> None:
    if "every" not in values:
        return
    for key in ("within", "next", "from", "to", "count"):
        if key in table.keys:
            message = f'"every" has its own span and count; remove "{key}".'
            reading.bad(table.keys[key], "TV145", message)


def _visits(values: Values, table: Table, reading: ReaderContext) -> None:
    _kind_of_count(values, table, reading)
    time_windows.inline(values, table, reading)


def _appointment(values: Values, table: Table, reading: ReaderContext) -> None:
    _kind_of_count(values, table, reading)
    time_windows.inline(values, table, reading, forward=True)
    window = values.get("window")
    if window is not None and window.forward:
        values.setdefault("status", ("booked", "arrived", "checked-in"))


def _age(values: Values, table: Table, reading: ReaderContext) -> None:
    when = values.get("when")
    if when is not None and when.anchor == "birth":
        reading.bad(
            table.entries["at"], "TV143", '"at" of an age is a date or counted from "index", not from birth.'
        )


def _document(values: Values, table: Table, reading: ReaderContext) -> None:
    time_windows.inline(values, table, reading)
    if "in" in table.keys and "type" in table.keys:
        reading.bad(table.keys["type"], "TV148", '"in" and "type" are the same; give one of them.')
    elif "codes" not in values and not {"in", "type"} & set(table.keys):
        reading.bad(table, "TV104", 'document needs "in" or "type": the set of its type codes.')


def _measurement(values: Values, table: Table, reading: ReaderContext) -> None:
    time_windows.inline(values, table, reading)
    values.setdefault("eye", "this" if reading.grain == "eye" else "any")


def _observation(values: Values, table: Table, reading: ReaderContext) -> None:
    time_windows.inline(values, table, reading)
    asked = [key for key in ("is", "code_in", "text_is") if key in table.keys]
    if len(asked) > 1:
        message = f'one question to the value; found "{asked[0]}" and "{asked[1]}". Use two nodes.'
        reading.bad(table.keys[asked[1]], "TV148", message)
    take = values.get("take")
    if take is None:
        if "take" not in table.keys:
            reading.bad(
                table,
                "TV147",
                'observation needs "take": latest, earliest, any, all, min, max, mean or '
                'count. "Any ever" and "latest" differ.',
            )
        return
    if not asked and take != "any":
        reading.bad(
            table, "TV148", f'take {take} needs a question to the value: "is", "code_in" or "text_is".'
        )
    if take in ("min", "max", "mean", "count") and asked and asked[0] != "is":
        reading.bad(table.keys[asked[0]], "TV148", f'take {take} is a number; ask with "is".')
    if "units_as" in table.keys and "unit" not in table.keys:
        reading.bad(
            table.keys["units_as"],
            "TV148",
            '"units_as" lists recorded units that mean "unit"; give "unit" too.',
        )
    if take == "count":
        values.pop("compare", None)
        if "is" in table.entries:
            values["count"] = COUNT.read(table.entries["is"], reading, "is")
    if "stale_after" in table.keys and take != "latest":
        reading.bad(table.keys["stale_after"], "TV148", '"stale_after" is for take latest.')


def _column(values: Values, table: Table, reading: ReaderContext) -> None:
    if "is" in table.keys and "in" in table.keys:
        reading.bad(table.keys["in"], "TV148", 'column has one question; found "is" and "in".')
    elif not {"is", "in"} & set(table.keys):
        reading.bad(table, "TV104", 'column needs "is" or "in".')
    asked = values.pop("asked", None)
    if isinstance(asked, Comparison):
        values["compare"] = asked
    elif asked is not None:
        values["texts"] = asked
    if asked is None and "texts" not in values:
        return
    dtype = "number" if isinstance(asked, Comparison) else "text"
    if values.setdefault("dtype", dtype) != dtype:
        reading.bad(table.keys["dtype"], "TV148", f"dtype is {values['dtype']}, but a {dtype} is asked for.")


def _number_or_texts(node: Yaml, reading: ReaderContext, name: str) -> Any:
    numeric = isinstance(node, Table) or (isinstance(node, Text) and node.value.strip()[:1] in tuple("<>=!"))
    return (COMPARISON if numeric else several(TEXT)).read(node, reading, name)


INLINE = {key: Key(kind) for key, kind in KINDS.items()}
_EYE = Key(word("any", "all", "right", "left", "same", "this", "fellow"))
_CODES = Key(VALUE_SET, "codes", required=True)
_TEXTS = Key(lowered(several(TEXT)))
_UNIT = Key(TEXT)
_VERIFICATION = Key(several(word(*model.VERIFICATION)))
_INTENT = Key(several(word(*model.INTENTS)))


def _status(kind: str) -> Key:
    return Key(several(word(*model.STATUSES[kind])))


PREDICATES: Mapping[str, Shape] = {
    "age": Shape(model.AgeAt, {
        "is": Key(COMPARISON, "compare", required=True), "unit": Key(word("a", "mo", "d")), "at": Key(POINT, "when"),
    }, _age),
    "sex": Shape(model.Sex, {
        "is": Key(several(word("male", "female", "other", "unknown")), "values", required=True),
        "which": Key(word("administrative", "legal", "birth")),
    }),
    "deceased": Shape(model.Deceased, {"is": Key(BOOLEAN, "value", required=True)}),
    "condition": Shape(model.Condition, {
        "in": _CODES,
        "clinical": Key(any_or(several(word(*model.CLINICAL, "unknown")))),
        "verification": _VERIFICATION, "maybe": _VERIFICATION,
        "onset": Key(WINDOW), "recorded": Key(WINDOW), "active": Key(WINDOW),
        "category": _TEXTS, "eye": _EYE, "count": Key(COUNT),
    }),
    "procedure": Shape(model.Procedure, {
        "in": _CODES, "status": _status("procedure"), "performed": Key(WINDOW), "eye": _EYE, "count": Key(COUNT),
        "distinct": Key(word("days", "records")),
    }),
    "medication": Shape(model.Medication, {
        "in": _CODES, "kind": Key(several(word("request", "statement")), "sources"),
        "status": replace(_status("medication"), required=True), "authored": Key(WINDOW),
        "intent": _INTENT,
    }),
    "allergy": Shape(model.Allergy, {
        "in": _CODES, "clinical": Key(any_or(several(word("active", "inactive", "resolved")))),
        "verification": _VERIFICATION, "maybe": _VERIFICATION, **INLINE, "count": Key(COUNT),
    }, time_windows.inline),
    "immunization": Shape(model.Immunization, {
        "in": _CODES, "status": _status("immunization"), **INLINE, "count": Key(COUNT),
    }, time_windows.inline),
    "document": Shape(model.Document, {
        "in": Key(VALUE_SET, "codes"), "type": Key(VALUE_SET, "codes"),
        "status": _status("document"), **INLINE, "count": Key(COUNT),
    }, _document),
    "observation": Shape(model.Observation, {
        "in": _CODES, "take": Key(word("latest", "earliest", "any", "all", "min", "max", "mean", "count")),
        "is": Key(COMPARISON, "compare"), "code_in": Key(VALUE_SET), "text_is": Key(lowered(several(TEXT)), "texts"),
        "unit": _UNIT, "units_as": Key(several(TEXT)), **INLINE, "stale_after": Key(DURATION),
        "category": _TEXTS, "status": _status("observation"), "component": Key(VALUE_SET),
        "same_day": Key(word("time", "lowest", "highest")), "eye": _EYE, "specimen": Key(TEXT), "method": Key(TEXT),
    }, _observation),
    "appointment": Shape(model.Appointment, {
        **INLINE, "status": _status("appointment"), "kind": replace(_TEXTS, field="types"), "location": _TEXTS,
        "count": Key(COUNT), "every": Key(EVERY),
    }, _appointment),
    "encounter": Shape(model.Encounter, {
        "in": Key(VALUE_SET, "codes"), "class": Key(several(TEXT), "classes"), "status": _status("encounter"),
        "discharge": Key(VALUE_SET), **INLINE, "whole": Key(BOOLEAN), "count": Key(COUNT), "every": Key(EVERY),
    }, _visits),
    "order": Shape(model.Order, {
        "in": _CODES, "kind": Key(several(word("service", "device")), "sources"), "status": _status("order"),
        "intent": _INTENT, "authored": Key(WINDOW), "count": Key(COUNT),
    }),
    "measurement": Shape(model.Measurement, {
        "metric": Key(TEXT, required=True), "is": Key(COMPARISON, "compare", required=True),
        "unit": Key(TEXT, required=True), "eye": _EYE, "within": INLINE["within"],
        "reduce": Key(word("latest", "any", "all")), "model": Key(TEXT), "min_coverage": Key(decimal(0, 1)),
    }, _measurement),
    "column": Shape(model.Column, {
        "name": Key(TEXT, required=True), "is": Key(ScalarKind(_number_or_texts, {}), "asked"),
        "in": Key(several(TEXT), "texts"), "unit": _UNIT, "dtype": Key(word("number", "text")),
    }, _column),
}  # fmt: skip
ELSEWHERE = Key(word("matters"))
# What may have happened elsewhere. The other predicates take the key as well, and nothing follows from it.
_RECORDED = (
    model.Condition, model.Procedure, model.Medication, model.Allergy, model.Immunization, model.Document,
    model.Observation, model.Appointment, model.Encounter, model.Order, model.Measurement,
)  # fmt: skip


def read_predicate(name: str, node: Yaml, reading: ReaderContext) -> Values | None:
    """The fields of one predicate's class, without ``at``; None where it has a mistake."""
    form = PREDICATES[name]
    if not isinstance(node, Table):
        reading.bad(node, "TV106", f'"{name}" is a table of keys; found {shape(node)}.')
        return None
    before = len(reading.problems.found)
    known = (*form.keys, "elsewhere")
    listed = known if issubclass(form.made, _RECORDED) else tuple(form.keys)
    needed = [key for key, rule in form.keys.items() if rule.required]
    unknown_keys(node, reading, name, sorted(listed), needed=needed, unlisted=("elsewhere",))
    values: Values = {}
    reading.units.clear()
    for key, value in node.entries.items():
        if key in known:
            rule = form.keys.get(key, ELSEWHERE)
            read = rule.kind.read(value, reading, key)
            if read is not BAD:
                values[rule.field or key] = read
    form.finish(values, node, reading)
    _parameter_units(values, reading)
    if "elsewhere" in values:
        values["elsewhere_matters"] = values.pop("elsewhere") == "matters"
    errors = [found for found in reading.problems.found[before:] if found.severity == "error"]
    return None if errors else values


def _parameter_units(values: Values, reading: ReaderContext) -> None:
    unit = values.get("unit", "a" if "when" in values or "compare" in values else None)
    for mark, name, of_parameter in reading.units:
        if unit is not None and unit != of_parameter:
            message = f'parameter "${name}" is in {quoted(of_parameter)}, but is compared in {quoted(unit)}.'
            reading.bad(mark, "TV178", message)
    reading.units.clear()
