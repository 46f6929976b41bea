"""``trialveil task new | check | key`` as a person types them, and what the check of a task finds."""

from __future__ import annotations

import json
import math
import shutil
import socket
from pathlib import Path

import pytest

from ehr.files.problems import FileErrors, Mark, Problems
from federated.cli.frame import run
from federated.cli.task_run import status_document
from federated.modeller.check import MODEL_FIELDS, check_whole_task, try_sum
from federated.modeller.task_run import Status, TaskStatusDocument
from federated.rounds.journal import Journal
from federated.task.file import AggregatorSection
from federated.task.identity_file import new_identity
from tests.repository.sources import ROOT

PODS = "".join(f"  - {{name: pod-{n}, key: {n:064x}, data: lung}}\n" for n in range(1, 4))
TASK = f"""\
name: lung-risk
protocol: {{name: FederatedAveraging, arguments: {{auto_eval: true}}}}
algorithm:
  name: FederatedModelTraining
  model: {{name: logistic_regression}}
  arguments: {{epochs: 4, data: {{include: [age], target: status}}}}
aggregator: {{weights: rows, clip: 4, minimum_survivors: 3}}
modeller: {{name: york, key: {{file: modeller.key}}}}
pods:
{PODS}"""


def written(folder: Path, text: str = TASK) -> Path:
    if not (folder / "modeller.key").exists():
        new_identity(folder / "modeller.key")
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    return folder / "task.yaml"


