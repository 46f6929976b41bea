"""A modeller and a pod that are killed in real processes; `make proof` does it at twenty moments."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.exact_kills import Moment, killed_task
from tests.end_to_end.replayed_tasks import MODELLER

FOUR = ("bath", "hull", "kent", "leeds")


def test_a_modeller_killed_at_any_moment_and_started_again_ends_with_the_same_model(tmp_path: Path) -> None:
    moments = {MODELLER: [Moment(90)]}
    seen = killed_task(tmp_path, moments, epochs=3, names=FOUR, apart=False)
    assert not seen.faults
    assert [kill.who for kill in seen.kills] == [MODELLER]
    assert seen.rounds == [FOUR] * 3


def test_a_pod_killed_in_a_round_misses_that_round_alone(tmp_path: Path) -> None:
    # It has entered the first round (the sum of the weights came before); the modeller has no answer yet.
    entered = "after insert into masked"
    seen = killed_task(tmp_path, {"kent": [Moment(3, what=entered)]}, epochs=3, names=FOUR, apart=False)
    assert not seen.faults
    assert [kill.who for kill in seen.kills] == ["kent"]
    assert seen.kills[0].last_act == entered
    assert seen.rounds == [("bath", "hull", "leeds"), FOUR, FOUR]
