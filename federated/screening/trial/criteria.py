"""The checked model of a trial file (``trial-matching`` section 2): nodes, predicates, criteria, trial.

Everything here is frozen and complete: references are resolved, parameters put in, defaults filled.
A default is the one of the file format, so a reader of the model never asks what a missing key means.
``at`` says where a node stands; it takes no part in comparing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from ehr.dates import Duration
from federated.screening.trial.predicates import (
    NOWHERE,
    AgeAt,
    Allergy,
    Appointment,
    Column,
    Condition,
    Deceased,
    Document,
    Encounter,
    Eye,
    Immunization,
    Leaf,
    Measurement,
    Medication,
    Observation,
    Order,
    Predicate,
    Procedure,
    Sex,
    Take,
)
from federated.screening.trial.value_types import (
    At,
    Comparison,
    CountBound,
    Ends,
    EveryPeriod,
    Point,
    ValueSet,
    Window,
)

__all__ = [
    "AgeAt", "AllOf", "Allergy", "AnyOf", "Appointment", "At", "AtLeastOf", "Column", "Comparison", "Condition",
    "CountBound", "Criterion", "Deceased", "Document", "Encounter", "Ends", "EveryPeriod", "Eye", "Immunization",
    "IndexDate", "Leaf", "Measurement", "Medication", "Node", "NotOf", "Observation", "Order", "Parameter",
    "Point", "Predicate", "Procedure", "Queue", "Sex", "Side", "Take", "Trial", "ValueSet", "Window",
    "children", "leaves", "walk",
]  # fmt: skip

Side = Literal["inclusion", "exclusion"]
Queue = Literal["review", "defer", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Every one of the nodes holds."""

    of: tuple[Node, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """At least one of the nodes holds."""

    of: tuple[Node, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOf:
    """The node does not hold."""

    of: Node
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeastOf:
    """At least ``n`` of the nodes hold; ``1 <= n <= len(of)``."""

    n: int
    of: tuple[Node, ...]
    at: At = field(default=NOWHERE, compare=False, repr=False)


Node = AllOf | AnyOf | NotOf | AtLeastOf | Predicate


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One rule.

    Attributes:
        where: what is asked; None for a ``todo`` (always unknown, ``NOT_CODED``).
        todo: what a person must decide.
        applies_if: the rule is asked only where this holds.
        if_unknown: queue of a patient for whom it is unknown; None: the run's own. Never changes a decision.
        near: percent of the threshold within which a failure is a near miss.
        enabled: False: listed as not evaluated.
    """

    id: str
    side: Side
    text: str
    source: str
    where: Node | None = None
    todo: str | None = None
    applies_if: Node | None = None
    if_unknown: Queue | None = None
    why: str | None = None
    tags: tuple[str, ...] = ()
    near: Decimal | None = None
    enabled: bool = True
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class IndexDate:
    """The day that "now" means: ``run`` (fixed once per task), a date, or a column of the patients file."""

    kind: Literal["run", "date", "column"] = "run"
    day: date | None = None
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named value of the file: ``value`` as text, after a site's override (``overridden``)."""

    name: str
    value: str
    text: str
    unit: str | None = None
    site: bool = False
    overridden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A whole trial file, checked.

    Attributes:
        pairing: largest distance of the two eyes' images of one visit.
        reduce: how the visits of one patient become one row.
        study_eye: rules in order, such as ``worse_acuity``, ``larger(total_ga_area)``, ``right``.
        assume_complete: kinds that the author calls closed; counts only where the site agrees.
        merged: the file as plain text data with used and parent files put in; the source of a locked file.
        warnings: what the static checks found that is not an error, as `load.Problem` values.
    """

    id: str
    title: str
    version: str
    inclusion: tuple[Criterion, ...]
    exclusion: tuple[Criterion, ...]
    nct: tuple[str, ...] = ()
    status: Literal["draft", "final"] = "draft"
    provenance: str | None = None
    index_date: IndexDate = IndexDate()
    grain: Literal["patient", "eye", "visit"] = "patient"
    study_eye: tuple[str, ...] = ()
    pairing: Duration | None = None
    reduce: Literal["latest", "any", "all"] = "latest"
    compat: Literal["strict", "reference-8.0.0"] = "strict"
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    value_sets: Mapping[str, ValueSet] = field(default_factory=lambda: MappingProxyType({}))
    assume_complete: frozenset[str] = frozenset()
    allow_deceased: bool = False
    merged: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    warnings: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """Inclusion, then exclusion, in file order."""
        return self.inclusion + self.exclusion


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly under a node; none under a predicate."""
    if isinstance(node, AllOf | AnyOf | AtLeastOf):
        return node.of
    return (node.of,) if isinstance(node, NotOf) else ()


def walk(node: Node | None) -> Iterator[Node]:
    """A node and everything under it, in file order."""
    if node is not None:
        yield node
        for child in children(node):
            yield from walk(child)


def leaves(criterion: Criterion) -> Iterator[Predicate]:
    """The predicates of a criterion in tree order: those of ``applies_if``, then those of ``where``."""
    for root in (criterion.applies_if, criterion.where):
        for node in walk(root):
            if isinstance(node, Leaf):
                yield node
