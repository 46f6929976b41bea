"""The proof of killed tasks: modeller and pods in real processes, ended by ``SIGKILL`` at twenty random moments."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.end_to_end.killed_tasks import NAMES, Ran, run_killed
from tests.proof import page

RUNS: tuple[tuple[str, int], ...] = (("modeller", 5), ("pods", 5), ("both", 5), ("both", 5))
EPOCHS = 6


def run(seed: int, folder: Path = page.FOLDER) -> bool:
    """Kill, start again, compare, and write the page; True when everything holds."""
    seen: list[tuple[str, Ran]] = []
    for number, (who, kills) in enumerate(RUNS):
        with tempfile.TemporaryDirectory() as place:
            ran = run_killed(Path(place), who, kills, seed + number, EPOCHS)
        seen.append((who, ran))
        for fault in ran.faults:
            sys.stderr.write(f"task-kills: {who}: {fault}\n")
    _write(seen, seed, folder)
    return not any(ran.faults for _, ran in seen)


def _write(seen: list[tuple[str, Ran]], seed: int, folder: Path) -> None:
    faults = "\n".join(f"* {who}: {fault}" for who, ran in seen for fault in ran.faults)
    kills = sum(len(ran.kills) for _, ran in seen)
    result = (
        "Every task came to its end, and its last model is, byte for byte, that of an undisturbed run in which the "
        "same pods answered in each sum. No pod released a round twice, nor twice for one model."
        if not faults
        else f"**Something did not hold:**\n\n{faults}"
    )
    rows = [
        (
            number,
            who,
            ", ".join(f"{name} at {place}" for name, place in ran.kills),
            ", ".join(_sum(one) for one in ran.sums),
            f"{ran.seconds:.0f} s",
        )
        for number, (who, ran) in enumerate(seen, start=1)
    ]
    minutes = sum(ran.seconds for _, ran in seen) / 60
    page.write(
        "task-kills",
        "Killed tasks: a modeller and pods that are ended at any moment",
        [
            f"{result} {kills} kills, {minutes:.1f} minutes.",
            f"{len(NAMES)} pods and the modeller are programs of their own (`trialveil pod run` and `task run`), "
            f"linked over TLS on loopback. They train a logistic model over {EPOCHS} rounds with "
            "`SecureAggregator` and weights by rows. A program is ended by `SIGKILL` when as many entries stand "
            f"in the task's log as chance drew (seed {seed}), and up to 10 ms later, and is started again with the "
            "same command. The entries are answers of pods and messages of rounds, so the moments lie before, in "
            "and after every step.",
            page.table(("run", "killed", "who, at which entry of the log", "pods in each sum", "took"), rows),
            "`w` is a sum of weights, `u` one of updates; `failed` is one that too few pods ended and that was begun "
            "again. "
            "The undisturbed run takes the same signed task to pods with the same keys and rows and empty memories, "
            "in one process, and lets exactly the same pods take part in each sum.",
        ],
        folder,
    )


def _sum(one: tuple[str, str, tuple[str, ...]]) -> str:
    purpose, state, pods = one
    return f"{purpose[0]} {len(pods) if state == 'done' else state}"
