"""What hospitals found together, made up but for the model: that one is trained here on the packaged data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.demo.lung_study import Patients, scaled, study, together
from federated.reports.discrimination import Panel
from federated.reports.federation import (
    Arm,
    AtLeast,
    Curve,
    Discrimination,
    Federation,
    FunnelSum,
    ServerView,
    SumStep,
)
from federated.reports.histograms import histogram_of_values, histogram_of_words

Array = NDArray[np.float64]


def funnel(names: tuple[str, ...] = ("Age", "Disease <b>", "Acuity", "Stroke")) -> FunnelSum:
    """Four pods; the further down, the more pods hold back."""
    steps = tuple(
        SumStep(
            f"c{place}",
            name,
            AtLeast(400 - 70 * place, 0),
            AtLeast(380 - 90 * place, place % 2),
            AtLeast(0 if place == 2 else 40, place),
        )
        for place, name in enumerate(names)
    )
    decisions = (("Eligible", AtLeast(89)), ("Undecided", AtLeast(86, 1)), ("Not eligible", AtLeast(None, 4)))
    return FunnelSum(4, 4, 3, 11, AtLeast(424), decisions, steps)


def trained(parts: list[Patients], rounds: int) -> list[Array]:
    """Parameters after each full-batch step of logistic regression."""
    rows = together(parts).rows()
    inputs = np.column_stack([np.ones(len(rows)), scaled(rows.inputs)])
    found, at = [], np.zeros(inputs.shape[1])
    for _ in range(rounds):
        at = at - 0.3 * inputs.T @ (1 / (1 + np.exp(-inputs @ at)) - rows.targets) / len(rows)
        found.append(at)
    return found


def discrimination(rounds: int = 30) -> Discrimination:
    """Federated (which is pooled here), pooled, and each site alone."""
    pods = study()
    judged = together(pod.evaluation for pod in pods)
    panel = Panel(judged.time_days.astype(np.float64), judged.died)
    inputs = np.column_stack([np.ones(len(judged)), scaled(judged.inputs)])
    arms = [("Federated", Arm.FEDERATED, pods), ("Pooled", Arm.POOLED, pods)]
    arms += [(f"{pod.name} alone", Arm.SINGLE, (pod,)) for pod in pods]
    curves: list[Curve] = []
    best: Array | None = None
    for name, arm, members in arms:
        risks = [inputs @ one for one in trained([pod.training for pod in members], rounds)]
        best = risks[-1] if best is None else best
        difference = None if arm is Arm.FEDERATED else panel.difference(risks[-1], best)
        people = sum(len(pod.training.rows()) for pod in members)
        curves.append(Curve(name, arm, people, tuple(map(panel.estimate, risks)), difference))
    return Discrimination(
        title="A risk model across six pods: death within a year, advanced lung cancer",
        measure="Harrell's C",
        data="Real data of a published study: 227 people, six pods by institution, every third kept for judging.",
        curves=tuple(curves),
        evaluated=len(judged),
        events=int(judged.died.sum()),
        pairs=panel.pairs,
        left_out=sum(pod.left_out for pod in pods),
        resamples=panel.resamples,
        farthest=3.1e-7,
    )


def server() -> ServerView:
    """Words as a mask makes them, and an update as training makes it."""
    chance = np.random.default_rng(6)
    words = chance.integers(0, 2**32, 600, dtype=np.uint32)
    return ServerView(
        "lung-3", 40, histogram_of_words(words), histogram_of_values(chance.normal(0, 0.004, 600) ** 3)
    )


def federation() -> Federation:
    """All of it."""
    return Federation(funnel(), discrimination(), server())
