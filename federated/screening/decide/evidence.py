"""What was decided about one patient, and on what: the object that every output is made from.

Nothing else decides. CSV, JSON, HTML and counts are renderings of `Outcome`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Fact(StrEnum):
    """Whether what a leaf or criterion *says* is so."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"


class Verdict(StrEnum):
    """What it means for the patient: an exclusion that is so is a *fail*."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"
    NOT_EVALUATED = "not_evaluated"


class Decision(StrEnum):
    """The end of it, by the coded criteria, to be confirmed by the investigator."""

    ELIGIBLE = "eligible"
    UNDECIDED = "undecided"
    NOT_ELIGIBLE = "not_eligible"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True)
class RecordUsed:
    """One record that a leaf rests on; coded content only, no free text of the EHR but the coded display.

    Args:
        kind: such as ``condition``.
        resource: FHIR type.
        ref: first 16 hex digits of HMAC-SHA-256("Type/id") under the site key.
        system, code, display: the coding that matched.
        date: as recorded; ``precision`` year, month, day or second; both None when undated.
        status: as recorded.
        eye: ``right``, ``left``, ``both`` or None.
        match: ``definite`` or ``possible``.
    """

    kind: str
    resource: str
    ref: str
    system: str | None = None
    code: str | None = None
    display: str | None = None
    date: str | None = None
    precision: str | None = None
    status: str | None = None
    eye: str | None = None
    match: str = "definite"


@dataclass(frozen=True, slots=True)
class Considered:
    """How many records were looked at, and why the others did not count."""

    candidates: int = 0
    definite: int = 0
    possible: int = 0
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Evidence:
    """One leaf: what it found and why that decides.

    Args:
        criterion: id of its criterion.
        path: where in the criterion, such as ``where.any[1]``.
        outcome: of the fact itself, before an exclusion is turned round.
        verdict: for the patient.
        reason: a code, such as ``NOT_RECORDED`` (unknown) or ``BELOW_MIN`` (not met).
        text: one sentence for a person.
        value, value_low, value_high, unit: in the criterion's unit; low and high for intervals. Whole numbers stay
            whole, so that what a checkpoint gives back is written in the same bytes.
        original_value, original_unit: as recorded.
        threshold, margin: what was asked (text), and the signed distance to it.
        window: first and last day, ISO.
        records: at most 5, by (match, date descending, kind, ref).
        considered: counts.
        world: ``closed``, ``recorded`` or ``open`` for the kind.
        source_state: state in which the kind was fetched.
        model: for image-derived values.
        notes: ``AS_OF_FETCH``: a clinical status that was read after the index date.
    """

    criterion: str
    path: str
    outcome: Fact
    verdict: Verdict
    reason: str
    text: str
    value: int | float | str | None = None
    value_low: int | float | None = None
    value_high: int | float | None = None
    unit: str | None = None
    original_value: str | None = None
    original_unit: str | None = None
    threshold: str | None = None
    margin: int | float | None = None
    window: tuple[str, str] | None = None
    records: tuple[RecordUsed, ...] = ()
    considered: Considered = Considered()
    world: str | None = None
    source_state: str | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CriterionOutcome:
    """One criterion of one patient (or eye).

    Args:
        id: the criterion's id; ``alive`` for the implicit one.
        side: ``inclusion``, ``exclusion`` or ``implicit``.
        verdict: see `Verdict`.
        evidence: its leaves in tree order.
        near_miss: it fails within the percentage that the author called near.
    """

    id: str
    side: str
    verdict: Verdict
    evidence: tuple[Evidence, ...] = ()
    near_miss: bool = False


@dataclass(frozen=True, slots=True)
class LookUp:
    """A fact to look up, which may decide the patient.

    Args:
        do: what to do (``run_again``, ``read_chart``, ``repeat_test`` …).
        kind: which kind of record it is about.
        where: where in the file, ``criterion:path``.
        reason: why it is unknown.
        criteria: ids that it bears on.
        could: ``exclude`` or ``include``.
    """

    do: str
    kind: str
    where: str
    reason: str
    criteria: tuple[str, ...]
    could: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided about one patient, eye or visit.

    Args:
        decision: see `Decision`.
        criteria: in file order, the implicit ones last.
        lookups: at most 5, the best first; only for the undecided.
        states: kind to the state in which it was fetched.
        eye: ``right`` or ``left`` on the row of one eye, None on a patient's.
        eyes: with ``grain: eye``, the outcomes of both eyes, and ``study_eye``, the one chosen and by which rule.
        notes: codes that touch the whole patient, such as ``NO_RECENT_CONTACT``.
    """

    decision: Decision
    criteria: tuple[CriterionOutcome, ...] = ()
    lookups: tuple[LookUp, ...] = ()
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    eye: str | None = None
    eyes: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    study_eye: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()

    def masks(self) -> tuple[int, int, int]:
        """Bits by position in ``criteria``: failed, unknown, not applicable."""
        failed = unknown = skipped = 0
        for bit, criterion in enumerate(self.criteria):
            failed |= (criterion.verdict is Verdict.FAIL) << bit
            unknown |= (criterion.verdict is Verdict.UNKNOWN) << bit
            skipped |= (criterion.verdict is Verdict.NOT_APPLICABLE) << bit
        return failed, unknown, skipped


def plain(value: Any) -> Any:
    """Evidence as JSON-ready values: dataclasses become dicts without None, enums their text."""
    if isinstance(value, StrEnum):
        return value.value
    if hasattr(value, "__dataclass_fields__"):
        pairs = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
        return {name: plain(item) for name, item in pairs if item is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
