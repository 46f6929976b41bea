"""The proof of a thousand pods, at the size of a dozen."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from secure_agg import simulation
from tests.proof import page, thousand_pods
from tests.proof.thousand_pods import Seen, curve, fitted, round_of, terms


def made_up(pods: int, degree: int, length: int) -> Seen:
    return Seen(
        pods,
        degree,
        length,
        pods,
        2.0 + 1e-5 * length + 0.2 * degree + 3e-7 * degree * length + 1e-3 * degree**2,
    )


def test_the_fit_finds_what_a_pods_time_is_made_of() -> None:
    seen = [made_up(200, degree, length) for degree in (20, 30, 46, 64) for length in (50_000, 200_000)]
    far = made_up(1000, 34, 120_000)
    assert np.dot(fitted(seen), terms(far)) == pytest.approx(far.milliseconds)


def test_a_round_is_whole_and_its_pods_are_watched() -> None:
    seen = round_of(40, 10, 7, 20)
    assert seen.survivors == 38
    assert seen.milliseconds > 0


def test_a_wrong_mean_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    right = simulation.simulate
    monkeypatch.setattr(
        simulation,
        "simulate",
        lambda p, updates, **more: right(p, {n: u / 2 for n, u in updates.items()}, **more),
    )
    with pytest.raises(AssertionError, match="not that of the survivors"):
        round_of(40, 10, 7, 20)


def test_the_curve_shows_every_round() -> None:
    root = ElementTree.fromstring(curve([made_up(pods, 30, 1000) for pods in (200, 1000)], 9.0))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 2


def test_a_pod_that_takes_longer_than_the_fit_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    monkeypatch.setattr(page.write, "__defaults__", (tmp_path,))
    slow = {200: 1.0, 400: 1.0, 700: 1.0, 1000: 1.3}

    def ran(pods: int, degree: int, threshold: int, length: int) -> Seen:
        seen = made_up(pods, degree, length)
        return Seen(pods, degree, length, pods, seen.milliseconds * slow[pods])

    monkeypatch.setattr(thousand_pods, "round_of", ran)
    assert not thousand_pods.run()
    assert "+30%" in (tmp_path / "thousand-pods.md").read_text(encoding="utf-8")
    slow[1000] = 1.1
    assert thousand_pods.run()
