"""Models measured and trained inside pods: metrics leave by rule, everything else stays."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.aggregators.values import pack, unpack, without_metrics
from federated.algorithms import evaluation, local_training, training
from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import TaskRefused
from federated.modeller.task_run import TaskResult, TaskResultDocument
from federated.models.files import load, to_bytes
from federated.models.rows import read_rows
from federated.models.weights import inside
from federated.task.spec import Aggregation, Unit
from tests.federated.algorithms.places import DATA, MODEL, TRAINING, place, run, source
from tests.federated.runtime.cast import NAMES, make_task

TENSORS = {"weights": np.array([1.0, 0.5]), "bias": np.array([-0.25])}
EVALUATION = {"model": MODEL, "data": DATA, "weights": inside(to_bytes(TENSORS))}


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))


def made(module: Any, arguments: Any) -> Any:
    return parameters_of(module.Parameters, Unit(name="x", arguments=dict(arguments)))


def at(folder: Path, arguments: Any = EVALUATION, count: int = 120, **more: Any) -> StepContext:
    return place(source(folder / "pod", count), "ModelEvaluation", arguments, **more)


async def test_metrics_are_those_of_the_named_rows(tmp_path: Path) -> None:
    for split in ("test", "train", "all"):
        parameters = made(evaluation, EVALUATION | {"split": split})
        result = await evaluation.step(parameters, at(tmp_path), {})
        model = training.model(made(training, TRAINING))
        model.load(TENSORS)
        rows = read_rows(at(tmp_path).data, parameters.data, split)  # type: ignore[arg-type]
        assert result.local == evaluation.Measured(model.measure(rows), len(rows))
        assert result.leaves == {"metrics": model.measure(rows)}


async def test_metrics_of_fewer_rows_than_the_smallest_cell_do_not_leave(tmp_path: Path) -> None:
    parameters, where = made(evaluation, EVALUATION), at(tmp_path, smallest_cell=100)
    result = await evaluation.step(parameters, where, {})
    assert 0 < result.local.rows < 100
    assert result.local.metrics["loss"] > 0
    assert set(result.leaves["metrics"].values()) == {None}
    values = evaluation.values(parameters, where, result)
    assert set(values.values()) == {0.0}, "neither a metric nor that there is one"


EQUAL = Aggregation(name="bitfount.SecureAggregator", minimum_survivors=3)


async def test_metrics_of_pods_add_up_to_their_mean(tmp_path: Path) -> None:
    """A pod that has no metric does not count as one with 0."""
    parameters = made(evaluation, EVALUATION)
    vectors, seen = [], []
    layout = evaluation.layout(parameters, at(tmp_path).spec)
    for count in (90, 150, 20):
        where = at(tmp_path, count=count)
        result = await evaluation.step(parameters, where, {})
        vectors.append(pack(layout, evaluation.values(parameters, where, result), 4.0))
        if result.local.rows >= where.smallest_cell:
            seen.append(result.local.metrics["loss"])
    assert len(seen) == 2
    _, metrics = without_metrics(unpack(layout, np.mean(vectors, axis=0), 4.0))
    assert metrics["loss"] == pytest.approx(np.mean(seen), rel=1e-6)


def test_only_the_mean_of_the_metrics_is_seen_under_masks(tmp_path: Path) -> None:
    tables = {name: source(tmp_path / name, 100 + 20 * number, number) for number, name in enumerate(NAMES)}
    units = (Unit(name="bitfount.ModelEvaluation", arguments=EVALUATION),)
    outcome = run(
        tmp_path,
        make_task(protocol=Unit(name="bitfount.ResultsOnly"), algorithms=units, aggregation=EQUAL),
        tables,
    )
    assert outcome.counts is not None
    _, found = without_metrics(outcome.counts.parts)
    parameters = made(evaluation, EVALUATION)
    model = training.model(made(training, TRAINING))
    model.load(TENSORS)
    rows = [read_rows(table, parameters.data, "test") for table in tables.values()]
    assert min(map(len, rows)) >= 11
    each = [model.measure(one) for one in rows]
    for name in model.metrics:
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]), abs=1e-5)
    assert not outcome.results


@pytest.mark.parametrize("name", ["bitfount.SecureAggregator", "bitfount.Aggregator"])
def test_a_pod_that_is_too_small_for_a_metric_is_not_in_its_reported_mean(tmp_path: Path, name: str) -> None:
    """Counted as 0, one pod of five made an AUC of 1 one of 0.8."""
    spec = make_task(
        protocol=Unit(name="bitfount.ResultsOnly"),
        algorithms=(Unit(name="bitfount.ModelEvaluation", arguments=EVALUATION),),
        aggregation=Aggregation(name=name, minimum_survivors=3),
    )
    sizes = dict(zip(NAMES, (100, 120, 20, 140, 160), strict=True))
    tables = {name: source(tmp_path / name, size, size) for name, size in sizes.items()}
    document = TaskResult(spec, run(tmp_path, spec, tables)).document()
    TaskResultDocument.model_validate_json(json.dumps(document))
    parameters = made(evaluation, EVALUATION)
    model = training.model(made(training, TRAINING))
    model.load(TENSORS)
    rows = [read_rows(table, parameters.data, "test") for table in tables.values()]
    each = [model.measure(one) for one in rows if len(one) >= 11]
    assert len(each) == 4
    told = document["sum"]["values"]
    for metric in model.metrics:
        assert told[f"metric/{metric}"] == pytest.approx(np.mean([one[metric] for one in each]), abs=1e-4)
        assert told[f"has/{metric}"] == pytest.approx(0.8, abs=1e-4)


def test_a_metric_that_no_pod_gives_is_reported_as_null(tmp_path: Path) -> None:
    units = (Unit(name="bitfount.ModelEvaluation", arguments=EVALUATION),)
    spec = make_task(protocol=Unit(name="bitfount.ResultsOnly"), algorithms=units, aggregation=EQUAL)
    tables = {name: source(tmp_path / name, 20, number) for number, name in enumerate(NAMES)}
    told = TaskResult(spec, run(tmp_path, spec, tables)).document()["sum"]["values"]
    assert {value for name, value in told.items() if name.startswith("metric/")} == {None}


async def test_a_pod_can_train_alone_and_keeps_its_model(tmp_path: Path) -> None:
    parameters = made(local_training, TRAINING)
    where = at(tmp_path, TRAINING)
    result = await local_training.step(parameters, where, {})
    model = training.model(made(training, TRAINING))
    model.fit(read_rows(where.data, parameters.data, "train"), 4, b"")
    saved = load(where.results / local_training.FILE)
    assert saved.facts["task"] == where.spec.hash.hex()
    for name, array in model.tensors().items():
        assert saved.tensors[name].tobytes() == array.tobytes()
    rows = read_rows(where.data, parameters.data, "test")
    assert result.local == evaluation.Measured(model.measure(rows), len(rows))
    assert set(result.leaves) == {"metrics"}


async def test_training_can_begin_with_weights_of_the_task(tmp_path: Path) -> None:
    arguments = TRAINING | {"weights": EVALUATION["weights"]}
    model = training.model(made(training, arguments))
    assert model.tensors()["weights"].tolist() == TENSORS["weights"].tolist()
    begun = await local_training.step(made(local_training, arguments), at(tmp_path, arguments), {})
    fresh = await local_training.step(made(local_training, TRAINING), at(tmp_path, TRAINING), {})
    assert begun.local.metrics["loss"] != fresh.local.metrics["loss"]


async def test_a_part_without_rows_has_no_metrics(tmp_path: Path) -> None:
    data = source(tmp_path / "pod", split={"train": 100, "validation": 0, "test": 0})
    for module, arguments in ((evaluation, EVALUATION), (local_training, TRAINING)):
        with pytest.raises(TaskRefused) as caught:
            await module.step(made(module, arguments), place(data, "ModelEvaluation", arguments), {})  # type: ignore[attr-defined]
        assert caught.value.code == "NO_DATA"


async def test_training_that_runs_away_leaves_no_model(tmp_path: Path) -> None:
    linear = {"name": "linear_regression", "settings": {"learning_rate": 1e300}}
    arguments = TRAINING | {"model": linear, "epochs": 9}
    where = at(tmp_path, arguments)
    with pytest.raises(TaskRefused, match="learning rate"):
        await local_training.step(made(local_training, arguments), where, {})
    assert not (where.results / local_training.FILE).exists()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sha256": "0" * 64, "data": EVALUATION["weights"]["data"]}, "another SHA-256"),
        ({"sha256": "0" * 64}, "gave no address"),
        ({"sha256": "0" * 64, "data": "?"}, "no base64"),
        (inside(to_bytes({"weights": np.zeros(3), "bias": np.zeros(1)})), "shape"),
        (inside(to_bytes({"weights": np.zeros(2), "other": np.zeros(1)})), "missing"),
        (inside(to_bytes({"weights": np.full(2, math.nan), "bias": np.zeros(1)})), "finite"),
    ],
)
async def test_weights_that_are_not_the_pinned_ones_or_do_not_fit_are_refused(
    tmp_path: Path, weights: dict[str, str], words: str
) -> None:
    arguments = EVALUATION | {"weights": weights}
    with pytest.raises(TaskRefused, match=words):
        await evaluation.step(made(evaluation, arguments), at(tmp_path, arguments), {})


@pytest.mark.parametrize(
    ("module", "changed", "words"),
    [
        (evaluation, {"weights": None}, "weights"),
        (evaluation, {"weights": {"sha256": "x"}}, "64 hexadecimal"),
        (evaluation, {"weights": {"sha256": "0" * 64, "file": "x"}}, "file"),
        (evaluation, {"data": {"include": ["age"]}}, "no target"),
        (evaluation, {"split": "rest"}, "split"),
        (local_training, {"split": "train"}, "not trained on"),
    ],
)
def test_arguments_that_are_wrong_are_refused(module: Any, changed: dict[str, Any], words: str) -> None:
    arguments = EVALUATION if module is evaluation else TRAINING
    with pytest.raises(TaskRefused, match=words):
        made(module, arguments | changed)
