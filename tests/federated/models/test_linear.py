"""Linear and logistic regression: exactly additive, deterministic, and right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.errors import InvalidArgument
from federated.models.interface import Rows
from federated.models.linear import Kind, LinearModel, Settings

SEED = bytes(32)


def people(count: int, seed: int = 1, kind: Kind = "logistic") -> Rows:
    chance = np.random.default_rng(seed)
    inputs = chance.normal(size=(count, 3))
    values = inputs @ [1.5, -2.0, 0.0] + 0.5
    targets = values + chance.normal(scale=0.1, size=count)
    if kind == "logistic":
        targets = (chance.random(count) < 1 / (1 + np.exp(-values))).astype(float)
    return Rows(inputs, targets)


def model(kind: Kind = "logistic", **given: object) -> LinearModel:
    return LinearModel(kind, 3, Settings(**given), "steps")  # type: ignore[arg-type]


@given(
    st.sampled_from(["logistic", "linear"]),
    st.lists(st.integers(1, 60), min_size=2, max_size=7),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3]),
)
@settings(max_examples=40, deadline=None)
def test_steps_weighted_by_rows_are_the_step_on_all_rows(
    kind: Kind, sizes: list[int], seed: int, l2: float
) -> None:
    everybody = people(sum(sizes), seed, kind)
    edges = np.cumsum([0, *sizes])
    given = {"l2": l2, "learning_rate": 0.3, "start": "random", "seed": 7}
    pooled, mean = model(kind, **given), model(kind, **given)
    for number in range(3):
        pooled.fit(everybody, 1, SEED)
        before = mean.tensors()
        after = {name: np.zeros_like(array) for name, array in before.items()}
        for start, end in pairwise(edges):
            pod = model(kind, **given)
            pod.load(before)
            pod.fit(Rows(everybody.inputs[start:end], everybody.targets[start:end]), 1, bytes([number] * 32))
            for name, array in pod.tensors().items():
                after[name] += array * (end - start) / edges[-1]
        mean.load(after)
    for name, array in pooled.tensors().items():
        np.testing.assert_allclose(mean.tensors()[name], array, rtol=0, atol=1e-12)


def test_logistic_regression_comes_to_the_optimum_of_its_loss() -> None:
    rows, found = people(400), model(l2=0.1, learning_rate=1.0)
    found.fit(rows, 500, SEED)
    error = found.predict(rows.inputs) - rows.targets
    tensors = found.tensors()
    np.testing.assert_allclose(rows.inputs.T @ error / 400 + 0.1 * tensors["weights"], 0, atol=1e-9)
    assert abs(error.mean()) < 1e-9, "the bias has no penalty"
    assert np.sign(tensors["weights"][:2]).tolist() == [1, -1]


def test_linear_regression_comes_to_least_squares() -> None:
    rows, found = people(300, kind="linear"), model("linear", learning_rate=0.5)
    found.fit(rows, 400, SEED)
    table = np.column_stack([rows.inputs, np.ones(300)])
    best = np.linalg.lstsq(table, rows.targets, rcond=None)[0]
    np.testing.assert_allclose([*found.tensors()["weights"], *found.tensors()["bias"]], best, atol=1e-9)
    assert found.measure(rows)["r2"] > 0.99


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def trained(seed: bytes) -> bytes:
        found = model(batch_size=7)
        found.fit(people(50), 20, seed)
        return found.tensors()["weights"].tobytes()

    assert trained(SEED) == trained(SEED)
    assert trained(SEED) != trained(bytes([1]) * 32)


@pytest.mark.parametrize(("unit", "batches"), [("epochs", 2 * 8), ("steps", 2)])
def test_an_epoch_is_a_pass_over_all_rows_and_a_step_one_batch(unit: str, batches: int) -> None:
    found = LinearModel("logistic", 3, Settings(batch_size=7), unit)  # type: ignore[arg-type]
    chosen = list(found._batches(50, 2, SEED))
    assert len(chosen) == batches
    if unit == "epochs":
        assert sorted(np.concatenate(chosen[:8])) == sorted(np.concatenate(chosen[8:])) == list(range(50))


def test_a_start_is_zero_or_the_same_everywhere() -> None:
    assert not any(array.any() for array in model().tensors().values())
    one, two = model(start="random", seed=3).tensors(), model(start="random", seed=3).tensors()
    assert (
        one["weights"].tobytes()
        == two["weights"].tobytes()
        != model(start="random").tensors()["weights"].tobytes()
    )


def test_metrics_are_as_their_definitions_say_and_within_their_bounds() -> None:
    found = LinearModel("logistic", 1, Settings(), "epochs")
    found.load({"weights": np.array([1.0]), "bias": np.zeros(1)})
    rows = Rows(np.array([[2.0], [1.0], [1.0], [-3.0]]), np.array([1.0, 0.0, 1.0, 0.0]))
    seen = found.measure(rows)
    pairs = [(2, 1), (2, -3), (1, 1), (1, -3)]
    assert seen["auc"] == np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs])
    assert seen["accuracy"] == 0.75
    chances = found.predict(rows.inputs)
    assert seen["loss"] == pytest.approx(-np.mean(np.log(np.where(rows.targets == 1, chances, 1 - chances))))
    far = found.measure(Rows(np.array([[1e6]]), np.array([0.0])))
    assert far["loss"] == found.metrics["loss"]
    assert np.isnan(far["auc"]), "one class has no order"
    bad = LinearModel("linear", 1, Settings(largest_mse=4.0), "epochs")
    assert bad.measure(Rows(np.zeros((2, 1)), np.array([100.0, 101.0]))) == {"mse": 4.0, "r2": -1.0}


def test_without_rows_no_metric_is_defined() -> None:
    for kind in ("logistic", "linear"):
        found = model(kind)
        seen = found.measure(Rows(np.empty((0, 3)), np.empty(0)))
        assert set(seen) == set(found.metrics)
        assert all(np.isnan(value) for value in seen.values())


def test_rows_and_arrays_that_do_not_fit_are_refused_without_their_values() -> None:
    found = model()
    nan = np.array([0.0, np.nan, 0.0])
    for tensors in (
        {"weights": np.zeros(2), "bias": np.zeros(1)},
        {"weights": np.zeros(3, np.float32), "bias": np.zeros(1)},
        {"weights": np.zeros(3)},
        {"weights": nan, "bias": np.zeros(1)},
    ):
        with pytest.raises(InvalidArgument):
            found.load(tensors)
    for inputs, targets in (
        (np.zeros((2, 4)), np.zeros(2)),
        (np.zeros((2, 3)), np.zeros(3)),
        (np.zeros((2, 3)), np.array([0.0, 41.5])),
        (np.full((2, 3), np.nan), np.zeros(2)),
        (np.zeros((0, 3)), np.zeros(0)),
    ):
        with pytest.raises(InvalidArgument) as caught:
            found.fit(Rows(inputs, targets), 1, SEED)
        assert "41.5" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": 0},
        {"l2": -1},
        {"batch_size": 0},
        {"seed": -1},
        {"largest_mse": 0},
        {"l2": float("nan")},
    ],
)
def test_settings_out_of_their_range_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Settings(**given)  # type: ignore[arg-type]
