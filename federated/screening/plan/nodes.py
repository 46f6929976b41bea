"""The plan's nodes: what a trial asks, with every constant computed.

Windows are two integers (seconds of the site's wall clock, ``ehr.dates``), ages are birth windows, units are
tables of bounds, code sets are expanded. The nodes are plain data, so that one patient (``evaluate``) and a whole
hospital (SQL) are decided by the same constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from ehr.dates import Duration
from ehr.records.codes import Code
from ehr.records.fetched import Kind

World = Literal["closed", "recorded", "open"]

BEGINNING: Final = -(2**62)
END: Final = 2**62
"""Ends of time, for windows without one."""


@dataclass(frozen=True, slots=True)
class CodeSet:
    """The members of a value set: ``codes``, and what begins with a prefix, without what is excluded.

    Args:
        prefixes, not_prefixes: system to beginnings.
        hints: whole lower-case words, looked for in entries without a code in one of ``systems``.
        label: what people call it; no part of the digest.
    """

    name: str
    digest: str
    systems: frozenset[str]
    codes: frozenset[Code]
    prefixes: Mapping[str, tuple[str, ...]]
    not_codes: frozenset[Code]
    not_prefixes: Mapping[str, tuple[str, ...]]
    hints: tuple[str, ...] = ()
    label: str = ""

    def has(self, code: Code) -> bool:
        """Whether a normalised code is a member."""
        if code in self.codes:
            return True
        if not code.code.startswith(self.prefixes.get(code.system, ())):
            return False
        return code not in self.not_codes and not code.code.startswith(self.not_prefixes.get(code.system, ()))


class BirthPoint(NamedTuple):
    """A day counted from birth: ``sign`` × ``offset`` (None: birth itself), then ``days`` more."""

    offset: Duration | None
    sign: Literal[1, -1]
    days: int


@dataclass(frozen=True, slots=True)
class Span:
    """A closed window of seconds.

    Args:
        lo, hi: first and last second; `BEGINNING` and `END` where open.
        asked: the author wrote it; False for the implicit "up to the index date", in which an undated record
            lies, and one after the index date does not.
        lo_birth, hi_birth: first and last day where an end is counted from birth instead.
    """

    lo: int
    hi: int
    asked: bool = True
    lo_birth: BirthPoint | None = None
    hi_birth: BirthPoint | None = None


@dataclass(frozen=True, slots=True)
class TimeRule:
    """A time of the record that must lie in a window; ``of`` is a key of `times.READERS`."""

    of: str
    span: Span


@dataclass(frozen=True, slots=True)
class StatusRule:
    """A status of the record: ``yes`` None accepts any; a record without one is unknown."""

    of: Literal["status", "clinical", "verification"]
    yes: frozenset[str] | None
    maybe: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Which records of a kind a leaf is about, and what silence means.

    Args:
        codes: None: any code.
        eye: ``right``, ``left``, or ``this`` and ``fellow`` of the eye that is decided; None: not asked.
        sources: ``request``, ``statement``, ``service``, ``device``; empty: not asked.
        types, locations: lower-case words of an appointment.
        care_since: first second from which silence is meaningful, if the site says so.
        index_end: last second of the index date.
    """

    kind: Kind
    codes: CodeSet | None
    world: World
    index_end: int
    statuses: tuple[StatusRule, ...] = ()
    times: tuple[TimeRule, ...] = ()
    eye: Literal["right", "left", "this", "fellow"] | None = None
    categories: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    intents: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset()
    discharge: CodeSet | None = None
    types: frozenset[str] = frozenset()
    locations: frozenset[str] = frozenset()
    specimen: str | None = None
    care_since: int | None = None

    @property
    def span(self) -> Span:
        """The window that evidence shows: the first that was asked, else the first."""
        return next((rule.span for rule in self.times if rule.span.asked), self.times[0].span)


@dataclass(frozen=True, slots=True)
class Scale:
    """Bounds in one unit of results, and the line that shows its numbers in the author's unit."""

    low: float
    high: float
    low_closed: bool
    high_closed: bool
    slope: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a value: a number in a range, one of some codes, or one of some texts.

    Args:
        text: for people, such as ``>= 5.7 %``.
        scales: unit as recorded to its bounds; ``""`` for a number without unit.
        negated: the range must *not* hold it.
        acuity: Snellen fractions and words such as ``CF`` are read too.
        component: take the value of this component.
    """

    text: str
    unit: str | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    negated: bool = False
    acuity: bool = False
    codes: CodeSet | None = None
    texts: frozenset[str] = frozenset()
    component: CodeSet | None = None

    @property
    def own(self) -> Scale:
        """The author's own scale."""
        return self.scales[self.unit or ""]


