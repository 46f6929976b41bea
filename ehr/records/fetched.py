"""What came back for one kind of record: the items, and whether they are all there is.

Absent, unknown, forbidden and failed are different values from here up to the report (S35).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Generic, NoReturn, TypeVar

from ehr.errors import Unavailable

T = TypeVar("T")


class Kind(StrEnum):
    """The kinds of record that are read about a patient."""

    PATIENT = "patient"
    CONDITION = "condition"
    PROCEDURE = "procedure"
    MEDICATION = "medication"
    ALLERGY = "allergy"
    OBSERVATION = "observation"
    ENCOUNTER = "encounter"
    APPOINTMENT = "appointment"
    REPORT = "report"
    IMAGE = "image"
    DOCUMENT = "document"
    IMMUNIZATION = "immunization"
    ORDER = "order"
    PRACTITIONER = "practitioner"

    @classmethod
    def parse(cls, name: str) -> Kind:
        """Singular or plural, any case.

        Raises:
            ValueError: there is no such kind; the message lists them.
        """
        lowered = name.strip().lower()
        plurals = {"allergies": cls.ALLERGY, "imaging": cls.IMAGE}
        for candidate in (lowered, lowered.removesuffix("s")):
            if candidate in cls._value2member_map_:
                return cls(candidate)
        if lowered in plurals:
            return plurals[lowered]
        raise ValueError(f"kind is not known. Known: {', '.join(cls)}.")


class State(Enum):
    """How a collection came back. Only OK and EMPTY say that nothing is missing."""

    OK = "OK"
    EMPTY = "EMPTY"
    PARTIAL = "PARTIAL"
    UNSUPPORTED = "UNSUPPORTED"
    FORBIDDEN = "FORBIDDEN"
    RESTRICTED = "RESTRICTED"
    QUOTA = "QUOTA"
    UNAVAILABLE = "UNAVAILABLE"
    ERROR = "ERROR"

    @property
    def complete(self) -> bool:
        """Whether silence about something means that the server has nothing about it."""
        return self in (State.OK, State.EMPTY)

    @property
    def passes(self) -> bool:
        """Whether asking again later may bring more: an outage or a spent quota."""
        return self in (State.UNAVAILABLE, State.QUOTA)


_WORST_LAST = (
    State.EMPTY,
    State.OK,
    State.PARTIAL,
    State.UNSUPPORTED,
    State.RESTRICTED,
    State.FORBIDDEN,
    State.QUOTA,
    State.UNAVAILABLE,
    State.ERROR,
)
_RANK = {state: rank for rank, state in enumerate(_WORST_LAST)}


class Severity(StrEnum):
    """How grave an issue is."""

    INFORMATION = "information"
    WARNING = "warning"
    ERROR = "error"
    SECURITY = "security"


@dataclass(frozen=True, slots=True)
class Issue:
    """Something noticed while reading, without patient data.

    Args:
        code: our own word for it, such as ``repair:empty-string`` or ``quarantined``.
        severity: see `Severity`.
        count: how often.
        path: where in the resource, if it is about one element.
    """

    code: str
    severity: Severity = Severity.WARNING
    count: int = 1
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Fetched(Generic[T]):
    """A collection with its state.

    Args:
        items: what was read and is usable, in the server's order, without repeats.
        state: whether it is all there is.
        issues: what was noticed; no patient data.
        fetched_at: when the last page came, aware; None when nothing came.
        pages: how many pages were read.
        expected: what the server said the total is, if it did. Often missing or wrong; never decides alone.
        received: entries of the asked type that came, repeats and quarantined ones included.
        repeats: entries that came again and were dropped.
        quarantined: entries that could not be read and were set aside.
        cut: a part of it failed in a way that may pass, such as a page during an outage.
    """

    items: tuple[T, ...]
    state: State
    issues: tuple[Issue, ...] = ()
    fetched_at: datetime | None = None
    pages: int = 0
    expected: int | None = None
    received: int = 0
    repeats: int = 0
    quarantined: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        if (self.state is State.EMPTY and self.items) or (self.state is State.OK and not self.items):
            raise ValueError(f"state {self.state.name} does not fit {len(self.items)} items")

    def __bool__(self) -> NoReturn:
        raise TypeError("Fetched has no truth value; compare .state or call .require()")

    def __len__(self) -> NoReturn:
        raise TypeError("Fetched has no length; use len(fetched.items) after looking at .state")

    def __iter__(self) -> NoReturn:
        raise TypeError("Fetched cannot be iterated; use .items after looking at .state, or .require()")

    def __repr__(self) -> str:
        return f"Fetched(state={self.state.name}, {len(self.items)} items, {self.pages} pages)"

    @property
    def complete(self) -> bool:
        """True for OK and EMPTY: nothing is missing."""
        return self.state.complete

    @property
    def again(self) -> bool:
        """Whether asking again may bring more: the server failed for a while, wholly or in a part."""
        return self.cut or self.state.passes

    def require(self) -> tuple[T, ...]:
        """The items of a complete collection.

        Raises:
            Unavailable: it is not complete; an outage never reads as an empty record.
        """
        if not self.complete:
            raise Unavailable(
                f"the collection is {self.state.name}, so absence cannot be told from failure. "
                'Look at .issues, or run "trialveil ehr probe".',
                state=self.state.name,
            )
        return self.items

    def with_issues(self, issues: Iterable[Issue]) -> Fetched[T]:
        """The same collection with further issues."""
        more = tuple(issues)
        return replace(self, issues=(*self.issues, *more)) if more else self

    def _repr_html_(self) -> str:
        return f"<code>{self!r}</code>"


def complete(items: Iterable[T], fetched_at: datetime | None = None) -> Fetched[T]:
    """A complete collection: OK, or EMPTY where there is none."""
    kept = tuple(items)
    return Fetched(kept, State.OK if kept else State.EMPTY, fetched_at=fetched_at, received=len(kept))


def nothing(state: State, *issues: Issue) -> Fetched[T]:
    """No items, because of ``state``.

    Raises:
        ValueError: the state is OK or EMPTY, which would claim completeness.
    """
    if state.complete:
        raise ValueError(f"{state.name} says that nothing is missing; use complete(())")
    return Fetched((), state, issues=issues)


def worst(states: Iterable[State]) -> State:
    """The state of a whole whose parts have these states; OK if a part has items and all are complete.

    Failed parts beside good ones make the whole PARTIAL only where the caller has items to show; this
    function names the worst part.
    """
    return max(states, key=_RANK.__getitem__, default=State.EMPTY)


def joined(parts: Iterable[Fetched[T]]) -> Fetched[T]:
    """One collection out of several searches.

    Complete only if every part is. A failed part beside parts with items is PARTIAL: it can prove presence,
    never absence. Without any item the worst state of the parts stands.
    """
    every = tuple(parts)
    items = tuple(item for part in every for item in part.items)
    state = worst(part.state for part in every)
    if state.complete:
        state = State.OK if items else State.EMPTY
    elif items:
        state = State.PARTIAL
    moments = [part.fetched_at for part in every if part.fetched_at is not None]
    totals = [part.expected for part in every]
    return Fetched(
        items,
        state,
        issues=tuple(issue for part in every for issue in part.issues),
        fetched_at=max(moments, default=None),
        pages=sum(part.pages for part in every),
        expected=None if None in totals else sum(total or 0 for total in totals),
        received=sum(part.received for part in every),
        repeats=sum(part.repeats for part in every),
        quarantined=sum(part.quarantined for part in every),
        cut=any(part.again for part in every),
    )
