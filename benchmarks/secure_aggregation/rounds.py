"""Whole rounds: one is run and kept message by message; then one pod, or the server, lives through it again alone.

Every machine draws its entropy from a stream that is fixed by its name, so the second life gives the same bytes. In
a process of its own, each side's CPU time and memory are its own too: a pod's from the invitation to its last
message (keys, signatures, shares, encoding, masks), the server's from the first advert to the mean.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.secure_aggregation.measuring import Timed, peak_bytes
from secure_agg import (
    Cast,
    Client,
    Contribution,
    Outgoing,
    Parameters,
    PodJournal,
    PodPolicy,
    PodSetup,
    Server,
)
from secure_agg.simulation import Cohort, RoundToRun, make_cohort
from secure_agg.specification import RoundSpec
from secure_agg.transitions import PodState

CLIP = 4.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One round.

    Args:
        parameters: length of an update.
        pods: size of the cohort.
        dropped: fraction of it that is lost after the shares, rounded up to whole pods.
    """

    parameters: int
    pods: int
    dropped: float

    @property
    def lost(self) -> int:
        return int(np.ceil(self.pods * self.dropped - 1e-9))

    @property
    def names(self) -> list[str]:
        return [f"pod-{number:03}" for number in range(self.pods)]

    @property
    def me(self) -> str:
        """The pod that is looked at: in the middle, so that half of its masks are subtracted."""
        return self.names[self.pods // 2]


@dataclass(frozen=True, slots=True)
class Life:
    """One side's share of a round, medians of several lives."""

    timed: Timed
    bytes_up: int
    peak_bytes: int


def entropy_of(name: str) -> Callable[[int], bytes]:
    """Bytes that are the same in each life of this machine. For a benchmark only."""
    counter = itertools.count()
    return lambda size: hashlib.shake_256(f"{name}/{next(counter)}".encode()).digest(size)


class Scene:
    """The fixed parts of a round: identities, specification, updates."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        chosen = Parameters(length=setting.parameters, clip=CLIP)
        self.cohort: Cohort = make_cohort(setting.names, chosen, entropy_of("cohort"))
        self.spec: RoundSpec = RoundToRun(chosen, self.cohort, Cast()).spec()
        self._values: NDArray[np.float32] | None = None  # the server has none

    def update(self, name: str) -> NDArray[np.float32]:
        """Overlapping windows of one vector: another update for each pod, and no copy."""
        if self._values is None:
            drawn = np.random.default_rng(1).standard_normal(
                self.setting.parameters + self.setting.pods, np.float32
            )
            self._values = np.clip(drawn, -CLIP, CLIP, out=drawn)
        place = self.setting.names.index(name)
        return self._values[place : place + self.setting.parameters]

    def client(self, name: str) -> Client:
        setup = PodSetup(
            name,
            self.cohort.identities[name],
            self.cohort.pinned,
            self.cohort.modeller.public,
            PodPolicy(),
            1,
        )
        return Client(setup, PodJournal(), entropy_of(name))

    def server(self) -> Server:
        return Server(self.spec, self.cohort.modeller, self.cohort.pinned)

    def answer(self, pod: Client, name: str, data: bytes) -> bytes:
        """The next message of a pod."""
        if pod.state is PodState.IDLE:
            given = Contribution(self.update(name), self.spec.model_hash, self.spec.schema_hash)
            step = pod.start(data, given, 0.0)
        else:
            step = pod.receive(data, 0.0)
        (message,) = step.send_after(lambda journal: None)
        return message


def record(setting: Setting, folder: Path) -> None:
    """Run a round with every pod and keep its messages in ``folder``; the mean is checked.

    Raises:
        SystemExit: the mean is not that of the survivors.
    """
    scene = Scene(setting)
    server, pods = scene.server(), {name: scene.client(name) for name in setting.names}
    lost = [name for name in setting.names if name != setting.me][: setting.lost]
    count, mail = itertools.count(), server.start(0.0)
    while server.result is None:
        following: list[Outgoing] = []
        for letter in mail:
            if letter.to in lost and pods[letter.to].state is PodState.SHARED:
                pods[letter.to].close()
                continue
            if letter.to == setting.me:
                (folder / f"{next(count):05}.down").write_bytes(letter.data)
            up = scene.answer(pods[letter.to], letter.to, letter.data)
            (folder / f"{next(count):05}.up").write_bytes(up)
            following += server.receive(up, 0.0)
        if not following and server.result is None:
            (folder / f"{next(count):05}.tick").write_bytes(b"")
            following += server.tick(server.deadline)
        mail = tuple(following)
    _check(scene, lost, server)


def _check(scene: Scene, lost: list[str], server: Server) -> None:
    found = server.result
    kept = [name for name in scene.setting.names if name not in lost]
    if found is None or list(found.survivors) != kept:
        sys.exit("the round ended with other survivors than there were; no time is shown")
    exact = np.zeros(scene.setting.parameters)
    for name in kept:
        exact += scene.update(name)
    if np.abs(found.mean - exact / len(kept)).max() > found.report.error_bound:
        sys.exit("the mean is further from the exact one than its bound; no time is shown")


def client_again(setting: Setting, folder: Path, repetitions: int) -> Life:
    """The pod in the middle, alone."""
    scene, letters = Scene(setting), [path.read_bytes() for path in sorted(folder.glob("*.down"))]
    runs, sent = [], 0
    for _ in range(repetitions + 1):
        cpu, wall, pod = time.process_time(), time.perf_counter(), scene.client(setting.me)
        sent = sum([len(scene.answer(pod, setting.me, letter)) for letter in letters])
        runs.append(Timed(time.process_time() - cpu, time.perf_counter() - wall))
    return Life(_median(runs[1:]), sent, peak_bytes())


def server_again(setting: Setting, folder: Path, repetitions: int) -> Life:
    """The server, alone. Reading what was kept from the disk is not counted."""
    scene, runs, received = Scene(setting), [], 0
    for _ in range(repetitions + 1):
        server, spent, received = scene.server(), [0.0, 0.0], 0
        for step in _steps(server, folder):
            cpu, wall = time.process_time(), time.perf_counter()
            received += step()
            spent = [spent[0] + time.process_time() - cpu, spent[1] + time.perf_counter() - wall]
        if server.result is None:
            sys.exit("the server's second life has no result; no time is shown")
        runs.append(Timed(*spent))
    return Life(_median(runs[1:]), received, peak_bytes())


def _steps(server: Server, folder: Path) -> Iterator[Callable[[], int]]:
    def start() -> int:
        server.start(0.0)
        return 0

    def tick() -> int:
        server.tick(server.deadline)
        return 0

    def receive(data: bytes) -> int:
        server.receive(data, 0.0)
        return len(data)

    yield start
    for path in sorted(folder.iterdir()):
        if path.suffix == ".tick":
            yield tick
        elif path.suffix == ".up":
            yield partial(receive, path.read_bytes())


def _median(runs: list[Timed]) -> Timed:
    return Timed(statistics.median(run.cpu for run in runs), statistics.median(run.wall for run in runs))


def peak_of_imports() -> int:
    """Largest resident size of a process that has imported all of this, numpy's generators too, and done nothing."""
    np.random.default_rng(1).standard_normal(1, np.float32)
    return peak_bytes()
