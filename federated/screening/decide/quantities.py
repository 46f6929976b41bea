"""Results as intervals, and what is asked of them: 0 no, 1 unknown, 2 yes, with the reason for an unknown.

``<5`` is everything below five, so it fits ``<= 6``, does not fit ``> 5``, and is unknown against ``<= 4.5``. A
number without a usable unit is unknown, and so is a number that came as text (``trial-matching`` 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import inf, log10
from types import MappingProxyType
from typing import Any, NamedTuple

from ehr.records.codes import Code
from ehr.records.elements import CodeableConcept, Coding, Quantity, Range, Ratio
from federated.screening.decide.three_values import NO, UNKNOWN, YES
from federated.screening.plan.nodes import Asked, CodeSet, Scale
from federated.screening.trial.units import dimension_of, repaired

CodeOf = Callable[[Coding], Code | None]

LETTERS = "{letters}"
BELOW_LETTERS = frozenset({"cf", "hm", "lp", "nlp", "fc", "count fingers", "counting fingers", "finger counting",
                           "hand motion", "hand motions", "hand movement", "hand movements", "light perception",
                           "no light perception"})  # fmt: skip
"""Acuity that no letter score can express; below every score, and no number."""

_FRACTION = re.compile(r"(20|6)/(\d{1,4}(?:\.\d)?)(?:\s?([+-])\s?(\d))?\Z")
_DECIMAL = re.compile(r"([0-2]\.\d{1,2})\Z")


class NumberRange(NamedTuple):
    """A stretch of numbers: the value lies in it, at an end only where that is closed."""

    low: float
    high: float
    low_closed: bool = True
    high_closed: bool = True


class Judged(NamedTuple):
    """What became of one value.

    Args:
        truth: whether it is as asked.
        reason: why it is unknown; None otherwise.
        low, high: in the author's unit; equal for a plain number; None where there is no number.
        shown: the text or code, for values that are no numbers.
        original, unit: as recorded.
        side: -1 below the bounds, 1 above, 0 otherwise.
    """

    truth: int
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    shown: str | None = None
    original: str | None = None
    unit: str | None = None
    side: int = 0


_COMPARATORS: Mapping[str, Callable[[float], NumberRange]] = MappingProxyType(
    {
        "<": lambda value: NumberRange(-inf, value, True, False),
        "<=": lambda value: NumberRange(-inf, value),
        ">": lambda value: NumberRange(value, inf, False, True),
        ">=": lambda value: NumberRange(value, inf),
    }
)


def judge(value: Any, asked: Asked, code_of: CodeOf) -> Judged:
    """Whether a value is as asked.

    Args:
        value: what `Observation.value` gives.
        asked: the plan's question.
        code_of: how the site's codings are normalised.
    """
    if value is None:
        return Judged(UNKNOWN, "VALUE_MISSING")
    if asked.codes is not None:
        return _coded(value, asked.codes, code_of)
    if asked.texts:
        return _worded(value, asked.texts)
    if isinstance(value, Quantity):
        return _quantity(value, asked)
    if isinstance(value, Range):
        return _range(value, asked)
    if asked.acuity:
        return _acuity(value, asked)
    return Judged(UNKNOWN, "NOT_NUMERIC")


def compared(span: NumberRange, scale: Scale, negated: bool = False) -> tuple[int, int]:
    """A stretch of numbers against bounds: the truth, and on which side it lies outside."""
    truth, side = UNKNOWN, 0
    if _below(span.high, span.high_closed, scale.low, scale.low_closed):
        truth, side = NO, -1
    elif _below(scale.high, scale.high_closed, span.low, span.low_closed):
        truth, side = NO, 1
    elif _starts_within(span, scale) and _ends_within(span, scale):
        truth = YES
    return (YES - truth if negated else truth), side


def _below(high: float, high_closed: bool, low: float, low_closed: bool) -> bool:
    """Whether everything up to ``high`` lies before everything from ``low``."""
    return high < low or (high == low and not (high_closed and low_closed))


def _starts_within(span: NumberRange, scale: Scale) -> bool:
    return span.low > scale.low or (span.low == scale.low and (scale.low_closed or not span.low_closed))


def _ends_within(span: NumberRange, scale: Scale) -> bool:
    return span.high < scale.high or (span.high == scale.high and (scale.high_closed or not span.high_closed))


def scale_of(unit: str | None, asked: Asked) -> Scale | None:
    """The bounds in a recorded unit; None where it cannot be compared."""
    text = (unit or "").strip()
    found = asked.scales.get(text)
    if found is None and text:
        found = asked.scales.get(repaired(text))
    if (
        found is None
        and "" in asked.scales
        and (text == "1" or (text.startswith("{") and text.endswith("}")))
    ):
        found = asked.scales[""]  # an annotation names no unit
    return found


def _quantity(value: Quantity, asked: Asked) -> Judged:
    if value.value is None:
        return Judged(UNKNOWN, "VALUE_MISSING", unit=value.unit_code)
    number = float(value.value)
    original = f"{value.comparator or ''}{value.value}"
    scale = _scale_of(value, asked)
    if scale is None:
        reason = "UNIT_NOT_CONVERTIBLE" if value.unit_code else "UNIT_MISSING"
        return Judged(UNKNOWN, reason, original=original, unit=value.unit_code)
    span = NumberRange(number, number)
    if value.comparator:
        bound = _COMPARATORS.get(value.comparator)
        if bound is None:
            return Judged(UNKNOWN, "NOT_NUMERIC", original=original, unit=value.unit_code)
        span = bound(number)
    return _placed(span, scale, asked, original, value.unit_code)


def _scale_of(value: Quantity, asked: Asked) -> Scale | None:
    """The bounds by the coded unit, else by the printed one; None where the two name different units."""
    if not value.code or not value.unit or value.code == value.unit:
        return scale_of(value.code or value.unit, asked)
    coded, printed = scale_of(value.code, asked), scale_of(value.unit, asked)
    if coded is None:
        return None if dimension_of(value.code) is not None else printed
    if printed is None:
        return None if dimension_of(value.unit) is not None else coded
    return coded if coded == printed else None


def _range(value: Range, asked: Asked) -> Judged:
    low, high = value.low, value.high
    units = {end.unit_code for end in (low, high) if end is not None}
    if len(units) != 1 or any(
        end is not None and (end.value is None or end.comparator) for end in (low, high)
    ):
        return Judged(UNKNOWN, "VALUE_MISSING")
    unit = units.pop()
    scale = scale_of(unit, asked)
    if scale is None:
        return Judged(UNKNOWN, "UNIT_NOT_CONVERTIBLE" if unit else "UNIT_MISSING", unit=unit)
    numbers = [None if end is None or end.value is None else float(end.value) for end in (low, high)]
    span = NumberRange(-inf if numbers[0] is None else numbers[0], inf if numbers[1] is None else numbers[1])
    if span.low > span.high:
        return Judged(UNKNOWN, "VALUE_MISSING", unit=unit)
    texts = ["" if end is None else str(end.value) for end in (low, high)]
    return _placed(span, scale, asked, "–".join(texts), unit)


def _placed(span: NumberRange, scale: Scale, asked: Asked, original: str, unit: str | None) -> Judged:
    truth, side = compared(span, scale, asked.negated)
    ends = sorted((shown(span.low, scale), shown(span.high, scale)))
    low, high = (None if abs(end) == inf else end for end in ends)
    if scale.slope < 0:
        side = -side
    reason = "VALUE_MISSING" if truth == UNKNOWN else None  # a bound where a number was needed
    return Judged(truth, reason, low, high, None, original, unit, side)


def shown(number: float, scale: Scale) -> float:
    """A recorded number in the author's unit."""
    if scale.slope == 1.0 and scale.offset == 0.0:
        return number
    return round(number * scale.slope + scale.offset, 9)


