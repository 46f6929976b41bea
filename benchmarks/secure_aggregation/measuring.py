"""What a row of the benchmark is, and how a time is taken."""

from __future__ import annotations

import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PODS = (10, 50, 100)


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    Args:
        parameters: lengths of a vector.
        pods: sizes of a cohort.
        dropped: fractions of the pods that are lost after they have shared their keys; rounded up to whole pods.
        repetitions: of which the median is shown.
        flower: whether the peer is measured too.
    """

    parameters: tuple[int, ...] = (1_000_000,)
    pods: tuple[int, ...] = PODS
    dropped: tuple[float, ...] = (0.05,)
    repetitions: int = 3
    flower: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result, as other programs read it; see the interface's page."""

    part: str
    parameters: int
    pods: int
    dropped: float
    cpu_seconds: float
    wall_seconds: float
    speedup_over_flower: float | None
    share_of_limit: float | None
    bytes_up: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of one run."""

    cpu: float
    wall: float


def timed(work: Callable[[], object]) -> Timed:
    """Run once."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Timed(time.process_time() - cpu, time.perf_counter() - wall)


def alternating(works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, Timed]:
    """Medians of runs in turn, so that a load that comes and goes falls on all; one run each is thrown away."""
    for work in works.values():
        work()
    runs = [{name: timed(work) for name, work in works.items()} for _ in range(repetitions)]
    return {
        name: Timed(
            statistics.median(run[name].cpu for run in runs),
            statistics.median(run[name].wall for run in runs),
        )
        for name in works
    }


def peak_bytes() -> int:
    """Largest resident size of this process.

    Linux hands the figure of `getrusage` on to programs that a process starts, so its own is asked for first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
