"""Three truth values as integers: 0 no, 1 unknown, 2 yes (Kleene's strong logic).

Integers, because every engine agrees on minimum and maximum, and on nothing about NULL. Kleene logic is sound,
not complete: a formula that depends twice on one unknown may stay unknown although it cannot vary.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NO: Final = 0
UNKNOWN: Final = 1
YES: Final = 2


def both(a: int, b: int) -> int:
    """``a and b``."""
    return a if a < b else b


def either(a: int, b: int) -> int:
    """``a or b``."""
    return a if a > b else b


def negated(a: int) -> int:
    """``not a``."""
    return YES - a


def every(values: Iterable[int]) -> int:
    """All of them; yes for none at all, so callers refuse empty lists where that would be a claim."""
    return min(values, default=YES)


def some(values: Iterable[int]) -> int:
    """Any of them; no for none at all."""
    return max(values, default=NO)


def at_least(n: int, yes: int, unknown: int) -> int:
    """Whether at least ``n`` of some things are so, of which ``yes`` are and ``unknown`` may be."""
    if yes >= n:
        return YES
    return NO if yes + unknown < n else UNKNOWN


def counted(operator: str, n: int, yes: int, unknown: int) -> int:
    """A count compared with a number.

    Args:
        operator: ``>=``, ``<=`` or ``=``.
        n: the number.
        yes, unknown: how many are so, and how many may be.

    Raises:
        ValueError: another operator.
    """
    if operator == ">=":
        return at_least(n, yes, unknown)
    if operator == "<=":
        return negated(at_least(n + 1, yes, unknown))
    if operator == "=":
        return both(at_least(n, yes, unknown), negated(at_least(n + 1, yes, unknown)))
    raise ValueError("a count is compared with >=, <= or =")


def opened(value: int) -> int:
    """A value of which *no* was not proved, because something may be missing: no becomes unknown."""
    return UNKNOWN if value == NO else value


def applied(applies: int, value: int) -> int:
    """A criterion's value where its ``applies_if`` is ``applies``: yes where it does not apply.

    Source: 3.6; *unknown* gives ``max(value, 1)``, *no* is neutral.
    """
    return either(negated(applies), value)
