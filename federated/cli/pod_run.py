"""``trialveil pod run | status``: one hospital's program, and what it has done."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from federated.cli import terminal
from federated.cli.exit_codes import ExitCode
from federated.cli.terminal import POD, Config, Json

if TYPE_CHECKING:
    from federated.pod.program import Pod

_WORDS = {
    ExitCode.DONE: "with --once: the first task has ended, or was refused",
    ExitCode.BAD_FILE: "the pod file, a key or the state folder is wrong",
    ExitCode.STOPPED: "stopped; the same command goes on",
}


def register(app: typer.Typer) -> None:
    """Add the two commands to the group of pods."""
    terminal.command(app, *_WORDS, example="trialveil pod run --config pod.yaml", words=_WORDS)(run)
    terminal.command(app, ExitCode.DONE, ExitCode.BAD_FILE, example="trialveil pod status --config pod.yaml")(
        status
    )


def run(
    config: Config = POD,
    once: Annotated[
        bool, typer.Option("--once", help="End when the first task has ended or was refused.")
    ] = False,
) -> None:
    """Run the pod: dial the modeller of POD.yaml, and take part in its tasks as the policy allows.

    Only this program dials out; nothing listens. What leaves is written into the audit log before it does. Stop it at
    any time: a pod that is started again joins the next round.
    """
    from federated.pod.services import open_pod

    pod = replace(open_pod(config), tell=terminal.say)
    try:
        terminal.say(f"{pod.name}: the pod runs; stop it with Ctrl-C.")
        asyncio.run(_serve(pod, config, once))
    finally:
        pod.close()


async def _serve(pod: Pod, config: Path, once: bool) -> None:
    from federated.pod.services import dialled

    serving = asyncio.ensure_future(dialled(pod, config, terminal.say))
    ended = asyncio.ensure_future(pod.task_ended.wait()) if once else None
    waiting = {serving} if ended is None else {serving, ended}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        else:
            await asyncio.sleep(0.2)  # the last answer is on its way
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def status(config: Config = POD, json: Json = False) -> None:
    """Show which tasks this pod has accepted, how they ended, and what of its budgets is used. Also while it runs."""
    from federated.pod.services import pod_status

    found = pod_status(config)
    if json:
        terminal.out_json(found)
        return
    tasks, rounds = len(found["tasks"]), found["rounds"]
    terminal.out(
        f"{found['name']}: {tasks} task{'s' * (tasks != 1)}, {rounds} masked round{'s' * (rounds != 1)} entered"
    )
    rows = [
        [str(one[name]) for name in ("task", "name", "accepted", "state", "reason")] for one in found["tasks"]
    ]
    terminal.out_table(["Task", "Name", "Accepted", "State", "Reason"], rows)
    _budgets(found["budgets"])


def _budgets(found: dict[str, Any]) -> None:
    rows = [
        [name, str(one["used"]), "no limit" if one["limit"] is None else str(one["limit"])]
        for name, one in found.items()
    ]
    if rows:
        terminal.out_table(["Predictions of", "Used", "Limit"], rows)
