"""The federation's charts, ready to draw: axes, points and words, worked out from the plain values."""

from __future__ import annotations

from dataclasses import dataclass

from federated.reports.federation import Arm, Curve, Discrimination, Estimate, Histogram, ServerView
from federated.reports.plots import Axis, Bars, bars, line, reach, ribbon

CHANCE = 0.5
MINUS = "\u2212"
ROOM = 1.08
"""How much higher than its highest bar a histogram is."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One curve of the chart over rounds; ``band`` is empty where no interval is drawn."""

    arm: Arm
    points: str
    band: str = ""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The chart over rounds.

    Args:
        x, y: its axes.
        curves: the single sites first, so that they lie behind.
        said: what it shows, in one sentence.
    """

    x: Axis
    y: Axis
    curves: tuple[Drawn, ...]
    said: str


@dataclass(frozen=True, slots=True)
class Final:
    """One row of the table of final models; coordinates are shares of the width in per cent."""

    curve: Curve
    last: Estimate
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Finals:
    """The table of final models.

    Args:
        axis: from values to per cent of the width.
        rows: one for each model.
        chance: where 0.5 lies.
    """

    axis: Axis
    rows: tuple[Final, ...]
    chance: float


@dataclass(frozen=True, slots=True)
class Seen:
    """The two histograms, side by side."""

    masked: Bars
    plain: Bars


def rounds(found: Discrimination) -> Rounds:
    """The chart over rounds; intervals of the federated model alone, or nothing could be told apart."""
    federated = [curve for curve in found.curves if curve.arm is Arm.FEDERATED]
    values = [Estimate(one.value) for curve in found.curves for one in curve.rounds]
    values += [one for curve in federated for one in curve.rounds]
    low, high = reach([*values, Estimate(CHANCE)])
    x = Axis(1 - 0.5 * (len(found.curves[0].rounds) == 1), max(len(found.curves[0].rounds), 1.5), 46, 700)
    y = Axis(low, high, 262, 14)
    order = (Arm.SINGLE, Arm.FEDERATED, Arm.POOLED)
    drawn = tuple(
        Drawn(
            curve.arm,
            line(curve.rounds, x, y),
            ribbon(curve.rounds, x, y) if curve.arm is Arm.FEDERATED else "",
        )
        for arm in order
        for curve in found.curves
        if curve.arm is arm
    )
    said = "; ".join(f"{curve.name} {interval(curve.rounds[-1])}" for curve in found.curves)
    return Rounds(x, y, drawn, f"{found.measure} after the last round: {said}.")


def finals(found: Discrimination) -> Finals:
    """The last round of every model, on one scale."""
    last = [(curve, curve.rounds[-1]) for curve in found.curves]
    axis = Axis(*reach([*(one for _, one in last), Estimate(CHANCE)]), 1, 99)
    rows = tuple(
        Final(
            curve,
            one,
            axis.at(one.value),
            None if one.low is None else axis.at(one.low),
            None if one.high is None else axis.at(one.high),
        )
        for curve, one in last
    )
    return Finals(axis, rows, axis.at(CHANCE))


def seen(view: ServerView) -> Seen:
    """Both histograms, each as high as its own highest bar needs."""
    return Seen(_drawn(view.masked), _drawn(view.plain))


def _drawn(histogram: Histogram) -> Bars:
    top = max(histogram.counts) * ROOM
    flat = bars(histogram, (40, 440), (176, 12), top)
    return bars(histogram, (40, 440), (176, 12), max(top, flat.band[1] * ROOM))


def interval(one: Estimate) -> str:
    """``0.63 (0.53 to 0.72)``, or that there is none."""
    if one.low is None or one.high is None:
        return f"{number(one.value)} (no interval)"
    return f"{number(one.value)} ({number(one.low)} to {number(one.high)})"


def number(value: float) -> str:
    """Two decimals, with a true minus sign and no negative zero."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", MINUS)


def signed(value: float) -> str:
    """As `number`, with a plus sign above zero."""
    text = number(value)
    return text if text == "0.00" or text.startswith(MINUS) else f"+{text}"


def share(value: float) -> str:
    """The end of a bin of the masked words, as a share of 2^32."""
    return f"{value / 2**32:g}"


def short(value: float) -> str:
    """Three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", MINUS)
