"""What several hospitals found together, as the overview shows it: summed funnel, shared model, what the server saw.

Plain values: whoever ran the tasks fills them in, and the page shows nothing that is not in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from federated.counts.cells import VERDICTS
from federated.counts.summed_counts import SummedCounts, Total
from federated.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with the ends of its interval; None where the data are too few for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class FunnelSum:
    """Where patients drop out, summed under masks.

    Args:
        counts: over the pods in the sum.
        names: criterion to its name for people; an id without one stands for itself.
        invited: pods of the task.
        minimum: fewest pods over which a sum may be read (``minimum_survivors``).
    """

    counts: SummedCounts
    names: Mapping[str, str]
    invited: int
    minimum: int

    @property
    def steps(self) -> tuple[tuple[str, Total, Total], ...]:
        """For each criterion in order its name, who failed nothing before it, and who failed here first."""
        total = self.counts.total
        return tuple(
            (self.named(one), total("funnel", one, "entering"), total("funnel", one, "lost"))
            for one in self.counts.criteria
        )

    @property
    def verdicts(self) -> tuple[tuple[str, tuple[Total, ...]], ...]:
        """For each criterion in order its name, and the totals of `VERDICTS` over everyone evaluated."""
        total = self.counts.total
        return tuple(
            (self.named(one), tuple(total("criterion", one, verdict) for verdict in VERDICTS))
            for one in self.counts.criteria
        )

    def named(self, criterion: str) -> str:
        """The criterion's name for people."""
        return self.names.get(criterion, criterion)


class Arm(StrEnum):
    """How a model was trained."""

    FEDERATED = "federated"
    POOLED = "pooled"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class Curve:
    """One model, judged after every round.

    Args:
        name: for people, such as "Federated" or "lung-3 alone".
        arm: how it was trained.
        patients: in its training.
        rounds: one estimate a round, the first after round 1.
        difference: last round of this model less that of the federated one; None for the federated one itself.
    """

    name: str
    arm: Arm
    patients: int
    rounds: tuple[Estimate, ...]
    difference: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Discrimination:
    """How well models tell apart who dies earlier, judged on the same people.

    Args:
        title: of the model, one line.
        measure: such as "Harrell's C".
        data: one sentence on whose data it is and how it was split.
        curves: the federated one first; all of the same number of rounds, 1 or more.
        evaluated, events, pairs: people on whom all were judged, deaths among them, pairs that can be compared.
        left_out: people left out of training because their outcome is not known.
        resamples: draws of the bootstrap.
        level: of the intervals, such as 0.95.
        farthest: largest difference of the federated and the pooled model's parameters; None if not compared.

    Raises:
        InvalidArgument: there is no curve, or they differ in their rounds.
    """

    title: str
    measure: str
    data: str
    curves: tuple[Curve, ...]
    evaluated: int
    events: int
    pairs: int
    left_out: int
    resamples: int
    level: float = 0.95
    farthest: float | None = None

    def __post_init__(self) -> None:
        lengths = {len(curve.rounds) for curve in self.curves}
        if len(lengths) != 1 or 0 in lengths:
            raise InvalidArgument(
                f"curves: {len(self.curves)} of {len(lengths)} lengths; expected the same number of rounds, 1 or more"
            )


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins of equal width; a value on an inner edge is in the bin above.

    Args:
        low, high: ends of the first and the last bin.
        counts: one for each bin.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """Ends of the bins: one more than there are bins."""
        step = (self.high - self.low) / len(self.counts)
        return tuple(self.low + step * place for place in range(len(self.counts) + 1))

    @property
    def total(self) -> int:
        """All values."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class ServerView:
    """What the server received of one pod, beside what that pod had worked out.

    Args:
        pod: its name.
        rounds: from which the words come.
        masked: the words that the server received.
        plain: the update as it was before masking; it never left the pod.
    """

    pod: str
    rounds: int
    masked: Histogram
    plain: Histogram


@dataclass(frozen=True, slots=True)
class Federation:
    """All that the hospitals did together; a part that was not run is None and is not shown."""

    funnel: FunnelSum | None = None
    discrimination: Discrimination | None = None
    server: ServerView | None = None
