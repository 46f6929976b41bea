"""Whatever frame a peer sends, the machine takes it, or refuses it with an error of ours and forgets it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_agg.errors import SecureAggError
from secure_agg.graph import commitment
from secure_agg.journal import PodPolicy
from secure_agg.keys import sign
from secure_agg.messages import (
    ADVERT,
    FORWARD,
    INVITATION,
    MASKED,
    PROOFS,
    ROSTER,
    SURVIVORS,
    Envelope,
    Invitation,
    encode,
)
from secure_agg.parameters import DpSpec, Encoding
from secure_agg.pod_setup import Contribution
from secure_agg.recovery import MaskedSum
from secure_agg.server import Server
from secure_agg.specification import Member
from secure_agg.transitions import PodState, ServerState
from secure_agg.uploads import HEADER_SIZE, SIGNED_SIZE
from tests.secure_agg.table import DOWN, IDENTITIES, MODELLER, Messages, Setting, Table, sha

SETTINGS = {
    "active": Setting(),
    "semi-honest": Setting(parameters={"mode": "semi_honest"}),
    "sparse": Setting(
        pods=7,
        parameters={"mode": "semi_honest", "graph": "sparse", "degree": 4, "sparse_threshold": 3},
        policy=PodPolicy(minimum_survivors=3, semi_honest=True, sparse_corrupt=0.0, sparse_dropped=0.0),
    ),
}
STEPS = [(mode, kind) for mode in SETTINGS for kind in DOWN if mode == "active" or kind != PROOFS]
ALL = pytest.mark.parametrize(("mode", "kind"), STEPS, ids=lambda given: str(given))
UPDATE_LOST = (INVITATION, ROSTER, FORWARD)
"""A pod that does not answer one of these is not in the sum; later its update is there already."""
BATH = "bath"


class SparseTable(Table):
    """A round on a sparse graph, to whose seed every pod brings a nonce."""

    def members(self) -> list[Member]:
        return [
            msgspec.structs.replace(one, nonce_commitment=commitment(one.name, sha(one.name)))
            for one in super().members()
        ]

    def contribution(self, name: str) -> Contribution:
        return replace(super().contribution(name), graph_nonce=sha(name))


def laid(mode: str, **changed: str) -> Table:
    kind = SparseTable if mode == "sparse" else Table
    return kind(replace(SETTINGS[mode], **changed))  # type: ignore[arg-type]  # texts of the setting


def trace(server: Server) -> dict[str, Any]:
    """All that the server remembers, as values that do not change with it."""

    def value(found: Any) -> Any:
        if isinstance(found, MaskedSum):
            return found.words.tobytes(), found.lane.tobytes(), tuple(found.survivors)
        if isinstance(found, dict):
            return {name: value(each) for name, each in found.items()}
        return set(found) if isinstance(found, set) else found

    return {name: value(found) for name, found in vars(server).items()}


def offered(server: Server, data: bytes) -> bool:
    """Whether the server takes a frame; one that it refuses has changed nothing."""
    before = trace(server)
    try:
        server.receive(data, 0.0)
    except SecureAggError:
        if server.state is not ServerState.ABORTED:
            assert trace(server) == before
        return False
    return True


def is_right(table: Table, names: tuple[str, ...]) -> bool:
    result = table.server.result
    assert result is not None
    right = np.abs(result.mean - table.mean_of(names)).max() <= result.report.error_bound
    return bool(right) and result.survivors == names


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bits flipped, bytes cut off, put on, or put in the place of others."""
    part = st.floats(0, 1, exclude_max=True)
    what = draw(st.sampled_from(["flip", "cut", "add", "put", "tail"]))
    where, bit, more = draw(part), draw(st.integers(0, 7)), draw(st.binary(min_size=1, max_size=40))

    def change(data: bytes) -> bytes:
        at = int(where * len(data))
        if what == "flip":
            return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] if data else more
        if what == "put":
            return data[:at] + more + data[at + len(more) :]
        return {"cut": data[:at], "add": data[:at] + more + data[at:], "tail": data + more}[what]

    return change


