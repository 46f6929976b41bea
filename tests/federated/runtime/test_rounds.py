"""Training in rounds: what the modeller gets, with masks and without."""

from __future__ import annotations

import numpy as np
import pytest

from federated.modeller import program as modeller
from federated.task.spec import Aggregation, Unit
from tests.federated.runtime.cast import PLAIN, SECURE, Cast, make_task

TARGET = sum(10 * n * n / 4 for n in range(1, 6)) / sum(10 * n for n in range(1, 6))


@pytest.mark.parametrize("name", [PLAIN, SECURE])
async def test_the_model_moves_to_the_mean_weighted_by_rows(cast: Cast, name: str) -> None:
    spec = make_task(
        aggregation=Aggregation(name=name, weights="rows", minimum_survivors=3, maximum_weight=1000.0),
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 30}),),
    )
    outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    np.testing.assert_allclose(outcome.model["first"], TARGET, atol=1e-5)
    assert len(outcome.rounds) == 30
    assert outcome.rounds[-1].survivors == cast.names
    assert outcome.rounds[-1].weight == pytest.approx(150)
