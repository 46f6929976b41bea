"""The patients of a report in the order in which someone works on them, with what is shown about each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from federated.reports import wording
from federated.reports.evidence_tree import Item, items
from federated.reports.run import EYES, CriterionHead, PatientResult, Row, Run, own_eyes, queue
from federated.reports.wording import Mark
from federated.screening.evidence import CriterionOutcome, Decision, LookUp, Outcome, Verdict
from federated.screening.lookups import ACTIONS, TEST

REF_SHOWN = 10
UNLISTED_COST = 5.0


@dataclass(frozen=True, slots=True)
class Part:
    """Criteria of a patient, or of one eye; ``title`` is empty for a patient."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One patient of the worklist.

    Args:
        row, ref, mark, reason: what the closed line shows.
        when, when_text: next appointment, ISO and in words; empty without one.
        queue: see `run.queue`.
        verdicts: a letter per criterion (`wording.Mark.css`); one word per eye where eyes were decided.
        eyes: eligible eyes, else the undecided ones.
        parts: criteria with evidence.
        lookups, notes: sentences.
    """

    row: int
    ref: str
    mark: Mark
    reason: str
    when: str
    when_text: str
    queue: str
    verdicts: str
    eyes: str
    parts: tuple[Part, ...]
    lookups: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The patients of one decision, of which a page may show a part."""

    mark: Mark
    total: int
    entries: tuple[Entry, ...]


def ordered(run: Run) -> list[PatientResult]:
    """Eligible by next appointment, undecided by the cost of their look-ups, not evaluated, not eligible."""
    rank = {decision: place for place, decision in enumerate(wording.DECISIONS)}

    def key(patient: PatientResult) -> tuple[int, float, str, int]:
        lookups = patient.outcome.lookups if patient.outcome else ()
        cost = sum(_cost(item) for item in lookups)
        undecided = patient.decision is Decision.UNDECIDED
        return (
            rank[patient.decision],
            cost if undecided else 0,
            patient.next_appointment or "9999",
            patient.input_row,
        )

    return sorted(run.patients, key=key)


def _cost(item: LookUp) -> float:
    return TEST[1] if item.do == TEST[0] else ACTIONS.get(item.reason, ("", UNLISTED_COST))[1]


def groups(run: Run, patients: Sequence[PatientResult]) -> tuple[Group, ...]:
    """The worklist of one page, one group per decision that occurs in it."""
    totals = Counter(patient.decision for patient in run.patients)
    heads = {head.id: head for head in run.criteria}
    found = []
    for decision, mark in wording.DECISIONS.items():
        shown = tuple(entry(run, heads, patient) for patient in patients if patient.decision is decision)
        if shown:
            found.append(Group(mark, totals[decision], shown))
    return tuple(found)


def entry(run: Run, heads: Mapping[str, CriterionHead], patient: PatientResult) -> Entry:
    """What is shown about one patient."""
    outcome = patient.outcome
    return Entry(
        row=patient.input_row,
        ref=patient.ref[:REF_SHOWN],
        mark=wording.DECISIONS[patient.decision],
        reason=_reason(run, heads, patient),
        when=patient.next_appointment or "",
        when_text=wording.day(patient.next_appointment),
        queue=queue(run, Row(patient, outcome)),
        verdicts=_verdicts(run, outcome),
        eyes=" ".join(_eyes(outcome)),
        parts=tuple(_parts(heads, outcome)),
        lookups=tuple(_lookup(heads, item) for item in (outcome.lookups if outcome else ())),
        notes=tuple(_notes(patient)),
    )


