"""The table of moves: what is in it, and that both machines do what it says."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from secure_agg.errors import OutOfOrder
from secure_agg.messages import KINDS, MASKED
from secure_agg.transitions import (
    POD,
    SERVER,
    PodState,
    ServerState,
    diagram,
    kind_name,
    pod_move,
    server_move,
)
from tests.secure_agg.table import Setting, Table

ROOT = Path(__file__).resolve().parents[2]
MODES = ("active", "semi_honest")


def test_a_pod_only_goes_forward() -> None:
    order = list(PodState)
    assert all(order.index(move.state) < order.index(move.then) for move in POD)


@pytest.mark.parametrize("mode", MODES)
def test_each_state_expects_one_kind_of_message(mode: str) -> None:
    for state, kind in itertools.product(PodState, (*KINDS, MASKED)):
        listed = [m for m in POD if m.state is state and m.kind == kind and mode in m.modes]
        if listed:
            assert pod_move(mode, state, kind) is listed[0]  # type: ignore[arg-type]  # one of the two modes
        else:
            with pytest.raises(OutOfOrder):
                pod_move(mode, state, kind)  # type: ignore[arg-type]  # one of the two modes
        assert len(listed) <= 1


def test_shares_are_revealed_only_after_the_journal_was_stored() -> None:
    revealing = [move for move in POD if move.then is PodState.REVEALED]
    assert len(revealing) == 2
    assert all(move.journal for move in revealing)


def test_an_active_round_has_five_messages_of_a_pod_and_a_semi_honest_one_four() -> None:
    assert sum("active" in move.modes for move in POD) == 5
    assert sum("semi_honest" in move.modes for move in POD) == 4


@pytest.mark.parametrize("mode", MODES)
def test_the_machines_walk_through_the_table(mode: str) -> None:
    table = Table(Setting(parameters={"mode": mode}))
    pods, servers = [PodState.IDLE], []
    sent = table.start()
    while table.server.result is None:
        servers.append(table.server.state)
        answers = table.ask_all(sent)
        pods.append(table.clients["bath"].state)
        sent = table.tell(answers.values())
    servers.append(table.server.state)
    assert [(a, b) for a, b in itertools.pairwise(pods)] == [
        (m.state, m.then) for m in POD if mode in m.modes
    ]
    expected = [m for m in SERVER if mode in m.modes]
    assert list(itertools.pairwise(servers)) == [(move.state, move.then) for move in expected]
    assert table.clients["bath"].close() is None
    assert table.clients["bath"].state is PodState.CLOSED


def test_a_server_that_is_done_collects_nothing() -> None:
    for state in (ServerState.NEW, ServerState.DONE, ServerState.ABORTED):
        with pytest.raises(OutOfOrder):
            server_move("active", state)


def test_the_diagram_shows_every_move() -> None:
    text = diagram()
    for move in POD:
        assert f"{move.state.value} --> {move.then.value} : {kind_name(move.kind)}" in text
    assert text.count("stateDiagram-v2") == 2
    assert "uploaded --> aborted : anything else" in text


def test_the_diagram_in_the_documentation_is_current() -> None:
    command = [sys.executable, "-m", "secure_agg.transitions"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    assert made == diagram()
    page = ROOT / "docs" / "protocol.md"
    assert made in page.read_text(encoding="utf-8")


def test_states_and_kinds_have_these_names() -> None:
    assert [state.value for state in PodState] == [
        "idle", "advertised", "shared", "uploaded", "confirmed", "revealed", "closed", "aborted",
    ]  # fmt: skip
    assert [state.value for state in ServerState] == [
        "new", "adverts", "shares", "uploads", "confirmations", "reveals", "done", "aborted",
    ]  # fmt: skip
    assert [kind_name(bytes([kind])) for kind in range(10)] == [
        "invitation", "advert", "roster", "shares", "forward",
        "masked update", "survivors", "confirm", "proofs", "reveal",
    ]  # fmt: skip


def test_only_the_first_and_the_last_message_of_a_pod_wait_for_its_journal() -> None:
    assert [(move.sends, move.journal) for move in POD] == [
        (b"\x01", True), (b"\x03", False), (b"\x05", False), (b"\x07", False), (b"\x09", True), (b"\x09", True),
    ]  # fmt: skip


def test_a_message_that_is_not_expected_is_named() -> None:
    with pytest.raises(OutOfOrder, match="A pod that is shared does not expect a message of kind 'roster'"):
        pod_move("active", PodState.SHARED, b"\x02")
    for state in (ServerState.NEW, ServerState.DONE, ServerState.ABORTED):
        with pytest.raises(OutOfOrder, match=f"^A server that is {state.value} expects no message"):
            server_move("active", state)
