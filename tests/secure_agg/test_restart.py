"""A server that is put together again from what was stored, and pods that are given up on."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from secure_agg.errors import MalformedMessage, OutOfOrder, TooFewPods
from secure_agg.messages import FORWARD, PROOFS, ROSTER, SURVIVORS
from secure_agg.recovery import MaskedSum
from secure_agg.server import Server
from secure_agg.transitions import ServerState
from tests.secure_agg.table import MODELLER, Table


def given_up(table: Table, name: str) -> dict[str, bytes]:
    return {out.to: out.data for out in table.server.give_up(name, table.now)}


@pytest.mark.parametrize("kind", [ROSTER, FORWARD, SURVIVORS, PROOFS])
def test_a_pod_that_was_given_up_is_not_waited_for(kind: bytes) -> None:
    table = Table()
    sent = table.up_to(kind)
    answers = table.ask_all({name: data for name, data in sent.items() if name != "hull"})
    for answer in answers.values():
        assert table.server.receive(answer, table.now) == ()
    following = given_up(table, "hull")
    if kind == PROOFS:
        result = table.server.result
    else:
        assert "hull" not in following
        result = table.finish(following)
    assert result is not None
    in_sum = table.names if kind in (SURVIVORS, PROOFS) else [name for name in table.names if name != "hull"]
    assert result.survivors == tuple(in_sum)
    np.testing.assert_allclose(result.mean, table.mean_of(in_sum), atol=1e-5)
    assert table.now == 0.0, "no deadline had to pass"


def test_giving_up_on_somebody_who_has_answered_changes_nothing() -> None:
    table = Table()
    sent = table.start()
    table.server.receive(table.ask("hull", sent["hull"]), 0.0)
    waiting = table.server.waiting_for
    assert table.server.give_up("hull", 0.0) == table.server.give_up("nobody", 0.0) == ()
    assert table.server.waiting_for == waiting


def test_giving_up_on_too_many_ends_the_round_without_a_number() -> None:
    table = Table()
    table.start()
    with pytest.raises(TooFewPods):
        for name in table.names:
            table.server.give_up(name, 0.0)
    assert table.server.state is ServerState.ABORTED
    assert table.server.give_up("hull", 0.0) == ()


def put_together(
    table: Table, adverts: list[bytes], shares: list[bytes], stored: MaskedSum
) -> dict[str, bytes]:
    """Another server of the same round, from the stored messages and the stored sum."""
    server = Server(table.spec, MODELLER, table.pinned)
    server.start(0.0)
    for message in (*adverts, *shares):
        server.receive(message, 0.0)
    table.server = server
    return {out.to: out.data for out in server.take_sum(stored, 0.0)}


def stored_round() -> tuple[Table, list[bytes], list[bytes], MaskedSum, dict[str, bytes]]:
    table = Table()
    adverts = list(table.ask_all(table.start()).values())
    shares = list(table.ask_all(table.tell(adverts)).values())
    forwards = table.tell(shares)
    assert table.server.masked_sum() is None
    uploads = list(table.ask_all(forwards).values())
    survivors = table.tell(uploads)
    stored = table.server.masked_sum()
    assert stored is not None
    return table, adverts, shares, copy.deepcopy(stored), survivors


def test_a_server_from_the_stored_sum_says_the_same_and_opens_the_same_mean() -> None:
    table, adverts, shares, stored, survivors = stored_round()
    assert put_together(table, adverts, shares, stored) == survivors
    result = table.finish(survivors)
    np.testing.assert_allclose(result.mean, table.mean_of(table.names), atol=1e-5)


@pytest.mark.parametrize("change", ["length", "lane", "type", "names"])
def test_a_stored_sum_of_another_round_is_refused(change: str) -> None:
    table, adverts, shares, stored, _ = stored_round()
    if change == "length":
        stored.words = stored.words[:-1]
    elif change == "lane":
        stored.lane = stored.lane[:3]
    elif change == "type":
        stored.words = stored.words.view("<u2")
    else:
        stored.survivors[0] = "nobody"
    with pytest.raises(MalformedMessage):
        put_together(table, adverts, shares, stored)


def test_a_stored_sum_does_not_come_after_an_upload_nor_before_the_shares() -> None:
    table, adverts, _, stored, _ = stored_round()
    with pytest.raises(OutOfOrder):
        put_together(table, adverts, [], stored)
    other = Table()
    uploads = list(other.ask_all(other.up_to(FORWARD)).values())
    other.server.receive(uploads[0], 0.0)
    with pytest.raises(OutOfOrder):
        other.server.take_sum(stored, 0.0)


def test_a_stored_sum_over_too_few_pods_ends_the_round() -> None:
    table, adverts, shares, stored, _ = stored_round()
    del stored.survivors[3:]
    with pytest.raises(TooFewPods):
        put_together(table, adverts, shares, stored)