def _verdicts(run: Run, outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    shown = [part for _, part in own_eyes(run, outcome)] or [outcome]
    return " ".join("".join(wording.VERDICTS[c.verdict].css for c in part.criteria) for part in shown)


def _eyes(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return []
    for wanted in (Decision.ELIGIBLE, Decision.UNDECIDED):
        found = [eye for eye in EYES if eye in outcome.eyes and outcome.eyes[eye].decision is wanted]
        if found:
            return found
    return []


def _parts(heads: Mapping[str, CriterionHead], outcome: Outcome | None) -> Iterator[Part]:
    if outcome is None:
        return
    if not outcome.eyes:
        yield Part("", items(heads, outcome.criteria))
        return
    for eye in EYES:
        if eye in outcome.eyes:
            part = outcome.eyes[eye]
            mark = wording.DECISIONS[part.decision]
            title = f"{eye.capitalize()} eye: {mark.sign} {mark.word.lower()}"
            yield Part(title, items(heads, part.criteria))


def _reason(run: Run, heads: Mapping[str, CriterionHead], patient: PatientResult) -> str:
    outcome = patient.outcome
    if outcome is None or patient.decision is Decision.NOT_EVALUATED:
        return wording.nobody(patient.match, patient.issues)
    if patient.decision is Decision.ELIGIBLE:
        return _met(outcome)
    if patient.decision is Decision.UNDECIDED and outcome.lookups:
        first, *others = outcome.lookups
        about = ", ".join(named(heads[name]) for name in first.criteria if name in heads)
        return _more(f"{about}: {wording.reason(first.reason)}", len(others))
    wanted = Verdict.FAIL if patient.decision is Decision.NOT_ELIGIBLE else Verdict.UNKNOWN
    found = [(eye, criterion) for eye, criterion in _criteria(run, outcome) if criterion.verdict is wanted]
    if not found:
        return "no single criterion decides; see below"
    eye, criterion = found[0]
    short = _short(heads[criterion.id], criterion, wanted)
    return _more(f"{eye} eye: {short}" if eye else short, len(found) - 1)


def _met(outcome: Outcome) -> str:
    if outcome.study_eye:
        return f"every criterion met, study eye {outcome.study_eye[0]}"
    return "every criterion met"


def _criteria(run: Run, outcome: Outcome) -> Iterator[tuple[str, CriterionOutcome]]:
    for eye, part in own_eyes(run, outcome) or [("", outcome)]:
        yield from ((eye, criterion) for criterion in part.criteria)


def named(head: CriterionHead) -> str:
    """A criterion as a requirement: an exclusion is worded positively, so it gets a *not*."""
    return f"Not: {head.text}" if head.side == "exclusion" else head.text


def _short(head: CriterionHead, criterion: CriterionOutcome, wanted: Verdict) -> str:
    leaf = next((leaf for leaf in criterion.evidence if leaf.verdict is wanted), None)
    if leaf is None:
        return named(head)
    if wanted is Verdict.UNKNOWN:
        return f"{named(head)}: {wording.reason(leaf.reason)}"
    if leaf.value is not None:
        return f"{named(head)}: {wording.number(leaf.value)} {wording.unit(leaf.unit)}".rstrip()
    dated = next((record.date for record in leaf.records if record.date), None)
    return f"{named(head)}: {wording.day(dated)}" if dated else named(head)


def _more(text: str, others: int) -> str:
    return f"{text} (+{others} more)" if others else text


def _lookup(heads: Mapping[str, CriterionHead], item: LookUp) -> str:
    about = ", ".join(named(heads[name]) for name in item.criteria if name in heads)
    could = "may rule the patient out" if item.could == "exclude" else "may let the patient in"
    return f"{wording.action(item.do)}: {about} ({wording.reason(item.reason)}; {could})"


def _notes(patient: PatientResult) -> Iterator[str]:
    for kind, state in sorted(patient.fetched.items()):
        if state not in wording.COMPLETE:
            yield f"{wording.kind(kind).capitalize()}: {wording.STATES.get(state, state)}"
    for code in (*patient.issues, *(patient.outcome.notes if patient.outcome else ())):
        if code in wording.IDENTITY:
            continue  # it is the reason itself
        yield wording.reason(code).capitalize()
    if patient.outcome and patient.outcome.study_eye:
        yield "Study eye: {} (rule {})".format(*patient.outcome.study_eye)
