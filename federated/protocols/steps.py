"""Tasks made of steps: a document of algorithms runs in every pod; what it counts is added up under a mask.

A document travels inside the task, is part of this package (``documents/*.yaml``), or is brought by a plug-in. A step
whose condition does not hold is skipped with its reason; a step that fails fails the run, and is never skipped.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ehr.errors import EHRError
from federated.aggregators.values import Layout
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import ConfigurationError, FederatedError, TaskRefused
from federated.protocols.results_only import layout_of, summed_once, writer
from federated.protocols.sides import AddUp, TaskOutcome
from federated.protocols.step_document import StepDocument, StepDocumentErrors, StepOf, read_steps
from federated.rounds.coordinator import Coordinator
from federated.task import registry
from federated.task.envelope import Buffer
from federated.task.spec import TaskSpec, Unit


@dataclass(frozen=True, slots=True)
class Parameters:
    """Which document, and what is done with the results.

    Attributes:
        steps: a document of the task, else one that is part of this package; None for the one that the protocol's
            own name stands for.
        save_location: "Modeller" returns what the steps release, "Worker" keeps it in the pods.
    """

    steps: str | None = None
    save_location: tuple[Literal["Modeller", "Worker"], ...] = ("Modeller",)


@dataclass(frozen=True, slots=True)
class StepsRun:
    """What became of each step.

    Attributes:
        results: label to result, of the steps that ran, in order.
        skipped: label to reason.
    """

    results: Mapping[str, WorkerResult[Any]] = field(repr=False)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def leaves(self) -> dict[str, Any]:
        """What the steps release, by label, and why others were skipped."""
        released = {label: dict(one.leaves) for label, one in self.results.items() if one.leaves}
        return {"steps": released, "skipped": dict(self.skipped)}


def packaged(name: str) -> bytes | None:
    """A document of this package by its name; None where there is none."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        return None
    file = files("federated.protocols") / "documents" / f"{name}.yaml"
    return file.read_bytes() if file.is_file() else None


def brought(variant: str) -> bytes:
    """A plug-in's document: ``module:attribute``, the attribute being the path of a file.

    Raises:
        ConfigurationError: there is no such file.
    """
    module, _, attribute = variant.partition(":")
    try:
        return Path(getattr(import_module(module), attribute)).read_bytes()
    except (ImportError, AttributeError, OSError, TypeError):
        raise ConfigurationError("A plug-in's step document cannot be read.") from None


def document_of(spec: TaskSpec, parameters: Parameters) -> StepDocument:
    """The document that a task means, checked against the task.

    Raises:
        TaskRefused: there is none, it has mistakes, or it uses other algorithms than the task names.
        NameWaits: a step is not part of this release.
    """
    name = parameters.steps or registry.find(spec.protocol.name).row.variant
    if name is None:
        raise _refused("The task names no step document")
    inside = spec.documents.get(name)
    if inside is not None and (
        inside.kind != "steps" or hashlib.sha256(inside.text.encode()).hexdigest() != inside.digest
    ):
        raise _refused("The task's step document is not the one of its digest")
    data = inside.text.encode() if inside is not None else _own_document(name, parameters)
    if data is None:
        raise _refused("The task holds no step document of the name that it asks for, nor does this package")
    try:
        document = read_steps(data, f"{name}.yaml")
    except StepDocumentErrors as error:
        raise _refused(f"The task's step document has {len(error.problems)} mistakes") from None
    # What the policy allows is what the task names: a document cannot bring an algorithm of its own.
    named = [registry.find(unit.name).name for unit in spec.algorithms]
    if named != [registry.find(step.use).name for step in document.steps]:
        raise _refused("The task's algorithms are not those of its step document, in order")
    return document


def _own_document(name: str, parameters: Parameters) -> bytes | None:
    """A document of a plug-in or of this package; a task cannot say what is imported."""
    return brought(name) if parameters.steps is None and ":" in name else packaged(name)


def _refused(sentence: str) -> TaskRefused:
    return TaskRefused("TASK_SETUP_ERROR", f"{sentence}. Nothing was run.")


def prepared(document: StepDocument, spec: TaskSpec) -> dict[str, tuple[Any, Any]]:
    """Module and parameters of each step by label; the task's own arguments go before the document's.

    Raises:
        NameWaits: a step is not part of this release.
        TaskRefused: an argument is wrong.
    """
    found = {}
    for step, unit in zip(document.steps, spec.algorithms, strict=True):
        arguments = {**step.arguments, **unit.arguments}
        module = registry.load(registry.resolve(step.use, arguments))
        found[step.label] = module, parameters_of(module.Parameters, Unit(name=step.use, arguments=arguments))
    return found


