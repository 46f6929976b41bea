"""What hospitals found together, made up but for the model: that one is trained here on the packaged data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federated.counts.cells import CountCells
from federated.counts.summed_counts import SummedCounts, Total
from federated.demo.lung_comparison import compare
from federated.demo.lung_study import FEATURES, study
from federated.models.interface import Amount, Rows, Tensors
from federated.reports.federation import Discrimination, Federation, FunnelSum, ServerView
from federated.reports.histograms import histogram_of_values, histogram_of_words

Array = NDArray[np.float64]


CRITERIA = ("age", "disease", "stroke")


def funnel() -> FunnelSum:
    """Four pods; two hold numbers back about the stroke, and one about the disease."""
    shown = {
        "evaluated": Total(424, 0),
        "decision/eligible": Total(189, 0),
        "decision/undecided": Total(86, 1),
        "decision/not_eligible": Total(None, 4),
        "funnel/age/entering": Total(424, 0),
        "funnel/age/lost": Total(24, 0),
        "funnel/disease/entering": Total(400, 0),
        "funnel/disease/lost": Total(90, 1),
        "funnel/stroke/entering": Total(300, 0),
        "funnel/stroke/lost": Total(0, 2),
    }
    totals = {name: shown.get(name, Total(100, 0)) for name in CountCells(CRITERIA).names}
    return FunnelSum(SummedCounts(CRITERIA, 4, 11, totals), {"disease": "Disease <b>"}, 5, 3)


@dataclass
class Logistic:
    """Full-batch logistic regression: one step an amount."""

    at: Array = field(default_factory=lambda: np.zeros(len(FEATURES) + 1))
    counts_in: Amount = "steps"
    metrics: Mapping[str, float] = field(default_factory=dict)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.at.copy()}

    def load(self, tensors: Tensors) -> None:
        self.at = np.array(tensors["weights"])

    def fit(self, rows: Rows, amount: int, seed: bytes) -> None:
        inputs = np.column_stack([np.ones(len(rows)), rows.inputs])
        for _ in range(amount):
            wrong = 1 / (1 + np.exp(-inputs @ self.at)) - rows.targets
            self.at = self.at - 0.3 * inputs.T @ wrong / len(rows)

    def predict(self, inputs: Array) -> Array:
        return np.asarray(self.at[0] + inputs @ self.at[1:])

    def measure(self, rows: Rows) -> dict[str, float]:
        return {}


def averaged(rounds: int) -> list[Tensors]:
    """The mean over the six pods, weighed by their rows, after each round of one step."""
    parts, at, found = [pod.training.rows(scale=True) for pod in study()], np.zeros(len(FEATURES) + 1), []
    for _ in range(rounds):
        trained = [Logistic(at.copy()) for _ in parts]
        for model, rows in zip(trained, parts, strict=True):
            model.fit(rows, 1, bytes(32))
        at = np.average([model.at for model in trained], axis=0, weights=[len(rows) for rows in parts])
        found.append({"weights": at})
    return found


def discrimination(rounds: int = 30) -> Discrimination:
    """The packaged study, with a model of our own kind."""
    return compare(Logistic, averaged(rounds), scale=True)


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
