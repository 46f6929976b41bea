"""The JSON documents of tasks: what a reader of ``result.json`` and of ``task status --json`` may rely on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from federated.screening.report.document_models import Closed


class Round(Closed):
    """One training round; ``metrics`` are weighted means over the survivors, null where no pod has one.

    ``report`` is of the sum, see `secure_agg.RoundReport`; of an unmasked mean it has the mode and the survivors.
    """

    round: Annotated[int, Field(ge=1)]
    survivors: tuple[str, ...]
    lost: dict[str, str]
    weight: float
    metrics: dict[str, float | None]
    report: dict[str, Any]


class Sum(Closed):
    """A sum that was made once: names to numbers, or to lists of numbers.

    ``metric/NAME`` is the mean over the pods that have that metric, null where none has, and ``has/NAME`` is the
    share of the survivors that have it: a pod with too few rows gives none.

    Where it must pass a rule before anybody sees it (counts of patients), ``values`` is empty and ``files`` names
    what was written instead.
    """

    survivors: tuple[str, ...]
    lost: dict[str, str]
    values: dict[str, Any]
    files: tuple[str, ...]


class TaskResultDocument(Closed):
    """What a task came to (``result.json``); of a single pod it tells the name and whether it was in a sum."""

    schema_: Annotated[Literal["trialveil/task-result/1"], Field(alias="schema")]
    task: str
    name: str
    reason: str
    pods: tuple[str, ...]
    refused: dict[str, str]
    rounds: tuple[Round, ...]
    best_round: int | None
    sum: Sum | None
    results: dict[str, Any]


class SumModel(Closed):
    """One sum of a task: of weights, of an update, or of counts."""

    seq: Annotated[int, Field(ge=1)]
    purpose: Literal["weights", "update", "counts"]
    round: Annotated[int, Field(ge=0)]
    state: Literal["open", "done", "failed"]
    survivors: tuple[str, ...]
    metrics: dict[str, float | None]


class TaskStatusDocument(Closed):
    """Where a task stands (``task status --json``); ``pods`` says what each answered."""

    schema_: Annotated[Literal["trialveil/task-status/1"], Field(alias="schema")]
    name: str
    task: str
    state: Literal["open", "done", "failed"]
    reason: str
    created: str
    expires: str
    pods: dict[str, str]
    rounds: tuple[SumModel, ...]


class PodTask(Closed):
    """A task that a pod has accepted; ``task`` is the beginning of its hash."""

    task: str
    name: str
    accepted: str
    state: Literal["open", "done", "stopped"]
    reason: str


class Used(Closed):
    """Predictions of one model; ``limit`` is null where there is none."""

    used: Annotated[int, Field(ge=0)]
    limit: int | None


class PodStatusDocument(Closed):
    """What a pod has accepted and used (``pod status --json``); ``rounds`` are masked rounds that it has entered."""

    schema_: Annotated[Literal["trialveil/pod-status/1"], Field(alias="schema")]
    name: str
    tasks: tuple[PodTask, ...]
    rounds: Annotated[int, Field(ge=0)]
    budgets: dict[str, Used]


class RuntimeRow(Closed):
    """Rounds over one kind of link; ``overhead`` is their time over that of the bare masking, less 1.

    ``cpu_overhead`` is the same in CPU seconds of all threads: pods of one process work side by side where there are
    cores, and the bare masking takes them one after the other.
    """

    link: Literal["in process", "sockets"]
    pods: Annotated[int, Field(ge=3)]
    parameters: Annotated[int, Field(ge=1)]
    seconds_per_round: Annotated[float, Field(gt=0)]
    masking_seconds: Annotated[float, Field(gt=0)]
    overhead: float
    cpu_overhead: float


class RuntimeExchange(Closed):
    """One request and its answer over sockets, each as large as a float32 model of so many parameters."""

    parameters: Annotated[int, Field(ge=1)]
    milliseconds: Annotated[float, Field(gt=0)]
    times_a_bare_tls_copy: Annotated[float, Field(gt=0)]


class RuntimeBenchmark(Closed):
    """What ``python benchmarks/runtime.py --json`` prints; ``machine`` says what was measured on."""

    schema_: Annotated[Literal["trialveil/runtime-benchmark/1"], Field(alias="schema")]
    machine: dict[str, Any]
    rows: tuple[RuntimeRow, ...]
    exchanges: tuple[RuntimeExchange, ...]