def _acuity(value: Any, asked: Asked) -> Judged:
    """Snellen fractions, decimal acuity, and the words for less than a letter, all as letters."""
    scale = asked.scales.get(LETTERS)
    text = _ratio_text(value) if isinstance(value, Ratio) else _text_of(value)
    if text is None or scale is None:
        return Judged(UNKNOWN, "NOT_NUMERIC")
    word = " ".join(text.lower().replace("_", " ").split())
    if word in BELOW_LETTERS:
        return _placed(NumberRange(-inf, 0.0, True, False), scale, asked, text, None)
    letters = letters_of(word)
    if letters is None:
        return Judged(UNKNOWN, "NOT_NUMERIC")  # words of the EHR may name anything; they go nowhere
    return _placed(NumberRange(letters, letters), scale, asked, text, None)


def letters_of(text: str) -> float | None:
    """ETDRS letters of ``20/40``, ``20/40-2``, ``6/12`` or decimal ``0.5``: 85 + 50·log10(fraction).

    Source: Gregori et al. 2010; the sign after a fraction counts letters more or less on the line.
    """
    found = _FRACTION.match(text)
    if found is not None:
        if float(found[2]) == 0:
            return None
        extra = int(found[3] + found[4]) if found[3] else 0
        return round(85 + 50 * log10(float(found[1]) / float(found[2])) + extra, 9)
    decimal = _DECIMAL.match(text)
    if decimal is None or float(decimal[1]) == 0:
        return None
    return round(85 + 50 * log10(float(decimal[1])), 9)


def _ratio_text(value: Ratio) -> str | None:
    if value.numerator is None or value.denominator is None:
        return None
    above, below = value.numerator.value, value.denominator.value
    return None if above is None or below is None else f"{above.normalize():f}/{below.normalize():f}"


def _text_of(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip()
    return value.label if isinstance(value, CodeableConcept) else None


def _coded(value: Any, codes: CodeSet, code_of: CodeOf) -> Judged:
    if not isinstance(value, CodeableConcept):
        return Judged(UNKNOWN, "CODE_NOT_MAPPED")
    found = [code for coding in value.coding if (code := code_of(coding)) is not None]
    display = next((coding.display for coding in value.coding if coding.display), None)
    if any(codes.has(code) for code in found):
        return Judged(YES, shown=display)
    mapped = any(code.system in codes.systems for code in found)
    # A text, or a code of another system, may mean a member: nothing here can tell.
    return Judged(NO, shown=display) if mapped else Judged(UNKNOWN, "CODE_NOT_MAPPED", shown=display)


def _worded(value: Any, texts: frozenset[str]) -> Judged:
    if isinstance(value, CodeableConcept):
        words = [coding.display for coding in value.coding] + [value.text]
    elif isinstance(value, bool):
        words = ["true" if value else "false"]
    else:
        words = [value if isinstance(value, str) else None]
    said = [" ".join(word.lower().split()) for word in words if word and word.strip()]
    if not said:
        return Judged(UNKNOWN, "VALUE_MISSING")
    # Only a word of the author's own is shown; other words of the EHR may name anything.
    same = next((word for word in said if word in texts), None)
    return Judged(NO if same is None else YES, shown=same)
