"""The proof of a thousand pods: whole rounds on the sparse graph, and what one pod spends in them."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from secure_agg import Cast, Client, Contribution, Parameters, Step, simulation
from secure_agg.graph import certified
from tests.proof import page

SMALL, LARGE = 200, 1000
LENGTH = 200_000
CLIP = 4.0
FRACTION = 0.05  # corrupt, and lost
TOLERANCE = 0.2
CALIBRATION = tuple((degree, length) for length in (LENGTH // 4, LENGTH) for degree in (20, 30, 46, 64))
ON_THE_WAY = (SMALL, 400, 700, LARGE)


@dataclass(frozen=True, slots=True)
class Seen:
    """One round: CPU milliseconds of the median pod that stayed, and what the round was."""

    pods: int
    degree: int
    length: int
    survivors: int
    milliseconds: float


def threshold_of(degree: int) -> int:
    """A little above half, as the certified graphs have it."""
    return degree // 2 + 2


def round_of(pods: int, degree: int, threshold: int, length: int) -> Seen:
    """A whole round with 5 % lost after their shares; the mean is checked."""
    spent: dict[int, float] = defaultdict(float)

    class Watched(Client):
        """A pod whose CPU time is added up."""

        def start(self, invitation: bytes, contribution: Contribution, now: float) -> Step:
            return self._watched(super().start, invitation, contribution, now)

        def receive(self, data: bytes, now: float) -> Step:
            return self._watched(super().receive, data, now)

        def _watched(self, work: Callable[..., Step], *given: Any) -> Step:
            began = time.process_time()
            step = work(*given)
            spent[id(self)] += time.process_time() - began
            return step

    names = [f"pod-{number:04}" for number in range(pods)]
    values = np.clip(np.random.default_rng(1).standard_normal(length + pods, np.float32), -CLIP, CLIP)
    updates = {name: values[place : place + length] for place, name in enumerate(names)}
    lost = names[:: round(1 / FRACTION)]
    parameters = Parameters(
        length=length,
        clip=CLIP,
        mode="semi_honest",
        graph="sparse",
        degree=degree,
        sparse_threshold=threshold,
    )
    with patch.object(simulation, "Client", Watched):
        found = simulation.simulate(
            parameters, updates, lost=dict.fromkeys(lost, "after_shares"), cast=Cast(threads=1)
        )
    _check(found, updates, set(lost))
    typical = 1000 * statistics.median(sorted(spent.values())[len(lost) :])
    sys.stderr.write(f"{pods} pods, degree {degree}, {length:,} coordinates: {typical:.1f} ms a pod\n")
    return Seen(pods, degree, length, len(found.survivors), typical)


def _check(found: Any, updates: dict[str, NDArray[np.float32]], lost: set[str]) -> None:
    kept = [name for name in updates if name not in lost]
    exact = sum((updates[name].astype(np.float64) for name in kept), np.zeros(1)) / len(kept)
    if list(found.survivors) != kept or np.abs(found.mean - exact).max() > found.report.error_bound:
        raise AssertionError("the mean is not that of the survivors")


def terms(seen: Seen) -> list[float]:
    """A fixed part, the vector, keys and letters of each neighbour, its mask, and the shares."""
    return [1.0, seen.length, seen.degree, seen.degree * seen.length, seen.degree**2]


def fitted(calibration: Sequence[Seen]) -> NDArray[np.float64]:
    """Least squares of relative errors."""
    weights = [1 / seen.milliseconds for seen in calibration]
    rows = np.array([terms(seen) for seen in calibration]) * np.array(weights)[:, None]
    scale = np.abs(rows).max(axis=0)
    found, *_ = np.linalg.lstsq(rows / scale, np.ones(len(calibration)), rcond=None)
    return np.asarray(found / scale, np.float64)


def run() -> bool:
    """Calibrate at 200 pods, go to 1,000, write page and curve; True when within the tolerance."""
    graph = certified(LARGE, FRACTION, FRACTION)
    calibration = [round_of(SMALL, degree, threshold_of(degree), length) for degree, length in CALIBRATION]
    coefficients = fitted(calibration)
    seen = [round_of(pods, graph.degree, graph.threshold, LENGTH) for pods in ON_THE_WAY]
    expected = float(np.dot(coefficients, terms(seen[-1])))
    (page.FOLDER / "thousand-pods.svg").write_text(curve(seen, expected), encoding="utf-8")
    off = seen[-1].milliseconds / expected - 1
    _write(calibration, coefficients, seen, expected, (graph.degree, graph.threshold))
    return abs(off) <= TOLERANCE


def _write(
    calibration: Sequence[Seen],
    coefficients: NDArray[np.float64],
    seen: Sequence[Seen],
    expected: float,
    graph: tuple[int, int],
) -> None:
    off = seen[-1].milliseconds / expected - 1
    holds = abs(off) <= TOLERANCE
    verdict = "within" if holds else "**outside**"
    cal = [
        (
            each.degree,
            f"{each.length:,}",
            f"{each.milliseconds:.1f}",
            f"{np.dot(coefficients, terms(each)):.1f}",
        )
        for each in calibration
    ]
    rows = [
        (each.pods, each.survivors, f"{each.milliseconds:.1f}", f"{each.milliseconds / expected - 1:+.0%}")
        for each in seen
    ]
    page.write(
        "thousand-pods",
        "A thousand pods on the sparse graph",
        [
            f"At {LARGE:,} pods a pod spends {seen[-1].milliseconds:.1f} ms of CPU, {off:+.0%} of what the fit at "
            f"{SMALL} pods says: {verdict} the goal of {TOLERANCE:.0%}.",
            f"Whole rounds with every pod in one process, one thread each, {FRACTION:.0%} lost after their shares. "
            f"The graph has degree {graph[0]} and threshold {graph[1]}, the least certified for {LARGE:,} pods "
            f"with {FRACTION:.0%} corrupt and {FRACTION:.0%} lost; the promise of a sparse graph is semi-honest. "
            "Each mean was compared with the exact one. Times are of the median pod that stayed to the end.",
            "![CPU per pod](thousand-pods.svg)",
            page.table(("pods", "in the sum", "ms of CPU a pod", "against the fit"), rows),
            f"## The fit at {SMALL} pods",
            "A fixed part, the vector, the degree (keys and signatures), degree × vector (masks) and degree² "
            "(shares). What grows with the number of pods is not in it: of every pod of the cohort a pod reads one "
            "line of the specification, opens the commitment to its part of the graph's seed, and keeps a digest of "
            "its advert. The adverts themselves are those of its neighbours alone.",
            page.table(("degree", "coordinates", "ms seen", "ms fitted"), cal),
        ],
    )


def curve(seen: Sequence[Seen], expected: float) -> str:
    """Milliseconds of CPU per pod over the number of pods; the dashed line is the fit."""
    width, height, left, bottom = 640, 320, 60, 40
    top = 1.15 * max(expected, *(each.milliseconds for each in seen))

    def x(pods: float) -> float:
        return left + pods / LARGE * (width - left - 30)

    def y(milliseconds: float) -> float:
        return height - bottom - milliseconds / top * (height - bottom - 20)

    line = " ".join(f"{x(each.pods):.1f},{y(each.milliseconds):.1f}" for each in seen)
    dots = [
        f'<circle cx="{x(s.pods):.1f}" cy="{y(s.milliseconds):.1f}" r="4" fill="#1f5fa8"/>'
        f'<text x="{x(s.pods):.1f}" y="{y(s.milliseconds) - 9:.1f}" text-anchor="middle">{s.milliseconds:.0f}</text>'
        f'<text x="{x(s.pods):.1f}" y="{height - bottom + 16}" text-anchor="middle">{s.pods}</text>'
        for s in seen
    ]
    axis = f'<path d="M{left} 15V{height - bottom}H{width - 20}" fill="none" stroke="#555"/>'
    fit = (
        f'<path d="M{left} {y(expected):.1f}H{width - 20}" stroke="#b3541e" stroke-dasharray="6 4" fill="none"/>'
        f'<text x="{left + 6}" y="{y(expected) + 15:.1f}" fill="#b3541e">fit at {SMALL} pods</text>'
    )
    words = (
        f'<text x="{(width + left) / 2}" y="{height - 6}" text-anchor="middle">pods</text>'
        f'<text x="16" y="{height / 2}" transform="rotate(-90 16 {height / 2})" '
        'text-anchor="middle">ms of CPU per pod</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="CPU time per pod over the number of pods">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{axis}{fit}'
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>{"".join(dots)}{words}</svg>\n'
    )
