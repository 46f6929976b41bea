"""Reading the opened sum of a round: the mean, and the round in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from secure_agg.fixed_point import decode
from secure_agg.recovery import MaskedSum
from secure_agg.reports import RoundReport, RoundResult
from secure_agg.roster import Round
from secure_agg.specification import rotation_seed


@dataclass(frozen=True, slots=True)
class Traffic:
    """How long a round took by the caller's clock, and the bytes that pods sent and were sent."""

    seconds: float
    bytes_up: int
    bytes_down: int


def read_sum(total: MaskedSum, this: Round, traffic: Traffic, eps: float | None) -> RoundResult:
    """The result of a round whose masks are removed.

    Args:
        total: the sum, no longer masked.
        this: the round.
        traffic: see `Traffic`.
        eps: epsilon of the round's noise; None without noise.

    Raises:
        UnmaskIntegrityError: the canaries or the count of pods are not what they must be.
    """
    spec = this.spec
    seed = rotation_seed(this.hash)
    found = decode(total.words, total.lane, spec.encoding, len(total.survivors), spec.length, seed)
    report = RoundReport(
        n_invited=len(spec.cohort),
        n_survivors=found.survivors,
        t=spec.threshold,
        colluders_tolerated=spec.colluders,
        clipped_fraction=found.clipped / (found.survivors * spec.length),
        bits=spec.encoding.bits,
        step=found.step,
        error_bound=found.error_bound,
        seconds=traffic.seconds,
        bytes_up=traffic.bytes_up,
        bytes_down=traffic.bytes_down,
        mode=spec.mode,
        graph=spec.graph,
        eps=eps,
    )
    return RoundResult(found.mean, found.total, found.weight, tuple(sorted(total.survivors)), report)
