"""The server's side: one accumulator, deadlines, and messages that it refuses without losing the round."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from secure_agg.errors import OutOfOrder, RosterRefused, TooFewPods
from secure_agg.messages import FORWARD, INVITATION, PROOFS, ROSTER, SURVIVORS
from secure_agg.server import Server
from secure_agg.transitions import ServerState
from tests.secure_agg.table import MODELLER, Setting, Table


def peak_of_uploads(pods: int, length: int = 200_000) -> int:
    """Bytes that the server holds more at its fullest, while uploads come one by one."""
    table = Table(Setting(pods=pods, length=length))
    answers = table.ask_all(table.up_to(FORWARD))
    tracemalloc.start()
    for answer in answers.values():
        table.server.receive(answer, 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_streaming_server_memory_constant_in_n() -> None:
    few, many = peak_of_uploads(4), peak_of_uploads(12)
    assert many < few + 100_000 < 800_000


def test_the_server_goes_on_when_everybody_has_answered_and_not_before() -> None:
    table = Table()
    answers = list(table.ask_all(table.start()).values())
    for answer in answers[:-1]:
        assert table.server.receive(answer, 0.0) == ()
    assert len(table.server.waiting_for) == 1
    assert len(table.server.receive(answers[-1], 0.0)) == 5


def test_a_deadline_goes_on_without_the_missing() -> None:
    table = Table()
    answers = table.ask_all(table.start())
    del answers["hull"]
    for answer in answers.values():
        table.server.receive(answer, 0.0)
    assert table.server.tick(table.server.deadline - 0.001) == ()
    sent = table.server.tick(table.server.deadline)
    assert [out.to for out in sent] == ["bath", "kent", "leeds", "york"]
    assert table.server.deadline == 60.0 + table.spec.deadlines_s[1]


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        (INVITATION, "adverts"),
        (ROSTER, "shares"),
        (FORWARD, "uploads"),
        (SURVIVORS, "confirmations"),
        (PROOFS, "reveal"),
    ],
)
def test_too_few_pods_at_any_stage_end_the_round_without_a_number(kind: bytes, stage: str) -> None:
    table = Table()
    with pytest.raises(TooFewPods, match=rf"3 of \d pods answered at '{stage}'; the task needs 4\."):
        table.run(lost={"hull": kind, "york": kind})
    assert table.server.state is ServerState.ABORTED
    assert table.server.result is None
    with pytest.raises(OutOfOrder):
        table.server.receive(b"SA1\x01\x01", table.now)
    assert table.server.tick(1e9) == ()


def test_a_lost_confirmation_and_a_lost_reveal_cost_no_update() -> None:
    for kind in (SURVIVORS, PROOFS):
        table = Table()
        result = table.run(lost={"hull": kind})
        assert result.survivors == table.names
        assert np.abs(result.mean - table.mean_of(table.names)).max() <= result.report.error_bound


def test_a_server_is_started_once() -> None:
    table = Table()
    table.start()
    with pytest.raises(OutOfOrder, match="started before"):
        table.server.start(0.0)


def test_the_server_needs_the_keys_of_its_cohort() -> None:
    table = Table()
    with pytest.raises(RosterRefused, match="not pinned"):
        Server(table.spec, MODELLER, {"bath": table.pinned["bath"]})


def test_the_report_counts_what_was_sent() -> None:
    table = Table()
    table.now = 100.0
    result = table.run(lost={"york": FORWARD})
    report = result.report
    up = [data for way, data in table.transcript if way == "up"]
    down = [data for way, data in table.transcript if way == "down"]
    assert report.bytes_up == sum(map(len, up))
    assert report.bytes_down == sum(map(len, down))
    assert (report.n_invited, report.n_survivors, report.t, report.colluders_tolerated) == (5, 4, 4, 2)
    assert (report.mode, report.graph, report.bits, report.clipped_fraction) == ("active", "complete", 32, 0)
    assert report.seconds == 600  # the deadline of the uploads that york did not send
    assert result.weight == 4


def test_a_pod_sends_little_beside_its_words() -> None:
    """All its other bytes, signatures and shares included: 2 kB and 400 for each pod of the cohort at most."""
    table = Table(Setting(pods=12, length=100))
    table.run()
    others = sum(len(data) for way, data in table.transcript if way == "up") / 12 - 4 * 108
    assert others < 2000 + 12 * 400
