"""Reading the values of a trial file: one `ScalarKind` per sort of value, with what editors may know about it.

A reader notes what is wrong and returns `BAD`, so that one run finds every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

from ehr.dates import BadDate, Duration, parse_date, parse_duration
from ehr.files.problems import Mark, Problems, quoted, suggestion
from ehr.files.yaml_nodes import Hole, Items, Table, Text, Yaml, shape
from federated.screening.trial.criteria import Parameter, Point
from federated.screening.trial.value_types import Comparison, CountBound, Ends, ValueSet


class _Bad:
    """What a reader returns for a value that it has complained about."""


BAD: Final = _Bad()
_NUMBER = re.compile(r"[+-]?\d{1,15}(?:\.\d{1,15})?\Z")
_COMPARISON = re.compile(r"(<=|>=|!=|<|>|=)\s*(.*)\Z", re.DOTALL)
_POINT = re.compile(r"(index|birth)(?:\s*([+-])\s*(.+))?\Z")
PARAMETER = re.compile(r"\$([A-Za-z_][A-Za-z0-9_.-]*)")
ENDS: Mapping[str, Ends] = {"[]": "[]", "[)": "[)", "(]": "(]", "()": "()"}


@dataclass(slots=True)
class ReaderContext:
    """What the readers of one file share.

    Attributes:
        problems: every mistake found so far.
        sets, parameters, named: what the file and those it uses define.
        used: names in use, as ("value set" | "parameter" | "ref", name).
        units: unit of each parameter that stands in a number of the predicate being read.
        places: by identity of a predicate: itself and the table it was read from.
        nodes: how many nodes have been read, for the limit.
        resolving: names of references that are being followed.
    """

    problems: Problems
    sets: Mapping[str, ValueSet] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    named: Mapping[str, Yaml] = field(default_factory=dict)
    grain: str = "patient"
    used: set[tuple[str, str]] = field(default_factory=set)
    units: list[tuple[Mark, str, str]] = field(default_factory=list)
    places: dict[int, tuple[object, Table]] = field(default_factory=dict)
    nodes: int = 0
    resolving: tuple[str, ...] = ()

    def bad(self, node: Yaml | Mark, code: str, message: str) -> _Bad:
        """Note a mistake at a node; nothing is noted twice where the node itself was refused."""
        if not isinstance(node, Hole):
            self.problems.error(node if isinstance(node, Mark) else node.mark, code, message)
        return BAD


Read = Callable[[Yaml, ReaderContext, str], Any]
Names = Sequence[str]


@dataclass(frozen=True, slots=True)
class ScalarKind:
    """One sort of value.

    Args:
        read: takes the node, the reading and the key's name; returns the value or `BAD`.
        schema: JSON Schema of it.
    """

    read: Read
    schema: Mapping[str, Any]


def text_of(node: Yaml, reading: ReaderContext, name: str) -> str | _Bad:
    """The scalar as text, ``$parameters`` put in."""
    if not isinstance(node, Text):
        return reading.bad(node, "TV106", f'"{name}" is one value; found {shape(node)}.')
    if not node.value.strip():
        return reading.bad(node, "TV106", f'"{name}" is empty.')
    return _with_parameters(node, reading)


def _with_parameters(node: Text, reading: ReaderContext) -> str | _Bad:
    missing = [name for name in PARAMETER.findall(node.value) if name not in reading.parameters]
    for name in missing:
        hint = suggestion(name, reading.parameters)
        reading.bad(node, "TV177", f"parameter {quoted('$' + name)} is not defined.{hint}")
    if missing:
        return BAD

    def put_in(found: re.Match[str]) -> str:
        parameter = reading.parameters[found[1]]
        reading.used.add(("parameter", parameter.name))
        if parameter.unit is not None:
            reading.units.append((node.mark, parameter.name, parameter.unit))
        return parameter.value

    return PARAMETER.sub(put_in, node.value.strip())


def _plain_text(node: Yaml, reading: ReaderContext, name: str) -> str | _Bad:
    if not isinstance(node, Text) or not node.value.strip():
        return reading.bad(node, "TV106", f'"{name}" is a text; found {shape(node)}.')
    return node.value.strip()


PROSE = ScalarKind(_plain_text, {"type": "string", "minLength": 1})
TEXT = ScalarKind(text_of, {"type": "string", "minLength": 1})


def word(*known: str) -> ScalarKind:
    """One of the known words."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> str | _Bad:
        text = text_of(node, reading, name)
        if isinstance(text, _Bad) or text in known:
            return text
        told = f"Known: {', '.join(known)}.{suggestion(text, known)}"
        return reading.bad(node, "TV107", f"{quoted(text)} is not a value of {name}. {told}")

    return ScalarKind(read, {"enum": list(known)})


