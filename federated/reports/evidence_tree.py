"""One patient's criteria as a tree of sentences, each with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from federated.reports import wording
from federated.reports.run import EYES, CriterionHead, Explained
from federated.reports.wording import Mark
from federated.screening.evidence import CriterionOutcome, Evidence, RecordUsed, Verdict

REF_SHOWN = 8
CONDITION = "applies_if"
_ABSENT = frozenset({"CODE_ABSENT", "COUNT_LOW"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """One question: its mark, its sentence, and what the sentence does not say."""

    mark: Mark
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Branch:
    """*Required*, *One of*, *Not* or *At least n of*, over leaves and branches."""

    label: str
    children: tuple[Node, ...]


Node = Leaf | Branch


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
        return Leaf(wording.VERDICTS[Verdict.NOT_EVALUATED], node.text or node.path, "the others decide")
    placed.update(path for _, path in eyes)
    return Branch("By eye", tuple(_leaf(by_path[path], f"{eye.capitalize()} eye: ") for eye, path in eyes))


def _leaf(evidence: Evidence, before: str = "") -> Leaf:
    mark = wording.VERDICTS[evidence.verdict]
    return Leaf(mark, before + wording.sentence(evidence.text), " · ".join(_source(evidence)))


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
        record.ref[:REF_SHOWN],
    ]
    return ", ".join(part for part in parts if part)


def _date(record: RecordUsed, said: str) -> str:
    if record.date is None:
        return "undated"
    shown = record.date[:10]
    return "" if shown in said or wording.day(shown) in said else shown
