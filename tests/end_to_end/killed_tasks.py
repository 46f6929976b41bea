"""A task in real processes over TLS, whose modeller or pods are killed at moments drawn by chance; for the proof.

`exact_kills` is its counterpart for everyday: fewer kills, at exact moments.

The modeller's program is the command; each pod is the command too. The moments are numbers of entries in the task's
own log, looked at from outside: so they lie before, in and after every step of a round, however fast the machine is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from federated.errors import LinkLost
from federated.links.in_process import InProcess
from federated.modeller import program as modeller
from federated.modeller.task_run import LAST, status
from federated.models.files import load
from federated.owner.state import PodState
from federated.pod.services import PodEnvironment, open_pod
from federated.rounds.coordinator import Coordinator
from federated.rounds.journal import Journal, open_existing
from federated.task.envelope import Envelope, Header
from federated.task.spec import read_task_spec
from secure_agg import Identity
from tests.fakes.federation import Federation, make_federation, seed_of

NAMES = ("bath", "hull", "kent", "leeds", "york")
_LIMIT_S = 240


@dataclass(slots=True)
class Ran:
    """What was seen of one run.

    Attributes:
        kills: who was killed, and at which entry of the log.
        sums: each sum of the task in order: its purpose, its end, and the pods in it.
        model: the bytes of the last model, by array.
        undisturbed: the same of a run in one process that nobody disturbed, in which the same pods answered.
        faults: what must not have been.
    """

    kills: list[tuple[str, int]] = field(default_factory=list)
    sums: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    undisturbed: dict[str, bytes] = field(default_factory=dict)
    model: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def free_port() -> int:
    """A port that nobody listens at now."""
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def federation(folder: Path, epochs: int) -> Federation:
    """Five pods that dial the modeller's port."""
    return make_federation(
        folder,
        NAMES,
        epochs=epochs,
        listen=f"127.0.0.1:{free_port()}",
        deadlines="{accept: 60 s, compute: 60 s, step: 60 s}",
    )


class Processes:
    """The programs of one federation, which can be started, killed and started again."""

    def __init__(self, made: Federation, out: Path, results: Path) -> None:
        self._made, self._out = made, out
        self._environment = {**os.environ, "TRIALVEIL_TASK_RESULTS_DIR": str(results)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, who: str) -> None:
        """Start the modeller, or a pod by its name."""
        command = [sys.executable, "-m", "federated.cli", "-q"]
        if who == "modeller":
            command += ["task", "run", str(self._made.task), "--out", str(self._out)]
        else:
            command += ["pod", "run", "--config", str(self._made.pods[who])]
        self._running[who] = subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def kill(self, who: str) -> None:
        """End it with SIGKILL."""
        process = self._running[who]
        process.send_signal(signal.SIGKILL)
        process.communicate()

    def ended(self) -> bool:
        """Whether the modeller's program has come to its end by itself."""
        return self._running["modeller"].poll() is not None

    def modeller_status(self) -> tuple[int, str]:
        """Exit status and last words of the modeller's program."""
        process = self._running["modeller"]
        words = process.communicate(timeout=_LIMIT_S)[1].decode()[-600:]
        return process.returncode, words

    def close(self) -> None:
        """End everything."""
        for process in self._running.values():
            process.kill()
            process.communicate()


@contextlib.contextmanager
def processes(made: Federation, out: Path, results: Path) -> Iterator[Processes]:
    """All programs of a federation, started."""
    found = Processes(made, out, results)
    try:
        for who in (*NAMES, "modeller"):
            found.start(who)
        yield found
    finally:
        found.close()


