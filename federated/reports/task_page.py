"""``report.html`` of a task: what its pods found together, for people; one file, no request, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from federated.reports.federation import Estimate, FunnelSum
from federated.reports.plots import Axis, points, reach
from federated.reports.templates_over_sites import rendered
from federated.task.spec import TaskSpec

SMALLEST = 1e-6
"""Changes below this are not drawn apart."""
DOTS = 60
"""Up to so many rounds each value has a dot of its own."""


@dataclass(frozen=True, slots=True)
class TaskHead:
    """What a task was.

    Args:
        name: as people call it.
        task: its hash, hexadecimal.
        modeller: who sent it.
        created: ISO 8601.
        protocol, algorithms: names.
        masked: whether only the sum was seen.
        minimum: fewest pods in a sum.
        pods: each invited pod, and what became of it.
    """

    name: str
    task: str
    modeller: str
    created: str
    protocol: str
    algorithms: tuple[str, ...]
    masked: bool
    minimum: int
    pods: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TrainedRound:
    """One round of training.

    Args:
        number: from 1.
        survivors: pods in the sum.
        lost: pods that are not in it, and why.
        weight: sum of their weights.
        metrics: weighted means; NaN where no pod has one.
    """

    number: int
    survivors: tuple[str, ...]
    lost: Mapping[str, str]
    weight: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MetricChart:
    """One metric over the rounds, ready to draw."""

    name: str
    x: Axis
    y: Axis
    line: str
    dots: tuple[tuple[float, float], ...]
    said: str


def head_of(spec: TaskSpec, fates: Mapping[str, str]) -> TaskHead:
    """The head of a task's page.

    Args:
        spec: the task.
        fates: pod to what became of it; one that is not in it did not answer.
    """
    adds = spec.aggregation
    return TaskHead(
        name=spec.name,
        task=spec.hash.hex(),
        modeller=spec.modeller.name,
        created=spec.created,
        protocol=spec.protocol.name.removeprefix("bitfount."),
        algorithms=tuple(unit.name.removeprefix("bitfount.") for unit in spec.algorithms),
        masked=spec.secure,
        minimum=1 if adds is None else max(adds.minimum_survivors, spec.quorum),
        pods=tuple((name, fates.get(name, "did not answer")) for name in spec.names),
    )


def counts_page(head: TaskHead, funnel: FunnelSum) -> str:
    """The page of a task that counted.

    Args:
        head: of the task.
        funnel: after every rule that it must pass.
    """
    return rendered("task.html.j2", task=head, reason="done", funnel=funnel, rounds=(), charts=(), best=None)


def rounds_page(
    head: TaskHead, rounds: Sequence[TrainedRound], *, reason: str, best: int | None = None
) -> str:
    """The page of a task that trained.

    Args:
        head: of the task.
        rounds: all of them, in order.
        reason: why it ended.
        best: the best round, where one was looked for.
    """
    names = list(rounds[-1].metrics) if rounds else []
    charts = tuple(chart for name in names if (chart := metric_chart(name, rounds)) is not None)
    return rendered(
        "task.html.j2", task=head, reason=reason, funnel=None, rounds=rounds, charts=charts, best=best
    )


def metric_chart(name: str, rounds: Sequence[TrainedRound]) -> MetricChart | None:
    """One metric over the rounds; None where no round has it."""
    known = [(one.number, value) for one in rounds if isfinite(value := one.metrics.get(name, float("nan")))]
    if not known:
        return None
    values = [value for _, value in known]
    # A change of less than a twentieth of the value itself is not drawn as a leap.
    spread = max(max(values) - min(values), max(abs(value) for value in values) / 20, SMALLEST)
    low, high = reach([Estimate(value) for value in values], 10.0 ** floor(log10(spread)))
    count = len(rounds)
    x, y = Axis(1 - 0.5 * (count == 1), max(count, 1.5), 62, 448), Axis(low, high, 176, 12)
    dots = tuple((x.at(number), y.at(value)) for number, value in known)
    said = (
        f"From {values[0]:.4g} after round {known[0][0]} to {values[-1]:.4g} after round {known[-1][0]}; "
        f"smallest {min(values):.4g}, largest {max(values):.4g}."
    )
    return MetricChart(name, x, y, points(dots), dots if count <= DOTS else (), said)
