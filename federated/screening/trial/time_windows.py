"""Reading windows of time and repeated visits of a trial file, and what is wrong with them."""

from __future__ import annotations

from datetime import date
from typing import Any

from ehr.dates import BadDate, Duration, shift
from ehr.files.yaml_nodes import Table, Yaml, shape
from federated.screening.trial import scalars
from federated.screening.trial.value_types import INDEX, EveryPeriod, Point, Window

KINDS: dict[str, scalars.ScalarKind] = {
    "within": scalars.duration(zero=True),
    "next": scalars.DURATION,
    "from": scalars.POINT,
    "to": scalars.POINT,
    "ends": scalars.word(*scalars.ENDS),
}
_SOME_DAY = date(2024, 7, 15)


def read_window(
    values: dict[str, Any], table: Table, reading: scalars.ReaderContext, *, forward: bool
) -> Window | None:
    """A window from the values of its keys; None where there is none or it has a mistake.

    Args:
        values: what was read of ``within``, ``next``, ``from``, ``to``, ``ends``.
        table: where they stand, for messages.
        reading: gets the mistakes.
        forward: whether the records may lie after the index date.
    """
    forms = [form for form in ("within", "next", "from", "to") if form in table.keys]
    if "ends" in table.keys and not {"from", "to"} & set(forms):
        reading.bad(
            table.keys["ends"], "TV118", '"ends" belongs to "from" and "to"; within has both days in.'
        )
    if len(forms) > 1 and forms != ["from", "to"]:
        reading.bad(table.keys[forms[1]], "TV118", f'one window; found "{forms[0]}" and "{forms[1]}".')
        return None
    if not forms or any(form not in values for form in forms):
        return None
    if "within" in values:
        return Window("within", Point("index", None, values["within"], -1), INDEX)
    if "next" in values:
        if not forward:
            message = (
                '"next" looks beyond the index date, and later records never count; only appointment has it.'
            )
            reading.bad(table.keys["next"], "TV146", message)
        return Window("next", INDEX, Point("index", None, values["next"], 1), "(]")
    window = Window("range", values.get("from"), values.get("to"), values.get("ends", "[]"))
    _check(window, table, reading)
    return window


def _check(window: Window, table: Table, reading: scalars.ReaderContext) -> None:
    for key, point in (("from", window.start), ("to", window.end)):
        if point is not None and point.anchor == "index" and point.sign == 1 and point.offset is not None:
            message = f'"{key}" lies after the index date, and later records never count.'
            reading.bad(table.keys[key], "TV146", message)
            return
    start = None if window.start is None else _some_day(window.start, table, reading)
    end = None if window.end is None else _some_day(window.end, table, reading)
    if start is None or end is None or window.start is None or window.end is None:
        return
    same = window.start.anchor == window.end.anchor
    if same and (start > end or (start == end and window.ends != "[]")):
        reading.bad(table.keys["from"], "TV143", f"the window from {window.start} to {window.end} is empty.")


def _some_day(point: Point, table: Table, reading: scalars.ReaderContext) -> date | None:
    day = point.day or _SOME_DAY
    try:
        return day if point.offset is None else shift(day, point.offset, point.sign)
    except BadDate:
        reading.bad(table, "TV143", "the window leads out of the calendar.")
        return None


def inline(
    values: dict[str, Any], table: Table, reading: scalars.ReaderContext, forward: bool = False
) -> None:
    """Replace the window keys of a predicate by its field ``window``."""
    window = read_window(values, table, reading, forward=forward)
    for key in KINDS:
        values.pop(key, None)
    if window is not None:
        values["window"] = window


def _nested(node: Yaml, reading: scalars.ReaderContext, name: str) -> Any:
    if not isinstance(node, Table):
        message = f'"{name}" is a window such as {{within: 6 mo}}; found {shape(node)}.'
        return reading.bad(node, "TV106", message)
    bad = scalars.unknown_keys(node, reading, name, tuple(KINDS))
    if not node.keys:
        return reading.bad(node, "TV104", f'{name} needs "within", or "from" and "to".')
    read = {key: KINDS[key].read(value, reading, key) for key, value in node.entries.items() if key in KINDS}
    good = {key: value for key, value in read.items() if value is not scalars.BAD}
    window = read_window(good, node, reading, forward=False)
    return scalars.BAD if bad or window is None else window


_RULES = {"period": scalars.DURATION, "times": scalars.integer(1, 1000), "over": scalars.DURATION}


def _every(node: Yaml, reading: scalars.ReaderContext, name: str) -> Any:
    if not isinstance(node, Table):
        message = f'"{name}" is {{period: 12 mo, times: 2, over: 24 mo}}; found {shape(node)}.'
        return reading.bad(node, "TV106", message)
    bad = scalars.unknown_keys(node, reading, name, tuple(_RULES), needed=tuple(_RULES))
    read = {
        key: _RULES[key].read(value, reading, key) for key, value in node.entries.items() if key in _RULES
    }
    if bad or len(read) < len(_RULES) or scalars.BAD in read.values():
        return scalars.BAD
    every = EveryPeriod(**read)
    if periods(every) is None:
        message = f"over ({every.over}) is not a whole number of periods ({every.period})."
        return reading.bad(node.entries["over"], "TV145", message)
    return every


def periods(every: EveryPeriod) -> int | None:
    """How many periods lie in the span; None where it is no whole number from 1 to 600."""
    (unit, period), (other, over) = _size(every.period), _size(every.over)
    if unit != other or over % period or not 1 <= over // period <= 600:
        return None
    return over // period


def _size(length: Duration) -> tuple[str, int]:
    """Months and years in months, days and weeks in days."""
    unit, factor = {"a": ("mo", 12), "mo": ("mo", 1), "wk": ("d", 7), "d": ("d", 1)}[length.unit]
    return unit, factor * length.count


WINDOW = scalars.ScalarKind(
    _nested,
    {
        "type": "object",
        "properties": {key: dict(kind.schema) for key, kind in KINDS.items()},
        "additionalProperties": False,
        "minProperties": 1,
    },
)
EVERY = scalars.ScalarKind(
    _every,
    {
        "type": "object",
        "properties": {key: dict(kind.schema) for key, kind in _RULES.items()},
        "required": list(_RULES),
        "additionalProperties": False,
    },
)