def play_on(table: Table, sent: Messages, lost: tuple[str, ...] = ()) -> None:
    """Finish the round; a pod that refuses a message says nothing more. Ends with a result or an error of ours."""
    gone = set(lost)
    while table.server.result is None:
        answers = []
        for name, data in sent.items():
            if name not in gone:
                try:
                    answers.append(table.ask(name, data))
                except SecureAggError:
                    gone.add(name)
        sent = table.tell(answers)


def at_step(mode: str, kind: bytes) -> tuple[Table, Messages, Messages]:
    """A round in which the server waits for the answers to its messages of ``kind``: both are given."""
    table = laid(mode)
    sent = table.up_to(kind)
    return table, sent, table.ask_all(sent)


@cache
def whole_round(mode: str, task: str) -> tuple[bytes, ...]:
    """All frames of an honest round."""
    table = laid(mode, task=task)
    table.run()
    return tuple(frame for _, frame in table.transcript)


# ---- to the server ----


@ALL
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_pod_whose_frame_came_changed_is_lost_or_sends_it_again(mode: str, kind: bytes, data: Any) -> None:
    table, _, answers = at_step(mode, kind)
    changed = data.draw(st.lists(changes(), min_size=1, max_size=3))
    frames = [frame for change in changed if (frame := change(answers[BATH])) != answers[BATH]]
    again, others = data.draw(st.booleans()), [name for name in answers if name != BATH]
    for name in data.draw(st.permutations([*others, *frames])):
        assert offered(table.server, answers.get(name, name)) is (name in others)  # type: ignore[arg-type]  # frames
    if again:
        mail = table.server.receive(answers[BATH], 0.0)
    else:
        mail = table.server.give_up(BATH, 0.0)
    play_on(table, {out.to: out.data for out in mail})
    in_sum = again or kind not in UPDATE_LOST
    assert is_right(table, tuple(name for name in table.names if in_sum or name != BATH))


@ALL
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_frames_that_come_twice_early_late_or_from_elsewhere_change_nothing(
    mode: str, kind: bytes, data: Any
) -> None:
    table, _, answers = at_step(mode, kind)
    honest, past = list(answers.values()), [frame for _, frame in table.transcript]
    stray = st.sampled_from([*honest, *past, *whole_round(mode, "another"), *whole_round(mode, "a task")])
    mail: Messages = {}
    waiting = set(honest)
    for frame in data.draw(st.permutations([*honest, *data.draw(st.lists(stray, max_size=12))])):
        if not waiting and frame not in (*honest, *past):
            continue  # it may be what the next step waits for
        before = trace(table.server)
        try:
            mail |= {out.to: out.data for out in table.server.receive(frame, 0.0)}
        except SecureAggError:
            assert trace(table.server) == before
            assert frame not in waiting
        else:
            waiting.remove(frame)
    play_on(table, mail)
    assert is_right(table, table.names)


