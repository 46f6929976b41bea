"""The small values that criteria are made of: comparisons, counts, windows of time, code sets.

They hold what the author wrote, typed. Calendar arithmetic and units come later, in the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple

from ehr.dates import Duration
from ehr.records.codes import Code

Ends = Literal["[]", "[)", "(]", "()"]
"""Which ends of a range belong to it."""


class At(NamedTuple):
    """Where something stands.

    Args:
        path: inside its criterion, such as ``where.any[1].condition``; for evidence use `Leaf.at.path`.
        line, column: counted from 1.
        file: as the reader knows it.
    """

    path: str
    line: int = 0
    column: int = 0
    file: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number compared with bounds: a number ``x`` fits if it lies between ``low`` and ``high``.

    Args:
        op: as written: ``<``, ``<=``, ``>``, ``>=``, ``=``, ``!=`` or ``between``.
        low, high: bounds in the author's unit; None where there is none. ``=`` and ``!=`` have both, equal.
        low_closed, high_closed: whether the bound itself fits.
    """

    op: Literal["<", "<=", ">", ">=", "=", "!=", "between"]
    low: Decimal | None = None
    high: Decimal | None = None
    low_closed: bool = True
    high_closed: bool = True

    @property
    def negated(self) -> bool:
        """True for ``!=``: what lies between the bounds does *not* fit."""
        return self.op == "!="

    @property
    def empty(self) -> bool:
        """Whether no number fits."""
        if self.low is None or self.high is None or self.negated:
            return False
        return self.low > self.high or (self.low == self.high and not (self.low_closed and self.high_closed))

    def __str__(self) -> str:
        if self.op == "between":
            without = _without((self.low, self.low_closed), (self.high, self.high_closed))
            return f"between {self.low} and {self.high}{without}"
        return f"{self.op} {self.high if self.low is None else self.low}"


def _without(*ends: tuple[object, bool]) -> str:
    """The ends of a range that do not belong to it."""
    words = " and ".join(str(end) for end, belongs in ends if not belongs)
    return f" (without {words})" if words else ""


@dataclass(frozen=True, slots=True)
class CountBound:
    """How many records are asked for."""

    op: Literal[">=", "<=", "="]
    n: int

    def __str__(self) -> str:
        return f"{self.op} {self.n}"


@dataclass(frozen=True, slots=True)
class Point:
    """A day, given or counted from an anchor.

    Args:
        anchor: ``date``, ``index`` (the index date) or ``birth``.
        day: the day, with anchor ``date``.
        offset: moved by this, in the direction of ``sign``; None for the anchor itself.
        sign: 1 later, -1 earlier.
    """

    anchor: Literal["date", "index", "birth"]
    day: date | None = None
    offset: Duration | None = None
    sign: Literal[1, -1] = 1

    def __str__(self) -> str:
        if self.anchor == "date":
            return str(self.day)
        return self.anchor if self.offset is None else f"{self.anchor} {'+-'[self.sign < 0]} {self.offset}"


INDEX = Point("index")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time.

    Args:
        form: as written. ``within``: ``[index - d, index]``; ``next``: ``(index, index + d]``; ``range``: from
            and to.
        start: first day; None: all time before.
        end: last day; None (only in ``range``): up to the index date, for later records never count.
        ends: which of the two days belong to it.
    """

    form: Literal["within", "next", "range"]
    start: Point | None
    end: Point | None
    ends: Ends = "[]"

    @property
    def duration(self) -> Duration | None:
        """The length written in ``within`` or ``next``; None for a range."""
        point = {"within": self.start, "next": self.end}.get(self.form)
        return None if point is None else point.offset

    @property
    def forward(self) -> bool:
        """Whether it looks beyond the index date (`next`)."""
        return self.form == "next"

    def __str__(self) -> str:
        if self.form != "range":
            words = "within {} before" if self.form == "within" else "in the {} after"
            return f"{words.format(self.duration)} the index date"
        start = "the beginning" if self.start is None else str(self.start)
        end = "the index date" if self.end is None else str(self.end)
        return f"from {start} to {end}{_without((start, self.ends[0] == '['), (end, self.ends[1] == ']'))}"


@dataclass(frozen=True, slots=True)
class EveryPeriod:
    """At least ``times`` in each ``period``, going back from the index date over ``over``.

    ``over`` is a whole number of periods.
    """

    period: Duration
    times: int
    over: Duration

    def __str__(self) -> str:
        return f"{self.times} in each {self.period} of the last {self.over}"


@dataclass(frozen=True)
class ValueSet:
    """A named set of codes, each with its system.

    Members are (``codes`` or a prefix of ``prefixes``) without (``not_codes`` or a prefix of
    ``not_prefixes``). A prefix is kept as a `Code` whose text is the normalised beginning.

    Args:
        name: its name in the file; those of a used file have that file's name in front.
        codes: exact members, those that are excluded already left out.
        prefixes: beginnings, only in systems that are trees by prefix.
        not_codes, not_prefixes: what is excluded from the prefixes.
        text_hints: whole words, lower case, looked for in text-only or unmapped entries; never more than unknown.
        title: for people.
        origin: where it came from (URL, version, date), for imported sets.
    """

    name: str
    codes: frozenset[Code] = frozenset()
    prefixes: frozenset[Code] = frozenset()
    not_codes: frozenset[Code] = frozenset()
    not_prefixes: frozenset[Code] = frozenset()
    text_hints: tuple[str, ...] = ()
    title: str | None = None
    origin: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)

    def has(self, code: Code) -> bool:
        """Whether a code (normalised by `ehr.records.codes.code_of`) is a member. Without its system it never is."""
        if code in self.codes:
            return True
        if not self.prefixes or not _begins(code, self.prefixes):
            return False
        return code not in self.not_codes and not _begins(code, self.not_prefixes)

    @property
    def systems(self) -> tuple[str, ...]:
        """Short names of the systems it has members in, sorted."""
        return tuple(sorted({code.system for code in self.codes | self.prefixes}))

    def members(self) -> Iterator[tuple[str, str]]:
        """System and pattern, sorted: ``H35.31``, ``H35.32*``, and ``-H35.319*`` for what is excluded."""
        patterns = (
            [(system, code) for system, code in self.codes]
            + [(system, f"{code}*") for system, code in self.prefixes]
            + [(system, f"-{code}") for system, code in self.not_codes]
            + [(system, f"-{code}*") for system, code in self.not_prefixes]
        )
        return iter(sorted(patterns))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the sorted members, in hexadecimal; neither name nor title is part of it."""
        lines = "\n".join(f"{system}|{pattern}" for system, pattern in self.members())
        return hashlib.sha256(lines.encode()).hexdigest()

    def __len__(self) -> int:
        """How many codes and prefixes it lists."""
        return len(self.codes) + len(self.prefixes)


def _begins(code: Code, prefixes: frozenset[Code]) -> bool:
    return any(Code(code.system, code.code[:length]) in prefixes for length in range(1, len(code.code) + 1))
