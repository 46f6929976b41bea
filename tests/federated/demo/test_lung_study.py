"""The risk model's data: the stated rules, followed."""

from __future__ import annotations

import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from federated.demo.lung_comparison import compare
from federated.demo.lung_study import FEATURES, PODS, TARGET, grouped, scaled, study, together, write_table
from federated.errors import InvalidArgument
from federated.models.interface import Tensors
from federated.reports.federation import Estimate
from tests.fakes.federations import Logistic, averaged
from tests.repository.sources import ROOT

DATA = (ROOT / "federated" / "demo" / "lung" / "lung.csv").read_text()


def test_the_packaged_file_is_the_published_one_without_one_row() -> None:
    rows = list(csv.DictReader(io.StringIO(DATA)))
    assert (len(rows), len({row["inst"] for row in rows})) == (227, 18)
    assert all(row["inst"] for row in rows)
    assert hashlib.sha256(DATA.encode()).hexdigest().startswith("b954d05e31f4826f")
    assert "MIT" in files("federated.demo").joinpath("lung", "LICENCE.md").read_text("utf-8")


def test_another_file_in_the_wheel_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as made:
        made.writestr("lifelines/datasets/lung.csv", DATA)
    maker = str(ROOT / "fixtures" / "lung" / "make_lung.py")
    asked = [sys.executable, maker, "--wheel", str(tmp_path / "other.whl"), "--out", str(tmp_path)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "another file" in done.stderr
    assert not (tmp_path / "lung.csv").exists()


def test_institutions_go_largest_first_to_the_smallest_pod() -> None:
    assert grouped({1: 5, 2: 4, 3: 4, 4: 1, 5: 1}, 2) == ((1, 4, 5), (2, 3))
    assert grouped({}, 2) == ((), ())


def test_six_pods_hold_everybody_once_and_institutions_whole() -> None:
    pods = study()
    assert [len(pod.training) + len(pod.evaluation) for pod in pods] == [40, 37, 38, 38, 37, 37]
    assert [len(pod.evaluation) for pod in pods] == [13, 12, 12, 12, 12, 12]
    assert len(pods) == PODS
    seen = Counter(code for pod in pods for code in pod.institutions)
    assert set(seen.values()) == {1}
    assert len(seen) == 18
    everybody = together(part for pod in pods for part in (pod.training, pod.evaluation))
    assert (len(everybody), int(everybody.died.sum())) == (227, 164)


def test_who_was_lost_from_sight_within_a_year_is_left_out_of_training_and_counted() -> None:
    for pod in study():
        rows = pod.training.rows()
        assert len(rows) + pod.left_out == len(pod.training)
        known = pod.training.known
        assert not ((pod.training.time_days < 365) & ~pod.training.died)[known].any()
        assert ((pod.training.time_days < 365) & ~pod.training.died)[~known].all()
        assert rows.targets.tolist() == [
            float(died and days <= 365)
            for days, died in zip(pod.training.time_days[known], pod.training.died[known], strict=True)
        ]
    assert sum(pod.left_out for pod in study()) == 28


def test_what_is_missing_is_the_centre_and_says_nothing_after_scaling() -> None:
    rows = list(csv.DictReader(io.StringIO(DATA)))
    pods = study()
    filled = sum(part.filled for pod in pods for part in (pod.training, pod.evaluation))
    assert filled == sum(not row[feature.name] for row in rows for feature in FEATURES) > 0
    assert np.array_equal(scaled(np.array([[feature.centre for feature in FEATURES]])), np.zeros((1, 7)))
    first = next(row for row in rows if int(float(row["inst"])) in pods[3].institutions)
    assert first["wt.loss"] == ""
    assert scaled(pods[3].training.inputs)[0].tolist() == pytest.approx([1.4, -1, 0, 1, 2, 0.6875, 0])


@pytest.mark.parametrize("scale", [False, True])
def test_a_pods_table_holds_its_training_rows(tmp_path: Path, scale: bool) -> None:
    pod = study()[0]
    write_table(pod, tmp_path / "lung.csv", scale=scale)
    rows = list(csv.DictReader((tmp_path / "lung.csv").read_text().splitlines()))
    assert list(rows[0]) == [*(feature.name for feature in FEATURES), TARGET]
    held = np.array([[float(value) for value in row.values()] for row in rows])
    expected = pod.training.rows(scale=scale)
    assert np.array_equal(held, np.column_stack([expected.inputs, expected.targets]))


def test_one_full_batch_step_a_round_over_six_pods_is_the_pooled_training() -> None:
    found = compare(Logistic, averaged(12), scale=True)
    federated, pooled, *alone = found.curves
    assert found.farthest is not None
    assert found.farthest < 1e-12
    assert [one.value for one in federated.rounds] == [one.value for one in pooled.rounds]
    assert pooled.difference == Estimate(0, 0, 0)
    assert len(alone) == 6
    assert sum(curve.patients for curve in alone) == federated.patients == pooled.patients == 126
    assert len({curve.rounds[-1] for curve in alone}) == 6
    assert (found.evaluated, found.events, found.pairs, found.left_out) == (73, 56, 2120, 28)
    assert "227 people of 18 institutions, grouped into 6 pods of 40, 37, 38, 38, 37, 37;" in found.data


def test_other_training_is_seen_as_such() -> None:
    """A federated model that learned the opposite stands beside a pooled one that did not."""
    away: list[Tensors] = [{"weights": -tensors["weights"]} for tensors in averaged(2)]
    found, right = compare(Logistic, away, scale=True), compare(Logistic, averaged(2), scale=True)
    federated, pooled, *alone = found.curves
    assert federated.rounds[-1].value == pytest.approx(1 - right.curves[0].rounds[-1].value)
    assert pooled.rounds == right.curves[1].rounds
    assert [curve.rounds for curve in alone] == [curve.rounds for curve in right.curves[2:]]
    assert pooled.difference is not None
    assert pooled.difference.value == pytest.approx(pooled.rounds[-1].value - federated.rounds[-1].value)
    assert found.farthest == pytest.approx(2 * np.abs(averaged(2)[-1]["weights"]).max())


def test_without_a_round_there_is_nothing_to_judge() -> None:
    with pytest.raises(InvalidArgument, match="no round"):
        compare(Logistic, [])
