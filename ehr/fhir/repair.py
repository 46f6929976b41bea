"""The closed list of repairs that an entry may get before it is given up. None of them invents a value.

==================  =============================================================================
empty               empty texts, nulls and empty objects are dropped, as if they had not been sent
object-for-list     a lone object or text where the element repeats becomes a list of one
number-for-text     a number where a text belongs becomes that text
lower-case          status words are codes in lower case
zone                a time without a zone gets the site's
unknown-field       elements that this library does not read are dropped before validation
==================  =============================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, tzinfo
from decimal import Decimal
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ehr.records.elements import Element
from ehr.records.fetched import Issue, Severity

_CODES = frozenset({"status", "intent", "gender", "use", "criticality", "docStatus", "comparator"})
_NAIVE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?\Z")
_DROP = object()


def repaired(raw: Mapping[str, Any], shape: type[Element], zone: tzinfo) -> tuple[Any, tuple[Issue, ...]]:
    """A copy of a resource with the repairs that its shape asks for, and a count of each.

    Args:
        raw: the decoded JSON object; it stays as it is.
        shape: the struct it is to become.
        zone: the site's, for times without one.
    """
    tally: Counter[str] = Counter()
    mended = _object(raw, shape, _Context(tally, zone))
    issues = tuple(Issue(f"repair:{name}", Severity.WARNING, count) for name, count in sorted(tally.items()))
    return mended, issues


class _Context:
    __slots__ = ("tally", "zone")

    def __init__(self, tally: Counter[str], zone: tzinfo) -> None:
        self.tally = tally
        self.zone = zone


@cache
def _shapes(shape: type[Element]) -> Mapping[str, tuple[Any, bool]]:
    """Wire name to (type of one value, whether it repeats)."""
    hints = get_type_hints(shape)
    return {field.encode_name: _one(hints[field.name]) for field in msgspec.structs.fields(shape)}


def _one(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        return get_args(hint)[0], True
    return hint, False


def _object(raw: Mapping[str, Any], shape: type[Element], context: _Context) -> Any:
    out: dict[str, Any] = {}
    shapes = _shapes(shape)
    for name, value in raw.items():
        if name not in shapes:
            if name == "resourceType":
                out[name] = value
            continue
        kind, repeats = shapes[name]
        mended = _list(name, value, kind, context) if repeats else _value(name, value, kind, context)
        if mended is not _DROP:
            out[name] = mended
    return out


def _list(name: str, value: Any, kind: Any, context: _Context) -> Any:
    if value is None:
        context.tally["empty"] += 1
        return _DROP
    if not isinstance(value, list):
        context.tally["object-for-list"] += 1
        value = [value]
    return [one for item in value if (one := _value(name, item, kind, context)) is not _DROP]


def _value(name: str, value: Any, kind: Any, context: _Context) -> Any:
    # Nextech's own example of a Patient has system: "" and suffix: [""] (its R4 pages of 2024-10); strict R4 models
    # refuse it, and the whole page with it.
    if value is None or value == "" or value == {}:
        context.tally["empty"] += 1
        return _DROP
    if isinstance(kind, type) and issubclass(kind, Element):
        return _object(value, kind, context) if isinstance(value, dict) else value
    if kind is str:
        return _text(name, value, context)
    return value


def _text(name: str, value: Any, context: _Context) -> Any:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        context.tally["number-for-text"] += 1
        return str(value)
    if not isinstance(value, str):
        return value
    if name in _CODES and value != value.lower():
        context.tally["lower-case"] += 1
        return value.lower()
    if _NAIVE.match(value):
        return _zoned(value, context)
    return value


def _zoned(text: str, context: _Context) -> str:
    try:
        offset = datetime.fromisoformat(text).replace(tzinfo=context.zone).strftime("%z")
    except ValueError:
        return text
    context.tally["zone"] += 1
    seconds = "" if text.count(":") == 2 else ":00"
    return f"{text}{seconds}{offset[:3]}:{offset[3:5]}"


def cleaned(value: Any) -> Any:
    """A copy of decoded JSON without empty texts, nulls and empty objects, as validation wants it.

    What is nested too deeply to be walked becomes nothing.
    """
    try:
        return _cleaned(value)
    except RecursionError:
        return {}


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        inner = {name: _cleaned(item) for name, item in value.items()}
        return {name: item for name, item in inner.items() if item not in ("", None, {}, [])}
    if isinstance(value, list):
        return [item for item in map(_cleaned, value) if item not in ("", None, {})]
    return value
