"""The two sides of a protocol: what it does in a pod, and what the modeller's program does with the answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from federated.aggregators.secure_rounds import Combined, Exchange
from federated.aggregators.values import Layout
from federated.models.interface import Tensors
from federated.rounds.coordinator import Coordinator
from federated.task.envelope import Buffer

LIMITS_EXCEEDED = "LIMITS_EXCEEDED"
"""The reason of a task that ended with what a limit allowed."""

AddUp = Callable[[Coordinator, Exchange], Awaitable[Combined]]


class PodSide(Protocol):
    """A protocol in one pod, made by its function ``worker(parameters, place)`` when the pod has accepted the task.

    Everything it gives must depend on the task, the request and the pod's own data alone, so that a pod that was
    killed and started again gives the same.

    Attributes:
        weight: by how much this pod counts where weights are "rows".
    """

    weight: float

    def layout(self) -> Layout:
        """What `give` gives, known before anything is computed."""
        ...

    async def give(self, note: Mapping[str, Any], body: Buffer) -> Mapping[str, Any]:
        """What this pod adds to a sum: the layout's names to arrays or numbers.

        Raises:
            TaskRefused: it cannot; the pod is then outside this round.
        """
        ...

    async def result(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        """What this pod returns by itself, not added up; plain JSON values. Empty where nothing may leave."""
        ...

    async def finish(self, note: Mapping[str, Any], body: Buffer) -> None:
        """The task has ended; the last model is given where there is one."""
        ...


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """One training round as the modeller keeps it.

    Attributes:
        number: from 1.
        survivors: pods in the sum.
        weight: the sum of their weights.
        metrics: weighted means over them.
        lost: pods that are not in it, and why.
        report: of the sum.
    """

    number: int
    survivors: tuple[str, ...]
    weight: float
    metrics: Mapping[str, float]
    lost: Mapping[str, str] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What a task came to.

    Attributes:
        reason: "done", "early stop", "converged", or `LIMITS_EXCEEDED`.
        rounds: every round, in order.
        model: the last model's arrays; empty where nothing is trained.
        best: the arrays of the best round by the early-stopping metric, and its number; None without one.
        counts: for a sum of counts, name to total.
        files: names and texts of files that a sum is written as, after every rule that it must pass; where there are
            any, its bare numbers are not written.
        results: pod to what it returned.
        refused: pods that are not in the task, and why.
    """

    reason: str
    rounds: tuple[RoundOutcome, ...] = ()
    model: Tensors = field(default_factory=dict, repr=False)
    best: tuple[int, Tensors] | None = field(default=None, repr=False)
    counts: Combined | None = None
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    results: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
