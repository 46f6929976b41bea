"""The patients of a report in the order in which someone works on them, with their criteria as trees of sentences.

A sentence comes with what it rests on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from federated.screening.decide.evidence import (
    CriterionOutcome,
    Decision,
    Evidence,
    LookUp,
    Outcome,
    RecordUsed,
    Verdict,
)
from federated.screening.decide.missing_data import ACTIONS, TEST
from federated.screening.report import wording
from federated.screening.report.results import (
    EYES,
    CriterionHead,
    DecisionRow,
    Explained,
    PatientResult,
    Run,
    own_eyes,
    queue,
)
from federated.screening.report.wording import Mark

REF_SHOWN = 10
UNLISTED_COST = 5.0

RECORD_REF_SHOWN = 8
CONDITION = "applies_if"
_ABSENT = frozenset({"CODE_ABSENT", "COUNT_LOW"})


@dataclass(frozen=True, slots=True)
class LeafSentence:
    """One question: its mark, its sentence, and what the sentence does not say."""

    mark: Mark
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Branch:
    """*Required*, *One of*, *Not* or *At least n of*, over leaves and branches."""

    label: str
    children: tuple[Node, ...]


Node = LeafSentence | Branch


@dataclass(frozen=True, slots=True)
class Item:
    """One criterion of one patient. ``label`` is *Required* or *Not*."""

    mark: Mark
    label: str
    text: str
    near_miss: bool
    nodes: tuple[Node, ...]


_LABELS = {"all": "Required", "any": "One of", "not": "Not"}


def items(heads: Mapping[str, CriterionHead], criteria: Sequence[CriterionOutcome]) -> tuple[Item, ...]:
    """The criteria of one patient, in file order."""
    return tuple(_item(heads[criterion.id], criterion) for criterion in criteria)


def _item(head: CriterionHead, criterion: CriterionOutcome) -> Item:
    label = "Not" if head.side == "exclusion" else "Required"
    nodes = _nodes(head, criterion)
    return Item(wording.VERDICTS[criterion.verdict], label, head.text, criterion.near_miss, nodes)


def _nodes(head: CriterionHead, criterion: CriterionOutcome) -> tuple[Node, ...]:
    by_path = {evidence.path: evidence for evidence in criterion.evidence}
    asked_if = [path for path in by_path if path.startswith(CONDITION)]
    where = [path for path in by_path if path not in asked_if]
    placed: set[str] = set()
    nodes: list[Node] = []
    if head.explained is not None and len(where) > 1:
        nodes.append(_branch(head.explained, by_path, placed))
    nodes += [_leaf(by_path[path]) for path in where if path not in placed]
    if asked_if:
        nodes.append(Branch("Asked only if", tuple(_leaf(by_path[path]) for path in asked_if)))
    return tuple(nodes)


def _branch(node: Explained, by_path: Mapping[str, Evidence], placed: set[str]) -> Node:
    if node.kind == "leaf":
        return _asked(node, by_path, placed)
    children = tuple(_branch(child, by_path, placed) for child in node.children)
    label = f"At least {node.text} of" if node.kind == "at_least" else _LABELS.get(node.kind, node.kind)
    return Branch(label, children)


def _asked(node: Explained, by_path: Mapping[str, Evidence], placed: set[str]) -> Node:
    """A leaf with its evidence: one sentence, or one for each eye."""
    if node.path in by_path:
        placed.add(node.path)
        return _leaf(by_path[node.path])
    eyes = [(eye, path) for eye in EYES if (path := f"{node.path}[{eye}]") in by_path]
    if not eyes:
        return LeafSentence(
            wording.VERDICTS[Verdict.NOT_EVALUATED], node.text or node.path, "the others decide"
        )
    placed.update(path for _, path in eyes)
    return Branch("By eye", tuple(_leaf(by_path[path], f"{eye.capitalize()} eye: ") for eye, path in eyes))


def _leaf(evidence: Evidence, before: str = "") -> LeafSentence:
    mark = wording.VERDICTS[evidence.verdict]
    return LeafSentence(mark, before + wording.sentence(evidence.text), " · ".join(_source(evidence)))


def _source(evidence: Evidence) -> list[str]:
    """Value, threshold, date and origin: each only if the sentence has not said it."""
    said = evidence.text
    facts = [
        _unsaid(said, "", evidence.value, evidence.unit),
        _unsaid(said, "asked ", _numeric(evidence.threshold), None),
        _recorded(evidence),
    ]
    if evidence.records:
        facts.append(_record(evidence.records[0], said))
        facts.append(f"+{len(evidence.records) - 1} more" if len(evidence.records) > 1 else "")
    elif evidence.considered.candidates:
        facts.append(f"{evidence.considered.candidates} looked at, none counts")
    elif evidence.reason in _ABSENT and evidence.source_state in wording.COMPLETE:
        facts.append("nothing found, complete search")
    if evidence.source_state and evidence.source_state not in wording.COMPLETE:
        facts.append(f"read: {wording.STATES.get(evidence.source_state, evidence.source_state)}")
    facts.append(f"model {evidence.model}" if evidence.model else "")
    facts.extend(wording.reason(note) for note in evidence.notes)
    return [fact for fact in facts if fact]


def _numeric(threshold: str | None) -> str | None:
    return threshold if threshold and any(letter.isdigit() for letter in threshold) else None


def _unsaid(said: str, label: str, value: float | str | None, unit: str | None) -> str:
    text = wording.number(value) if value is not None else ""
    return f"{label}{text} {wording.unit(unit)}".rstrip() if text and text.lstrip("<>=! ") not in said else ""


def _recorded(evidence: Evidence) -> str:
    if evidence.original_value is None or evidence.original_unit in {None, evidence.unit}:
        return ""
    return f"recorded as {evidence.original_value} {evidence.original_unit}"


def _record(record: RecordUsed, said: str) -> str:
    parts = [
        record.resource,
        record.code if record.code and record.code not in said else "",
        record.display if record.display and record.display not in said else "",
        record.status,
        f"{record.eye} eye" if record.eye else "",
        _date(record, said),
        "possible" if record.match == "possible" else "",
        record.ref[:RECORD_REF_SHOWN],
    ]
    return ", ".join(part for part in parts if part)


def _date(record: RecordUsed, said: str) -> str:
    if record.date is None:
        return "undated"
    shown = record.date[:10]
    return "" if shown in said or wording.day(shown) in said else shown


@dataclass(frozen=True, slots=True)
class CriteriaPart:
    """Criteria of a patient, or of one eye; ``title`` is empty for a patient."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class ListedPatient:
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
    parts: tuple[CriteriaPart, ...]
    lookups: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionGroup:
    """The patients of one decision, of which a page may show a part."""

    mark: Mark
    total: int
    entries: tuple[ListedPatient, ...]


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


