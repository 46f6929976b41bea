"""Step documents: which algorithms run one after the other, on what, and under which conditions; checked as data.

    steps:
      - {use: NAME, as: label, from: [labels], with: {arguments}, needs: policy.counts, when: {has: ehr}}
    counts: {of: label, when: end, masked: true}

``needs`` names what the pod's owner must let leave; ``when`` asks whether the pod has a data source or an EHR, or
whether an earlier step ran. A step whose condition does not hold is skipped, and the result says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ehr.files.problems import FileErrors, Mark, Problem, Problems, quoted, suggestion
from ehr.files.yaml_nodes import Hole, Items, Table, Text, Yaml, plain, read_yaml, shape
from federated.algorithms.step_context import parameters_of
from federated.errors import NameWaits, TaskRefused, UnknownName
from federated.names import PREFIX
from federated.owner.disclosure import ALL
from federated.task import registry
from federated.task.spec import Unit

LABEL = re.compile(r"[a-z][a-z0-9_-]{0,39}")
MOST_STEPS = 50
STEP_KEYS = ("use", "as", "from", "with", "needs", "when")
COUNT_KEYS = ("of", "when", "masked")
HAVE = ("data", "ehr")


class StepDocumentErrors(FileErrors):
    """A step document has mistakes; all of them are listed."""


@dataclass(frozen=True, slots=True)
class When:
    """Conditions of a step; all must hold.

    Args:
        has: "data" or "ehr": what the pod must have for this task.
        ran: label of an earlier step that must not have been skipped.
    """

    has: str | None = None
    ran: str | None = None


@dataclass(frozen=True, slots=True)
class StepOf:
    """One step.

    Args:
        use: the algorithm, as the registry knows it.
        label: what later steps call its result.
        inputs: labels of earlier steps whose results it gets.
        arguments: plain values.
        needs: what the pod's owner must let leave, such as "row_export"; None for nothing.
        when: see `When`.
        waits_for: what the algorithm waits for, in words; None where it is part of this release.
        at: place in the file.
    """

    use: str
    label: str
    inputs: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None
    when: When = When()
    waits_for: str | None = None
    at: Mark = field(default=Mark("", 0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StepDocument:
    """A checked document.

    Args:
        steps: in order.
        counts: label of the step whose counts are added up under a mask at the end; None where nothing is.
    """

    steps: tuple[StepOf, ...]
    counts: str | None = None

    @property
    def waits_for(self) -> str | None:
        """What it waits for, in words; None where every step can run."""
        found = sorted({step.waits_for for step in self.steps if step.waits_for is not None})
        return "; ".join(found) or None


def read_steps(data: bytes | str, file: str = "steps.yaml") -> StepDocument:
    """Read and check a step document.

    Raises:
        StepDocumentErrors: it has mistakes; all of them, each as ``file:line:column: code message``.
    """
    problems = Problems()
    root = read_yaml(data.encode() if isinstance(data, str) else data, file, problems)
    steps: list[StepOf] = []
    counts = None
    if isinstance(root, Table):
        _known(root, "a step document", ("steps", "counts"), problems)
        steps = list(_steps(root, problems))
        counts = _counts(root, steps, problems)
    elif root is not None:
        problems.error(root.mark, "SV106", f"a step document is a table of keys; found {shape(root)}.")
    if problems.failed:
        raise StepDocumentErrors(problems.found)
    return StepDocument(tuple(steps), counts)


def _known(table: Table, owner: str, known: tuple[str, ...], problems: Problems) -> None:
    for key, mark in table.keys.items():
        if key not in known:
            message = (
                f"{quoted(key)} is not a key of {owner}. Known: {', '.join(known)}.{suggestion(key, known)}"
            )
            problems.error(mark, "SV103", message)


def _steps(root: Table, problems: Problems) -> Iterator[StepOf]:
    node = root.entries.get("steps")
    if not isinstance(node, Items) or not 1 <= len(node.items) <= MOST_STEPS:
        if not isinstance(node, Hole):
            mark = root.mark if node is None else node.mark
            problems.error(mark, "SV104", f'"steps" is a list of 1 to {MOST_STEPS} steps.')
        return
    before: list[str] = []
    for item in node.items:
        if not isinstance(item, Table):
            if not isinstance(item, Hole):
                problems.error(item.mark, "SV106", f"a step is {{use: NAME, ...}}; found {shape(item)}.")
            continue
        step = _step(item, before, problems)
        if step is not None:
            before.append(step.label)
            yield step


def _step(table: Table, before: list[str], problems: Problems) -> StepOf | None:
    _known(table, "a step", STEP_KEYS, problems)
    use = _text(table, "use", problems)
    if use is None:
        if "use" not in table.keys:
            problems.error(table.mark, "SV104", 'a step needs "use": the name of an algorithm.')
        return None
    label = _text(table, "as", problems) or _own_label(use)
    if not LABEL.fullmatch(label):
        message = f"{quoted(label)} is no label: a small letter first, then at most 39 of a-z, 0-9, _ and -."
        problems.error(_place(table, "as"), "SV114", message)
    if label in before:
        problems.error(_place(table, "as"), "SV114", f'an earlier step is called {quoted(label)}; give "as".')
    given = table.entries.get("with")
    arguments = plain(given) if isinstance(given, Table) else {}
    if given is not None and not isinstance(given, Table | Hole):
        problems.error(given.mark, "SV106", f'"with" is a table of arguments; found {shape(given)}.')
    waits_for = _checked_use(use, arguments, table, problems)
    return StepOf(
        use,
        label,
        tuple(_labels(table, before, problems)),
        arguments,
        _needs(table, problems),
        _when(table, before, problems),
        waits_for,
        table.mark,
    )


def _own_label(use: str) -> str:
    bare = use.removeprefix(PREFIX).rpartition(".")[2].removesuffix("Algorithm")
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", bare).lower()).strip("-")[:40]


def _place(table: Table, key: str) -> Mark:
    node = table.entries.get(key)
    return table.mark if node is None else node.mark


def _text(table: Table, key: str, problems: Problems) -> str | None:
    node = table.entries.get(key)
    if node is None or isinstance(node, Hole):
        return None
    if isinstance(node, Text) and node.value.strip():
        return node.value.strip()
    problems.error(node.mark, "SV106", f'"{key}" is a text; found {shape(node)}.')
    return None


def _checked_use(use: str, arguments: Mapping[str, Any], table: Table, problems: Problems) -> str | None:
    """What the algorithm waits for; notes a name or arguments that nothing can run."""
    try:
        entry = registry.find(use)
        if entry.kind != "algorithm":
            problems.error(
                _place(table, "use"), "SV110", f"{quoted(use)} names no algorithm (kind: {entry.kind})."
            )
            return None
        module = registry.load(registry.resolve(use, arguments))
    except UnknownName as error:
        problems.error(_place(table, "use"), "SV110", str(error))
        return None
    except NameWaits as error:
        return error.waits_for
    if not hasattr(module, "step"):
        problems.error(_place(table, "use"), "SV112", f"{quoted(use)} cannot be a step: it trains in rounds.")
        return None
    try:
        parameters_of(module.Parameters, Unit(name=use, arguments=dict(arguments)))
    except TaskRefused as error:
        problems.error(_place(table, "with"), "SV113", str(error).removesuffix(" Nothing was run."))
    return None


def _labels(table: Table, before: list[str], problems: Problems) -> Iterator[str]:
    node = table.entries.get("from")
    nodes: list[Yaml] = node.items if isinstance(node, Items) else [] if node is None else [node]
    for item in nodes:
        if isinstance(item, Text) and item.value in before:
            yield item.value
        elif not isinstance(item, Hole):
            hint = suggestion(item.value, before) if isinstance(item, Text) else ""
            problems.error(item.mark, "SV115", f'"from" names {shape(item)}, which is no earlier step.{hint}')


def _needs(table: Table, problems: Problems) -> str | None:
    text = _text(table, "needs", problems)
    if text is None:
        return None
    known = sorted(f"policy.{kind}" for kind in ALL)
    if text not in known:
        message = (
            f"{quoted(text)} is nothing that may leave. Known: {', '.join(known)}.{suggestion(text, known)}"
        )
        problems.error(_place(table, "needs"), "SV116", message)
    return text.removeprefix("policy.")


def _when(table: Table, before: list[str], problems: Problems) -> When:
    node = table.entries.get("when")
    if node is None or isinstance(node, Hole):
        return When()
    if not isinstance(node, Table) or not node.keys:
        problems.error(
            node.mark,
            "SV117",
            f'"when" is {{has: data}}, {{has: ehr}} or {{ran: LABEL}}; found {shape(node)}.',
        )
        return When()
    _known(node, '"when"', ("has", "ran"), problems)
    has, ran = _text(node, "has", problems), _text(node, "ran", problems)
    if has is not None and has not in HAVE:
        problems.error(
            _place(node, "has"), "SV117", f"{quoted(has)} is nothing a pod can have. Known: data, ehr."
        )
    if ran is not None and ran not in before:
        problems.error(
            _place(node, "ran"), "SV115", f"{quoted(ran)} is no earlier step.{suggestion(ran, before)}"
        )
    return When(has, ran)


def _counts(root: Table, steps: list[StepOf], problems: Problems) -> str | None:
    node = root.entries.get("counts")
    if node is None or isinstance(node, Hole):
        return None
    if not isinstance(node, Table):
        problems.error(
            node.mark, "SV106", f'"counts" is {{of: LABEL, when: end, masked: true}}; found {shape(node)}.'
        )
        return None
    _known(node, '"counts"', COUNT_KEYS, problems)
    of = _text(node, "of", problems)
    found = next((step for step in steps if step.label == of), None)
    if found is None:
        hint = suggestion(of or "", [step.label for step in steps])
        problems.error(_place(node, "of"), "SV118", f'"of" names no step of this document.{hint}')
    elif found.waits_for is None and not _can_be_counted(found):
        problems.error(
            _place(node, "of"), "SV118", f"{quoted(found.use)} gives nothing that can be added up."
        )
    for key, only in (("when", "end"), ("masked", "true")):
        if (_text(node, key, problems) or only) != only:
            problems.error(_place(node, key), "SV119", f'"{key}" of counts is "{only}" in this release.')
    return of


def _can_be_counted(step: StepOf) -> bool:
    try:
        module = registry.load(registry.resolve(step.use, step.arguments))
    except UnknownName:
        return True  # it has been said already
    return hasattr(module, "layout") and hasattr(module, "values")


def explain(document: StepDocument) -> str:
    """The document as text for a person: one line a step, then what is counted."""
    lines = []
    for number, step in enumerate(document.steps, start=1):
        parts = [f"{number}. {step.use.removeprefix(PREFIX)}, called {step.label}"]
        if step.inputs:
            parts.append(f"with the results of {', '.join(step.inputs)}")
        if step.arguments:
            parts.append(f"set: {', '.join(f'{name} = {value}' for name, value in step.arguments.items())}")
        conditions = [
            *(
                [f"the pod has {'a data source' if step.when.has == 'data' else 'an EHR'}"]
                if step.when.has
                else []
            ),
            *([f"{step.when.ran} ran"] if step.when.ran else []),
            *([f"the pod's owner lets {step.needs.replace('_', ' ')} leave"] if step.needs else []),
        ]
        if conditions:
            parts.append(f"only if {' and '.join(conditions)}")
        if step.waits_for:
            parts.append(f"waits for {step.waits_for}")
        lines.append("; ".join(parts) + ".")
    if document.counts is not None:
        lines.append(f"At the end the counts of {document.counts} are added up over the pods under a mask.")
    return "\n".join(lines) + "\n"


__all__ = ["Problem", "StepDocument", "StepDocumentErrors", "StepOf", "When", "explain", "read_steps"]
