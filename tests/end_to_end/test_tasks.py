"""Whole tasks from files: a modeller, pods with tables and policies, results on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from federated.cli.frame import run
from federated.modeller.local_task import run_task
from federated.models.files import to_bytes
from federated.models.weights import inside
from tests.fakes.federation import make_federation, public_of


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIALVEIL_TASK_RESULTS_DIR", str(tmp_path / "results"))


def test_a_model_is_trained_over_four_pods_from_their_files(tmp_path: Path) -> None:
    made = make_federation(tmp_path / "f", epochs=40)
    result = run_task(made.task, list(made.pods.values()), tmp_path / "out")
    assert [one.survivors for one in result.outcome.rounds] == [("bath", "hull", "kent", "leeds")] * 40
    first, last = result.metrics[0], result.metrics[-1]
    assert last["loss"] < first["loss"]
    assert last["auc"] > 0.75
    document = json.loads((tmp_path / "out" / "result.json").read_text())
    assert document["reason"] == "done"
    assert all(np.isfinite(array).all() for array in result.model.values())


def test_the_command_runs_a_task_and_says_what_came_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_federation(tmp_path / "f")
    pods = [part for path in made.pods.values() for part in ("--pod", str(path))]
    out = tmp_path / "out"
    assert run(["task", "run", str(made.task), *pods, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "events: done" in shown.out and f"report: {out / 'report.html'}" in shown.out
    assert "auc after each round" in (out / "report.html").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run(["-q", "task", "run", str(made.task), *pods]) == 0
    assert (tmp_path / "task-events" / "result.json").exists()
    assert capsys.readouterr().out.count("events: done") == 1
    assert run(["task", "status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert run(["task", "run", str(made.task), *pods, "--out", str(out)]) == 5
    assert "is done" in capsys.readouterr().err
    assert run(["pod", "status", "--config", str(made.pods["bath"]), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in status["tasks"]] == ["done", "done"]
    assert status["rounds"] == 10


INFERENCE = """\
name: predict
protocol: ResultsOnly
algorithm:
  name: ModelInference
  model: {name: logistic_regression}
  arguments:
    data: {include: [dose, age]}
    weights: {sha256: DIGEST, data: MODEL}
pods:
  - {name: bath, key: BATH, data: events}
modeller: {name: modeller, key: {file: modeller.key}}
"""


@pytest.mark.parametrize(("limit", "status", "made"), [(25, 8, 25), (100, 0, 30)])
def test_predictions_end_at_the_owner_s_limit_with_what_was_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: int, status: int, made: int
) -> None:
    found = make_federation(tmp_path / "f")
    pod = found.pods["bath"]
    text = (
        pod.read_text()
        .replace("[FederatedAveraging]", "[ResultsOnly]")
        .replace("FederatedModelTraining", "ModelInference")
    )
    text = text.replace(
        "[updates, metrics]", f"[model_results]\n  budgets: {{inferences: {{logistic_regression: {limit}}}}}"
    )
    pod.write_text(text)
    weights = inside(to_bytes({"weights": np.array([1.0, 0.1]), "bias": np.array([-6.0])}))
    found.task.write_text(
        INFERENCE.replace("BATH", public_of("bath"))
        .replace("DIGEST", weights["sha256"])
        .replace("MODEL", weights["data"])
    )
    pod.write_text(
        pod.read_text().replace("[logistic_regression]", f"[logistic_regression, {weights['sha256']}]")
    )
    out = tmp_path / "out"
    assert run(["task", "run", str(found.task), "--pod", str(pod), "--out", str(out), "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["results"]["bath"]["predictions"] == made
    assert document["reason"] == ("LIMITS_EXCEEDED" if status else "done")
    (table,) = (tmp_path / "results").rglob("predictions.csv")
    assert len(table.read_text().splitlines()) == made + 1
    again = run(["task", "run", str(found.task), "--pod", str(pod), "--out", str(tmp_path / "again")])
    assert again == (6 if status else 0), "nothing is left: the pod refuses the next task"
