"""The predicates of a trial file: one frozen class each, every default filled in.

docs/write-a-trial.md, "Predicates", says what each asks.
Codes are resolved `ValueSet` values. A window of None is all time up to the index date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, Literal

from ehr.dates import Duration
from federated.screening.trial.value_types import (
    INDEX,
    At,
    Comparison,
    CountBound,
    EveryPeriod,
    Point,
    ValueSet,
    Window,
)

Eye = Literal["any", "all", "right", "left", "same", "this", "fellow"]
Take = Literal["latest", "earliest", "any", "all", "min", "max", "mean", "count"]
NOWHERE = At("")

# FHIR R4's own words, in the order in which a mistake lists them. A record whose word is one of these and is not
# asked for does not count, so a vendor's word has no place here.
CLINICAL = ("active", "recurrence", "relapse", "inactive", "remission", "resolved")
VERIFICATION = ("confirmed", "unconfirmed", "provisional", "differential", "presumed")
INTENTS = ("proposal", "plan", "directive", "order", "original-order", "reflex-order", "filler-order",
           "instance-order", "option")  # fmt: skip
STATUSES: Mapping[str, tuple[str, ...]] = {
    "procedure": ("completed", "in-progress", "preparation", "not-done", "on-hold", "stopped", "unknown"),
    "medication": ("active", "completed", "on-hold", "cancelled", "stopped", "draft", "unknown", "intended",
                   "not-taken"),
    "immunization": ("completed", "not-done"),
    "document": ("current", "superseded"),
    "observation": ("registered", "preliminary", "final", "amended", "corrected", "cancelled", "unknown"),
    "appointment": ("proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "checked-in",
                    "waitlist"),
    "encounter": ("planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "unknown"),
    "order": ("draft", "active", "on-hold", "revoked", "completed", "unknown"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What every predicate has.

    Attributes:
        kind: the predicate's key in the file.
        elsewhere_matters: ``elsewhere: matters``: silence here proves nothing (open world).
        at: where it stands; ``at.path`` is the path of evidence.
    """

    kind: ClassVar[str] = ""
    elsewhere_matters: bool = False
    at: At = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeAt(Leaf):
    """Age in completed units at a day."""

    kind: ClassVar[str] = "age"
    compare: Comparison
    unit: Literal["a", "mo", "d"] = "a"
    when: Point = INDEX


