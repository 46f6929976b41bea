"""Noise inside the mask: how much there is in a real round, and the budget that a pod keeps."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from secure_agg import Cast, DpSpec, Parameters, messages, simulate
from secure_agg.errors import BudgetRefused, ParameterError, PolicyRefused, SpecRefused
from secure_agg.journal import PodPolicy, noise_plan
from secure_agg.keys import sign
from secure_agg.messages import INVITATION, Invitation
from secure_agg.specification import read_spec
from secure_agg.transitions import PodState
from tests.secure_agg.table import MODELLER, Setting, Table, entropy_from, sha

NOISE = DpSpec("distributed_discrete_gaussian", sigma=0.5, delta=1e-6, l2_bound=2.0)


def noisy(**policy: Any) -> Setting:
    allowed = PodPolicy(minimum_survivors=3, **policy)
    return Setting(length=2000, parameters={"dp": NOISE}, policy=allowed)


@pytest.mark.parametrize("lost", [{}, {"pod-0": "after_shares"}])
def test_dp_noise_covers_minimum_survivors(lost: dict[str, Any]) -> None:
    """With four of five in the sum and two colluders, the noise of two pods alone reaches sigma; more add more."""
    parameters = Parameters(length=20_000, clip=1.0, minimum_survivors=3, dp=NOISE)
    updates = {f"pod-{number}": np.zeros(20_000) for number in range(5)}
    result = simulate(parameters, updates, lost=lost, cast=Cast(entropy_from("noise")))
    noise = result.mean * len(result.survivors)
    expected = NOISE.sigma * np.sqrt(len(result.survivors) / 2)
    assert np.std(noise) == pytest.approx(expected, rel=0.03)
    assert expected > NOISE.sigma
    assert abs(np.mean(noise)) < 5 * expected / np.sqrt(20_000)
    assert result.report.eps is not None
    assert result.report.eps > 0


def test_without_noise_there_is_no_epsilon() -> None:
    assert Table().run().report.eps is None


def test_dp_budget_refused_on_pod() -> None:
    """The pod counts for itself; the round that would go beyond its budget is refused before anything is sent."""
    first = Table(noisy())
    once = noise_plan(first.spec)
    assert once is not None
    first.run()
    for budget, allowed in ((1.05 * once.epsilon, False), (2.5 * once.epsilon, True)):
        following = noisy(epsilon_budget=budget)
        following.model, following.number, following.previous = "the next", 1, sha("a model")
        second = Table(following, journals=first.journals)
        invitation = second.start()["bath"]
        if allowed:
            second.ask("bath", invitation)
            continue
        with pytest.raises(BudgetRefused, match="Nothing was sent"):
            second.ask("bath", invitation)


def test_a_pod_with_a_budget_refuses_a_round_without_noise() -> None:
    table = Table(Setting(policy=PodPolicy(minimum_survivors=3, epsilon_budget=3.0)))
    with pytest.raises(PolicyRefused, match="adds no noise"):
        table.ask("bath", table.start()["bath"])


def test_a_count_of_clipped_values_does_not_travel_beside_noise() -> None:
    table = Table(Setting(length=50, parameters={"dp": NOISE, "clip": 0.01, "on_clip": "clip"}))
    assert table.run().report.clipped_fraction == 0
    bare = Table(Setting(length=50, parameters={"clip": 0.01, "on_clip": "clip"}))
    assert bare.run().report.clipped_fraction > 0.5


@pytest.mark.parametrize(
    "dp",
    [
        DpSpec("distributed_discrete_gaussian", sigma=0.0, l2_bound=1.0),
        DpSpec("distributed_discrete_gaussian", sigma=1.0, l2_bound=0.5),
        DpSpec("none", sigma=1.0),
        DpSpec("distributed_discrete_gaussian", sigma=1.0, l2_bound=3.0, delta=1.5),
        DpSpec("distributed_discrete_gaussian", sigma=float("nan"), l2_bound=3.0),
    ],
)
def test_noise_that_promises_nothing_is_refused(dp: DpSpec) -> None:
    spec = Table(noisy()).spec
    with pytest.raises(SpecRefused):
        read_spec(msgspec.structs.replace(spec, dp=dp).to_bytes())


@pytest.mark.parametrize("sigma", [1e-200, 5e-324])
def test_a_pod_refuses_noise_too_small_to_count_by_an_error_of_ours(sigma: float) -> None:
    """Well formed and well signed, so that it is found by the arithmetic alone."""
    table = Table(noisy())
    spec = msgspec.structs.replace(table.spec, dp=msgspec.structs.replace(NOISE, sigma=sigma)).to_bytes()
    invitation = messages.encode(INVITATION, Invitation(spec, sign(MODELLER, INVITATION, spec)))
    with pytest.raises(ParameterError, match="noise"):
        table.ask("bath", invitation)
    assert table.clients["bath"].state is PodState.ABORTED
    assert table.journals == {}
