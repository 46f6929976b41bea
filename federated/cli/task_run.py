"""``trialveil task run | resume | status``: run a task over its pods, go on with one, see where it stands."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.live_rounds import live_rounds
from federated.cli.terminal import Json

if TYPE_CHECKING:
    from federated.modeller.task_run import Status, TaskResult

_WORDS = {
    ExitCode.DONE: "the task is done",
    ExitCode.SOME_UNREAD: "done, but some pods refused or were lost (see result.json)",
    ExitCode.BAD_FILE: "the task file, a pod file or the folder is wrong",
    ExitCode.POLICY_REFUSED: "every pod refused the task",
    ExitCode.TOO_FEW_PODS: "too few pods took part; there is no result",
    ExitCode.BUDGET_SPENT: "a budget is spent; there is what was made before",
    ExitCode.STOPPED: "stopped; the same command goes on",
}
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder of the log and the results.  [default: task-NAME]"),
]
Pods = Annotated[
    list[Path] | None,
    typer.Option("--pod", metavar="POD.yaml", help="A pod to run in this process; may be given again."),
]
TaskPath = Annotated[Path, typer.Argument(metavar="TASK", help="The task file.")]


def register(app: typer.Typer) -> None:
    """Add the three commands to the group of tasks."""
    example = "trialveil task run lung.yaml --pod leeds.yaml --pod york.yaml --pod hull.yaml"
    terminal.command(app, *_WORDS, example=example, words=_WORDS)(run)
    terminal.command(app, *_WORDS, example="trialveil task resume lung.yaml --out task-lung", words=_WORDS)(
        resume
    )
    terminal.command(app, ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil task status task-lung")(status)


def run(task: TaskPath, pod: Pods = None, out: Out = None, json: Json = False) -> None:
    """Run a task: offer it to its pods, run its rounds, write what came out to DIR.

    With --pod the pods run in this process, and a task may be run in a single one. Without, this program listens
    where the task file says, and the pods dial in ("trialveil pod run"). Stop it at any time, or let it be killed:
    the same command goes on where it stopped, to the same bytes.
    """
    _run(task, pod or [], out, json, must_exist=False)


def resume(task: TaskPath, pod: Pods = None, out: Out = None, json: Json = False) -> None:
    """Go on with a task that was stopped or killed; as "task run", but never begins a new one."""
    _run(task, pod or [], out, json, must_exist=True)


def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the task, as given with --out.")],
    json: Json = False,
) -> None:
    """Show where a task stands: which pods take part, which rounds are done. Also while it runs."""
    from federated.modeller.task_run import status as read_status

    found = read_status(folder)
    if json:
        terminal.out_json(status_document(found))
        return
    show_status(found)


def _run(task: Path, pods: list[Path], out: Path | None, json: bool, *, must_exist: bool) -> None:
    from federated.modeller.local_task import run_task_file

    out = out or default_folder(task)
    with live_rounds() as on_progress, terminal.says_how_to_go_on():
        result = asyncio.run(
            run_task_file(task, pods, out, on_progress, log=terminal.say, must_exist=must_exist)
        )
    if json:
        terminal.out_json(result.document())
    else:
        show_result(result, out)
    if result.outcome.reason == "LIMITS_EXCEEDED":
        terminal.say("A pod has made as many predictions as its owner allows; there is what was made.")
        raise typer.Exit(ExitCode.BUDGET_SPENT)
    missing = set(result.spec.names) - _in_the_end(result)
    if missing:
        terminal.say(f"Not in the result: {', '.join(sorted(missing))}.")
        raise typer.Exit(ExitCode.SOME_UNREAD)


def default_folder(task: Path) -> Path:
    """Where a task's log and results go where nobody says so: ``task-NAME`` in the current folder."""
    from federated.modeller.check import load_task

    return Path("task-" + re.sub(r"[^a-z0-9]+", "-", load_task(task).name.lower()).strip("-"))


def _in_the_end(result: TaskResult) -> set[str]:
    outcome = result.outcome
    if outcome.counts is not None:
        return set(outcome.counts.survivors)
    if outcome.rounds:
        return set.union(*(set(one.survivors) for one in outcome.rounds))
    return set(outcome.results)


def show_result(result: TaskResult, out: Path) -> None:
    """The result in a few lines."""
    outcome = result.outcome
    terminal.out(f"{result.spec.name}: {outcome.reason}")
    if outcome.rounds:
        names = list(outcome.rounds[-1].metrics)
        rows = [
            [str(one.number), str(len(one.survivors)), *(f"{one.metrics[name]:.4g}" for name in names)]
            for one in outcome.rounds
        ]
        terminal.out_table(["Round", "Pods", *names], rows)
    if outcome.counts is not None:
        terminal.out(
            outcome.files.get("counts.txt", f"sum over {len(outcome.counts.survivors)} pods").rstrip("\n")
        )
    for pod, why in sorted(outcome.refused.items()):
        terminal.out(f"refused by {pod}: {why}")
    terminal.out(f"results: {out}")
    if outcome.rounds or "report.html" in outcome.files:
        terminal.out(f"report: {out / 'report.html'}")


def show_status(found: Status) -> None:
    """Where a task stands, for people."""
    terminal.out(f"{found.name}: {found.state}" + (f" ({found.reason})" if found.reason else ""))
    terminal.out_table(["Pod", "Answer"], [[name, code] for name, code in found.pods.items()])
    rows = [
        [
            str(one["seq"]),
            str(one["purpose"]),
            str(one["round"]),
            str(one["state"]),
            str(len(one["survivors"])),
        ]
        for one in found.rounds
    ]
    terminal.out_table(["Sum", "Of", "Round", "State", "Pods"], rows)


def status_document(found: Status) -> dict[str, Any]:
    """What ``task status --json`` prints."""
    from federated.modeller.task_run import TaskStatusDocument, without_nan

    made = TaskStatusDocument.of(found, pods=dict(found.pods), rounds=list(found.rounds))
    document: dict[str, Any] = without_nan(made)
    return document
