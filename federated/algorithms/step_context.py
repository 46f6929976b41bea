"""What an algorithm finds in a pod: the task, the data that it may read, and what it must ask before it acts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ehr.site import Site
from federated.algorithms.results import WorkerResult
from federated.counts.differencing import Counted
from federated.models.interface import Tensors
from federated.task.spec import TaskSpec, Unit
from federated.types import DatasourceContainer, ProtocolContext

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is."""


class Reserve(Protocol):
    """Asks the pod's ledger for predictions before they are made."""

    def __call__(self, model: str, wanted: int) -> int:
        """How many predictions of ``model`` may be made now, at most ``wanted``; they are spent from here on."""
        ...


@dataclass(frozen=True, slots=True)
class StepContext:
    """One task in one pod.

    Attributes:
        pod: this pod's name.
        spec: the signed task.
        context: limits, model addresses and the folder of results, as the types page has it.
        secret: 32 bytes that only this pod has, the same at every start of this task; seeds derive from it.
        data: the data source that the task names for this pod; None where it names none.
        open_site: opens the pod's EHR; None where it has none.
        smallest_cell: the smallest count that may leave this pod.
        reserve: see `Reserve`.
        leaves: kinds of what the pod's owner lets leave, see `federated.owner.disclosure.Leaves`.
        admit_counts: the pod's ledger: raises PolicyRefused where counts that are about to leave, and an earlier
            answer, would show few people by subtraction.
        progress: see `Progress`.
        part: folder of one step below the task's own; "" for the task's own.
        folder: where this task's results go in this pod; None for where the context says.
        observe: is shown what an algorithm has worked out, in this process only: a notebook, the demo.
    """

    pod: str
    spec: TaskSpec
    context: ProtocolContext
    secret: bytes = field(repr=False)
    data: DatasourceContainer | None = None
    open_site: Callable[[], AbstractAsyncContextManager[Site]] | None = None
    smallest_cell: int = 11
    reserve: Reserve = field(default=lambda model, wanted: 0, repr=False)
    leaves: frozenset[str] = frozenset()
    admit_counts: Callable[[Counted], None] = field(default=lambda counted: None, repr=False)
    progress: Progress = field(default=lambda what, done, total: None, repr=False)
    part: str = ""
    folder: Path | None = None
    observe: Callable[[str, Any], None] = field(default=lambda what, result: None, repr=False)

    @property
    def results(self) -> Path:
        """This task's folder in this pod, or that of one step; made if it is missing."""
        folder = (self.folder or self.context.get_task_results_dir()) / self.part
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def seed(self, *parts: object) -> bytes:
        """32 bytes that depend on this pod's secret, the task and ``parts``, and on nothing else."""
        text = "\x1f".join(str(part) for part in parts).encode()
        return hashlib.sha256(b"trialveil/seed" + self.secret + self.spec.hash + text).digest()


class StepFunction(Protocol):
    """The function ``step`` of a component: one algorithm of a list, run in the pod."""

    async def __call__(
        self, parameters: Any, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
    ) -> WorkerResult[Any]:
        """Run.

        Args:
            parameters: the component's `Parameters`, made by `parameters_of`.
            place: see `StepContext`.
            inputs: results of the earlier steps that this one names, by their labels.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """What one round of training gave in one pod.

    Attributes:
        update: new minus old, of every tensor, in the model's order.
        metrics: on the validation rows, in the order of the model's ``metrics``; NaN where not defined.
    """

    update: Tensors = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)


class Trainer(Protocol):
    """The worker side of an algorithm that trains in rounds; made by the component's function ``trainer``.

    Attributes:
        weight: by how much this pod counts where weights are "rows": its training rows.
        metric_rows: validation rows behind the metrics.
    """

    weight: int
    metric_rows: int

    def train(self, tensors: Tensors, amount: int, round_number: int) -> Trained:
        """Train from these arrays; depends on nothing but rows, amount, round and the pod's secret besides."""
        ...


def parameters_of(kind: type[Any], unit: Unit) -> Any:
    """A component's `Parameters` out of a task's arguments, checked by pydantic.

    Raises:
        TaskRefused: an argument is unknown, missing or of another form; names the argument, never its value.
    """
    from federated.errors import TaskRefused

    made, wrong = _read(kind, unit)
    if wrong:
        raise TaskRefused("TASK_SETUP_ERROR", wrong[0])
    return made


def wrong_parameters(kind: type[Any], unit: Unit) -> list[str]:
    """All that is wrong with a task's arguments for a component's `Parameters`, as `parameters_of` would say it."""
    return _read(kind, unit)[1]


def _read(kind: type[Any], unit: Unit) -> tuple[Any, list[str]]:
    from pydantic import TypeAdapter, ValidationError

    name, known = unit.name.removeprefix("bitfount."), set(getattr(kind, "__dataclass_fields__", {}))
    wrong = [
        f"{name} has no argument {strange!r}; it has {', '.join(sorted(known))}. Nothing was run."
        for strange in sorted(set(unit.arguments) - known)
    ]
    given = {argument: value for argument, value in unit.arguments.items() if argument in known}
    try:
        return TypeAdapter(kind).validate_python(given), wrong
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            where = ".".join(str(part) for part in one["loc"]) or "arguments"
            wrong.append(f"{name}: {where}: {one['msg']}. Nothing was run.")
        return None, wrong


__all__ = [
    "Progress",
    "Reserve",
    "StepContext",
    "StepFunction",
    "Trained",
    "Trainer",
    "parameters_of",
    "wrong_parameters",
]
