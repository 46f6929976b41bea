"""PyTorch modules as models: repeatable, whole with their buffers, and without code from a task."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from federated.errors import InvalidArgument, TaskRefused
from federated.models.catalogue import ModelChoice, made
from federated.models.files import from_bytes, to_bytes
from federated.models.interface import Rows
from federated.models.selection import Selection

if os.environ.get("TRIALVEIL_TESTS_NEED_TORCH"):
    import torch
else:
    torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from federated.models.torch_modules import Settings, TorchModel, Training, torch_module

SEED = bytes(range(32))
COLUMNS = Selection(("x0", "x1", "x2"), target="y")
LAYERS = [
    {"kind": "linear", "size": 8},
    {"kind": "batch_norm"},
    {"kind": "relu"},
    {"kind": "dropout", "share": 0.2},
]


def people(count: int = 97, kind: str = "classes") -> Rows:
    chance = np.random.default_rng(3)
    inputs = chance.normal(size=(count, 3))
    values = inputs[:, 0] * inputs[:, 1] - inputs[:, 2]
    return Rows(inputs, (values > 0).astype(float) if kind == "classes" else values)


def network(unit: Any = "epochs", **settings: Any) -> Any:
    return made(ModelChoice("torch_module", {"layers": LAYERS, "seed": 5, **settings}), COLUMNS, unit)


def trained(rows: Rows, seed: bytes = SEED, **settings: Any) -> bytes:
    model = network(**settings)
    model.fit(rows, 2, seed)
    return to_bytes(model.tensors())


def test_every_maker_of_a_model_begins_with_the_same_arrays() -> None:
    assert to_bytes(network().tensors()) == to_bytes(network().tensors())
    assert to_bytes(network().tensors()) != to_bytes(network(seed=6).tensors())


def test_running_means_belong_to_the_model_and_counters_do_not() -> None:
    model = network()
    before = model.tensors()
    model.fit(people(), 1, SEED)
    after = model.tensors()
    assert {"1.running_mean", "1.running_var"} <= set(after)
    assert all(np.issubdtype(array.dtype, np.floating) for array in after.values())
    moved = ("0.weight", "1.weight", "1.running_mean", "1.running_var")
    assert all(not np.array_equal(after[name], before[name]) for name in moved)
    other = network(seed=6)
    other.load(after)
    assert np.array_equal(other.predict(people().inputs), model.predict(people().inputs))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_training_depends_on_arrays_rows_amount_and_seed_alone(optimiser: str) -> None:
    rows = people()
    first = trained(rows, optimiser=optimiser)
    torch.manual_seed(99)
    torch.rand(10)
    assert trained(rows, optimiser=optimiser) == first
    assert trained(rows, bytes(32), optimiser=optimiser) != first


def test_no_state_of_the_optimiser_outlives_a_call() -> None:
    rows, model = people(), network(optimiser="adam")
    model.fit(rows, 1, SEED)
    between = model.tensors()
    model.fit(rows, 1, bytes(32))
    again = network(optimiser="adam", seed=8)
    again.load(between)
    again.fit(rows, 1, bytes(32))
    assert to_bytes(again.tensors()) == to_bytes(model.tensors())


def test_pods_that_train_side_by_side_in_one_process_do_not_disturb_each_other() -> None:
    rows = people(400)
    alone = trained(rows)
    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(lambda _: trained(rows), range(12))) == {alone}


def test_the_process_s_own_chance_is_left_as_it_was() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    trained(people())
    assert torch.equal(torch.rand(3), expected)


def test_a_last_batch_of_one_row_is_joined_to_the_one_before() -> None:
    model = network("steps", batch_size=32)
    model.fit(people(97), 4, SEED)
    assert all(np.isfinite(array).all() for array in model.tensors().values())


@pytest.mark.parametrize("target", ["classes", "number"])
def test_it_learns_what_no_linear_model_can(target: str) -> None:
    rows = people(200, target)
    model = network(target=target, optimiser="adam", learning_rate=0.05, layers=LAYERS[:1] + LAYERS[2:3])
    before = model.measure(rows)
    model.fit(rows, 25, SEED)
    after = model.measure(rows)
    assert list(after) == list(model.metrics)
    assert (
        after["auc" if target == "classes" else "r2"] > 0.9 > before["auc" if target == "classes" else "r2"]
    )


def test_one_full_batch_step_of_pods_weighted_by_rows_is_the_step_on_all() -> None:
    rows, shares = people(90), np.arange(90) % 3
    settings: dict[str, Any] = {"layers": [LAYERS[0], {"kind": "tanh"}], "batch_size": None, "l2": 0.1}
    pooled = network("steps", **settings)
    start = pooled.tensors()
    pooled.fit(rows, 1, SEED)
    mean = {name: np.zeros_like(array) for name, array in start.items()}
    for pod in range(3):
        model = network("steps", **settings)
        model.fit(Rows(rows.inputs[shares == pod], rows.targets[shares == pod]), 1, SEED)
        mean = {name: array + model.tensors()[name] / 3 for name, array in mean.items()}
    for name, array in pooled.tensors().items():
        assert np.allclose(mean[name], array, atol=1e-6)


def test_it_is_saved_and_read_with_its_types_and_order() -> None:
    model = network()
    assert list(from_bytes(to_bytes(model.tensors()), like=model.tensors()).tensors) == list(model.tensors())


def test_a_module_of_a_plug_in_is_a_model_too() -> None:
    model = TorchModel(torch.nn.Linear(3, 1), 3, Training(), "steps")
    model.fit(people(), 1, SEED)
    assert model.predict(people().inputs).shape == (97,)
    wide = TorchModel(torch.nn.Linear(3, 2), 3, Training(), "steps")
    with pytest.raises(InvalidArgument, match="expected one each"):
        wide.predict(people().inputs)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": [{"kind": "linear"}]}, "size"),
        ({"layers": [{"kind": "relu", "size": 3}]}, "size"),
        ({"layers": [{"kind": "dropout", "share": 1.0}]}, "share"),
        ({"layers": [{"kind": "os.system"}]}, "linear"),
        ({"layers": [{"kind": "linear", "size": 10**9}]}, "size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"code": "import os"}, "code"),
    ],
)
def test_settings_that_make_no_network_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskRefused, match=said):
        network(**wrong)


def test_rows_and_arrays_that_do_not_fit_are_refused() -> None:
    model = torch_module(Settings(), 3, "epochs")
    for rows in (Rows(np.zeros((2, 2)), np.zeros(2)), Rows(np.zeros((2, 3)), np.full(2, 0.5))):
        with pytest.raises(InvalidArgument):
            model.fit(rows, 1, SEED)
    with pytest.raises(InvalidArgument, match="not finite"):
        model.load({name: np.full_like(array, np.nan) for name, array in model.tensors().items()})
    assert all(np.isnan(value) for value in model.measure(Rows(np.zeros((0, 3)), np.zeros(0))).values())
