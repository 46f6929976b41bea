"""Changes that a mutation run made and no test noticed."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from secure_agg import Parameters, messages, shamir, simulate
from secure_agg.errors import MalformedMessage, OutOfOrder, SharesRefused
from secure_agg.keys import sign
from secure_agg.messages import PROOFS, REVEAL, ROSTER, SHARES, Envelope, Reveal, Shares
from secure_agg.recovery import _combined
from secure_agg.transitions import PodState
from secure_agg.uploads import LANE_WORDS, Seen, decode_upload, encode_upload, upload_header
from tests.secure_agg.table import DOWN, IDENTITIES, NAMES, Table


def test_the_clipped_fraction_is_of_all_coordinates_of_the_survivors() -> None:
    parameters = Parameters(length=8, clip=1.0, minimum_survivors=3, on_clip="clip")
    updates = {name: np.zeros(8) for name in NAMES[:5]}
    updates["bath"] = np.array([3.0, -3.0, 0, 0, 0, 0, 0, 0])
    assert simulate(parameters, updates).report.clipped_fraction == 2 / 40


def upload_of(name: str) -> bytes:
    words = np.zeros(4, "<u4")
    header = upload_header(Seen(bytes(32), bytes(32), bytes(32)), name, np.zeros(LANE_WORDS, "<u8"), words)
    return encode_upload(header, bytes(64), words)


@pytest.mark.parametrize("name", ["", "café"])
def test_an_upload_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage, match="names its pod in another form"):
        decode_upload(upload_of(name), 4, 32)


@pytest.mark.parametrize("name", ["a", "a" * 63, "a" * 64])
def test_an_upload_names_its_pod_by_1_to_64_letters(name: str) -> None:
    assert decode_upload(upload_of(name), 4, 32).sender == name


def test_one_limb_that_is_none_leaves_every_owner_to_be_looked_at_alone() -> None:
    good = np.zeros((3, 16), np.uint32)
    too_large = np.full((3, 16), 65536, np.uint32)  # a constant polynomial, so the limb is 65536 too
    holders = (1, 2, 3)
    assert _combined({"bath": (holders, good)}, 3) == {"bath": bytes(32)}
    assert _combined({"bath": (holders, good), "hull": (holders, too_large)}, 3) == {}


def lying(table: Table, answer: bytes, owner: str, share: bytes) -> bytes:
    """A reveal in which one share of another pod's own mask is what the liar likes."""
    envelope = messages.decode(answer, REVEAL, Envelope, len(table.names))
    reveal = messages.decode_body(REVEAL, envelope.body, Reveal)
    own = tuple((name, share if name == owner else kept) for name, kept in reveal.own_masks)
    body = messages.encode_body(msgspec.structs.replace(reveal, own_masks=own))
    return messages.encode(
        REVEAL, Envelope(reveal.sender, body, sign(IDENTITIES[reveal.sender], REVEAL, body))
    )


def share_that_breaks_a_limb(table: Table, answers: dict[str, bytes], owner: str, liar: str) -> bytes:
    """The liar's share that, with the others', gives 65536 for the first limb: which is no limb."""
    holders = table.server._seen.holders(owner)
    threshold = table.spec.threshold
    rows = {}
    for holder, answer in answers.items():
        envelope = messages.decode(answer, REVEAL, Envelope, len(table.names))
        reveal = messages.decode_body(REVEAL, envelope.body, Reveal)
        rows[holders.index(holder) + 1] = shamir.from_bytes(dict(reveal.own_masks)[owner], 1)[0].astype(int)
    used = tuple(sorted(rows)[:threshold])
    mine = holders.index(liar) + 1
    weights = dict(zip(used, shamir.lagrange_at_zero(used).astype(int).tolist(), strict=True))
    others = sum(weights[each] * rows[each][0] for each in used if each != mine)
    wrong = rows[mine].copy()
    wrong[0] = (65536 - others) * pow(weights[mine], -1, shamir.PRIME) % shamir.PRIME
    return shamir.to_bytes(wrong.astype(np.uint32)[np.newaxis])