def mistakes(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as refused:
        check_whole_task(path)
    return [str(problem) for problem in refused.value.problems if problem.severity == "error"]


def test_a_right_task_has_nothing_to_complain_about(tmp_path: Path) -> None:
    assert check_whole_task(written(tmp_path))[1] == ()


MISTAKES = [
    ("auto_eval: true", "auto_evil: true", "2:", "TK125", "no argument 'auto_evil'"),
    ("auto_eval: true", "auto_eval: perhaps", "2:50", "TK125", "auto_eval"),
    ("epochs: 4", "epoch: 4", "6:15", "TK125", "no argument 'epoch'"),
    ("epochs: 4", "epochs: four", "6:15", "TK125", "epochs"),
    ("epochs: 4, ", "", "6:3", "TK125", "give either epochs or steps"),
    ("include: [age]", "includ: [age]", "6:33", "TK125", "data"),
    ("{name: logistic_regression}", "{name: logistic_regression, depth: 3}", "5:38", "TK125", "model.depth"),
    ("weights: rows", "weights: {pod-1: 3, pod-2: 1}", "7:14", "PV110", "weights"),
    ("clip: 4", "clip: nan", "7:29", "PV110", "clip"),
    ("clip: 4", "clip: 4, noise: 1", "7:38", "TK123", "l2_clip"),
]


@pytest.mark.parametrize(("old", "new", "at", "code", "said"), MISTAKES)
def test_each_mistake_is_named_at_its_place(
    tmp_path: Path, old: str, new: str, at: str, code: str, said: str
) -> None:
    assert TASK.count(old) == 1
    found = mistakes(written(tmp_path, TASK.replace(old, new)))
    assert any(line.startswith(f"task.yaml:{at}") and code in line and said in line for line in found), found


def test_mistakes_in_one_section_hide_none_in_another(tmp_path: Path) -> None:
    """A misspelt name hid the key, the numbers and the arguments; a key of no pod hid all that is named."""
    text = TASK
    for old, new in (
        ("FederatedAveraging", "FederatedAveragin"),
        ("{name: logistic_regression}", "{name: logistic_regression, depth: 3}"),
        ("epochs: 4", "epoch: 4"),
        ("minimum_survivors: 3", "minimum_survivors: 9, noise: 1"),
        ("name: york", "name: York"),
        ("modeller.key", "none.key"),
        (f"key: {3:064x}", "key: abc"),
    ):
        text = text.replace(old, new)
    text += (
        "quorum: 9\ntrial: none.yaml\ndocuments: {steps: {kind: steps, file: none.yaml}}\nvalid_for: 100 d\n"
    )
    found = mistakes(written(tmp_path, text))
    assert len(set(found)) == len(found)
    assert [" ".join(line.split()[:2]) for line in found] == [
        "task.yaml:2:18: TK120",
        "task.yaml:5:38: TK125",
        "task.yaml:6:15: TK125",
        "task.yaml:7:38: TK123",
        "task.yaml:7:60: TK123",
        "task.yaml:8:12: PV110",
        "task.yaml:8:24: TK121",
        "task.yaml:12:19: PV110",
        "task.yaml:13:1: TK123",
        "task.yaml:14:1: TK122",
        "task.yaml:15:13: TK122",
        "task.yaml:16:1: TK123",
    ]


def test_what_cannot_be_judged_without_the_pods_is_not_said(tmp_path: Path) -> None:
    text = TASK[: TASK.index("pods:")] + "quorum: -3\nvalid_for: 100 d\n"
    assert [line.partition(" ")[2][:20] for line in mistakes(written(tmp_path, text))] == [
        'PV104 "pods" is miss',
        "PV110 quorum: must b",
        "TK123 The task was r",
    ]


def test_every_name_that_is_none_is_shown_at_its_own_column(tmp_path: Path) -> None:
    text = TASK.replace("FederatedAveraging", "FederatedAveragin").replace(
        "algorithm:\n  name: FederatedModelTraining\n",
        "algorithms:\n  - ModelEvaluatio\n  - name: FederatedModelTrainin\n",
    )
    text = text.replace("  model: {", "    model: {").replace(
        "  arguments: {epochs", "    arguments: {epochs"
    )
    text = text.replace("{weights: rows, clip: 4, minimum_survivors: 3}", "SecureAgregator")
    assert mistakes(written(tmp_path, text)) == [
        'task.yaml:2:18: TK120 "FederatedAveragin" is not a name; did you mean "FederatedAveraging"?',
        'task.yaml:4:5: TK120 "ModelEvaluatio" is not a name; did you mean "ModelEvaluation"?',
        'task.yaml:5:11: TK120 "FederatedModelTrainin" is not a name; did you mean "FederatedModelTraining"?',
        'task.yaml:8:1: PV110 aggregator: "SecureAgregator" is not a name; did you mean "SecureAggregator"? '
        "Here write a table: {secure: true} or {secure: false}.",
    ]


def test_the_mistakes_of_a_document_are_listed_with_those_of_the_task(tmp_path: Path) -> None:
    (tmp_path / "steps.yaml").write_text("steps:\n  - {use: ModelInferenc}\n", encoding="utf-8")
    (tmp_path / "trial.yaml").write_text("trialveil: 1\nid: x\nversion: '1'\n", encoding="utf-8")
    documents = (
        "trial: trial.yaml\ndocuments: {trial: {kind: trial, file: a}, s: {kind: steps, file: steps.yaml}}\n"
    )
    found = mistakes(written(tmp_path, TASK + documents + "quorum: 9\n"))
    assert 'task.yaml:1:1: PV110 the file: give "trial" or "documents.trial", not both.' in found
    assert 'steps.yaml:2:11: SV110 "ModelInferenc" is not a name; did you mean "ModelInference"?' in found
    assert any(line.startswith("trial.yaml:2:5: TV") for line in found)
    assert any(line.startswith("task.yaml:15:1: TK123") for line in found)


@pytest.mark.parametrize("name", MODEL_FIELDS)
@pytest.mark.parametrize("place", ["model", "algorithm"])
def test_what_the_reference_ignored_in_a_model_is_refused(tmp_path: Path, name: str, place: str) -> None:
    old = "{name: logistic_regression}" if place == "model" else "arguments: {epochs"
    new = (
        old.replace("{name", f"{{{name}: {{epsilon: 1}}, name") if place == "model" else f"{name}: 1\n  {old}"
    )
    found = mistakes(written(tmp_path, TASK.replace(old, new)))
    assert any("TK133" in line and f'"{name}" is refused' in line for line in found), found


@pytest.mark.parametrize(("pods", "said"), [(20_000, ["TK126"]), (20, [])])
def test_a_sum_that_could_wrap_is_refused(pods: int, said: list[str]) -> None:
    problems = Problems()
    try_sum(AggregatorSection(bits=16), pods, Mark("task.yaml", 7, 1), problems)
    assert [problem.code for problem in problems.found] == said


@pytest.mark.parametrize("kind", ["counting", "training"])
def test_a_new_task_lacks_only_what_nobody_else_can_know(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "task.yaml"
    assert run(["task", "new", str(file), "--kind", kind]) == 0
    seed = (tmp_path / "modeller.key").read_text(encoding="utf-8").strip()
    said = capsys.readouterr().out
    assert "public key " in said
    assert seed not in said
    shutil.copy(ROOT / "examples" / "trials" / "cardiometabolic-synthea.yaml", tmp_path / "trial.yaml")
    found = mistakes(file)
    assert len(found) == 5
    assert all("PV110 key: is not 64 hexadecimal digits" in line for line in found)
    for number in range(1, 6):
        file.write_text(file.read_text().replace("PUBLIC-KEY", f"{number:064x}", 1), encoding="utf-8")
    assert run(["task", "check", str(file)]) == 0
    assert run(["task", "new", str(file)]) == 2


@pytest.mark.parametrize("name", ["count-eligible", "risk-model"])
def test_the_examples_are_right(tmp_path: Path, name: str) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    new_identity(tmp_path / "examples" / "tasks" / "modeller.key")
    assert check_whole_task(tmp_path / "examples" / "tasks" / f"{name}.yaml")[1] == ()


def test_the_check_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["task", "check", str(written(tmp_path, TASK.replace("epochs: 4", "epoch: 4"))), "--json"]) == 5
    )
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert "TK125" in {problem["code"] for problem in document["problems"]}
    assert run(["task", "check", str(tmp_path / "none.yaml"), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["problems"][0]["code"] == "TK101"


def test_an_address_that_is_taken_is_a_mistake_of_the_task_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = TASK.replace("name: york, ", f'name: york, listen: "127.0.0.1:{port}", ')
        assert run(["task", "run", str(written(tmp_path, text)), "--out", str(tmp_path / "out")]) == 5
    assert "in use" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_task_that_was_killed_before_it_was_begun_cannot_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "out").close()
    assert run(["task", "resume", str(written(tmp_path)), "--out", str(tmp_path / "out")]) == 5
    assert "no earlier start" in capsys.readouterr().err


def test_the_status_says_null_for_a_metric_that_no_pod_has() -> None:
    made = {"seq": 1, "purpose": "update", "round": 1, "state": "done", "survivors": ["york"]}
    found = Status(
        "a", "t", "open", "", "c", "e", {"york": "ACCEPT"}, ({**made, "metrics": {"auc": math.nan}},)
    )
    document = json.dumps(status_document(found), allow_nan=False)
    assert TaskStatusDocument.model_validate_json(document).rounds[0].metrics == {"auc": None}