def groups(run: Run, patients: Sequence[PatientResult]) -> tuple[DecisionGroup, ...]:
    """The worklist of one page, one group per decision that occurs in it."""
    totals = Counter(patient.decision for patient in run.patients)
    heads = {head.id: head for head in run.criteria}
    found = []
    for decision, mark in wording.DECISIONS.items():
        shown = tuple(entry(run, heads, patient) for patient in patients if patient.decision is decision)
        if shown:
            found.append(DecisionGroup(mark, totals[decision], shown))
    return tuple(found)


def entry(run: Run, heads: Mapping[str, CriterionHead], patient: PatientResult) -> ListedPatient:
    """What is shown about one patient."""
    outcome = patient.outcome
    return ListedPatient(
        row=patient.input_row,
        ref=patient.ref[:REF_SHOWN],
        mark=wording.DECISIONS[patient.decision],
        reason=_reason(run, heads, patient),
        when=patient.next_appointment or "",
        when_text=wording.day(patient.next_appointment),
        queue=queue(run, DecisionRow(patient, outcome)),
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


def _parts(heads: Mapping[str, CriterionHead], outcome: Outcome | None) -> Iterator[CriteriaPart]:
    if outcome is None:
        return
    if not outcome.eyes:
        yield CriteriaPart("", items(heads, outcome.criteria))
        return
    for eye in EYES:
        if eye in outcome.eyes:
            part = outcome.eyes[eye]
            mark = wording.DECISIONS[part.decision]
            title = f"{eye.capitalize()} eye: {mark.sign} {mark.word.lower()}"
            yield CriteriaPart(title, items(heads, part.criteria))


def _reason(run: Run, heads: Mapping[str, CriterionHead], patient: PatientResult) -> str:
    outcome = patient.outcome
    if outcome is None or patient.decision is Decision.NOT_EVALUATED:
        return wording.nobody(patient.match, patient.issues)
    if patient.decision is Decision.ELIGIBLE:
        return "every criterion met" + (f", study eye {outcome.study_eye[0]}" if outcome.study_eye else "")
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