async def run_steps(
    document: StepDocument, made: Mapping[str, tuple[Any, Any]], place: StepContext
) -> StepsRun:
    """Run the steps of a document in a pod, one after the other; each writes into a folder of its label.

    Raises:
        TaskRefused: a step failed in a way that has no error of its own.
        FederatedError, EHRError: a step failed.
    """
    results: dict[str, WorkerResult[Any]] = {}
    skipped: dict[str, str] = {}
    for number, step in enumerate(document.steps):
        place.progress(f"step {step.label}", number, len(document.steps))
        reason = _why_not(step, place, skipped)
        if reason is not None:
            skipped[step.label] = reason
            continue
        module, parameters = made[step.label]
        inputs = {label: results[label] for label in step.inputs}
        try:
            results[step.label] = await module.step(parameters, replace(place, part=step.label), inputs)
        except (FederatedError, EHRError):
            raise
        except Exception as error:
            raise TaskRefused(
                "TASK_SETUP_ERROR",
                f"The step {step.label} failed ({type(error).__name__}); the pod's log says why.",
            ) from error
    place.progress("steps", len(document.steps), len(document.steps))
    return StepsRun(results, skipped)


def _why_not(step: StepOf, place: StepContext, skipped: Mapping[str, str]) -> str | None:
    """Why a step is skipped; None where it runs."""
    if step.needs is not None and step.needs not in place.leaves:
        return f"the pod's owner does not let {step.needs.replace('_', ' ')} leave"
    if step.when.has == "data" and place.data is None:
        return "the pod has no data source for this task"
    if step.when.has == "ehr" and place.open_site is None:
        return "the pod has no EHR"
    for label in (*step.inputs, *([step.when.ran] if step.when.ran else [])):
        if label in skipped:
            return f"it needs {label}, which was skipped"
    return None


class _StepsInPod:
    def __init__(self, parameters: Parameters, place: StepContext) -> None:
        self._parameters, self._place = parameters, place
        self._document = document_of(place.spec, parameters)
        self._made = prepared(self._document, place.spec)
        self._ran: asyncio.Task[StepsRun] | None = None
        self.weight = 1.0

    def layout(self) -> Layout:
        return counts_layout_of(self._document, self._made, self._place.spec)

    async def _run(self) -> StepsRun:
        # Asked for twice it is computed once: a sum and what is returned come from the same run.
        if self._ran is None or (self._ran.done() and (self._ran.cancelled() or self._ran.exception())):
            self._ran = asyncio.ensure_future(run_steps(self._document, self._made, self._place))
        return await asyncio.shield(self._ran)

    async def give(self, note: Mapping[str, Any], body: Buffer) -> Mapping[str, Any]:
        label = self._document.counts or ""
        found = await self._run()
        if label in found.skipped:
            raise TaskRefused("NO_DATA", f"There are no counts: {found.skipped[label]}. Nothing was sent.")
        module, chosen = self._made[label]
        values: Mapping[str, Any] = module.values(chosen, self._place, found.results[label])
        return values

    async def result(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        found = await self._run()
        return found.leaves() if "Modeller" in self._parameters.save_location else {}

    async def finish(self, note: Mapping[str, Any], body: Buffer) -> None:
        if self._ran is not None:
            self._ran.cancel()


def counts_layout_of(document: StepDocument, made: Mapping[str, tuple[Any, Any]], spec: TaskSpec) -> Layout:
    """What the document gives to the sum.

    Raises:
        TaskRefused: it counts nothing.
    """
    if document.counts is None:
        raise _refused("The step document gives nothing that can be added up")
    return layout_of(*made[document.counts], spec)


def worker(parameters: Parameters, place: StepContext) -> _StepsInPod:
    """The side in a pod.

    Raises:
        TaskRefused, NameWaits: as `document_of` and `prepared`.
    """
    return _StepsInPod(parameters, place)


async def modeller(
    parameters: Parameters, coordinator: Coordinator, cohort: tuple[str, ...], add_up: AddUp
) -> TaskOutcome:
    """The modeller's side: one masked sum of the counts, or each pod's own results.

    Raises:
        TooFewPods: there is no sum, or fewer results than the quorum.
        TaskRefused: what is counted must be masked, and the task names no secure aggregator.
    """
    spec = coordinator.spec
    document = document_of(spec, parameters)
    if spec.aggregation is None:
        return TaskOutcome("done", results=await coordinator.results(cohort))
    if document.counts is not None and not spec.secure:
        raise _refused("The step document's counts are masked, and the task has no SecureAggregator")
    made = prepared(document, spec)
    layout = counts_layout_of(document, made, spec)
    write = None if document.counts is None else writer(*made[document.counts], spec)
    return await summed_once(coordinator, cohort, add_up, layout, write)
