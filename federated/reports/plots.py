"""Where the marks of a chart go: numbers in, coordinates out. The template draws them; nothing here knows colours.

Coordinates are rounded to two decimals, so the same data are the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, sqrt

from federated.errors import InvalidArgument
from federated.reports.federation import Estimate, Histogram

Point = tuple[float, float]
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
INSIDE = 1.959964
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A straight scale from values to coordinates.

    Args:
        low, high: values at its ends; ``low`` is below ``high``.
        start, end: coordinates of these; a vertical axis runs downwards, so there ``start`` is the larger.

    Raises:
        InvalidArgument: ``low`` is not below ``high``.
    """

    low: float
    high: float
    start: float
    end: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InvalidArgument("an axis ends where it begins, or before; expected low below high")

    def at(self, value: float) -> float:
        """Coordinate of a value; one outside is drawn at the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """Round values inside, at equal steps, at most so many and one more."""
        step = _step((self.high - self.low) / most)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return tuple(round(number * step, 10) for number in range(first, last + 1))


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram, standing on the axis."""

    x: float
    y: float
    width: float
    height: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram as drawn.

    Args:
        bars: from left to right.
        x, y: its axes; counts go up.
        expected: the height that all bars would have if every value were equally likely.
        band: counts between which 95 of 100 such bars lie, about.
    """

    bars: tuple[Bar, ...]
    x: Axis
    y: Axis
    expected: float
    band: tuple[float, float]


def bars(histogram: Histogram, x: tuple[float, float], y: tuple[float, float], top: float) -> Bars:
    """A histogram's bars.

    Args:
        histogram: what is counted.
        x: coordinates of its left and right end.
        y: coordinates of the foot and of the top.
        top: count at the top.
    """
    across, up = Axis(histogram.low, histogram.high, *x), Axis(0, top, *y)
    edges = histogram.edges
    drawn = []
    for place, count in enumerate(histogram.counts):
        left, right, height = across.at(edges[place]), across.at(edges[place + 1]), up.at(count)
        width = round(right - left - 1, 2)
        drawn.append(Bar(left, height, width, round(y[0] - height, 2), edges[place], edges[place + 1], count))
    bins = len(histogram.counts)
    expected = histogram.total / bins
    spread = INSIDE * sqrt(expected * (1 - 1 / bins))
    return Bars(tuple(drawn), across, up, expected, (max(0.0, expected - spread), expected + spread))


def line(estimates: Sequence[Estimate], x: Axis, y: Axis) -> str:
    """The points of a polyline, one a round, the first at x = 1."""
    return points((x.at(number), y.at(one.value)) for number, one in enumerate(estimates, start=1))


def ribbon(estimates: Sequence[Estimate], x: Axis, y: Axis) -> str:
    """The points of a polygon around the intervals; empty where one has none."""
    if any(one.low is None or one.high is None for one in estimates):
        return ""
    held = list(enumerate(estimates, start=1))
    above = [(x.at(number), y.at(one.high)) for number, one in held if one.high is not None]
    below = [(x.at(number), y.at(one.low)) for number, one in reversed(held) if one.low is not None]
    return points([*above, *below])


def reach(estimates: Sequence[Estimate], step: float = 0.05) -> tuple[float, float]:
    """The smallest range of whole steps that holds all values and intervals."""
    held = [value for one in estimates for value in (one.value, one.low, one.high) if value is not None]
    low, high = floor(min(held) / step + 1e-9), ceil(max(held) / step - 1e-9)
    return round(low * step, 10), round(max(high, low + 1) * step, 10)


def points(places: Iterable[Point]) -> str:
    """Coordinates as SVG has them."""
    return " ".join(f"{x},{y}" for x, y in places)


def _step(least: float) -> float:
    """The smallest round step that is not below."""
    power: float = 10.0 ** floor(log10(least))
    return next(factor * power for factor in STEPS if factor * power >= least * (1 - 1e-9))