def several(kind: ScalarKind) -> ScalarKind:
    """A list of values, or one value alone; a tuple without repetition."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> tuple[Any, ...] | _Bad:
        nodes: Sequence[Yaml] = node.items if isinstance(node, Items) else [node]
        if not nodes:
            return reading.bad(node, "TV106", f'"{name}" is an empty list.')
        values = [kind.read(item, reading, name) for item in nodes]
        return BAD if BAD in values else tuple(dict.fromkeys(values))

    return ScalarKind(
        read, {"anyOf": [dict(kind.schema), {"type": "array", "items": dict(kind.schema), "minItems": 1}]}
    )


def any_or(kind: ScalarKind) -> ScalarKind:
    """``any`` (None), or the other kind."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> Any:
        return None if isinstance(node, Text) and node.value == "any" else kind.read(node, reading, name)

    return ScalarKind(read, {"anyOf": [{"const": "any"}, dict(kind.schema)]})


def lowered(kind: ScalarKind) -> ScalarKind:
    """Texts in lower case."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> Any:
        value = kind.read(node, reading, name)
        return tuple(text.lower() for text in value) if isinstance(value, tuple) else value

    return ScalarKind(read, kind.schema)


def _boolean(node: Yaml, reading: ReaderContext, name: str) -> bool | _Bad:
    text = text_of(node, reading, name)
    if isinstance(text, _Bad):
        return text
    if text not in ("true", "false"):
        return reading.bad(node, "TV107", f"{name} is true or false; found {quoted(text)}.")
    return text == "true"


BOOLEAN = ScalarKind(_boolean, {"type": "boolean"})


def number(text: str) -> Decimal | None:
    """A decimal number as an author writes it; no exponent, no NaN, at most 15 digits on each side."""
    return Decimal(text) if _NUMBER.match(text) else None


def decimal(low: int | None = None, high: int | None = None) -> ScalarKind:
    """A number between two bounds."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> Decimal | _Bad:
        text = text_of(node, reading, name)
        if isinstance(text, _Bad):
            return text
        value = number(text)
        if value is None or (low is not None and value < low) or (high is not None and value > high):
            span = "" if low is None else f" from {low}" + ("" if high is None else f" to {high}")
            return reading.bad(node, "TV141", f"{name} is a number{span}; found {quoted(text)}.")
        return value

    return ScalarKind(read, {"type": ["number", "string"]})