@dataclass(frozen=True, slots=True)
class _OfRecords:
    path: str
    select: Select


@dataclass(frozen=True, slots=True)
class Exists(_OfRecords):
    """At least one record counts."""


@dataclass(frozen=True, slots=True)
class Count(_OfRecords):
    """How many records (or days with one) count."""

    op: Literal[">=", "<=", "="]
    n: int
    distinct: Literal["days", "records"] = "records"


@dataclass(frozen=True, slots=True)
class Every(_OfRecords):
    """At least ``times`` records in each of the windows."""

    spans: tuple[Span, ...]
    times: int


@dataclass(frozen=True, slots=True)
class Latest(_OfRecords):
    """The newest (or oldest) value is as asked.

    Args:
        stale_before: a value older than this second is unknown.
        same_day: which of several values of one day counts.
    """

    asked: Asked
    earliest: bool = False
    stale_before: int | None = None
    same_day: Literal["time", "lowest", "highest"] = "time"


@dataclass(frozen=True, slots=True)
class Each(_OfRecords):
    """Any, or all, of the values are as asked."""

    asked: Asked
    all: bool = False


@dataclass(frozen=True, slots=True)
class Extreme(_OfRecords):
    """The largest or smallest value is as asked."""

    asked: Asked
    which: Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Mean(_OfRecords):
    """The arithmetic mean of the values is as asked."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class Age:
    """Born inside (or, negated, outside) a window.

    Args:
        born: days of birth that fit.
        at: the day at which the age is taken, as its first second.
        unit: of the age that evidence shows.
        low, high: the smallest and largest completed age that fit; None where open.
        text: what was asked, for people.
    """

    path: str
    born: Span
    negated: bool
    at: int
    unit: Literal["a", "mo", "d"]
    low: int | None
    high: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Field:
    """A single fact: ``sex``, ``deceased``, or ``column``.

    Args:
        name: which of the sexes, or the column's name.
        values: accepted texts; for ``deceased`` ``true`` or ``false``.
        text: what was asked, for people.
        asked: of a numeric column.
        index_end: last second of the index date.
    """

    path: str
    of: Literal["sex", "deceased", "column"]
    name: str
    values: frozenset[str]
    text: str
    world: World
    index_end: int
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A fact that nothing here can read: an image's measurement, or a rule that was not coded."""

    path: str
    kind: Literal["measurement", "todo"]
    reason: Literal["NOT_MEASURED", "NOT_CODED"]
    label: str


@dataclass(frozen=True, slots=True)
class All:
    """Every node."""

    of: tuple[PlanNode, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one node."""

    of: tuple[PlanNode, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not the node."""

    of: PlanNode


@dataclass(frozen=True, slots=True)
class AtLeast:
    """At least ``n`` of the nodes."""

    n: int
    of: tuple[PlanNode, ...]


Chosen = Exists | Count | Every | Latest | Each | Extreme | Mean
"""Leaves over a selection of records."""

PlanLeaf = Chosen | Age | Field | Unread
PlanNode = PlanLeaf | All | Any | Not | AtLeast


@dataclass(frozen=True, slots=True)
class Rule:
    """One criterion of the plan.

    Args:
        where: what is asked.
        applies_if: asked only where this holds; None: always.
        near: percent of the threshold within which a failure is a near miss.
        enabled: False: listed, not evaluated.
        same_eye: a leaf of it says ``eye: same``, so all such criteria must hold in one eye.
    """

    id: str
    side: Literal["inclusion", "exclusion", "implicit"]
    where: PlanNode
    applies_if: PlanNode | None = None
    near: Decimal | None = None
    enabled: bool = True
    same_eye: bool = False


def leaves(node: PlanNode | None) -> Iterator[PlanLeaf]:
    """The leaves under a node in tree order."""
    if isinstance(node, All | Any | AtLeast):
        for child in node.of:
            yield from leaves(child)
    elif isinstance(node, Not):
        yield from leaves(node.of)
    elif node is not None:
        yield node