@dataclass(frozen=True, slots=True, kw_only=True)
class Sex(Leaf):
    """Sex as recorded: ``male``, ``female``, ``other`` or ``unknown``, one of ``values``."""

    kind: ClassVar[str] = "sex"
    values: tuple[str, ...]
    which: Literal["administrative", "legal", "birth"] = "administrative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deceased(Leaf):
    """Whether the patient has died."""

    kind: ClassVar[str] = "deceased"
    value: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition(Leaf):
    """A diagnosis or problem.

    Attributes:
        clinical: accepted clinical statuses; None is ``any``.
        verification: statuses that prove it; ``maybe``: those that can only give unknown.
        onset, recorded: windows of these dates. ``active``: onset to abatement overlaps it.
        category: any of these category codes; empty: not asked.
        eye: None: the eye is not asked.
        count: None: at least one.
    """

    kind: ClassVar[str] = "condition"
    codes: ValueSet
    clinical: tuple[str, ...] | None = ("active", "recurrence", "relapse")
    verification: tuple[str, ...] = ("confirmed",)
    maybe: tuple[str, ...] = ("unconfirmed", "provisional", "differential")
    onset: Window | None = None
    recorded: Window | None = None
    active: Window | None = None
    category: tuple[str, ...] = ()
    eye: Eye | None = None
    count: CountBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure(Leaf):
    """Something that was done; ``distinct``: what ``count`` counts."""

    kind: ClassVar[str] = "procedure"
    codes: ValueSet
    status: tuple[str, ...] = ("completed",)
    performed: Window | None = None
    eye: Eye | None = None
    count: CountBound | None = None
    distinct: Literal["days", "records"] = "days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Medication(Leaf):
    """A drug ordered (``request``) or stated to be taken (``statement``); ``status`` has no default."""

    kind: ClassVar[str] = "medication"
    codes: ValueSet
    status: tuple[str, ...]
    sources: tuple[Literal["request", "statement"], ...] = ("request", "statement")
    authored: Window | None = None
    intent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allergy(Leaf):
    """An allergy or intolerance; the window is over its onset. ``clinical`` None is ``any``."""

    kind: ClassVar[str] = "allergy"
    codes: ValueSet
    clinical: tuple[str, ...] | None = ("active",)
    verification: tuple[str, ...] = ("confirmed",)
    maybe: tuple[str, ...] = ("unconfirmed", "presumed")
    window: Window | None = None
    count: CountBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Immunization(Leaf):
    """A vaccination that was given; the window is over the day it was given."""

    kind: ClassVar[str] = "immunization"
    codes: ValueSet
    status: tuple[str, ...] = ("completed",)
    window: Window | None = None
    count: CountBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Leaf):
    """A document that exists, by its type; the window is over its date."""

    kind: ClassVar[str] = "document"
    codes: ValueSet
    status: tuple[str, ...] = ("current",)
    window: Window | None = None
    count: CountBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Leaf):
    """A measurement or finding.

    What is asked of the value is at most one of ``compare``, ``code_in``, ``texts``; with none of them (only
    with take ``any``) the result merely exists. With take ``count``, ``count`` is set and those are None.

    Attributes:
        take: which of the results counts.
        unit: UCUM, the unit of ``compare``; None where the analyte has none.
        units_as: recorded units that mean ``unit`` here, by the author's word.
        stale_after: an older latest value counts as unknown.
        component: take the value of this component instead of the whole.
        same_day: how results of one day are ordered.
        texts: lower-case texts, one of which the value is.
        method: such as ``ifcc``: the scale that ``compare`` is written in.
    """

    kind: ClassVar[str] = "observation"
    codes: ValueSet
    take: Take
    compare: Comparison | None = None
    code_in: ValueSet | None = None
    texts: tuple[str, ...] = ()
    count: CountBound | None = None
    unit: str | None = None
    units_as: tuple[str, ...] = ()
    window: Window | None = None
    stale_after: Duration | None = None
    category: tuple[str, ...] = ()
    status: tuple[str, ...] = ("final", "amended", "corrected")
    component: ValueSet | None = None
    same_day: Literal["time", "lowest", "highest"] = "time"
    eye: Eye | None = None
    specimen: str | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment(Leaf):
    """A booked visit (``window.forward``) or one that was kept; the statuses follow from the window.

    ``types``: any of these words or codes of the appointment's type; ``location``: any of these names. Both lower
    case; empty: not asked.
    """

    kind: ClassVar[str] = "appointment"
    window: Window | None = None
    status: tuple[str, ...] = ("fulfilled", "arrived", "checked-in")
    types: tuple[str, ...] = ()
    location: tuple[str, ...] = ()
    count: CountBound | None = None
    every: EveryPeriod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encounter(Leaf):
    """A visit that took place.

    Attributes:
        codes: type codes; None: any type.
        classes: class codes (``AMB``, ``IMP``); empty: not asked.
        discharge: codes of the discharge disposition.
        whole: the whole period lies in the window; else its start does.
    """

    kind: ClassVar[str] = "encounter"
    codes: ValueSet | None = None
    classes: tuple[str, ...] = ()
    status: tuple[str, ...] = ("finished", "in-progress", "arrived")
    discharge: ValueSet | None = None
    window: Window | None = None
    whole: bool = False
    count: CountBound | None = None
    every: EveryPeriod | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Leaf):
    """A request for a service or a device; one with ``doNotPerform`` is not one."""

    kind: ClassVar[str] = "order"
    codes: ValueSet
    sources: tuple[Literal["service", "device"], ...] = ("service", "device")
    status: tuple[str, ...] = ("active", "completed")
    intent: tuple[str, ...] = ()
    authored: Window | None = None
    count: CountBound | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Leaf):
    """A number taken from an image; unknown (``NOT_MEASURED``) until images are read.

    ``reduce``: which of several visits counts; ``min_coverage``: 0 to 1.
    """

    kind: ClassVar[str] = "measurement"
    metric: str
    compare: Comparison
    unit: str
    eye: Eye
    window: Window | None = None
    reduce: Literal["latest", "any", "all"] = "latest"
    model: str | None = None
    min_coverage: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Leaf):
    """A column of the input table: a number (``compare``) or one of ``texts`` (as written, compared exactly)."""

    kind: ClassVar[str] = "column"
    name: str
    compare: Comparison | None = None
    texts: tuple[str, ...] = ()
    unit: str | None = None
    dtype: Literal["number", "text"] = "number"


Predicate = (
    AgeAt | Sex | Deceased | Condition | Procedure | Medication | Allergy | Immunization | Document
    | Observation | Appointment | Encounter | Order | Measurement | Column
)  # fmt: skip
