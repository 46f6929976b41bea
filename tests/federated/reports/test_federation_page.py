"""What hospitals found together, on the overview: every number in words, drawn where it belongs, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from federated.counts.summed_counts import Total
from federated.errors import InvalidArgument
from federated.reports import federation_charts, overview
from federated.reports.federation import Arm, Curve, Discrimination, Estimate, Federation
from federated.reports.overview import write_overview
from tests.fakes import federations, runs


@pytest.fixture(scope="module")
def shared() -> Federation:
    return federations.federation()


def page(shared: Federation | None) -> str:
    return overview.page([runs.run(20), runs.run(20, seed=2, site="south")], {}, shared)


def words(text: str) -> str:
    """The text between the tags, without the charts."""
    return re.sub(
        r"\s+", " ", unescape(re.sub("<svg.*?</svg>|<style.*?</style>|<[^>]+>", " ", text, flags=re.DOTALL))
    )


def test_without_tasks_the_page_says_nothing_about_them() -> None:
    text = page(None)
    assert text == page(Federation())
    for word in ("masks", "Harrell", "server"):
        assert word not in words(text)


def test_a_total_with_pods_that_held_back_is_a_lower_bound(shared: Federation) -> None:
    text = words(page(Federation(funnel=shared.funnel)))
    assert "Disease <b> 400 at least 90 1 pod held back" in text
    assert "stroke 300 at least 0 2 pods held back" in text
    assert "only the sum over 4 of 5 pods could be read, never over fewer than 3" in text
    assert "≥ 86 ? Undecided 1 pod held back" in text
    assert "– ✗ Not eligible not shown" in text
    assert "at least 424" not in text
    assert "Not evaluated" not in text.partition("summed under masks")[2].partition("Each criterion")[0]


def test_the_funnels_bar_leaves_room_for_what_was_held_back(shared: Federation) -> None:
    text = page(Federation(funnel=shared.funnel))
    assert 'aria-label="All pods, stroke: 300 go on, 0 lost here, 124 lost before or held back"' in text


def test_a_sum_that_may_not_be_shown_draws_no_bar(shared: Federation) -> None:
    assert shared.funnel is not None
    counts = shared.funnel.counts
    hidden = replace(counts, totals={**counts.totals, "evaluated": Total(None, 4)})
    assert "All pods, stroke" not in page(Federation(funnel=replace(shared.funnel, counts=hidden)))


def test_each_model_is_written_with_its_interval_and_its_distance(shared: Federation) -> None:
    assert shared.discrimination is not None
    text = words(page(Federation(discrimination=shared.discrimination)))
    for curve in shared.discrimination.curves:
        assert f"{curve.patients} {federation_charts.interval(curve.rounds[-1])}" in text
        for one in curve.rounds:
            assert federation_charts.interval(one) in text
    assert "0.00 (0.00 to 0.00)" in text  # pooled, which is federated here
    assert "73 people, 56 of whom died: 2 120 pairs" in text
    assert "28 people of the training parts" in text


def test_lines_have_a_point_for_each_round_and_lie_on_their_scale(shared: Federation) -> None:
    assert shared.discrimination is not None
    drawn = federation_charts.rounds(shared.discrimination)
    assert [curve.arm for curve in drawn.curves] == [Arm.SINGLE] * 6 + [Arm.FEDERATED, Arm.POOLED]
    assert drawn.curves[6].points == drawn.curves[7].points
    for curve in drawn.curves:
        assert len(curve.points.split()) == 30
        assert bool(curve.band) is (curve.arm is Arm.FEDERATED)
    last = shared.discrimination.curves[0].rounds[-1].value
    assert drawn.curves[6].points.endswith(f"700.0,{drawn.y.at(last)}")


def test_one_round_and_no_interval_can_be_drawn() -> None:
    curves = (
        Curve("Federated", Arm.FEDERATED, 5, (Estimate(0.6),)),
        Curve("Pooled", Arm.POOLED, 5, (Estimate(0.4),)),
    )
    text = page(Federation(discrimination=Discrimination("One", "C", "Few.", curves, 4, 2, 3, 0, 10)))
    assert "0.60 (no interval)" in words(text)
    assert "polygon" not in text


@pytest.mark.parametrize("lengths", [(), (0,), (1, 2)])
def test_curves_of_different_lengths_are_refused(lengths: tuple[int, ...]) -> None:
    curves = tuple(Curve("x", Arm.SINGLE, 1, (Estimate(0.5),) * length) for length in lengths)
    with pytest.raises(InvalidArgument, match="curves"):
        Discrimination("One", "C", "Few.", curves, 4, 2, 3, 0, 10)


def test_both_histograms_are_drawn_and_written_as_tables(shared: Federation) -> None:
    assert shared.server is not None
    text = page(Federation(server=shared.server))
    assert text.count('class="h-masked"') == 16
    for held in (shared.server.masked, shared.server.plain):
        assert held.total == 600
        for count in held.counts:
            assert f'<td class="c">{count}</td>' in text
    assert text.count('class="even"') == 1  # of the masked words alone


def test_every_chart_has_a_title_and_a_description_of_its_own(shared: Federation) -> None:
    text = page(shared)
    charts = re.findall(r'<svg[^>]*role="img".*?</svg>', text, re.DOTALL)
    assert len(charts) > 20
    assert all("<title" in chart and "<desc" in chart for chart in charts)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    named = {name for found in re.findall(r'aria-labelledby="([^"]+)"', text) for name in found.split()}
    assert named <= set(ids)


def test_names_stay_text(shared: Federation) -> None:
    assert shared.discrimination is not None
    evil = "<script>alert(1)</script>"
    curves = tuple(replace(curve, name=evil) for curve in shared.discrimination.curves)
    hostile = replace(shared.discrimination, title=evil, data=evil, measure=evil, curves=curves)
    assert shared.server is not None
    text = page(replace(shared, discrimination=hostile, server=replace(shared.server, pod=evil)))
    assert "<script" not in text
    assert "alert(1)" in text


def test_the_same_values_are_the_same_bytes(shared: Federation, tmp_path: Path) -> None:
    both = [runs.run(20), runs.run(20, seed=2, site="south")]
    for name in ("a", "b"):
        write_overview(both, tmp_path / name, {}, shared)
    assert (tmp_path / "a" / "overview.html").read_bytes() == (tmp_path / "b" / "overview.html").read_bytes()


@pytest.mark.parametrize(
    ("value", "plain", "signed"),
    [(-0.001, "0.00", "0.00"), (-0.104, "−0.10", "−0.10"), (0.126, "0.13", "+0.13")],
)
def test_numbers_have_a_true_minus_and_no_negative_zero(value: float, plain: str, signed: str) -> None:
    assert (federation_charts.number(value), federation_charts.signed(value)) == (plain, signed)
