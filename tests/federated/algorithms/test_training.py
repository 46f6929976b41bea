"""Training by rounds in pods: from a table to the model that training on all rows would give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.algorithms import training
from federated.algorithms.step_context import parameters_of
from federated.algorithms.training import Parameters
from federated.errors import TaskRefused
from federated.models.interface import Rows, Tensors
from federated.models.linear import LinearModel, Settings
from federated.models.rows import read_rows
from federated.task.spec import Aggregation, Unit
from tests.federated.algorithms.places import DATA, MODEL, TRAINING, place, run, source
from tests.federated.runtime.cast import NAMES, PLAIN, SECURE, make_task


def parameters(arguments: Mapping[str, Any] = TRAINING) -> Parameters:
    found: Parameters = parameters_of(Parameters, Unit(name="x", arguments=dict(arguments)))
    return found


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))


@pytest.mark.parametrize("aggregator", [PLAIN, SECURE])
def test_federated_training_is_training_on_all_rows(tmp_path: Path, aggregator: str) -> None:
    tables = {name: source(tmp_path / name, 30 + 12 * place, place) for place, name in enumerate(NAMES)}
    aggregation = Aggregation(name=aggregator, weights="rows", minimum_survivors=3, maximum_weight=1000.0)
    spec = make_task(
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments=dict(TRAINING)),),
        aggregation=aggregation,
    )
    outcome = run(tmp_path, spec, tables)
    pooled = LinearModel("logistic", 2, Settings(learning_rate=0.5, l2=0.01), "epochs")
    parts = [read_rows(table, parameters().data, "train") for table in tables.values()]
    pooled.fit(
        Rows(np.concatenate([one.inputs for one in parts]), np.concatenate([one.targets for one in parts])),
        4,
        bytes(32),
    )
    assert [one.number for one in outcome.rounds] == [1, 2, 3, 4]
    tolerance = 1e-12 if aggregator == PLAIN else 1e-6
    for name, array in pooled.tensors().items():
        np.testing.assert_allclose(outcome.model[name], array, rtol=0, atol=tolerance)
    assert outcome.rounds[-1].metrics["loss"] < outcome.rounds[0].metrics["loss"]
    assert 0.5 < outcome.rounds[-1].metrics["auc"] <= 1


def test_a_pod_trains_on_its_training_rows_and_measures_on_others(tmp_path: Path) -> None:
    data = source(tmp_path)
    trainer = training.trainer(parameters(), place(data, "FederatedModelTraining"))
    train, validation = (read_rows(data, parameters().data, part) for part in ("train", "validation"))
    assert (trainer.weight, trainer.metric_rows) == (len(train), len(validation))
    model = training.model(parameters())
    trained = trainer.train(model.tensors(), 2, 1)
    model.fit(train, 2, b"")
    assert list(trained.update) == ["weights", "bias"]
    for name, array in model.tensors().items():
        assert trained.update[name].tobytes() == array.tobytes(), "the start is zero"
    assert trained.metrics == model.measure(validation)


def test_training_of_a_round_depends_on_nothing_but_its_arrays_and_its_number(tmp_path: Path) -> None:
    arguments = TRAINING | {"model": MODEL | {"settings": {"batch_size": 8}}}

    def fresh() -> Any:
        return training.trainer(
            parameters(arguments), place(source(tmp_path), "FederatedModelTraining", arguments)
        )

    start = training.model(parameters(arguments)).tensors()
    veteran = fresh()
    veteran.train(start, 3, 1)
    two, again, other = (
        one.train(start, 1, number) for one, number in ((veteran, 2), (fresh(), 2), (fresh(), 3))
    )
    assert two.update["weights"].tobytes() == again.update["weights"].tobytes()
    assert two.update["weights"].tobytes() != other.update["weights"].tobytes()


@pytest.mark.parametrize("harm", ["nan", "shape", "name", "type"])
def test_arrays_that_do_not_fit_are_refused_in_the_pod(tmp_path: Path, harm: str) -> None:
    trainer = training.trainer(parameters(), place(source(tmp_path), "FederatedModelTraining"))
    tensors: Tensors = {
        "nan": {"weights": np.full(2, np.nan), "bias": np.zeros(1)},
        "shape": {"weights": np.zeros(3), "bias": np.zeros(1)},
        "name": {"weights": np.zeros(2), "offset": np.zeros(1)},
        "type": {"weights": np.zeros(2, np.float32), "bias": np.zeros(1)},
    }[harm]
    with pytest.raises(TaskRefused, match="Nothing was sent"):
        trainer.train(tensors, 1, 1)


def test_training_that_runs_away_is_refused_in_the_pod(tmp_path: Path) -> None:
    arguments = TRAINING | {
        "model": {"name": "linear_regression", "settings": {"learning_rate": 1e200}},
        "epochs": 9,
    }
    trainer = training.trainer(parameters(arguments), place(source(tmp_path), "FederatedModelTraining"))
    with pytest.raises(TaskRefused, match="learning rate"):
        trainer.train(training.model(parameters(arguments)).tensors(), 9, 1)


def test_a_model_that_fails_does_not_speak_to_the_modeller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = training.trainer(parameters(), place(source(tmp_path), "FederatedModelTraining"))

    def fails(*_: Any) -> None:
        raise RuntimeError("SECRET")

    monkeypatch.setattr(LinearModel, "fit", fails)
    with pytest.raises(TaskRefused, match="RuntimeError") as caught:
        trainer.train(training.model(parameters()).tensors(), 1, 1)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_target_of_another_kind_is_found_before_the_first_round(tmp_path: Path) -> None:
    arguments = TRAINING | {"data": {"include": ["dead"], "target": "age"}}
    with pytest.raises(TaskRefused, match="neither 0 nor 1"):
        training.trainer(parameters(arguments), place(source(tmp_path), "FederatedModelTraining"))


def test_a_pod_without_training_rows_says_so(tmp_path: Path) -> None:
    split = {"train": 0, "validation": 50, "test": 50}
    for data in (None, source(tmp_path, split=split)):
        with pytest.raises(TaskRefused) as caught:
            training.trainer(parameters(), place(data, "FederatedModelTraining"))
        assert caught.value.code == "NO_DATA"


def test_few_rows_give_no_update_and_no_metrics(tmp_path: Path) -> None:
    """An update of one row is that row, and a weight of three is a count of three."""
    none = source(tmp_path / "none", split={"train": 0, "validation": 50, "test": 50})
    few = source(tmp_path / "few", 120, split={"train": 4, "validation": 48, "test": 48})
    assert 0 < len(read_rows(few, parameters().data, "train")) < 11
    said = []
    for data in (none, few):
        with pytest.raises(TaskRefused) as caught:
            training.trainer(parameters(), place(data, "FederatedModelTraining"))
        said.append((caught.value.code, str(caught.value)))
    assert said[0] == said[1], "none and few look the same"
    data = source(tmp_path / "some", 120, split={"train": 92, "validation": 4, "test": 4})
    trainer = training.trainer(parameters(), place(data, "FederatedModelTraining"))
    assert 0 < trainer.metric_rows < 11
    trained = trainer.train(training.model(parameters()).tensors(), 1, 1)
    assert set(trained.metrics) == {"loss", "accuracy", "auc"}
    assert all(np.isnan(value) for value in trained.metrics.values())


@pytest.mark.parametrize(
    ("size", "steps", "seen"), [(1, 1, False), ("1", 10, False), (1, 11, True), (6, 2, True)]
)
def test_a_round_of_few_small_batches_is_refused(tmp_path: Path, size: Any, steps: int, seen: bool) -> None:
    """One step on a batch of one row is that row, however many rows there are."""
    arguments = TRAINING | {"model": MODEL | {"settings": {"batch_size": size}}, "steps": 50}
    del arguments["epochs"]
    trainer = training.trainer(
        parameters(arguments), place(source(tmp_path), "FederatedModelTraining", arguments)
    )
    start = training.model(parameters(arguments)).tensors()
    if seen:
        assert trainer.train(start, steps, 1).update["weights"].any()
        return
    with pytest.raises(TaskRefused, match="fewer rows"):
        trainer.train(start, steps, 1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"epochs": None}, "either epochs or steps"),
        ({"steps": 3}, "either epochs or steps"),
        ({"epochs": 0}, "1 or more"),
        ({"epoch": 1}, "no argument 'epoch'"),
        ({"data": dict(DATA) | {"target": None}}, "no target"),
        ({"data": dict(DATA) | {"colour": 1}}, "colour"),
        ({"model": dict(MODEL) | {"file": "x"}}, "file"),
    ],
)
def test_arguments_that_are_wrong_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskRefused, match=words):
        parameters(dict(TRAINING) | changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": {"name": "logistic_regresion"}}, "nearest is logistic_regression"),
        ({"model": dict(MODEL) | {"inputs": 3}}, "the columns make 2"),
        ({"model": dict(MODEL) | {"settings": {"rate": 1}}}, "no setting 'rate'"),
        ({"model": dict(MODEL) | {"settings": {"l2": -1}}}, "l2 must be"),
        ({"data": {"include_prefix": "x_", "target": "dead"}}, "how many inputs"),
        ({"data": {"include": ["age"], "exclude": ["age"], "target": "dead"}}, "no input"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(TaskRefused, match=words):
        training.model(parameters(dict(TRAINING) | changed))