def entries(out: Path) -> int:
    """How much stands in the task's log: answers, rounds and every message so far."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{out / 'task.db'}?mode=ro", uri=True, timeout=5)
        ) as log:
            counted = [
                log.execute(f"select count(*) from {table}").fetchone()[0] for table in ("pods", "rounds")
            ]
            last = log.execute(
                "select coalesce(max(seq), 0) from sqlite_sequence where name = 'events'"
            ).fetchone()
            return sum(counted) + int(last[0])
    except sqlite3.Error:
        return 0


def run_killed(folder: Path, who: str, kills: int, seed: int, epochs: int) -> Ran:
    """Run a task; kill ``modeller``, ``pods`` or ``both`` at moments drawn from the seed; read what came out."""
    began, dice, seen = time.monotonic(), random.Random(seed), Ran()
    made, out = federation(folder / "files", epochs), folder / "out"
    with processes(made, out, folder / "results") as running:
        for moment in _moments(dice, kills, epochs):
            victim = "modeller" if who == "modeller" else dice.choice(NAMES)
            if who == "both" and dice.random() < 0.5:
                victim = "modeller"
            if not _wait(out, running, moment):
                break
            time.sleep(dice.uniform(0, 0.01))
            running.kill(victim)
            seen.kills.append((victim, entries(out)))
            running.start(victim)
        code, words = running.modeller_status()
        if code not in (0, 3):
            seen.faults.append(f"the modeller's program ended with {code}: {words}")
    if not seen.faults:
        _read(seen, made, out)
        seen.undisturbed = asyncio.run(_undisturbed(seen, made, out, folder / "again"))
        if seen.undisturbed != seen.model:
            seen.faults.append("the model differs from that of an undisturbed run with the same survivors")
    seen.seconds = time.monotonic() - began
    return seen


def _moments(dice: random.Random, kills: int, epochs: int) -> list[int]:
    # A round of five pods leaves about eighteen entries, the offer five.
    return sorted(dice.sample(range(1, 5 + 18 * epochs), kills))


def _wait(out: Path, running: Processes, moment: int) -> bool:
    until = time.monotonic() + _LIMIT_S
    while entries(out) < moment and not running.ended() and time.monotonic() < until:
        time.sleep(0.002)
    return not running.ended()


def _read(seen: Ran, made: Federation, out: Path) -> None:
    seen.sums = [
        (str(one["purpose"]), str(one["state"]), tuple(one["survivors"])) for one in status(out).rounds
    ]
    seen.model = {name: array.tobytes() for name, array in load(out / LAST).tensors.items()}
    for name, file in made.pods.items():
        state = PodState(file.parent / "state", read_only=True)
        records = state.journal.records
        state.close()
        released = [(record.task, record.round) for record in records if record.released]
        models = [(record.task, record.model_hash) for record in records if record.released]
        if len(set(released)) != len(released) or len(set(models)) != len(models):
            seen.faults.append(f"{name} released a round or a model twice")


class _Scripted:
    """A link on which exactly those pods take part in each sum that did in another run.

    Args:
        link: to pods that nobody disturbs.
        sums: of the other run.
    """

    def __init__(self, link: InProcess, sums: list[tuple[str, str, tuple[str, ...]]]) -> None:
        self._link, self._sums = link, sums
        self._places: dict[int, int] = {}

    @property
    def connected(self) -> frozenset[str]:
        # Weights are asked for again when a pod is back that was not in them: only where they were.
        place = len(self._places)
        again = place < len(self._sums) and self._sums[place][0] == "weights"
        weighed = [
            pods for purpose, state, pods in self._sums[:place] if (purpose, state) == ("weights", "done")
        ]
        return frozenset(NAMES if again or not weighed else weighed[-1])

    async def ask(self, pod: str, request: Envelope) -> Envelope:
        header = msgspec.msgpack.decode(request.head[64:], type=Header)
        if header.kind in ("weigh", "compute"):
            place = self._places.setdefault(int(header.note["seq"]), len(self._places))
            purpose, state, pods = self._sums[place]
            assert purpose == header.note["purpose"], "the sums come in the same order"
            if state != "done" or pod not in pods:
                raise LinkLost("not in this sum")
        return await self._link.ask(pod, request)

    async def close(self) -> None:
        await self._link.close()


async def _undisturbed(seen: Ran, made: Federation, out: Path, folder: Path) -> dict[str, bytes]:
    """The same signed task over pods with the same keys and rows, and no memory of it."""
    shutil.copytree(made.folder, folder, ignore=shutil.ignore_patterns("state"))
    journal = open_existing(out)
    assert journal is not None
    spec, signature = read_task_spec(journal.told("spec")), journal.told("signature")
    journal.close()
    pods = {
        name: open_pod(folder / name / "pod.yaml", PodEnvironment(results=folder / name / "results"))
        for name in NAMES
    }
    try:
        link = _Scripted(InProcess({name: pod.handle for name, pod in pods.items()}), seen.sums)
        coordinator = Coordinator(spec, Identity(seed_of("modeller")), link, Journal(None))
        outcome = await modeller.run(coordinator, signature)
    finally:
        for pod in pods.values():
            pod.close()
    return {name: np.asarray(array).tobytes() for name, array in outcome.model.items()}