def resigned(frame: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A frame of a pod that changes what it says and signs that."""
    kind, signer = frame[4:5], IDENTITIES[name]
    if kind == MASKED:
        words = change(frame[HEADER_SIZE:])
        header = change(frame[: SIGNED_SIZE - 33]) + hashlib.sha256(words).digest() + b"\0"
        return header + sign(signer, kind, header) + words
    body = change(msgspec.msgpack.decode(frame[5:], type=Envelope).body)
    return encode(kind, Envelope(name, body, sign(signer, kind, body)))


@ALL
@settings(max_examples=12, deadline=None)
@given(change=changes())
def test_what_a_lying_pod_signs_ends_in_a_sum_or_an_error_of_ours(
    mode: str, kind: bytes, change: Callable[[bytes], bytes]
) -> None:
    table, _, answers = at_step(mode, kind)
    lie = resigned(answers[BATH], BATH, change)
    taken = offered(table.server, lie)
    others = [answers[name] for name in answers if name != BATH]
    try:
        play_on(table, table.tell(others))
    except SecureAggError:
        assert taken  # what was refused does not cost the others their sum
        return
    in_sum = kind not in UPDATE_LOST
    if not taken:
        assert is_right(table, tuple(name for name in table.names if in_sum or name != BATH))


# ---- to a pod ----


@ALL
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_pod_that_is_sent_a_changed_frame_is_out_and_the_others_finish(
    mode: str, kind: bytes, data: Any
) -> None:
    table = laid(mode)
    sent = table.up_to(kind)
    stray = [frame for _, frame in table.transcript] + list(sent.values())
    frame = data.draw(changes().map(lambda change: change(sent[BATH])) | st.sampled_from(stray))
    answered = frame == sent[BATH]
    if answered:  # what comes a second time costs the pod no answer that it has given
        assert offered(table.server, table.ask(BATH, frame))
    try:
        said = table.ask(BATH, frame)
    except SecureAggError:
        assert table.clients[BATH].state is PodState.ABORTED
    else:  # a pod of a sparse graph believes what is said of pods that are not its neighbours
        assert mode == "sparse"
        if offered(table.server, said):
            assert kind == SURVIVORS  # it says of its neighbours what it would have said
    rest = table.ask_all({name: each for name, each in sent.items() if name != BATH})
    play_on(table, table.tell(rest.values()), lost=(BATH,))
    in_sum = kind not in UPDATE_LOST or (answered and kind == FORWARD)
    assert is_right(table, tuple(name for name in table.names if in_sum or name != BATH))


@settings(max_examples=60, deadline=None)
@given(change=changes())
def test_a_specification_of_any_bytes_is_entered_or_refused(change: Callable[[bytes], bytes]) -> None:
    table = Table()
    body = change(table.spec.to_bytes())
    with_signature = Invitation(body, sign(MODELLER, INVITATION, body))
    entered_or_refused(table, encode(INVITATION, with_signature))


FLOATS = st.floats(allow_nan=True) | st.sampled_from([0.0, 1.0, 0.5, 2.0**20, 5e-324, 1e-9, 1e308])
COUNTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 8)
NUMBERS: Mapping[str, st.SearchStrategy[Any]] = {
    "round": COUNTS,
    "degree": COUNTS,
    "threshold": COUNTS,
    "minimum_survivors": COUNTS,
    "length": COUNTS | st.just(7),
    "dp": st.builds(
        DpSpec, st.sampled_from(["none", "distributed_discrete_gaussian"]), FLOATS, FLOATS, FLOATS
    ),
    "deadlines_s": st.tuples(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS),
    "encoding": st.builds(
        Encoding,
        bits=st.sampled_from([16, 32, 64]),
        clip=FLOATS,
        scale=FLOATS | st.integers(-1074, 1023).map(lambda power: 2.0**power),
        weighting=st.sampled_from(["equal", "weights_first", "per_round"]),
        maximum_weight=FLOATS,
        rounding=st.sampled_from(["stochastic", "nearest"]),
        on_clip=st.sampled_from(["clip", "error"]),
        l2_clip=FLOATS,
    ),
}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_specification_with_any_numbers_is_entered_or_refused(data: Any) -> None:
    table = Table()
    chosen = data.draw(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=3, unique=True))
    given = {name: data.draw(NUMBERS[name], name) for name in chosen}
    body = msgspec.structs.replace(table.spec, **given).to_bytes()
    entered_or_refused(table, encode(INVITATION, Invitation(body, sign(MODELLER, INVITATION, body))))


def entered_or_refused(table: Table, invitation: bytes) -> None:
    try:
        advert = table.ask(BATH, invitation)
    except SecureAggError:
        assert table.clients[BATH].state is PodState.ABORTED
    else:
        assert advert[4:5] == ADVERT
