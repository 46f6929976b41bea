"""Full-batch logistic regression over pods is the same as over all rows in one place.

One step of one round moves the model by minus the rate times the gradient of the mean loss over a pod's rows.
The mean of these over the pods, each counted by its rows, is the step over all rows together: so after any
number of rounds both models are equal but for rounding. In float64 that is about 1e-12 here. Under masks every
pod rounds each coordinate by up to one step of the ring, so after *k* rounds of *n* pods the models differ by at most
``n k step`` times what an earlier difference grows to; a gradient step of a convex loss with a rate below 2 over its
curvature shrinks differences, so the factor is 1.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from federated.modeller import program as modeller
from federated.models.catalogue import ModelChoice, made
from federated.models.interface import Rows
from federated.models.selection import Selection
from federated.task import registry
from federated.task.spec import Aggregation, Unit
from tests.federated.runtime import training_stand_in as stand_in
from tests.federated.runtime.cast import PLAIN, SECURE, Cast, make_task, with_stand_in

FEATURES = ("a", "b", "c")
RATE = 0.5


def logistic() -> Any:
    selection = Selection(include=FEATURES, target="y")
    return made(ModelChoice("logistic_regression", {"learning_rate": RATE, "l2": 0.01}), selection, "steps")


def rows_of(seed: int, count: int) -> Rows:
    dice = np.random.default_rng(seed)
    inputs = dice.normal(size=(count, len(FEATURES)))
    chance = 1 / (1 + np.exp(-inputs @ np.array([1.0, -2.0, 0.5])))
    return Rows(inputs, (dice.random(count) < chance).astype(np.float64), FEATURES)


class Logistic(stand_in.Halfway):
    """The stand-in with a real model, over a part of the rows."""

    parts: Mapping[str, Rows] = {}

    def __init__(self, parameters: Any, place: Any) -> None:
        super().__init__(parameters, place)
        self._rows = self.parts[place.pod]
        self.weight = len(self._rows)

    def train(self, tensors: Any, amount: int, round_number: int) -> Any:
        model = logistic()
        model.load(tensors)
        model.fit(self._rows, amount, bytes(32))
        return stand_in.Trained({name: new - tensors[name] for name, new in model.tensors().items()}, {})


def federated(
    parts: Mapping[str, Rows], rounds: int, aggregation: Aggregation
) -> tuple[dict[str, Any], float]:
    """The model after so many rounds, and the largest step of the ring."""
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as folder:
        with_stand_in(patched)
        patched.setenv("TRIALVEIL_OUTPUT_DIR", folder)
        patched.setattr(stand_in, "model", lambda parameters: logistic())
        patched.setattr(stand_in, "trainer", Logistic)
        patched.setattr(Logistic, "parts", parts)
        cast = Cast(Path(folder), tuple(parts))
        spec = make_task(
            tuple(parts),
            aggregation=aggregation,
            algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": rounds}),),
            protocol=Unit(
                name="bitfount.FederatedAveraging", arguments={"steps_between_parameter_updates": 1}
            ),
        )
        patched.setattr(stand_in, "planned", lambda parameters: (rounds, "steps"))
        assert registry.find(SECURE)
        outcome = asyncio.run(modeller.run(cast.coordinator(spec), cast.signature(spec)))
        cast.close()
    steps = [float(one.report.get("step", 0.0)) for one in outcome.rounds]
    return dict(outcome.model), max(steps)


def pooled(rows: Rows, rounds: int) -> dict[str, NDArray[Any]]:
    model = logistic()
    for _ in range(rounds):
        model.fit(rows, 1, bytes(32))
    found: dict[str, NDArray[Any]] = model.tensors()
    return found


def split(rows: Rows, cuts: list[int]) -> dict[str, Rows]:
    places = [0, *sorted(cuts), len(rows)]
    return {
        f"pod-{number}": Rows(rows.inputs[start:end], rows.targets[start:end], FEATURES)
        for number, (start, end) in enumerate(pairwise(places))
    }


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1000),
    pods=st.integers(3, 6),
    rounds=st.integers(1, 4),
    secure=st.booleans(),
    data=st.data(),
)
def test_any_split_gives_the_pooled_model(seed: int, pods: int, rounds: int, secure: bool, data: Any) -> None:
    rows = rows_of(seed, 60)
    cuts = data.draw(st.lists(st.integers(1, 59), min_size=pods - 1, max_size=pods - 1, unique=True))
    aggregation = Aggregation(
        name=SECURE if secure else PLAIN, weights="rows", minimum_survivors=3, maximum_weight=100.0
    )
    model, step = federated(split(rows, cuts), rounds, aggregation)
    # Each pod rounds each coordinate by less than one step of the ring.
    tolerance = 1e-12 + pods * rounds * step
    assert tolerance < 1e-6
    for name, array in pooled(rows, rounds).items():
        np.testing.assert_allclose(model[name], array, atol=tolerance, rtol=0)


def test_equal_weights_give_the_mean_over_the_pods() -> None:
    rows = rows_of(7, 60)
    parts = split(rows, [5, 20])
    model, _ = federated(parts, 1, Aggregation(name=PLAIN, weights="equal", minimum_survivors=3))
    alone = [pooled(part, 1) for part in parts.values()]
    for name, array in model.items():
        np.testing.assert_allclose(array, np.mean([one[name] for one in alone], axis=0), atol=1e-12)
    by_rows, _ = federated(
        parts, 1, Aggregation(name=PLAIN, weights="rows", minimum_survivors=3, maximum_weight=100.0)
    )
    assert not np.allclose(by_rows["weights"], model["weights"], atol=1e-6)