def test_one_liar_who_spoils_the_common_recovery_does_not_spoil_the_sum() -> None:
    """65536 ends the recovery of all owners at once; each is then opened alone, without the liar."""
    table = Table()
    answers = table.ask_all(table.up_to(PROOFS))
    share = share_that_breaks_a_limb(table, answers, "york", "bath")
    answers["bath"] = lying(table, answers["bath"], "york", share)
    result = table.finish(table.tell(answers.values()))
    assert result.survivors == table.names
    assert np.abs(result.mean - table.mean_of(table.names)).max() <= result.report.error_bound


@pytest.mark.parametrize("share", [bytes(60), bytes(63), bytes(68), bytes(128), b"\xff" * 64])
def test_a_revealed_share_that_is_none_is_refused_and_its_sender_may_answer_again(share: bytes) -> None:
    table = Table()
    answers = table.ask_all(table.up_to(PROOFS))
    with pytest.raises(SharesRefused, match="a share that is none") as refused:
        table.server.receive(lying(table, answers["bath"], "york", share), table.now)
    assert refused.value.sender == "bath"
    assert table.finish(table.tell(answers.values())).survivors == table.names


def resent(table: Table, answer: bytes, kind: bytes, body_type: Any, **changed: Any) -> bytes:
    """A pod's own message with another content, well signed by that pod."""
    envelope = messages.decode(answer, kind, Envelope, len(table.names))
    body = messages.decode_body(kind, envelope.body, body_type)
    data = messages.encode_body(msgspec.structs.replace(body, **changed))
    return messages.encode(
        kind, Envelope(envelope.sender, data, sign(IDENTITIES[envelope.sender], kind, data))
    )


@pytest.mark.parametrize(("kind", "sent", "body"), [(SHARES, ROSTER, Shares), (REVEAL, PROOFS, Reveal)])
def test_a_body_that_names_another_pod_than_its_envelope_is_refused(
    kind: bytes, sent: bytes, body: Any
) -> None:
    table = Table()
    answers = table.ask_all(table.up_to(sent))
    with pytest.raises(MalformedMessage, match="names another pod than its envelope"):
        table.server.receive(resent(table, answers["bath"], kind, body, sender="hull"), table.now)
    assert table.finish(table.tell(answers.values())).survivors == table.names


@pytest.mark.parametrize("change", ["missing", "itself", "order", "twice"])
def test_shares_are_for_exactly_the_neighbours_of_their_sender(change: str) -> None:
    table = Table()
    answers = table.ask_all(table.up_to(ROSTER))
    envelope = messages.decode(answers["bath"], SHARES, Envelope, 5)
    sealed = messages.decode_body(SHARES, envelope.body, Shares).sealed
    wrong = {
        "missing": sealed[:-1],
        "itself": (("bath", sealed[0][1]), *sealed[1:]),
        "order": sealed[::-1],
        "twice": (*sealed, sealed[-1]),
    }[change]
    with pytest.raises(SharesRefused, match="exactly the neighbours of their sender") as refused:
        table.server.receive(resent(table, answers["bath"], SHARES, Shares, sealed=wrong), table.now)
    assert refused.value.sender == "bath"
    assert table.finish(table.tell(answers.values())).survivors == table.names


@pytest.mark.parametrize("kind", DOWN[1:])
def test_a_pod_that_is_closed_says_nothing_more_and_one_that_is_out_stays_out(kind: bytes) -> None:
    table = Table()
    sent = table.up_to(kind)
    table.clients["bath"].close()
    assert table.clients["bath"].state is PodState.CLOSED
    with pytest.raises(OutOfOrder):
        table.ask("bath", sent["bath"])
    assert table.clients["bath"].state is PodState.ABORTED
    table.clients["bath"].close()
    assert table.clients["bath"].state is PodState.ABORTED
