"""``ResultsOnly``: one algorithm runs once in every pod; its results are returned one by one, or only their sum is.

With an aggregator only what the algorithm says may be added up leaves a pod (counts, or numbers of a known shape);
without one a pod returns what its owner lets leave, and nothing by default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from federated.aggregators.round_terms import Purpose, aggregation_of, counts_hash
from federated.aggregators.secure_rounds import Combined, Exchange
from federated.aggregators.values import Layout
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import TaskRefused
from federated.protocols.exchanges import Exchanges
from federated.protocols.sides import LIMITS_EXCEEDED, AddUp, TaskOutcome
from federated.rounds.coordinator import Coordinator
from federated.task import registry
from federated.task.envelope import Buffer
from federated.task.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is done with the results.

    Attributes:
        save_location: "Modeller" returns them, "Worker" keeps them in the pods' folders of results.
    """

    save_location: tuple[Literal["Modeller", "Worker"], ...] = ("Modeller",)


def _component(spec: TaskSpec) -> tuple[Any, Any]:
    """The module that runs, and its parameters."""
    if len(spec.algorithms) != 1:
        raise TaskRefused(
            "TASK_SETUP_ERROR",
            f"ResultsOnly runs one algorithm; the task has {len(spec.algorithms)}. Nothing was run.",
        )
    unit = spec.algorithms[0]
    module = registry.load(registry.resolve(unit.name, unit.arguments))
    if not hasattr(module, "step"):
        raise TaskRefused(
            "TASK_SETUP_ERROR",
            f"{unit.name.removeprefix('bitfount.')} cannot be run by itself; it trains in rounds. Nothing was run.",
        )
    return module, parameters_of(module.Parameters, unit)


def layout_of(module: Any, parameters: Any, spec: TaskSpec) -> Layout:
    """What an algorithm gives to a sum, known from the task alone.

    Raises:
        TaskRefused: it gives nothing that can be added up.
    """
    if not hasattr(module, "layout"):
        raise TaskRefused(
            "TASK_SETUP_ERROR", "The algorithm gives nothing that can be added up. Nothing was run."
        )
    if spec.aggregation is not None and spec.aggregation.weights != "equal":
        raise TaskRefused(
            "TASK_SETUP_ERROR",
            'A sum of results counts every pod the same: write "weights: equal". Nothing was run.',
        )
    found: Layout = module.layout(parameters, spec)
    return found


class _ResultsInPod:
    def __init__(self, parameters: Parameters, place: StepContext) -> None:
        self._module, self._chosen = _component(place.spec)
        self._parameters, self._place = parameters, place
        self._ran: asyncio.Task[WorkerResult[Any]] | None = None
        self.weight = 1.0

    def layout(self) -> Layout:
        return layout_of(self._module, self._chosen, self._place.spec)

    async def _result(self) -> WorkerResult[Any]:
        # Asked for twice it is computed once: a sum and what is returned come from the same run.
        if self._ran is None or (self._ran.done() and (self._ran.cancelled() or self._ran.exception())):
            self._ran = asyncio.ensure_future(self._run())
        return await asyncio.shield(self._ran)

    async def _run(self) -> WorkerResult[Any]:
        result: WorkerResult[Any] = await self._module.step(self._chosen, self._place, {})
        self._place.observe("result", result.local)
        return result

    async def give(self, note: Mapping[str, Any], body: Buffer) -> Mapping[str, Any]:
        result = await self._result()
        values: Mapping[str, Any] = self._module.values(self._chosen, self._place, result)
        return values

    async def result(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        result = await self._result()
        return dict(result.leaves) if "Modeller" in self._parameters.save_location else {}

    async def finish(self, note: Mapping[str, Any], body: Buffer) -> None:
        if self._ran is not None:
            self._ran.cancel()


def worker(parameters: Parameters, place: StepContext) -> _ResultsInPod:
    """The side in a pod.

    Raises:
        TaskRefused: the algorithm cannot be run by itself.
    """
    return _ResultsInPod(parameters, place)


async def modeller(
    parameters: Parameters, coordinator: Coordinator, cohort: tuple[str, ...], add_up: AddUp
) -> TaskOutcome:
    """The modeller's side.

    Raises:
        TooFewPods: there is no sum, or fewer results than the quorum.
    """
    if coordinator.spec.aggregation is None:
        results = await coordinator.results(cohort)
        return TaskOutcome(reason_of(results), results=results)
    module, chosen = _component(coordinator.spec)
    layout = layout_of(module, chosen, coordinator.spec)
    return await summed_once(coordinator, cohort, add_up, layout, writer(module, chosen, coordinator.spec))


def reason_of(results: Mapping[str, Any]) -> str:
    """Why the task ended: "done", or that a pod made what was left of a limit and no more."""
    spent = any(isinstance(one, dict) and one.get("state") == LIMITS_EXCEEDED for one in results.values())
    return LIMITS_EXCEEDED if spent else "done"


Write = Callable[[Combined], Mapping[str, str]]


def writer(module: Any, parameters: Any, spec: TaskSpec) -> Write | None:
    """How a component writes a sum down; None where the numbers may stand as they are.

    What it gives are names of files and their text. Where there is such a function the bare sum is never written:
    it applies what must be applied first, such as the small-cell rule.
    """
    if not hasattr(module, "written"):
        return None
    return lambda combined: module.written(parameters, spec, combined)


async def summed_once(
    coordinator: Coordinator,
    cohort: tuple[str, ...],
    add_up: AddUp,
    layout: Layout,
    write: Write | None = None,
) -> TaskOutcome:
    """One sum over the pods, released once in the life of a task; taken from the journal where it was made before.

    Raises:
        TooFewPods: there is no sum.
    """
    purpose: Purpose = "counts" if layout.kind == "counts" else "update"
    for one in coordinator.journal.rounds():
        if one.purpose == purpose and one.state == "done":
            return _remembered(one.outcome)
    exchanges = Exchanges(coordinator, cohort, add_up)
    total, weighed = (0.0, None) if purpose == "counts" else await exchanges.weights(1)
    terms = exchanges.terms(purpose, counts_hash(coordinator.spec), total)
    clip = aggregation_of(coordinator.spec).clip
    combined = await add_up(coordinator, Exchange(terms, layout, 1, {}, b"", clip, weighed))
    files = {} if write is None else dict(write(combined))
    outcome = {
        "survivors": list(combined.survivors),
        "weight": combined.weight,
        "lost": dict(combined.lost),
        "report": dict(combined.report),
        "parts": {name: part.tolist() for name, part in combined.parts.items()} if write is None else {},
        "files": files,
    }
    coordinator.journal.end(terms.seq, "done", outcome)
    return TaskOutcome("done", counts=combined, files=files)


def _remembered(outcome: Mapping[str, Any]) -> TaskOutcome:
    combined = Combined(
        {name: np.asarray(part) for name, part in outcome["parts"].items()},
        tuple(outcome["survivors"]),
        float(outcome["weight"]),
        outcome["lost"],
        outcome["report"],
    )
    return TaskOutcome("done", counts=combined, files=outcome["files"])
