"""Whole tasks from files: a modeller, pods with tables and policies, results on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from federated.cli.frame import run
from federated.local_task import run_task
from tests.fakes.federation import make_federation


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_federation(tmp_path / "f")
    pods = [part for path in made.pods.values() for part in ("--pod", str(path))]
    out = tmp_path / "out"
    assert run(["task", "run", str(made.task), *pods, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "events: done" in shown.out
    assert run(["task", "status", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "done"
    assert run(["task", "run", str(made.task), *pods, "--out", str(out)]) == 5
    assert "is done" in capsys.readouterr().err
    assert run(["pod", "status", "--config", str(made.pods["bath"]), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in status["tasks"]] == ["done"]
    assert status["rounds"] == 5
