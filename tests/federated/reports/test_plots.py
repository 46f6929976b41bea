"""Where the marks of a chart go."""

from __future__ import annotations

import numpy as np
import pytest

from federated.errors import InvalidArgument
from federated.reports.federation import Estimate, Histogram
from federated.reports.histograms import histogram_of_values, histogram_of_words
from federated.reports.plots import Axis, bars, line, reach, ribbon


def test_an_axis_places_values_and_keeps_outsiders_at_its_ends() -> None:
    down = Axis(0, 10, 200, 100)
    assert [down.at(value) for value in (0, 5, 10, -3, 99)] == [200, 150, 100, 200, 100]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 0.75, (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)),
        (1, 30, (5, 10, 15, 20, 25, 30)),
        (0, 3, (0, 0.5, 1, 1.5, 2, 2.5, 3)),
        (-1e-4, 1e-4, (-1e-4, -5e-5, 0, 5e-5, 1e-4)),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert Axis(low, high, 0, 1).ticks(6) == pytest.approx(expected)


def test_an_axis_without_length_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        Axis(1, 1, 0, 10)


def test_a_line_has_a_point_for_each_round_and_a_ribbon_goes_round_the_intervals() -> None:
    x, y = Axis(1, 3, 0, 20), Axis(0, 1, 100, 0)
    held = [Estimate(0.5, 0.4, 0.6), Estimate(0.6, 0.5, 0.7), Estimate(0.7, 0.6, 0.8)]
    assert line(held, x, y) == "0.0,50.0 10.0,40.0 20.0,30.0"
    assert ribbon(held, x, y) == "0.0,40.0 10.0,30.0 20.0,20.0 20.0,40.0 10.0,50.0 0.0,60.0"
    assert ribbon([*held, Estimate(0.7)], x, y) == ""


@pytest.mark.parametrize(
    ("held", "expected"),
    [([Estimate(0.5)], (0.5, 0.55)), ([Estimate(0.63, 0.539, 0.729), Estimate(0.5)], (0.5, 0.75))],
)
def test_the_range_is_the_smallest_of_whole_steps(
    held: list[Estimate], expected: tuple[float, float]
) -> None:
    assert reach(held) == expected


def test_every_word_and_every_value_is_counted_once_in_its_bin() -> None:
    words = np.array([0, 2**30 - 1, 2**30, 2**31, 2**32 - 1], dtype=np.uint32)
    assert histogram_of_words(words, 4).counts == (2, 1, 1, 1)
    values = histogram_of_values(np.array([[-2.0, -0.1], [0.0, 2.0]]), 4)
    assert (values.low, values.high, values.counts) == (-2, 2, (1, 1, 1, 1))
    assert histogram_of_values(np.zeros(3), 2).counts == (0, 3)


@pytest.mark.parametrize("words", [np.zeros(0, np.uint32), np.zeros(3, np.int64)])
def test_other_things_than_words_are_refused(words: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidArgument):
        histogram_of_words(words)


@pytest.mark.parametrize("values", [np.zeros(0), np.array([1.0, np.nan])])
def test_values_that_cannot_be_counted_are_refused(values: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidArgument):
        histogram_of_values(values)


def test_bars_stand_on_the_axis_and_the_band_is_that_of_even_chances() -> None:
    drawn = bars(Histogram(0, 4, (10, 30, 20, 20)), (0, 40), (100, 0), 40)
    assert [(bar.x, bar.y, bar.height) for bar in drawn.bars] == [
        (0, 75, 25),
        (10, 25, 75),
        (20, 50, 50),
        (30, 50, 50),
    ]
    assert {bar.width for bar in drawn.bars} == {9}
    assert drawn.expected == 20
    # A bar is binomial: 80 words, each in it with a chance of one in four.
    assert drawn.band == pytest.approx((20 - 1.96 * 15**0.5, 20 + 1.96 * 15**0.5), abs=1e-3)
