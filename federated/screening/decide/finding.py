"""What a leaf found: its truth, and everything that evidence is made from.

Truth and evidence come from one object, so that a report can never tell another story than the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ehr.records.fetched import Kind
from federated.screening.decide.case import Case, Shelf, Sorter, sorter
from federated.screening.decide.certainty import Gathered, Grade, Grader, no_known, silence
from federated.screening.decide.quantities import CodeOf, Judged
from federated.screening.plan.nodes import Select, Span

Run = Callable[[Case], "Found"]


@dataclass(slots=True)
class Found:
    """The result of one leaf for one patient.

    Args:
        truth: 0, 1 or 2.
        reason: code of 3.3 or 3.8.
        gathered: the records that were looked at; None for single facts.
        used: those that evidence shows.
        judged: the value that decided, where there is one.
        low, high: a count's, or an age's, smallest and largest possible number.
        margin: signed distance to the bound, positive where it is met.
        shown: a text fact such as the sex.
    """

    truth: int
    reason: str
    gathered: Gathered | None = None
    used: list[Grade] = field(default_factory=list)
    judged: Judged | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    shown: str | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What compiling a leaf needs of its plan."""

    shelves: dict[Kind, Shelf]
    code_of: CodeOf


class Gatherer:
    """The records of a selection, graded, and what finding none of them means."""

    def __init__(self, select: Select, tools: Tools, span: Span | None = None) -> None:
        self._entries: Sorter = sorter(tools.shelves, select.kind, select.codes, tools.code_of)
        self._grader = Grader(select, tools.code_of)
        self.why_silent = silence(select, span or select.span, no_known(select, tools.code_of))

    def __call__(self, case: Case) -> Gathered:
        return self._grader.gather(case, self._entries(case))
