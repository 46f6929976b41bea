"""Messages that come twice, late, changed, from another round, or from somebody else."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from secure_agg import messages, uploads
from secure_agg.errors import (
    BadShare,
    BadSignature,
    MalformedMessage,
    OutOfOrder,
    ProtocolError,
    RosterRefused,
    RoundRepeated,
    SharesRefused,
    TooFewPods,
    UnmaskIntegrityError,
)
from secure_agg.journal import PodJournal, admit, read_journal, release
from secure_agg.keys import Agreement, Channel, sign
from secure_agg.messages import (
    ADVERT,
    CONFIRM,
    FORWARD,
    INVITATION,
    MASKED,
    PROOFS,
    REVEAL,
    ROSTER,
    SHARES,
    SURVIVORS,
    Advert,
    Envelope,
    Forward,
    Reveal,
    Shares,
)
from secure_agg.specification import spec_hash
from secure_agg.transitions import PodState, ServerState
from tests.secure_agg.table import DOWN, IDENTITIES, Setting, Table, sha

NEXT = Setting(seed="the next round", model="the next", number=1, previous=sha("a model"))
UP = {INVITATION: ADVERT, ROSTER: SHARES, FORWARD: MASKED, SURVIVORS: CONFIRM, PROOFS: REVEAL}


@pytest.mark.parametrize("kind", DOWN[1:])
def test_replay_of_every_message_rejected(kind: bytes) -> None:
    """To a pod a second copy is the end of its round; to the server it is refused and changes nothing."""
    table = Table()
    sent = table.up_to(kind)
    answer = table.ask("bath", sent["bath"])
    with pytest.raises(OutOfOrder):
        table.ask("bath", sent["bath"])
    assert table.clients["bath"].state is PodState.ABORTED
    rest = table.ask_all({name: data for name, data in sent.items() if name != "bath"})
    table.tell([answer, *rest.values()])
    with pytest.raises(ProtocolError):
        table.server.receive(answer, table.now)


def test_a_second_invitation_is_the_end_of_the_round_for_a_pod() -> None:
    table = Table()
    sent = table.start()
    table.ask("bath", sent["bath"])
    with pytest.raises(OutOfOrder):
        table.clients["bath"].start(sent["bath"], table.contribution("bath"), 0.0)
    assert table.clients["bath"].state is PodState.ABORTED


def test_a_second_upload_is_refused_and_not_added() -> None:
    table = Table()
    forwards = table.up_to(FORWARD)
    answers = table.ask_all(forwards)
    table.server.receive(answers["bath"], 0.0)
    with pytest.raises(OutOfOrder, match="second time"):
        table.server.receive(answers["bath"], 0.0)
    del answers["bath"]
    result = table.finish(table.tell(answers.values()))
    assert np.abs(result.mean - table.mean_of(table.names)).max() <= result.report.error_bound


@pytest.mark.parametrize("kind", DOWN[1:])
def test_cross_round_and_cross_task_splice_rejected(kind: bytes) -> None:
    """A message of another round or task, honest in itself, is refused by pod and server."""
    for other in (NEXT, Setting(task="another task", seed="another", model="another")):
        here, there = Table(), Table(other)
        mine, theirs = here.up_to(kind), there.up_to(kind)
        with pytest.raises(ProtocolError):
            here.ask("bath", theirs["bath"])
        assert here.clients["bath"].state is PodState.ABORTED
        with pytest.raises(ProtocolError):
            here.server.receive(there.ask("hull", theirs["hull"]), 0.0)
        here.server.receive(here.ask("hull", mine["hull"]), 0.0)


@pytest.mark.parametrize("kind", DOWN[1:])
@pytest.mark.parametrize("late", DOWN[1:])
def test_out_of_order_message_is_terminal(kind: bytes, late: bytes) -> None:
    if kind == late:
        return
    wrong = Table().up_to(late)["bath"]
    table = Table()
    table.up_to(kind)
    with pytest.raises(OutOfOrder):
        table.ask("bath", wrong)
    assert table.clients["bath"].state is PodState.ABORTED


def test_a_message_after_the_deadlines_is_terminal() -> None:
    table = Table()
    sent = table.up_to(ROSTER)
    table.now = sum(table.spec.deadlines_s) + 1
    with pytest.raises(OutOfOrder, match="after the deadlines"):
        table.ask("bath", sent["bath"])
    assert table.clients["bath"].state is PodState.ABORTED


def test_the_server_takes_nothing_after_a_deadline() -> None:
    table = Table()
    answers = table.ask_all(table.start())
    with pytest.raises(OutOfOrder, match="after its deadline"):
        table.server.receive(answers["bath"], table.server.deadline + 1)
    assert table.server.tick(table.server.deadline - 1) == ()


# ---- changed on the way ----


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("kind", DOWN)
def test_a_flipped_bit_in_a_message_to_a_pod_never_yields_a_number(kind: bytes) -> None:
    """Each byte in turn, in one pod's message: it refuses, or (in a share of a peer) names the sender."""
    honest = Table().up_to(kind)["bath"]
    places = sorted({*range(0, len(honest), max(1, len(honest) // 24)), len(honest) - 1})
    for at in places:
        table = Table()
        table.up_to(kind)
        with pytest.raises(ProtocolError):
            table.ask("bath", flipped(honest, at))
        assert table.clients["bath"].state is PodState.ABORTED


@pytest.mark.parametrize("kind", DOWN)
def test_a_flipped_bit_in_a_message_to_the_server_changes_nothing(kind: bytes) -> None:
    table = Table()
    sent = table.up_to(kind)
    answer = table.ask("bath", sent.pop("bath"))
    for at in sorted({*range(0, len(answer), max(1, len(answer) // 24)), len(answer) - 1}):
        with pytest.raises(ProtocolError):
            table.server.receive(flipped(answer, at), 0.0)
    result = table.finish(table.tell([answer, *table.ask_all(sent).values()]))
    assert result.survivors == table.names


def forward_with(table: Table, sent: bytes, change: Callable[[Forward], Forward]) -> bytes:
    return messages.encode(FORWARD, change(messages.decode(sent, FORWARD, Forward, 5)))


def test_ciphertext_bit_flip_names_sender() -> None:
    table = Table()
    sent = table.up_to(FORWARD)["bath"]

    def change(forward: Forward) -> Forward:
        sealed = [(name, flipped(data, 40) if name == "leeds" else data) for name, data in forward.sealed]
        return msgspec.structs.replace(forward, sealed=tuple(sealed))

    with pytest.raises(SharesRefused, match="share from pod 'leeds' could not be authenticated") as refused:
        table.ask("bath", forward_with(table, sent, change))
    assert refused.value.sender == "leeds"


def test_share_for_wrong_recipient_rejected() -> None:
    """What leeds sealed for hull is shown to bath."""
    table = Table()
    sent = table.up_to(FORWARD)
    for_hull = dict(messages.decode(sent["hull"], FORWARD, Forward, 5).sealed)

    def change(forward: Forward) -> Forward:
        sealed = [(name, for_hull[name] if name == "leeds" else data) for name, data in forward.sealed]
        return msgspec.structs.replace(forward, sealed=tuple(sealed))

    with pytest.raises(SharesRefused, match="'leeds'"):
        table.ask("bath", forward_with(table, sent["bath"], change))


@pytest.mark.parametrize(
    "plain", [b"", bytes(120), bytes(136), bytes(256), b"\x01\x00\x01\x00" * 32, b"\xff" * 128]
)
def test_a_well_sealed_share_that_is_none_is_refused_and_names_its_sender(plain: bytes) -> None:
    """A colluding pod seals what it likes: another length, or a value outside the field."""
    table = Table()
    sent = table.up_to(FORWARD)["bath"]
    key = table.clients["hull"]._secrets._channel_key.open()  # type: ignore[union-attr]  # hull is the attacker
    roster = table.clients["hull"]._seen
    shared = Agreement(key).with_key(roster.adverts["bath"].channel_key)
    hashed = spec_hash(table.spec.to_bytes())
    forged = Channel(shared, hashed, roster.hash, "hull", "bath").seal(plain)

    def change(forward: Forward) -> Forward:
        sealed = [(name, forged if name == "hull" else data) for name, data in forward.sealed]
        return msgspec.structs.replace(forward, sealed=tuple(sealed))

    with pytest.raises(ProtocolError) as refused:
        table.ask("bath", forward_with(table, sent, change))
    if plain:
        assert isinstance(refused.value, SharesRefused)
        assert refused.value.sender == "hull"
    assert table.clients["bath"].state is PodState.ABORTED


def test_reflected_share_rejected() -> None:
    """What bath itself sealed for leeds comes back as if leeds had sent it."""
    table = Table()
    table.up_to(ROSTER)
    own = table.ask("bath", next(d for _, d in table.transcript if d[4:5] == ROSTER))
    body = messages.decode_body(SHARES, messages.decode(own, SHARES, Envelope, 5).body, Shares)
    mine = dict(body.sealed)
    table = Table()
    sent = table.up_to(FORWARD)

    def change(forward: Forward) -> Forward:
        sealed = [(name, mine[name]) for name, _ in forward.sealed]
        return msgspec.structs.replace(forward, sealed=tuple(sealed))

    with pytest.raises(SharesRefused):
        table.ask("bath", forward_with(table, sent["bath"], change))


@pytest.mark.parametrize("at", [0, 5, 20, 120, 210, 270, 320, -1])
def test_tampered_masked_vector_signature_fails(at: int) -> None:
    table = Table()
    answers = table.ask_all(table.up_to(FORWARD))
    data = bytearray(answers["bath"])
    data[at] ^= 0x40
    with pytest.raises(ProtocolError):
        table.server.receive(bytes(data), 0.0)
    result = table.finish(table.tell(answers.values()))
    assert result.survivors == table.names


def test_a_vector_whose_hash_was_fixed_up_fails_by_its_signature() -> None:
    table = Table()
    upload = table.ask_all(table.up_to(FORWARD))["bath"]
    words = np.frombuffer(upload[uploads.HEADER_SIZE :], "<u4") + np.uint32(1)
    seen = uploads.decode_upload(upload, 15, 32)
    hashes = uploads.Seen(seen.spec_hash, seen.roster_hash, seen.shared_hash)
    header = uploads.upload_header(hashes, "bath", seen.lane, words)
    with pytest.raises(BadSignature):
        table.server.receive(uploads.encode_upload(header, seen.signature, words), 0.0)
    other = sign(IDENTITIES["hull"], MASKED, header)
    with pytest.raises(BadSignature):
        table.server.receive(uploads.encode_upload(header, other, words), 0.0)


def test_an_upload_over_another_set_of_pods_is_refused() -> None:
    """The pod was shown other sharers than the server has: its masks would not cancel."""
    table = Table()
    upload = table.ask_all(table.up_to(FORWARD))["bath"]
    seen = uploads.decode_upload(upload, 15, 32)
    words = seen.words.copy()
    hashes = uploads.Seen(seen.spec_hash, seen.roster_hash, sha("other pods"))
    header = uploads.upload_header(hashes, "bath", seen.lane, words)
    signed = uploads.encode_upload(header, sign(IDENTITIES["bath"], MASKED, header), words)
    with pytest.raises(OutOfOrder, match="another round, roster or set of pods"):
        table.server.receive(signed, 0.0)


# ---- what the server checks after unmasking ----


def lying_upload(table: Table, name: str, upload: bytes, lane: int, word: int) -> bytes:
    """A pod that signs other numbers than its encoding gives."""
    seen = uploads.decode_upload(upload, 15, 32)
    words, header_lane = seen.words.copy(), seen.lane.copy()
    header_lane[0] += np.uint64(lane)
    words[-1] += np.uint32(word)
    hashes = uploads.Seen(seen.spec_hash, seen.roster_hash, seen.shared_hash)
    header = uploads.upload_header(hashes, name, header_lane, words)
    return uploads.encode_upload(header, sign(IDENTITIES[name], MASKED, header), words)


@pytest.mark.parametrize(("lane", "word"), [(1, 0), (0, 1)])
def test_count_lane_mismatch_aborts(lane: int, word: int) -> None:
    """One wrong number of a pod in the lane or in the canaries, and there is no sum."""
    table = Table()
    answers = table.ask_all(table.up_to(FORWARD))
    answers["bath"] = lying_upload(table, "bath", answers["bath"], lane, word)
    with pytest.raises(UnmaskIntegrityError, match="There is no sum"):
        table.finish(table.tell(answers.values()))
    assert table.server.state is ServerState.ABORTED
    assert table.server.result is None


def test_canary_detects_missing_or_wrong_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair of masks that do not cancel, by a seed that the server derives wrong."""
    table = Table()
    sent = table.up_to(SURVIVORS, lost={"york": FORWARD})
    monkeypatch.setattr("secure_agg.recovery.mask_seed", lambda *_: sha("wrong"))
    with pytest.raises(UnmaskIntegrityError, match="There is no sum"):
        table.finish(sent)
    assert table.server.result is None


def changed_reveal(table: Table, name: str, answer: bytes, field: str) -> bytes:
    """A pod that lies about its shares of one kind."""
    envelope = messages.decode(answer, REVEAL, Envelope, 5)
    reveal = messages.decode_body(REVEAL, envelope.body, Reveal)
    wrong = tuple((owner, flipped(share, 0)) for owner, share in getattr(reveal, field))
    body = messages.encode_body(msgspec.structs.replace(reveal, **{field: wrong}))
    return messages.encode(REVEAL, Envelope(name, body, sign(IDENTITIES[name], REVEAL, body)))


@pytest.mark.parametrize("field", ["own_masks", "mask_keys"])
def test_wrong_share_detected_by_commitment_and_public_key(field: str) -> None:
    """With one share to spare a lie is found and worked around; without, there is no sum."""
    for spare in (True, False):
        table = Table(Setting(pods=7))
        lost = {"york": FORWARD} if spare else {"york": FORWARD, "kent": PROOFS}
        proofs = table.up_to(PROOFS, lost={"york": FORWARD})
        answers = table.answers(proofs, lost)
        liar = "bath"
        answers[liar] = changed_reveal(table, liar, answers[liar], field)
        if spare:
            result = table.finish(table.tell(answers.values()))
            assert np.abs(result.mean - table.mean_of(result.survivors)).max() <= result.report.error_bound
            continue
        with pytest.raises(BadShare, match="There is no sum"):
            table.tell(answers.values())
        assert table.server.result is None


def test_a_reveal_of_other_pods_than_asked_for_is_refused() -> None:
    table = Table()
    proofs = table.up_to(PROOFS)
    answer = table.ask("bath", proofs["bath"])
    envelope = messages.decode(answer, REVEAL, Envelope, 5)
    reveal = messages.decode_body(REVEAL, envelope.body, Reveal)
    both = msgspec.structs.replace(reveal, own_masks=reveal.own_masks[1:], mask_keys=reveal.own_masks[:1])
    body = messages.encode_body(both)
    bad = messages.encode(REVEAL, Envelope("bath", body, sign(IDENTITIES["bath"], REVEAL, body)))
    with pytest.raises(SharesRefused, match="other pods than it was asked for"):
        table.server.receive(bad, table.now)


# ---- crashes and journals ----


def test_restart_after_release_never_releases_again() -> None:
    """The pod crashes after its journal was stored: whether or not the message went out, it is not made again."""
    table = Table()
    proofs = table.up_to(PROOFS)
    stored: list[PodJournal] = []
    step = table.clients["bath"].receive(proofs["bath"], table.now)
    with pytest.raises(OSError, match="disk full"):
        step.send_after(_full_disk)
    step.send_after(stored.append)
    assert stored[-1].records[-1].released
    table.journals["bath"] = read_journal(stored[-1].to_bytes())
    table.clients["bath"] = table.make_client("bath")
    invitation = next(data for _, data in table.transcript if data[4:5] == INVITATION)
    with pytest.raises(RoundRepeated):
        table.ask("bath", invitation)


def _full_disk(journal: PodJournal) -> None:
    raise OSError("disk full")


def test_restart_after_advert_never_advertises_again() -> None:
    table = Table()
    sent = table.start()
    table.ask("bath", sent["bath"])
    table.clients["bath"] = table.make_client("bath")
    with pytest.raises(RoundRepeated, match="already entered"):
        table.ask("bath", sent["bath"])


def test_nothing_can_be_sent_before_the_journal_is_stored() -> None:
    table = Table()
    step = table.clients["bath"].start(table.start()["bath"], table.contribution("bath"), 0.0)
    assert step.journal is not None
    with pytest.raises(OSError, match="disk full"):
        step.send_after(_full_disk)
    order: list[str] = []
    messages_out = step.send_after(lambda _: order.append("stored"))
    assert order == ["stored"]
    assert len(messages_out) == 1


def test_a_journal_comes_back_as_it_was_and_nothing_else_is_taken_for_one() -> None:
    table = Table()
    table.run()
    data = table.journals["bath"].to_bytes()
    assert read_journal(data) == table.journals["bath"]
    for bad in (b"", data[:-1], data + b"\0", b"\x92\x02\x90", flipped(data, 0)):
        with pytest.raises(MalformedMessage, match="no round was entered"):
            read_journal(bad)


def test_a_release_is_written_once() -> None:
    table = Table()
    hashed = spec_hash(table.spec.to_bytes())
    entered = admit(PodJournal(), table.spec, hashed, table.setting.policy)
    released = release(entered, hashed)
    assert [record.released for record in released.records] == [True]
    for journal in (released, PodJournal()):
        with pytest.raises(RoundRepeated):
            release(journal, hashed)


def adverts(table: Table) -> list[Advert]:
    found = [data for way, data in table.transcript if way == "up" and data[4:5] == ADVERT]
    return [messages.decode_body(ADVERT, messages.decode(f, ADVERT, Envelope, 5).body, Advert) for f in found]


def test_mask_keys_never_reused_across_rounds() -> None:
    first = Table()
    first.run()
    second = Table(NEXT, journals=first.journals)
    second.run()
    keys = [key for table in (first, second) for a in adverts(table) for key in (a.mask_key, a.channel_key)]
    assert len(set(keys)) == 20
    assert len({a.own_mask_commitment for table in (first, second) for a in adverts(table)}) == 10


def test_past_round_stays_private_after_later_dropout() -> None:
    """The mask key of a pod that is lost in round 1 is out then; it has nothing to do with its key in round 0."""
    first = Table()
    first.run()
    second = Table(NEXT, journals=first.journals)
    result = second.run(lost={"york": FORWARD})
    assert "york" not in result.survivors
    past = {a.sender: a.mask_key for a in adverts(first)}
    later = {a.sender: a.mask_key for a in adverts(second)}
    assert past["york"] != later["york"]


def test_order_of_arrival_invariant() -> None:
    results = []
    for backwards in (False, True):
        table = Table()
        sent = table.start()
        while table.server.result is None:
            answers = list(table.ask_all(sent).values())
            sent = table.tell(reversed(answers) if backwards else answers)
        results.append(table.server.result)
    assert np.array_equal(results[0].mean, results[1].mean)
    assert results[0].survivors == results[1].survivors


def test_a_round_without_anybody_ends_without_a_number() -> None:
    table = Table()
    table.start()
    with pytest.raises(TooFewPods, match=r"0 of 5 pods answered at 'adverts'; the task needs 4\."):
        table.server.tick(table.server.deadline)
    assert table.server.state is ServerState.ABORTED
    with pytest.raises(OutOfOrder):
        table.server.receive(b"SA1\x01\x01", table.now)


def test_an_advert_by_another_pod_than_its_envelope_says_is_refused() -> None:
    table = Table()
    answer = table.ask_all(table.start())["bath"]
    envelope = messages.decode(answer, ADVERT, Envelope, 5)
    stolen = messages.encode(
        ADVERT, Envelope("hull", envelope.body, sign(IDENTITIES["hull"], ADVERT, envelope.body))
    )
    with pytest.raises(RosterRefused, match="another pod"):
        table.server.receive(stolen, 0.0)
