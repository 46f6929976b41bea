"""One search parameter against one resource."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ehr.sandbox.instants import Interval, compare, interval, interval_of
from ehr.sandbox.outcomes import Refused
from ehr.sandbox.parameters import Parameter, elements, target_of
from ehr.sandbox.skin import Searching
from ehr.sandbox.store import Stored

Test = Callable[[Stored], bool]

_DATE = re.compile(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?(.+)")


@dataclass(frozen=True, slots=True)
class Filter:
    """One parameter of a search, as asked.

    Args:
        name: without its modifier.
        parameter: how it reads a resource.
        modifier: after the colon; empty without one.
        values: alternatives (the comma's parts).
    """

    name: str
    parameter: Parameter
    modifier: str
    values: tuple[str, ...]


def split_values(text: str) -> tuple[str, ...]:
    """The comma's parts; ``\\,`` is a comma inside a value."""
    parts = re.split(r"(?<!\\),", text)
    return tuple(re.sub(r"\\([,$|\\])", r"\1", part) for part in parts)


def test_of(asked: Filter, searching: Searching, now: int) -> Test:
    """The test a resource must pass.

    Raises:
        Refused: a value or modifier is not understood.
    """
    if asked.modifier == "missing":
        return _missing(asked)
    made = {"token": _token, "string": _string, "date": _date, "reference": _reference}[asked.parameter.kind]
    return made(asked, searching, now)


def _missing(asked: Filter) -> Test:
    if asked.values not in {("true",), ("false",)}:
        raise Refused(400, "bad-parameter", f"{asked.name}:missing takes true or false")
    wanted = asked.values == ("true",)
    return lambda stored: wanted != any(True for _ in elements(stored.data, asked.parameter.paths))


def _token(asked: Filter, searching: Searching, now: int) -> Test:
    pairs = [value.rpartition("|") for value in asked.values]
    if searching.typed_identifiers and asked.name == "identifier":
        return lambda stored: any(
            _same_number(pair, held)
            for pair in pairs
            for held in elements(stored.data, asked.parameter.paths)
        )

    def matches(stored: Stored) -> bool:
        held = stored.cached(asked.name, lambda data: list(_codes(elements(data, asked.parameter.paths))))
        found = any(_same_code(pair, code) for pair in pairs for code in held)
        return found != (asked.modifier == "not")

    return matches


def _same_number(asked: tuple[str, str, str], held: Any) -> bool:
    kind, bar, value = asked
    if not isinstance(held, dict) or held.get("value") != value:
        return False
    marks = [*elements(held, ("type.text", "type.coding.code")), held.get("system")]
    return not bar or kind in marks


def _same_code(asked: tuple[str, str, str], held: tuple[str | None, str]) -> bool:
    system, bar, code = asked
    if code and code != held[1]:
        return False
    # a plain code (gender, status) has its system from the standard, which the table does not keep
    return not bar or held[0] is None or held[0] == system


def _codes(values: Iterator[Any]) -> Iterator[tuple[str | None, str]]:
    for value in values:
        if isinstance(value, bool):
            yield None, str(value).lower()
        elif isinstance(value, str):
            yield None, value
        elif isinstance(value, dict) and isinstance(value.get("coding"), list):
            yield from _codes(iter(value["coding"]))
        elif isinstance(value, dict):
            code = value.get("code", value.get("value"))
            if isinstance(code, str):
                yield str(value.get("system", "")), code


def folded(text: str) -> str:
    """Text without case, accents and outer blanks."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).strip()


def _string(asked: Filter, searching: Searching, now: int) -> Test:
    exact = asked.modifier == "exact"
    mode = asked.modifier or searching.strings
    wanted = [value if exact else folded(value) for value in asked.values]
    if not all(wanted):
        raise Refused(400, "bad-parameter", f"{asked.name} is empty")

    def matches(stored: Stored) -> bool:
        key = f"{asked.name}:exact" if exact else asked.name
        held = stored.cached(key, lambda data: _strings(data, asked.parameter, exact=exact))
        return any(_same_text(mode, value, text) for value in wanted for text in held)

    return matches


def _strings(data: dict[str, Any], parameter: Parameter, *, exact: bool) -> list[str]:
    texts = [value for value in elements(data, parameter.paths) if isinstance(value, str)]
    return texts if exact else [folded(text) for text in texts]


def _same_text(mode: str, asked: str, held: str) -> bool:
    if mode == "exact":
        return held == asked
    if mode == "weighted":
        return one_letter_off(asked, held)
    return asked in held if mode == "contains" else held.startswith(asked)


def one_letter_off(one: str, other: str) -> bool:
    """Whether two texts are equal or one letter is other, missing or too much."""
    short, long = sorted((one, other), key=len)
    if len(long) - len(short) > 1:
        return False
    start = next((at for at, letter in enumerate(short) if letter != long[at]), len(short))
    rest = len(short) - start - (len(long) == len(short) and start < len(short))
    return rest == 0 or short[-rest:] == long[-rest:]


def _date(asked: Filter, searching: Searching, now: int) -> Test:
    bounds = [_bound(asked.name, value, searching) for value in asked.values]

    def matches(stored: Stored) -> bool:
        held = stored.cached(asked.name, lambda data: _intervals(data, asked.parameter))
        return any(compare(prefix, bound, span, now) for prefix, bound in bounds for span in held)

    return matches


def _bound(name: str, value: str, searching: Searching) -> tuple[str, Interval]:
    found = _DATE.fullmatch(value)
    span = interval(found[2]) if found else None
    if found is None or span is None:
        raise Refused(
            400, "bad-parameter", f"{name} is not a date; expected [prefix]YYYY[-MM[-DD[Thh:mm[:ss]zone]]]"
        )
    prefix = found[1] or "eq"
    if prefix not in searching.prefixes:
        raise Refused(400, "bad-parameter", f"{name}: this date prefix is not supported")
    return prefix, span


def _intervals(data: dict[str, Any], parameter: Parameter) -> list[Interval]:
    spans = (interval_of(value) for value in elements(data, parameter.paths))
    return [span for span in spans if span is not None]


def _reference(asked: Filter, searching: Searching, now: int) -> Test:
    kind = asked.parameter.target or (asked.modifier if asked.modifier[:1].isupper() else None)
    wanted = [reference_parts(value, kind) for value in asked.values]

    def matches(stored: Stored) -> bool:
        held = stored.cached(asked.name, lambda data: _targets(data, asked.parameter))
        found = any(name == other and kind in {None, of} for kind, name in wanted for of, other in held)
        return found != (asked.modifier == "not")

    return matches


def reference_parts(value: str, kind: str | None) -> tuple[str | None, str]:
    """Type (None if not said) and id of a reference as searched for: ``id``, ``Type/id`` or an address."""
    found = target_of({"reference": value})
    return found if found is not None else (kind, value)


def _targets(data: dict[str, Any], parameter: Parameter) -> list[tuple[str, str]]:
    found = (target_of(value) for value in elements(data, parameter.paths))
    return [target for target in found if target is not None]


def sort_texts(data: dict[str, Any], parameter: Parameter) -> list[str]:
    """What a resource is sorted by under a parameter that is not a date: codes, folded text, or ids."""
    if parameter.kind == "token":
        return [code for _, code in _codes(elements(data, parameter.paths))]
    if parameter.kind == "reference":
        return [name for _, name in _targets(data, parameter)]
    return _strings(data, parameter, exact=False)
