"""What a task file says, and what is wrong with one."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ehr.files.problems import FileErrors
from federated.algorithms.evaluation import Parameters
from federated.algorithms.step_context import parameters_of
from federated.modeller.check import check_task, check_whole_task
from federated.models.files import save
from federated.models.weights import brought
from federated.task.file import make_spec, modeller_identity
from federated.task.reference_task import FIELDS

KEYS = [f"{number:064x}" for number in range(1, 6)]
PODS = "\n".join(f"  - {{name: pod-{number}, key: {key}, data: lung}}" for number, key in enumerate(KEYS))
TASK = f"""\
name: lung-risk
protocol: ResultsOnly
algorithm: {{name: EHRPatientQueryAlgorithm, arguments: {{get_appointments: true}}}}
aggregator: {{weights: equal, clip: 4.0, minimum_survivors: 3}}
pods:
{PODS}
modeller: {{name: york, key: {{file: modeller.key}}}}
quorum: 4
deadlines: {{accept: 5 min, compute: 1 h, step: 120}}
"""
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def written(folder: Path, text: str = TASK) -> Path:
    key = folder / "modeller.key"
    key.write_text("ab" * 32)
    os.chmod(key, 0o600)
    (folder / "task.yaml").write_text(text)
    return folder / "task.yaml"


def mistakes(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        check_task(path)
    return [str(problem) for problem in caught.value.problems if problem.severity == "error"]


def test_a_task_file_becomes_the_task_that_it_says(tmp_path: Path) -> None:
    path = written(tmp_path)
    task, warnings = check_task(path)
    assert warnings == ()
    spec = make_spec(task, tmp_path, NOW, "0" * 32, modeller_identity(task, tmp_path).public.hex())
    assert spec.names == tuple(f"pod-{number}" for number in range(5))
    assert spec.algorithms[0].arguments == {"get_appointments": True}
    assert (spec.deadlines.accept, spec.deadlines.compute, spec.deadlines.step) == (300, 3600, 120)
    assert spec.secure
    assert spec.expires == "2026-06-08T00:00:00+00:00"
    again = make_spec(task, tmp_path, NOW, "0" * 32, spec.modeller.key)
    assert again.hash == spec.hash


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("quorum: 4", "quorun: 4", "task.yaml:12:1: PV103"),
        ("quorum: 4", "quorum: 9", "TK123"),
        ("minimum_survivors: 3", "minimum_survivors: 2", "TK123"),
        ("name: york", "name: York!", "task.yaml:11:12: PV110"),
        ("ResultsOnly", "ResultOnly", "task.yaml:2:11: TK120"),
        ("EHRPatientQueryAlgorithm", "ResultsOnly", "task.yaml:3:19: TK120"),
        ("EHRPatientQueryAlgorithm", "TIMMInference", "task.yaml:3:19: TK120"),
        ("modeller.key", "nothing.key", "TK121"),
        ("accept: 5 min", "accept: soon", "PV110"),
        (KEYS[1], KEYS[0], "TK123"),
        (KEYS[1], "12", "PV110"),
        ("quorum: 4", "quorum: 4\ntrial: none.yaml", "TK122"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, at: str) -> None:
    found = mistakes(written(tmp_path, TASK.replace(old, new)))
    assert any(at in one for one in found), found


def test_all_mistakes_come_in_one_run(tmp_path: Path) -> None:
    text = (
        TASK.replace("quorum: 4", "quorun: 4")
        .replace("name: york", "name: York!")
        .replace("clip: 4.0", "clip: x")
    )
    assert len(mistakes(written(tmp_path, text))) >= 3


def test_a_quorum_below_what_a_sum_needs_is_warned_of(tmp_path: Path) -> None:
    _, warnings = check_task(written(tmp_path, TASK.replace("quorum: 4", "quorum: 3")))
    assert [problem.code for problem in warnings] == ["TK124"]


REFUSED = [field for field in FIELDS if not field.honoured and "." not in field.path]


@pytest.mark.parametrize("field", REFUSED, ids=lambda field: field.path)
def test_a_field_of_the_reference_is_refused_or_asks_for_nothing(tmp_path: Path, field: object) -> None:
    path, harmless = field.path, field.harmless  # type: ignore[attr-defined]
    found = mistakes(written(tmp_path, TASK + f"{path}: strange\n"))
    assert any("TK132" in one and path in one for one in found)
    if harmless is not None:
        _, warnings = check_task(written(tmp_path, TASK + f"{path}: {harmless}\n"))
        assert [problem.code for problem in warnings] == ["TK131"]


def test_the_reference_s_task_section_is_read(tmp_path: Path) -> None:
    lines = TASK.splitlines()
    inner = "\n".join(f"  {line}" for line in lines[1:4])
    path = written(tmp_path, "\n".join([lines[0], "task:", inner, *lines[4:], "project_id: lung"]) + "\n")
    task, warnings = check_task(path)
    assert {problem.code for problem in warnings} == {"TK130"}
    assert len(warnings) == 4
    assert task.project == "lung"
    straight, _ = check_task(written(tmp_path))
    assert task.protocol == straight.protocol
    assert task.units == straight.units
    assert task.aggregator == straight.aggregator


EVALUATION = """\
algorithm:
  name: ModelEvaluation
  arguments:
    model: {name: linear_regression}
    data: {include: [age], target: dead}
    weights: {file: model.safetensors}
"""


def evaluation(folder: Path) -> Path:
    """The task with a model's file beside it."""
    text = re.sub(r"(?ms)^algorithm:.*?(?=^\S)", EVALUATION, TASK)
    return written(folder, re.sub(r"(?m)^protocol: .*$", "protocol: ResultsOnly", text))


def test_a_model_s_file_travels_inside_the_task(tmp_path: Path) -> None:
    path = evaluation(tmp_path)
    tensors = {"weights": np.array([0.25]), "bias": np.array([1.0])}
    sha256 = save(tmp_path / "model.safetensors", tensors)
    task, _ = check_whole_task(path)
    spec = make_spec(task, tmp_path, NOW, "0" * 32, bytes(32).hex())
    assert spec.algorithms[0].arguments["weights"]["sha256"] == sha256
    parameters = parameters_of(Parameters, spec.algorithms[0])
    assert brought(parameters.weights, tensors)["weights"].tolist() == [0.25]


@pytest.mark.parametrize("data", [None, b"\x80\x04pickle"])
def test_a_model_s_file_that_cannot_be_used_is_a_mistake(tmp_path: Path, data: bytes | None) -> None:
    path = evaluation(tmp_path)
    if data is not None:
        (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(FileErrors, match=r"weights\.file: "):
        check_whole_task(path)