def integer(low: int, high: int) -> ScalarKind:
    """A whole number between two bounds."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> int | _Bad:
        text = text_of(node, reading, name)
        if isinstance(text, _Bad):
            return text
        if re.fullmatch(r"\d{1,9}", text) and low <= int(text) <= high:
            return int(text)
        return reading.bad(
            node, "TV141", f"{name} is a whole number from {low} to {high}; found {quoted(text)}."
        )

    return ScalarKind(read, {"type": "integer", "minimum": low, "maximum": high})


def duration(*, hours: bool = False, zero: bool = False) -> ScalarKind:
    """A count and a unit. ``hours`` allows h (only for pairing), ``zero`` allows nothing at all."""

    def read(node: Yaml, reading: ReaderContext, name: str) -> Duration | _Bad:
        before = len(reading.units)
        text = text_of(node, reading, name)
        if isinstance(text, _Bad):
            return text
        if re.fullmatch(r"\d+", text) and len(reading.units) == before + 1:
            text = f"{text} {reading.units.pop()[2]}"  # the whole value is a parameter with its unit
        return _duration(text, node, reading, (name, hours, zero))

    return ScalarKind(read, {"type": "string", "examples": ["6 mo", "30 d", "2 a"]})


def _duration(text: str, node: Yaml, reading: ReaderContext, rule: tuple[str, bool, bool]) -> Duration | _Bad:
    name, hours, zero = rule
    if text.startswith("-"):
        return reading.bad(node, "TV142", f'{name} is negative; write the length alone, such as "6 mo".')
    try:
        read = parse_duration(text)
    except BadDate:
        message = f'{name} is a count and a unit (d, wk, mo, a), such as "6 mo"; found {quoted(text)}.'
        return reading.bad(node, "TV142", message)
    if read.unit == "h" and not hours:
        return reading.bad(node, "TV142", f'{name} cannot be in hours; "h" is for pairing only.')
    if read.count == 0 and not zero:
        return reading.bad(node, "TV142", f"{name} is zero; it needs a length.")
    return read


DURATION = duration()


def _comparison(node: Yaml, reading: ReaderContext, name: str) -> Comparison | _Bad:
    if isinstance(node, Table):
        return _between(node, reading, name)
    text = text_of(node, reading, name)
    if isinstance(text, _Bad):
        return text
    found = _COMPARISON.match(text)
    if found is None:
        message = f'{name} is a comparison such as ">= 5.7" or {{between: [1, 2]}}; found {quoted(text)}.'
        return reading.bad(node, "TV141", message)
    value = number(found[2])
    if value is None:
        return _not_a_number(found[2], node, reading, name)
    return _compared(found[1], value)


def _compared(op: str, value: Decimal) -> Comparison:
    if op in ("<", "<="):
        return Comparison("<" if op == "<" else "<=", high=value, high_closed=op == "<=")
    if op in (">", ">="):
        return Comparison(">" if op == ">" else ">=", low=value, low_closed=op == ">=")
    return Comparison("=" if op == "=" else "!=", low=value, high=value)


def _not_a_number(text: str, node: Yaml, reading: ReaderContext, name: str) -> _Bad:
    head = re.match(r"[+-]?\d+(?:\.\d+)?(?=\s*[^\d.,_:eE])", text)
    if head is not None:
        unit = quoted(text[head.end() :].strip())
        return reading.bad(
            node, "TV135", f'{name} holds the number alone; write the unit {unit} under "unit".'
        )
    return reading.bad(node, "TV141", f"{name} compares with {quoted(text)}, which is not a number.")


def _between(table: Table, reading: ReaderContext, name: str) -> Comparison | _Bad:
    if unknown_keys(table, reading, f"{name} as a range", ("between", "ends")):
        return BAD
    if "between" not in table.entries:
        return reading.bad(table, "TV104", f'{name} as a range needs "between: [low, high]".')
    bounds = table.entries["between"]
    if not isinstance(bounds, Items) or len(bounds.items) != 2:
        return reading.bad(bounds, "TV141", f"between is a list of two numbers; found {shape(bounds)}.")
    low, high = (decimal().read(item, reading, "between") for item in bounds.items)
    ends = word(*ENDS).read(table.entries["ends"], reading, "ends") if "ends" in table.entries else "[]"
    if BAD in (low, high, ends):
        return BAD
    read = Comparison("between", low, high, ends[0] == "[", ends[1] == "]")
    if read.empty:
        return reading.bad(table, "TV140", f"between {low} and {high} is empty.")
    return read


COMPARISON = ScalarKind(
    _comparison,
    {
        "anyOf": [
            {"type": "string", "pattern": r"^(<|<=|>|>=|=|!=)\s*(-?[0-9.]+|\$.+)$", "examples": [">= 5.7"]},
            {
                "type": "object",
                "properties": {
                    "between": {"type": "array", "minItems": 2, "maxItems": 2},
                    "ends": {"enum": list(ENDS)},
                },
                "required": ["between"],
                "additionalProperties": False,
            },
        ]
    },
)


def _count(node: Yaml, reading: ReaderContext, name: str) -> CountBound | _Bad:
    text = text_of(node, reading, name)
    if isinstance(text, _Bad):
        return text
    found = re.fullmatch(r"(>=|<=|=)\s*(\d{1,6})", text)
    if found is None:
        message = f'{name} is ">= n", "<= n" or "= n" with a whole number; found {quoted(text)}.'
        return reading.bad(node, "TV144", message)
    if found[1] == ">=" and int(found[2]) == 0:
        return reading.bad(node, "TV144", f'{name} ">= 0" always holds; ask for at least 1.')
    operator: Literal[">=", "<=", "="] = "=" if found[1] == "=" else ">=" if found[1] == ">=" else "<="
    return CountBound(operator, int(found[2]))


COUNT = ScalarKind(_count, {"type": "string", "pattern": r"^(>=|<=|=)\s*([0-9]+|\$.+)$"})


def read_day(text: str) -> date | None:
    """A day written ``YYYY-MM-DD``, or None."""
    try:
        parsed = parse_date(text)
    except BadDate:
        return None
    return parsed.first() if parsed.precision == "day" else None


def _point(node: Yaml, reading: ReaderContext, name: str) -> Point | _Bad:
    text = text_of(node, reading, name)
    if isinstance(text, _Bad):
        return text
    day = read_day(text)
    if day is not None:
        return Point("date", day)
    found = _POINT.match(text)
    if found is None or (found[1] == "birth" and found[2] == "-"):
        message = f'{name} is a date, "index", "index - 6 mo" or "birth + 18 a"; found {quoted(text)}.'
        return reading.bad(node, "TV143", message)
    anchor: Literal["index", "birth"] = "index" if found[1] == "index" else "birth"
    if found[2] is None:
        return Point(anchor)
    offset = _duration(found[3], node, reading, (name, False, True))
    return offset if isinstance(offset, _Bad) else Point(anchor, None, offset, -1 if found[2] == "-" else 1)


POINT = ScalarKind(
    _point, {"type": "string", "examples": ["2024-01-31", "index", "index - 6 mo", "birth + 18 a"]}
)


def _value_set(node: Yaml, reading: ReaderContext, name: str) -> ValueSet | _Bad:
    text = text_of(node, reading, name)
    if isinstance(text, _Bad):
        return text
    reading.used.add(("value set", text))
    if text not in reading.sets:
        message = f"value set {quoted(text)} is not defined.{suggestion(text, reading.sets)}"
        return reading.bad(node, "TV120", message)
    return reading.sets[text]


VALUE_SET = ScalarKind(_value_set, {"type": "string", "description": "name of a value set"})


def unknown_keys(
    table: Table, reading: ReaderContext, of: str, known: Names, *, needed: Names = (), unlisted: Names = ()
) -> bool:
    """Complain about keys that are not known, and about ``needed`` ones that are missing.

    True if there was an unknown one. ``unlisted`` ones pass, but are not told.
    """
    unknown = [key for key in table.keys if key not in known and key not in unlisted]
    for key in unknown:
        told = f"Known: {', '.join(known)}.{suggestion(key, known)}"
        reading.bad(table.keys[key], "TV103", f"{quoted(key)} is not a key of {of}. {told}")
    for key in needed:
        if key not in table.keys:
            reading.bad(table, "TV104", f'{of} needs "{key}".')
    return bool(unknown)
