"""What a round tells about itself: sizes, counts and names; nothing about one pod's update."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secure_agg.parameters import Bits, Graph, Mode


@dataclass(frozen=True, slots=True)
class RoundReport:
    """One round in numbers.

    Attributes:
        n_invited: pods of the cohort.
        n_survivors: pods whose updates are in the sum.
        t: shares that open a secret.
        colluders_tolerated: pods that may work with the server without learning more than the sum.
        clipped_fraction: clipped coordinates over all coordinates of the survivors.
        bits: width of a word.
        step: one step of the ring, in units of the mean.
        error_bound: largest distance of a coordinate from the float64 mean, clipping and noise apart.
        seconds: from the invitation to the sum, by the caller's clock.
        bytes_up, bytes_down: what pods sent to the server, and the server to pods.
        mode: "active", or "semi_honest": then the promise holds only while the server follows the protocol.
        graph: "complete" or "sparse" (semi-honest only).
        eps: epsilon of this round's noise at the agreed delta; None without noise.
    """

    n_invited: int
    n_survivors: int
    t: int
    colluders_tolerated: int
    clipped_fraction: float
    bits: Bits
    step: float
    error_bound: float
    seconds: float
    bytes_up: int
    bytes_down: int
    mode: Mode
    graph: Graph
    eps: float | None


@dataclass(frozen=True, slots=True)
class RoundResult:
    """The outcome of a round that reached its end.

    Attributes:
        mean: shape ``(length,)``, float64, the weighted mean over the survivors.
        total: shape ``(length,)``, int64, the exact sum for 64-bit words; None otherwise.
        weight: the sum of the survivors' weights; for pods that all count the same, how many they are.
        survivors: names of the pods in the sum, sorted.
        report: the round in numbers.
    """

    mean: NDArray[np.float64] = field(repr=False)
    total: NDArray[np.int64] | None = field(repr=False)
    weight: float
    survivors: tuple[str, ...]
    report: RoundReport
