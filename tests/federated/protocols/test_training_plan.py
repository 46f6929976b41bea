"""How training is cut into rounds, and when it ends before all of it is done."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from federated.cli.live_rounds import Board
from federated.errors import TaskRefused
from federated.modeller import program as modeller
from federated.protocols.early_stopping import EarlyStopping
from federated.protocols.federated_averaging import Parameters
from federated.rounds.coordinator import News
from federated.task.spec import Unit
from tests.federated.runtime.cast import Cast, make_task, with_stand_in


@pytest.mark.parametrize(
    ("between", "total", "expected"),
    [(None, 3, [1, 1, 1]), (3, 10, [3, 3, 3, 1]), (10, 10, [10]), (4, 8, [4, 4])],
)
def test_what_is_left_after_whole_rounds_is_trained_too(
    between: int | None, total: int, expected: list[int]
) -> None:
    assert Parameters(epochs_between_parameter_updates=between).amounts(total, "epochs") == expected


@pytest.mark.parametrize("between", [0, -1, 11])
def test_a_round_longer_than_all_training_is_refused(between: int) -> None:
    with pytest.raises(TaskRefused, match="must be 1 to the 10 epochs"):
        Parameters(epochs_between_parameter_updates=between).amounts(10, "epochs")


def test_rounds_in_the_other_unit_are_refused() -> None:
    with pytest.raises(TaskRefused, match="counts training in steps"):
        Parameters(epochs_between_parameter_updates=2).amounts(10, "steps")


@pytest.mark.parametrize(
    ("metric", "now", "before", "gained"),
    [
        ("loss", 0.4, [0.5], True),
        ("loss", 0.6, [0.5], False),
        ("loss", 0.45, [0.4, 0.5], False),
        ("auc", 0.8, [0.7], True),
        ("auc", 0.7, [0.7], False),
        ("mse", 0.1, [0.2], True),
        ("auc", math.nan, [0.7], False),
        ("auc", 0.1, [math.nan], True),
        ("auc", 0.1, [], True),
    ],
)
def test_a_round_gains_when_it_is_better_than_every_one_before(
    metric: str, now: float, before: list[float], gained: bool
) -> None:
    assert EarlyStopping(metric).gained({metric: now}, [{metric: one} for one in before]) is gained


def test_a_gain_must_be_larger_than_delta_and_the_task_may_say_what_is_better() -> None:
    assert not EarlyStopping("auc", delta=0.1).gained({"auc": 0.75}, [{"auc": 0.7}])
    assert EarlyStopping("auc", better="lower").gained({"auc": 0.6}, [{"auc": 0.7}])


@pytest.fixture
def cast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cast]:
    with_stand_in(monkeypatch)
    monkeypatch.setenv("TRIALVEIL_OUTPUT_DIR", str(tmp_path / "out"))
    made = Cast(tmp_path)
    yield made
    made.close()


async def test_training_stops_early_and_keeps_the_best_model(cast: Cast) -> None:
    # The stand-in's "auc" is 0.5 in every round: nothing gains after the first.
    stop = {"early_stopping": {"metric": "auc", "patience": 2, "delta": 0.1}}
    spec = make_task(
        protocol=Unit(name="bitfount.FederatedAveraging", arguments=stop),
        algorithms=(Unit(name="bitfount.FederatedModelTraining", arguments={"epochs": 9}),),
    )
    outcome = await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert outcome.reason == "early stop"
    assert len(outcome.rounds) == 3
    assert outcome.best is not None
    assert outcome.best[0] == 1


async def test_an_unknown_metric_is_refused_before_a_round(cast: Cast) -> None:
    spec = make_task(
        protocol=Unit(name="bitfount.FederatedAveraging", arguments={"early_stopping": {"metric": "kappa"}})
    )
    with pytest.raises(TaskRefused, match="none of the metrics"):
        await modeller.run(cast.coordinator(spec), cast.signature(spec))
    assert not any(one.what == "round" for one in cast.news)


def test_the_live_table_shows_the_round_and_what_each_pod_last_said() -> None:
    board = Board()
    for news in (
        News("pod", 0, 0, "bath", "accepted"),
        News("round", 2, 5, "", "round 2 of 5"),
        News("step", 2, 0, "", "sharing secrets: 3 pods"),
        News("pod", 2, 0, "hull", "it was started again"),
    ):
        board.take(news)
    assert (board.number, board.of, board.step) == (2, 5, "sharing secrets: 3 pods")
    assert board.pods == {"hull": "it was started again"}
    assert board.table().row_count == 1
