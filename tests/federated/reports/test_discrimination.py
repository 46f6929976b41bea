"""Harrell's C: counted by hand, by another library, and by an order that cannot be mistaken."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from federated.demo.lung_study import FEATURES, study, together
from federated.errors import InvalidArgument
from federated.reports.discrimination import Panel

# concordance_index of lifelines 0.30.3 (the risks negated) on the people kept for judging, and on all 227.
LIFELINES = {
    "age": (0.6490566037735849, 0.5507414506203975),
    "sex": (0.419811320754717, 0.4208867144154141),
    "ph.ecog": (0.6061320754716981, 0.6047866438010693),
    "ph.karno": (0.4320754716981132, 0.40113991728033893),
    "pat.karno": (0.40023584905660375, 0.3933219005346515),
    "meal.cal": (0.43325471698113205, 0.47440230001008776),
    "wt.loss": (0.5261792452830188, 0.5311207505296076),
}


def panel(times: list[float], died: list[int], **more: int) -> Panel:
    return Panel(np.array(times, dtype=float), np.array(died, dtype=bool), **more)


def c(times: list[float], died: list[int], risk: list[float]) -> Fraction:
    return panel(times, died, resamples=1).concordance(np.array(risk, dtype=float))


@pytest.mark.parametrize(
    ("times", "died", "risk", "expected"),
    [
        ([1, 2, 3], [1, 1, 1], [3, 2, 1], Fraction(1)),
        ([1, 2, 3], [1, 1, 1], [1, 2, 3], Fraction(0)),
        ([1, 2, 3], [1, 1, 1], [5, 5, 5], Fraction(1, 2)),
        ([1, 2, 3], [1, 1, 1], [2, 3, 1], Fraction(2, 3)),
        # Who was last seen on day 2 is compared with the death of day 1 only.
        ([1, 2, 3], [1, 0, 1], [2, 9, 1], Fraction(1, 2)),
        # Seen alive on the day when another died: that one certainly died first.
        ([2, 2], [1, 0], [1, 0], Fraction(1)),
        # Two deaths on one day are not compared; each is, with the third.
        ([2, 2, 5], [1, 1, 0], [0, 9, 1], Fraction(1, 2)),
    ],
)
def test_small_cases_by_hand(
    times: list[float], died: list[int], risk: list[float], expected: Fraction
) -> None:
    assert c(times, died, risk) == expected


@pytest.mark.parametrize("place", range(len(FEATURES)), ids=[feature.name for feature in FEATURES])
def test_another_library_gives_the_same(place: int) -> None:
    pods = study()
    judged = together(pod.evaluation for pod in pods)
    everybody = together([judged, *(pod.training for pod in pods)])
    for people, expected in zip((judged, everybody), LIFELINES[FEATURES[place].name], strict=True):
        found = Panel(people.time_days.astype(float), people.died, resamples=1)
        assert float(found.concordance(people.inputs[:, place])) == pytest.approx(expected, abs=1e-14)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_with_one_day_of_death_it_is_the_area_under_the_curve(people: list[tuple[bool, int]]) -> None:
    dead, risk = np.array([one for one, _ in people]), np.array([float(two) for _, two in people])
    if dead.all() or not dead.any():
        return
    found = Panel(np.where(dead, 1.0, 2.0), dead, resamples=1).concordance(risk)
    area = mannwhitneyu(risk[dead], risk[~dead]).statistic / (dead.sum() * (~dead).sum())
    assert float(found) == pytest.approx(area)


def test_the_interval_holds_the_value_and_comes_out_the_same_again() -> None:
    judged = together(pod.evaluation for pod in study())
    once, again = (Panel(judged.time_days.astype(float), judged.died) for _ in range(2))
    found = once.estimate(judged.inputs[:, 0])
    assert found == again.estimate(judged.inputs[:, 0])
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < found.value < found.high < 0.8


def test_the_interval_is_that_of_drawing_people_one_by_one() -> None:
    """A plain bootstrap with other draws, each drawn group judged as a group of its own."""
    judged = together(pod.evaluation for pod in study())
    time, died, risk = judged.time_days.astype(float), judged.died, judged.inputs[:, 0]
    chance = np.random.default_rng(3)
    drawn = []
    for _ in range(400):
        chosen = chance.integers(0, len(time), len(time))
        drawn.append(float(Panel(time[chosen], died[chosen], resamples=1).concordance(risk[chosen])))
    found = Panel(time, died).estimate(risk)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.02)


def test_a_risk_does_not_differ_from_itself_and_a_difference_turns_round() -> None:
    judged = together(pod.evaluation for pod in study())
    found = Panel(judged.time_days.astype(float), judged.died)
    age, ecog = judged.inputs[:, 0], judged.inputs[:, 2]
    assert found.difference(age, age).high == 0
    there, back = found.difference(age, ecog), found.difference(ecog, age)
    assert there.value == pytest.approx(found.estimate(age).value - found.estimate(ecog).value)
    assert there.low == pytest.approx(-(back.high or 0))


def test_too_few_people_have_no_interval() -> None:
    few = panel([1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 0, 0])
    found = few.estimate(np.array([1.0, 0, 0, 0, 0, 0]))
    assert (found.value, found.low, found.high) == (1.0, None, None)


@pytest.mark.parametrize(
    ("times", "died"),
    [([1, 2], [0, 0]), ([1, 2], [0, 1]), ([1, 2, 3], [1, 1]), ([1, np.inf], [1, 1]), ([], [])],
)
def test_people_who_cannot_be_compared_are_refused(times: list[float], died: list[int]) -> None:
    with pytest.raises(InvalidArgument):
        panel(times, died)


@pytest.mark.parametrize("risk", [[1.0], [1.0, np.nan, 2.0], [[1.0, 2.0, 3.0]]])
def test_a_risk_of_another_shape_or_without_value_is_refused(risk: list[float]) -> None:
    with pytest.raises(InvalidArgument, match="risk"):
        panel([1, 2, 3], [1, 1, 1]).concordance(np.array(risk))
