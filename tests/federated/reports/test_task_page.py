"""The page of a task: what was added up, round by round or criterion by criterion, and who was in it."""

from __future__ import annotations

import math
import re
from html import unescape

import pytest

from federated.reports.task_page import (
    TaskHead,
    TrainedRound,
    counts_page,
    head_of,
    metric_chart,
    rounds_page,
)
from tests.fakes import federations
from tests.federated.reports.test_federation_page import words
from tests.federated.runtime.cast import make_task

HEAD = TaskHead(
    "lung", "ab" * 32, "office", "2026-06-01T00:00:00+00:00", "FederatedAveraging", ("Training",), True, 3, ()
)


def rounds(count: int, **metrics: float) -> list[TrainedRound]:
    return [
        TrainedRound(n, ("a", "b", "c"), {"d": "LOST: late"}, 90.0, dict(metrics))
        for n in range(1, count + 1)
    ]


def test_every_round_is_drawn_and_in_the_table() -> None:
    found = [
        TrainedRound(
            n, ("a", "b"), {"c": "LOST: late"} if n == 2 else {}, 80.5, {"loss": 1 / n, "auc": math.nan}
        )
        for n in (1, 2, 3)
    ]
    page = rounds_page(HEAD, found, reason="early stop", best=2)
    text = words(page)
    assert "3 rounds; ended because: early stop. Round 2 was the best." in text
    assert "1 2 80.5 1 – –" in text and "2 2 80.5 0.5 – c" in text and "3 2 80.5 0.3333 – –" in text
    assert page.count("<circle") == 3 and page.count("<polyline") == 1
    assert "From 1 after round 1 to 0.3333 after round 3; smallest 0.3333, largest 1." in page


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-9, 4e7])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_a_metric_that_stands_still_can_be_drawn(value: float, count: int) -> None:
    chart = metric_chart("loss", rounds(count, loss=value))
    assert chart is not None
    assert len(chart.line.split()) == count
    assert chart.y.low <= value <= chart.y.high
    assert bool(chart.dots) is (count <= 60)


def test_a_small_change_is_not_drawn_as_a_leap() -> None:
    found = [
        TrainedRound(n, ("a",), {}, 1.0, {"auc": value}) for n, value in enumerate((0.8026, 0.8039), start=1)
    ]
    chart = metric_chart("auc", found)
    assert chart is not None
    assert chart.y.high - chart.y.low >= 0.0099


def test_a_metric_that_no_pod_has_is_not_drawn() -> None:
    assert metric_chart("auc", rounds(3, auc=math.nan)) is None
    page = rounds_page(HEAD, rounds(2, auc=math.nan), reason="done")
    assert "<polyline" not in page and "<details open>" in page


def test_the_page_of_counts_has_the_funnel_and_no_rounds() -> None:
    funnel = federations.federation().funnel
    assert funnel is not None
    text = words(counts_page(HEAD, funnel))
    assert "Disease <b> 400 at least 90 1 pod held back" in text
    assert "Round after round" not in text


def test_what_became_of_each_pod_is_said() -> None:
    spec = make_task()
    head = head_of(spec, {"bath": "in 3 of 3 rounds", "hull": "NO_ACCESS: no <script>"})
    page = rounds_page(head, rounds(1), reason="done")
    text = words(page)
    assert "bath in 3 of 3 rounds" in text and "kent did not answer" in text
    assert "Only sums were seen" in text and "never fewer than 3 pods" in text
    assert "<script>" not in page and "no &lt;script&gt;" in page
    assert spec.hash.hex() in page


def test_a_task_without_masks_says_so() -> None:
    spec = make_task(aggregation=None)
    assert "Not masked" in rounds_page(head_of(spec, {}), rounds(1), reason="done")


def test_nothing_is_asked_for_from_elsewhere() -> None:
    page = unescape(rounds_page(HEAD, rounds(3, loss=0.5), reason="done"))
    assert not re.search(r"(?:src|href)=|url\((?!#)|https?:", page.replace("http-equiv", ""))
    assert "default-src 'none'" in page and "script-src 'none'" in page
