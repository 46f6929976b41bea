"""A task whose modeller and pods are killed again and again, and whether its model is that of a run nobody disturbed.

Modeller and pods are processes of their own on loopback TLS sockets. A killed one is started again with the same
command. A moment is a durable act of the process: a statement that writes to one of its logs, just before it or just
after, or the opening or renaming of one of its files. The process counts its acts and ends itself with ``SIGKILL`` at
the n-th, or by the clock a little later; so moments are exact however fast or slow the machine is.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from federated.links.sockets import Backoff, Modeller, dial
from federated.modeller.task_run import LAST, status
from federated.models.files import load
from federated.owner.state import PodState
from federated.pod.services import open_pod
from federated.rounds.journal import DATABASE
from tests.end_to_end.replayed_tasks import MODELLER, done_sums, undisturbed
from tests.fakes.federation import Federation, make_federation, public_of

NAMES = ("bath", "hull", "kent", "leeds", "york")
RESULTS = "TRIALVEIL_TASK_RESULTS_DIR"
_LIMIT_S = 120
_NEVER = 1 << 40
_COUNTS_ITS_ACTS = """
import os, runpy, signal, sqlite3, sys, threading
from functools import partial
tally, home, left, later, only = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
del sys.argv[1:6]
seen, one = os.open(tally, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), threading.Lock()
end = partial(os.kill, os.getpid(), signal.SIGKILL)
def act(what):
    global left
    with one:
        os.write(seen, (what + chr(10)).encode())
        if only not in ("", what):
            return
        left -= 1
        if left == 0:
            end() if not later else threading.Timer(later, end).start()
class Watched(sqlite3.Connection):
    def execute(self, text, *values):
        words = text.lower().split()
        if not words or words[0] not in ("insert", "update", "delete", "commit"):
            return super().execute(text, *values)
        what = " ".join(word for word in words[:5] if word.isalpha() and word not in ("or", "ignore", "replace"))
        act("before " + what)
        found = super().execute(text, *values)
        act("after " + what)
        return found
sqlite3.connect = partial(sqlite3.connect, factory=Watched)
def look(event, args):
    if event == "os.rename" or event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+"):
        if str(args[0]).startswith(home):
            act(event.removeprefix("os.") + " " + os.path.basename(str(args[0])))
