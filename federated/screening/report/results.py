"""One finished screening run of one site: all that the files in the output folder are made from.

`federated.screening.run` builds a `Run`; nothing in `federated.reports` looks anything up, decides or reads a clock.
A `Run` holds no name, birth date or record number; those are `Contact` rows, handed to
`contacts_csv.write` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from federated.errors import CheckFailed
from federated.screening.decide.evidence import Decision, Outcome, Verdict

NOTHING: Mapping[str, int] = MappingProxyType({})
EYES = ("right", "left")


class Explained(NamedTuple):
    """One node of a criterion, in words.

    Args:
        kind: ``all``, ``any``, ``not``, ``at_least`` or ``leaf``.
        path: as in `Evidence.path`, such as ``where.any[1]``.
        text: the leaf in words; for ``at_least`` the number; else empty.
        children: inner nodes, in file order.
    """

    kind: str
    path: str
    text: str = ""
    children: tuple[Explained, ...] = ()


@dataclass(frozen=True, slots=True)
class CriterionHead:
    """What the trial file says about one criterion.

    Args:
        id: its id.
        side: ``inclusion``, ``exclusion`` or ``implicit``.
        text: in words; an exclusion is worded positively ("has had a stroke").
        source: the protocol's sentence.
        explained: the tree under ``where``, or None.
        codes: short texts of the codes asked for, such as ``icd10cm E11*``.
        if_unknown: ``review``, ``defer``, ``note`` or None; chooses the queue, never the decision.
        enabled: False when it is listed and not evaluated.
    """

    id: str
    side: str
    text: str
    source: str = ""
    explained: Explained | None = None
    codes: tuple[str, ...] = ()
    if_unknown: str | None = None
    enabled: bool = True


ALIVE = CriterionHead("alive", "implicit", "Not recorded as deceased", "Asked by every trial.")


@dataclass(frozen=True, slots=True)
class TrialHead:
    """The trial that was asked. ``nct`` holds no, one or several numbers; ``parameters`` are name to text."""

    id: str
    version: str
    title: str
    plan_digest: str
    criteria: tuple[CriterionHead, ...]
    status: str = "final"
    nct: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    overridden: tuple[str, ...] = ()
    provenance: str = ""
    grain: str = "patient"


@dataclass(frozen=True, slots=True)
class SiteHead:
    """The site. ``name`` is printed in its own report only; JSON holds the pseudonym.

    Args:
        pseudonym: a name for the site that says nothing about it.
        zone: its time zone, such as ``Europe/London``.
        world: kind to ``closed``, ``recorded`` or ``open``.
        name: as its own people call it.
    """

    pseudonym: str
    zone: str
    world: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    name: str = ""


class MatchState(StrEnum):
    """What became of one row of the input before any criterion was asked."""

    MATCHED = "matched"
    AMBIGUOUS = "ambiguous"
    NOT_FOUND = "not_found"
    UNDETERMINED = "undetermined"
    DUPLICATE = "duplicate"
    BAD_ROW = "bad_row"


@dataclass(frozen=True, slots=True)
class PatientResult:
    """One row of the input.

    Args:
        input_row: 1-based; the order of every output.
        ref: keyed pseudonym of the patient (HMAC, hex); of the row when nobody was matched.
        match: see `MatchState`.
        outcome: what was decided; None when nothing was evaluated.
        issues: codes, such as ``ZONE_ASSUMED``, or why nothing was evaluated; no text of the EHR.
        next_appointment: first day, ISO, on or after the index date.
        visit_date: ISO, with the grain ``visit``.
        states: kind to fetch state; the outcome's own when this is empty.
    """

    input_row: int
    ref: str
    match: MatchState = MatchState.MATCHED
    outcome: Outcome | None = None
    issues: tuple[str, ...] = ()
    next_appointment: str | None = None
    visit_date: str | None = None
    states: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def decision(self) -> Decision:
        """`Decision.NOT_EVALUATED` where there is no outcome."""
        return Decision.NOT_EVALUATED if self.outcome is None else self.outcome.decision

    @property
    def fetched(self) -> Mapping[str, str]:
        """Kind to fetch state."""
        return self.states or (self.outcome.states if self.outcome else self.states)


@dataclass(frozen=True, slots=True)
class ValueSetHead:
    """One expanded code list: digest of its codes, and how many there are."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Work:
    """What was done to the data on the way in; counts only, keyed by code or kind.

    Args:
        failures: answers that are not complete, by class of failure (`ehr.records.failures`).
        conversions: units converted, such as ``mmol/mol to %``.
        repairs: named repairs of malformed resources.
        set_aside: resources that were quarantined, by kind.
        text_only: entries without a code, by kind.
    """

    failures: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    conversions: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    repairs: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    set_aside: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    text_only: Mapping[str, int] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Execution:
    """For ``run.json`` alone: the only place with a clock.

    Args:
        started, ended: instants, ISO with offset.
        seconds: phase to wall seconds.
        versions: package to version.
        host: such as ``python``, ``system``, ``cpus``; never a host name.
        requests: counts by kind of request.
    """

    started: str | None = None
    ended: str | None = None
    seconds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    host: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    requests: Mapping[str, int] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Args:
        tool_version: of this distribution.
        trial, site: see `TrialHead`, `SiteHead`.
        index_date: ISO day.
        patients: any order; they are kept sorted by ``input_row``.
        on_unknown: ``review`` or ``defer``: the queue of the undecided.
        value_sets: what the plan asked for.
        work: see `Work`.
        execution: see `Execution`.

    Attributes:
        criteria: the trial's criteria and the implicit ones, in the order of every outcome.

    Raises:
        CheckFailed: two patients share a row, or an outcome does not list the trial's criteria in order.
    """

    tool_version: str
    trial: TrialHead
    site: SiteHead
    index_date: str
    patients: Sequence[PatientResult]
    on_unknown: str = "review"
    value_sets: tuple[ValueSetHead, ...] = ()
    work: Work = Work()
    execution: Execution = Execution()
    criteria: tuple[CriterionHead, ...] = field(init=False)

    def __post_init__(self) -> None:
        patients = tuple(sorted(self.patients, key=lambda patient: patient.input_row))
        if len({patient.input_row for patient in patients}) != len(patients):
            raise CheckFailed("patients: two of them have one input_row; expected one result a row")
        object.__setattr__(self, "patients", patients)
        object.__setattr__(self, "criteria", _criteria(self.trial, patients))


def _criteria(trial: TrialHead, patients: Sequence[PatientResult]) -> tuple[CriterionHead, ...]:
    heads = list(trial.criteria)
    known = {head.id for head in heads}
    outcomes = [outcome for patient in patients if patient.outcome for outcome in _each(patient.outcome)]
    if outcomes:
        for criterion in outcomes[0].criteria:
            if criterion.side == "implicit" and criterion.id not in known:
                implicit = CriterionHead(criterion.id, "implicit", criterion.id.replace("_", " "))
                heads.append(ALIVE if criterion.id == ALIVE.id else implicit)
    expected = [head.id for head in heads]
    for outcome in outcomes:
        if [criterion.id for criterion in outcome.criteria] != expected:
            raise CheckFailed(
                f"an outcome lists {len(outcome.criteria)} criteria; expected the {len(expected)} of the trial, "
                "in file order, the implicit ones last"
            )
    return tuple(heads)


def _each(outcome: Outcome) -> tuple[Outcome, ...]:
    """The outcomes with criteria in it; a patient's own may be empty where each eye has its own."""
    return tuple(part for part in (outcome, *outcome.eyes.values()) if part.criteria)


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One row of the tables: a patient (``eye`` is empty), or one eye of theirs."""

    patient: PatientResult
    outcome: Outcome | None
    eye: str = ""

    @property
    def decision(self) -> Decision:
        """`Decision.NOT_EVALUATED` where there is no outcome."""
        return Decision.NOT_EVALUATED if self.outcome is None else self.outcome.decision

    def ids(self, verdict: Verdict) -> tuple[str, ...]:
        """Criteria with this verdict, in file order."""
        criteria = self.outcome.criteria if self.outcome else ()
        return tuple(criterion.id for criterion in criteria if criterion.verdict is verdict)


def rows(run: Run) -> Iterator[DecisionRow]:
    """A row per patient in input order; with the grain ``eye``, the right and the left one after their patient."""
    for patient in run.patients:
        yield DecisionRow(patient, patient.outcome)
        yield from (DecisionRow(patient, outcome, eye) for eye, outcome in own_eyes(run, patient.outcome))


def units(run: Run) -> Iterator[Outcome]:
    """What the funnel counts: every evaluated patient, or with the grain ``eye`` each eye of theirs."""
    return (outcome for _, outcome in units_by_ref(run))


def units_by_ref(run: Run) -> Iterator[tuple[str, Outcome]]:
    """`units`, each with the pseudonym of the patient behind it."""
    for patient in run.patients:
        if patient.outcome is not None and patient.decision is not Decision.NOT_EVALUATED:
            eyes = [outcome for _, outcome in own_eyes(run, patient.outcome)]
            yield from ((patient.ref, outcome) for outcome in eyes or [patient.outcome])


def own_eyes(run: Run, outcome: Outcome | None) -> list[tuple[str, Outcome]]:
    """The eyes that count for themselves: none unless the grain is ``eye``.

    A trial of patients may look into each eye too (``eye: same``); then they explain the patient's outcome.
    """
    if outcome is None or run.trial.grain != "eye":
        return []
    return [(eye, outcome.eyes[eye]) for eye in EYES if eye in outcome.eyes]


def queue(run: Run, row: DecisionRow) -> str:
    """Who works on this row next: ``contact``, ``review``, ``deferred`` or ``none``.

    Only the undecided have a choice: each unknown criterion says ``if_unknown``, or the run's
    ``on_unknown``. One that waits makes the patient wait, else one to review asks for a review; if every
    unknown is only to be noted, the patient may be contacted.
    """
    if row.decision is Decision.ELIGIBLE:
        return "contact"
    if row.decision is not Decision.UNDECIDED:
        return "none"
    unknown = set(row.ids(Verdict.UNKNOWN))
    wishes = {head.if_unknown or run.on_unknown for head in run.criteria if head.id in unknown}
    wishes = wishes or {run.on_unknown}
    if "defer" in wishes:
        return "deferred"
    return "review" if "review" in wishes else "contact"