sys.addaudithook(look)
runpy.run_module("federated.cli", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a process ends: at its n-th durable act after this start, or its n-th of these words, or seconds later."""

    act: int
    later_s: float = 0.0
    what: str = ""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: of whom, what the process had done last, how many sums of the task were done."""

    who: str
    last_act: str
    sums_done: int


@dataclass(slots=True)
class Seen:
    """What happened.

    Attributes:
        kills: in order.
        rounds: survivors of each round.
        missed: pod to how many rounds it was not in.
        acts: durable acts of each process in all its starts.
        faults: what did not hold, in words; empty is what we want.
        seconds: for everything.
    """

    kills: list[Kill] = field(default_factory=list)
    rounds: list[tuple[str, ...]] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    acts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Program:
    """A process that ends itself at moments, and is started again with the same command.

    Args:
        name: whose.
        command: after ``trialveil -q``.
        home: folder of its logs and files.
        moments: one for each start, until there are none left.
        results: folder of a pod's results.
    """

    def __init__(
        self, name: str, command: Sequence[str], home: Path, moments: Sequence[Moment], results: Path
    ) -> None:
        self.name, self._command, self._home = name, command, home
        self._moments = list(moments)
        self.tally = results.with_name(f"acts-{name}")
        self._errors = results.with_name(f"errors-{name}")
        self._environment = {**os.environ, RESULTS: str(results / name)}
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        moment = self._moments.pop(0) if self._moments else Moment(_NEVER)
        watch = [str(self.tally), str(self._home), str(moment.act), str(moment.later_s), moment.what]
        inside = [sys.executable, "-c", _COUNTS_ITS_ACTS, *watch, "-q", *self._command]
        with self._errors.open("ab") as errors:
            return subprocess.Popen(inside, stdout=subprocess.DEVNULL, stderr=errors, env=self._environment)

    def revived(self) -> bool:
        """Start it again if it was killed; True if it was."""
        if self._process.poll() != -signal.SIGKILL:
            return False
        self._process = self._started()
        return True

    @property
    def status(self) -> int | None:
        """How it ended by itself; None while it runs."""
        found = self._process.poll()
        return None if found == -signal.SIGKILL else found

    def acts(self) -> list[str]:
        """What it did in all its starts."""
        return self.tally.read_text().splitlines() if self.tally.exists() else []

    def errors(self) -> str:
        """The end of what it wrote on its standard error."""
        return self._errors.read_text()[-500:]

    def stop(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()


def killed_task(
    folder: Path,
    moments: Mapping[str, Sequence[Moment]],
    *,
    epochs: int = 4,
    names: tuple[str, ...] = NAMES,
    apart: bool = True,
) -> Seen:
    """Run a task over sockets, kill at the moments, and compare with a run that nobody disturbs.

    Args:
        folder: for everything.
        moments: `MODELLER` or a pod to its moments.
        epochs: rounds of the task.
        names: of the pods.
        apart: False lets pods that nobody kills run in this process too, each still over its own socket, which
            spares their starts.
    """
    began, seen = time.monotonic(), Seen()
    address = ("127.0.0.1", _free_port())
    made = make_federation(folder / "killed", names, epochs=epochs, listen=f"{address[0]}:{address[1]}")
    twin = folder / "undisturbed"
    shutil.copytree(made.folder, twin)
    out = made.folder / "out"
    own = set(names) if apart else set(moments)
    programs = _programs(made, out, moments, own, folder / "results")
    try:
        with _pods_here(
            {name: path for name, path in made.pods.items() if name not in own}, address, folder / "here"
        ):
            _until_done(programs, out, seen)
    finally:
        for program in programs:
            program.stop()
    seen.acts = {program.name: len(program.acts()) for program in programs}
    for name, own_moments in moments.items():
        if sum(kill.who == name for kill in seen.kills) != len(own_moments):
            seen.faults.append(f"{name} did not come to all of its {len(own_moments)} moments")
    if not seen.faults:
        _check_sums(seen, out, names)
        _check_model(seen, out, twin, names)
        _check_releases(seen, made)
    seen.seconds = time.monotonic() - began
    return seen


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _programs(
    made: Federation, out: Path, moments: Mapping[str, Sequence[Moment]], own: set[str], results: Path
) -> list[Program]:
    results.mkdir()
    task = ["task", "run", str(made.task), "--out", str(out)]
    found = [Program(MODELLER, task, out, moments.get(MODELLER, ()), results)]
    for name in sorted(own - {MODELLER}):
        path = made.pods[name]
        pod = ["pod", "run", "--config", str(path)]
        found.append(Program(name, pod, path.parent, moments.get(name, ()), results))
    return found


@contextmanager
def _pods_here(paths: Mapping[str, Path], address: tuple[str, int], results: Path) -> Iterator[None]:
    """Pods in a thread of this process, dialling the modeller as those in processes of their own do."""
    stopping = threading.Event()

    async def serve() -> None:
        pods = [open_pod(path) for path in paths.values()]
        at = Modeller(*address, bytes.fromhex(public_of(MODELLER)))
        soon = Backoff(0.1, 0.2)
        serving = [
            asyncio.ensure_future(dial(at, pod.signer, pod.name, pod.handle, backoff=soon)) for pod in pods
        ]
        await asyncio.to_thread(stopping.wait)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for pod in pods:
            pod.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    with patch.dict(os.environ, {RESULTS: str(results)}):
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def _until_done(programs: list[Program], out: Path, seen: Seen) -> None:
    """Start killed ones again until the modeller has ended by itself."""
    modeller, until = programs[0], time.monotonic() + _LIMIT_S
    while modeller.status is None:
        for program in programs:
            acts = program.acts
            if program.revived():
                seen.kills.append(Kill(program.name, acts()[-1], _sums_done(out)))
            elif program is not modeller and program.status is not None:
                seen.faults.append(f"{program.name} ended with {program.status}: {program.errors()}")
                return
        if time.monotonic() > until:
            seen.faults.append(f"the task was not done after {_LIMIT_S} s: {modeller.errors()}")
            return
        time.sleep(0.002)
    if modeller.status not in (0, 4):
        seen.faults.append(f"the modeller ended with {modeller.status}: {modeller.errors()}")


def _sums_done(out: Path) -> int:
    if not (out / DATABASE).exists():
        return 0
    try:
        return sum(one["state"] == "done" for one in status(out).rounds)
    except Exception:  # nothing is there yet that could be read
        return 0


def _check_sums(seen: Seen, out: Path, names: tuple[str, ...]) -> None:
    """A pod misses at most one round for each of its kills, and none because the modeller was killed."""
    seen.rounds = [tuple(one["survivors"]) for one in done_sums(status(out)) if one["purpose"] == "update"]
    times = Counter(kill.who for kill in seen.kills)
    seen.missed = Counter(name for one in seen.rounds for name in names if name not in one)
    for name in names:
        if seen.missed[name] > times[name]:
            seen.faults.append(f"{name} was killed {times[name]} times and missed {seen.missed[name]} rounds")


def _check_model(seen: Seen, out: Path, twin: Path, names: tuple[str, ...]) -> None:
    sums = done_sums(status(out))
    with patch.dict(os.environ, {RESULTS: str(twin / "results")}):
        expected = asyncio.run(undisturbed(out, twin, names, sums))
    found = load(out / LAST, like=expected.model)
    wanted = load(twin / "out" / LAST, like=expected.model)
    if {name: array.tobytes() for name, array in found.tensors.items()} != {
        name: array.tobytes() for name, array in wanted.tensors.items()
    }:
        seen.faults.append("the model differs from that of the undisturbed run")
    if found.facts != wanted.facts:
        seen.faults.append("the model's provenance differs from that of the undisturbed run")
    metrics = [one["metrics"] for one in sums if one["purpose"] == "update"]
    if metrics != [dict(one) for one in expected.metrics]:
        seen.faults.append("the metrics differ from those of the undisturbed run")
    if list(seen.rounds) != [one.survivors for one in expected.outcome.rounds]:
        seen.faults.append("the undisturbed run has other survivors; the comparison is void")


def _check_releases(seen: Seen, made: Federation) -> None:
    """By every pod's own journal: no round and no model was released twice."""
    done = len(done_sums(status(made.folder / "out")))
    killed = {kill.who for kill in seen.kills}
    for name, path in made.pods.items():
        state = PodState(path.parent / "state", read_only=True)
        records = state.journal.records
        state.close()
        released = [one for one in records if one.released]
        for what, keys in (
            ("round", [(one.task, one.round) for one in released]),
            ("model", [one.model_hash for one in released]),
            ("entry", [(one.task, one.round) for one in records]),
        ):
            if len(set(keys)) != len(keys):
                seen.faults.append(f"{name} has the same {what} twice in its journal")
        if name not in killed and len(released) < done:
            seen.faults.append(f"{name} was never killed and has released {len(released)} of {done} sums")
