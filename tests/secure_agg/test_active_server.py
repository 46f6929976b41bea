"""A server that does what it likes: every attempt against a pod, and what the pod does."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from secure_agg import errors, messages
from secure_agg.client import Client
from secure_agg.errors import (
    BadSignature,
    CohortRefused,
    MalformedMessage,
    OutOfOrder,
    PolicyRefused,
    ProtocolError,
    RosterRefused,
    RoundRepeated,
    SharesRefused,
    SpecRefused,
    SurvivorsRefused,
    UnmaskIntegrityError,
)
from secure_agg.journal import PodJournal, PodPolicy
from secure_agg.keys import Identity, fingerprint, mask_seed, sign
from secure_agg.messages import (
    ADVERT,
    CONFIRM,
    FORWARD,
    INVITATION,
    PROOFS,
    REVEAL,
    ROSTER,
    SURVIVORS,
    Advert,
    Envelope,
    Forward,
    Invitation,
    Proofs,
    Reveal,
    Roster,
    Survivors,
)
from secure_agg.pod_setup import PodSetup
from secure_agg.specification import Member, RoundSpec, spec_hash
from secure_agg.transitions import PodState
from tests.secure_agg.table import IDENTITIES, MODELLER, Setting, Table, sha


def refused(table: Table, name: str, data: bytes, error: type[Exception], match: str = ".") -> None:
    """The pod refuses, is out of the round for good, and says nothing more even to the right message."""
    with pytest.raises(error, match=match):
        table.ask(name, data)
    assert table.clients[name].state is PodState.ABORTED
    with pytest.raises(OutOfOrder):
        table.clients[name].receive(data, table.now)


def survivors_message(table: Table, names: tuple[str, ...]) -> bytes:
    sent = messages.decode(honest_survivors(table), SURVIVORS, Survivors, 5)
    return messages.encode(SURVIVORS, msgspec.structs.replace(sent, survivors=names))


def honest_survivors(table: Table) -> bytes:
    return next(data for way, data in reversed(table.transcript) if data[4:5] == SURVIVORS)


def invitation(spec: RoundSpec, signer: Identity = MODELLER) -> bytes:
    data = spec.to_bytes()
    return messages.encode(INVITATION, Invitation(data, sign(signer, INVITATION, data)))


# ---- survivor sets ----


def test_pod_refuses_overlapping_live_and_dead() -> None:
    """There is one list only; a pod that is named twice in it is refused, and no pod gives both shares."""
    table = Table()
    table.up_to(SURVIVORS, lost={"york": FORWARD})
    names = ("bath", "hull", "kent", "leeds")
    refused(table, "bath", survivors_message(table, (*names, "leeds")), MalformedMessage, "names a pod twice")


def test_no_pod_ever_gives_both_shares_of_one_pod() -> None:
    table = Table()
    table.run(lost={"york": FORWARD})
    for reveal in reveals(table):
        live, lost = ({name for name, _ in part} for part in (reveal.own_masks, reveal.mask_keys))
        assert live == {"bath", "hull", "kent", "leeds"}
        assert lost == {"york"}


def reveals(table: Table) -> list[Reveal]:
    found = [data for way, data in table.transcript if way == "up" and data[4:5] == REVEAL]
    bodies = [messages.decode(data, REVEAL, Envelope, 5).body for data in found]
    return [messages.decode_body(REVEAL, body, Reveal) for body in bodies]


def test_pod_refuses_second_unmask_request() -> None:
    table = Table()
    proofs = table.up_to(PROOFS)
    table.ask("bath", proofs["bath"])
    assert table.clients["bath"].state is PodState.REVEALED
    for again in (proofs["bath"], honest_survivors(table)):
        with pytest.raises(OutOfOrder, match="does not expect"):
            table.clients["bath"].receive(again, table.now)


def test_pod_refuses_unmask_with_different_survivor_set() -> None:
    """The proofs are of another set than the pod has signed: their signatures are over other bytes."""
    one, other = Table(), Table()
    one.up_to(PROOFS)
    others = other.up_to(PROOFS, lost={"york": FORWARD})
    refused(one, "bath", others["bath"], BadSignature)


def test_equivocation_two_survivor_sets_never_both_reach_t() -> None:
    """Whatever two sets the server shows to whom, at most one of them is opened by an honest pod."""
    everybody = ("bath", "hull", "kent", "leeds", "york")
    smaller = everybody[:4]
    for split in itertools.product((True, False), repeat=5):
        table = Table()
        table.up_to(SURVIVORS)
        shown = {
            name: everybody if whole or name == "york" else smaller
            for name, whole in zip(everybody, split, strict=True)
        }
        signed: dict[tuple[str, ...], dict[str, bytes]] = {}
        for name, seen in shown.items():
            answer = messages.decode(table.ask(name, survivors_message(table, seen)), CONFIRM, Envelope, 5)
            signed.setdefault(seen, {})[name] = answer.signature
        opened = set()
        sent = messages.decode(honest_survivors(table), SURVIVORS, Survivors, 5)
        for name in everybody:
            for found in signed.values():
                proofs = Proofs(sent.spec_hash, sent.roster_hash, tuple(sorted(found.items())))
                try:
                    table.ask(name, messages.encode(PROOFS, proofs))
                except ProtocolError:
                    continue
                opened.add(shown[name])
        assert len(opened) <= 1


def test_pod_refuses_survivor_set_without_self() -> None:
    table = Table()
    table.up_to(SURVIVORS)
    without = survivors_message(table, ("hull", "kent", "leeds", "york"))
    refused(table, "bath", without, SurvivorsRefused, "leaves out this pod")


@pytest.mark.parametrize(
    "names", [("bath", "hull", "kent", "leeds", "mallory"), ("hull", "bath", "kent", "leeds")]
)
def test_pod_refuses_survivors_outside_roster(names: tuple[str, ...]) -> None:
    table = Table()
    table.up_to(SURVIVORS)
    refused(table, "bath", survivors_message(table, names), MalformedMessage)


def test_pod_refuses_a_survivor_that_never_shared() -> None:
    table = Table()
    table.up_to(SURVIVORS, lost={"york": ROSTER})
    everybody = survivors_message(table, ("bath", "hull", "kent", "leeds", "york"))
    refused(table, "bath", everybody, MalformedMessage, "unknown")


def test_pod_refuses_too_few_survivors() -> None:
    table = Table()
    table.up_to(SURVIVORS)
    few = survivors_message(table, ("bath", "hull", "kent"))
    refused(table, "bath", few, SurvivorsRefused, "at least 4")


def test_pod_refuses_proofs_of_fewer_than_the_threshold() -> None:
    table = Table()
    proofs = messages.decode(table.up_to(PROOFS)["bath"], PROOFS, Proofs, 5)
    few = msgspec.structs.replace(proofs, confirmations=proofs.confirmations[:3])
    refused(table, "bath", messages.encode(PROOFS, few), SurvivorsRefused, "3 pods have confirmed")


def test_pod_refuses_one_confirmation_counted_twice() -> None:
    table = Table()
    proofs = messages.decode(table.up_to(PROOFS)["bath"], PROOFS, Proofs, 5)
    doubled = (proofs.confirmations[0],) * 2 + proofs.confirmations[1:3]
    twice = msgspec.structs.replace(proofs, confirmations=doubled)
    refused(table, "bath", messages.encode(PROOFS, twice), MalformedMessage, "twice")


def test_pod_refuses_a_confirmation_under_another_name() -> None:
    table = Table()
    proofs = messages.decode(table.up_to(PROOFS)["bath"], PROOFS, Proofs, 5)
    (one, first), (two, second) = proofs.confirmations[:2]
    swapped = ((one, second), (two, first), *proofs.confirmations[2:])
    refused(
        table,
        "bath",
        messages.encode(PROOFS, Proofs(proofs.spec_hash, proofs.roster_hash, swapped)),
        BadSignature,
    )


# ---- cohorts, thresholds, keys ----


def respecified(table: Table, **changed: object) -> bytes:
    return invitation(msgspec.structs.replace(table.spec, **changed))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"threshold": 3}, SpecRefused),
        ({"threshold": 6}, SpecRefused),
        ({"minimum_survivors": 2}, SpecRefused),
        ({"minimum_survivors": 6}, SpecRefused),
        ({"degree": 3}, SpecRefused),
        ({"graph": "sparse"}, SpecRefused),
        ({"protocol": "SA-0"}, SpecRefused),
        ({"suite": "none"}, SpecRefused),
        ({"mode": "trusting"}, SpecRefused),
        ({"length": 0}, SpecRefused),
        ({"deadlines_s": (0.0, 1.0, 1.0, 1.0, 1.0)}, SpecRefused),
    ],
)
def test_pod_refuses_low_threshold_or_small_cohort(
    changed: dict[str, object], error: type[Exception]
) -> None:
    table = Table()
    refused(table, "bath", respecified(table, **changed), error)


def test_only_the_owner_lowers_the_floor_of_a_pod() -> None:
    table = Table()
    table.clients["bath"] = table.make_client("bath", PodPolicy())
    refused(table, "bath", table.start()["bath"], CohortRefused, "at least 5")
    with pytest.raises(errors.ParameterError, match="fewer than 3"):
        PodPolicy(minimum_survivors=2)


def test_the_pods_own_floor_holds_for_the_survivors_too() -> None:
    """A specification with a floor of 5 says nothing about a server that shows 4 survivors."""
    table = Table(Setting(pods=6, parameters={"minimum_survivors": 5}, policy=PodPolicy(minimum_survivors=5)))
    table.up_to(SURVIVORS)
    four = survivors_message(table, ("bath", "dover", "hull", "kent"))
    refused(table, "bath", four, SurvivorsRefused, "at least 5")


def test_a_semi_honest_round_needs_the_owners_consent() -> None:
    table = Table(Setting(parameters={"mode": "semi_honest"}, policy=PodPolicy(minimum_survivors=3)))
    refused(table, "bath", table.start()["bath"], PolicyRefused, "semi-honest")


def test_pod_refuses_a_specification_of_somebody_else() -> None:
    table = Table()
    refused(table, "bath", invitation(table.spec, Identity(sha("mallory"))), BadSignature)


def advert_of(table: Table, name: str, signer: Identity | None = None, **changed: object) -> bytes:
    """A changed advert of a pod, signed again by whoever the attacker holds the key of."""
    frames = messages.decode(roster_of(table), ROSTER, Roster, 5).adverts
    envelope = next(e for e in (messages.decode(f, ADVERT, Envelope, 5) for f in frames) if e.sender == name)
    body = messages.encode_body(
        msgspec.structs.replace(messages.decode_body(ADVERT, envelope.body, Advert), **changed)
    )
    key = signer or IDENTITIES[name]
    return messages.encode(ADVERT, Envelope(name, body, sign(key, ADVERT, body)))


def roster_of(table: Table) -> bytes:
    return next(data for _, data in table.transcript if data[4:5] == ROSTER)


def roster_with(table: Table, replaced: dict[str, bytes], order: tuple[str, ...] | None = None) -> bytes:
    sent = messages.decode(roster_of(table), ROSTER, Roster, 5)
    frames = {messages.decode(f, ADVERT, Envelope, 5).sender: f for f in sent.adverts} | replaced
    names = order or tuple(sorted(frames))
    return messages.encode(ROSTER, Roster(sent.spec_hash, tuple(frames[name] for name in names)))


@pytest.fixture
def at_roster() -> Table:
    table = Table()
    table.up_to(ROSTER)
    return table


def test_pod_refuses_swapped_public_key(at_roster: Table) -> None:
    """The server puts keys of its own into another pod's advert; it cannot sign them."""
    forged = advert_of(
        at_roster, "hull", Identity(sha("server")), mask_key=sha("mine"), channel_key=sha("mine too")
    )
    refused(at_roster, "bath", roster_with(at_roster, {"hull": forged}), BadSignature)


def test_pod_refuses_its_own_advert_changed(at_roster: Table) -> None:
    """Even signed by the pod's own key: it is not what this pod has sent in this round."""
    forged = advert_of(at_roster, "bath", mask_key=sha("another"))
    refused(at_roster, "bath", roster_with(at_roster, {"bath": forged}), RosterRefused, "own advert")


def test_pod_refuses_a_roster_without_itself(at_roster: Table) -> None:
    rest = roster_with(at_roster, {}, ("hull", "kent", "leeds", "york"))
    refused(at_roster, "bath", rest, RosterRefused, "own advert")


def test_pod_refuses_unpinned_identity_sybil() -> None:
    """A cohort with a pod that this one was never given the key of; or with another key under a known name."""
    table = Table()
    sybil = Member("mallory", fingerprint(Identity(sha("mallory")).public))
    cohort = tuple(sorted((*table.spec.cohort[:4], sybil)))
    refused(table, "bath", respecified(table, cohort=cohort), RosterRefused, "not pinned")
    table = Table()
    renamed = Member("hull", sybil.fingerprint)
    cohort = tuple(sorted((*(m for m in table.spec.cohort if m.name != "hull"), renamed)))
    refused(table, "bath", respecified(table, cohort=cohort), RosterRefused, "not pinned")


def test_pod_refuses_an_advert_of_a_pod_that_was_not_invited() -> None:
    table, bigger = Table(), Table(Setting(pods=6))
    table.up_to(ROSTER)
    stranger = bigger.up_to(ROSTER)
    assert stranger
    frames = messages.decode(roster_of(bigger), ROSTER, Roster, 6).adverts
    extra = next(f for f in frames if messages.decode(f, ADVERT, Envelope, 6).sender == "dover")
    refused(table, "bath", roster_with(table, {"dover": extra}), RosterRefused, "not invited")


@pytest.mark.parametrize(
    "order",
    [
        ("bath", "hull", "hull", "kent", "leeds"),
        ("hull", "bath", "kent", "leeds", "york"),
        ("bath", "hull", "kent"),
    ],
)
def test_pod_refuses_duplicate_keys_or_ids(at_roster: Table, order: tuple[str, ...]) -> None:
    refused(at_roster, "bath", roster_with(at_roster, {}, order), RosterRefused)


@pytest.mark.parametrize("field", ["mask_key", "channel_key", "own_mask_commitment"])
def test_pod_refuses_one_key_under_two_names(at_roster: Table, field: str) -> None:
    """Two colluding pods with one key would let one pod count twice."""
    same = {name: advert_of(at_roster, name, **{field: sha("ours")}) for name in ("kent", "york")}
    refused(at_roster, "bath", roster_with(at_roster, same), RosterRefused, "same key")


LOW_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)


@pytest.mark.parametrize("point", LOW_ORDER, ids=range(len(LOW_ORDER)))
@pytest.mark.parametrize("field", ["mask_key", "channel_key"])
def test_pod_refuses_low_order_point(at_roster: Table, field: str, point: bytes) -> None:
    forged = advert_of(at_roster, "york", **{field: point})
    refused(at_roster, "bath", roster_with(at_roster, {"york": forged}), RosterRefused, "low order")


def test_spec_change_mid_round_aborts(at_roster: Table) -> None:
    """A second specification for a pod that has advertised, and a roster that claims to be of another one."""
    sent = messages.decode(roster_of(at_roster), ROSTER, Roster, 5)
    other = spec_hash(msgspec.structs.replace(at_roster.spec, minimum_survivors=4).to_bytes())
    changed = messages.encode(ROSTER, Roster(other, sent.adverts))
    refused(at_roster, "bath", changed, RosterRefused, "another specification")
    again = invitation(msgspec.structs.replace(at_roster.spec, round=1))
    with pytest.raises(OutOfOrder):
        at_roster.clients["hull"].receive(again, 0.0)
    assert at_roster.clients["hull"].state is PodState.ABORTED


# ---- models, graphs, late uploads ----


def test_model_hash_mismatch_yields_garbage_not_leak() -> None:
    """A pod that has another model than the round says never enters; and mixed rounds do not add up."""
    one, other = Table(), Table(Setting(model="planted"))
    contribution = other.contribution("bath")
    with pytest.raises(errors.SchemaMismatchError, match="another model_hash"):
        one.clients["bath"].start(one.start()["bath"], contribution, 0.0)
    assert one.clients["bath"].state is PodState.ABORTED


def test_pods_under_two_models_do_not_even_share_a_roster() -> None:
    one, other = Table(), Table(Setting(model="planted"))
    one.up_to(ROSTER)
    other.up_to(ROSTER)
    frames = messages.decode(roster_of(other), ROSTER, Roster, 5).adverts
    planted = next(f for f in frames if messages.decode(f, ADVERT, Envelope, 5).sender == "hull")
    refused(one, "bath", roster_with(one, {"hull": planted}), RosterRefused, "another round")


def test_masks_of_two_specifications_do_not_cancel() -> None:
    """Were a server to get by all checks, what it would add is noise: the mask seeds bind the specification."""
    seeds = {mask_seed(sha("dh"), spec, sha("roster"), "a", "b") for spec in (sha("one"), sha("other"))}
    assert len(seeds) == 2
    assert mask_seed(sha("dh"), sha("one"), sha("roster"), "b", "a") in seeds


def test_late_upload_of_dropped_pod_stays_masked() -> None:
    """The key of a lost pod is out; its vector, arriving late, is still under its own mask."""
    table = Table()
    forwards = table.up_to(FORWARD)
    late = table.ask("york", forwards.pop("york"))
    result = table.finish(table.tell(table.ask_all(forwards).values()))
    assert result.survivors == ("bath", "hull", "kent", "leeds")
    for reveal in reveals(table):
        assert "york" not in {name for name, _ in reveal.own_masks}
    with pytest.raises(OutOfOrder):
        table.server.receive(late, table.now)
    words = np.frombuffer(late[-4 * (7 + 8) :], "<u4")
    assert (words[-8:] != 0).all()  # its canaries are zero under the mask


def test_the_lost_pods_own_mask_is_never_opened_after_its_key() -> None:
    """The server keeps the round open and asks again with the late pod among the living."""
    table = Table()
    proofs = table.up_to(PROOFS, lost={"york": FORWARD})
    table.ask("bath", proofs["bath"])
    again = survivors_message(table, ("bath", "hull", "kent", "leeds", "york"))
    with pytest.raises(OutOfOrder):
        table.clients["bath"].receive(again, table.now)


# ---- over rounds ----


def test_difference_attack_same_model_cohort_minus_one_refused() -> None:
    """The same model, the same data, one pod less: the difference of the two sums would be that pod."""
    first = Table()
    first.run()
    second = Table(Setting(pods=4, number=1, previous=sha("a model")), journals=first.journals)
    refused(second, "bath", second.start()["bath"], PolicyRefused)
    aborted = Table()
    aborted.up_to(ROSTER)
    third = Table(Setting(pods=4, number=1, previous=sha("a model")), journals=aborted.journals)
    refused(third, "bath", third.start()["bath"], CohortRefused, "another cohort")
    fourth = Table(
        Setting(pods=4, number=1, model="the next", previous=sha("a model")), journals=first.journals
    )
    refused(fourth, "bath", fourth.start()["bath"], CohortRefused, "differs by 1 pod")


def test_a_model_that_was_answered_for_is_not_answered_for_again() -> None:
    """Not even by the same cohort: other pods may be lost this time."""
    first = Table()
    first.run()
    again = Table(Setting(number=1, previous=sha("a model")), journals=first.journals)
    refused(again, "bath", again.start()["bath"], RoundRepeated, "already answered for the same model")


def test_a_round_that_ended_early_can_be_started_again() -> None:
    first = Table()
    first.up_to(FORWARD)
    second = Table(Setting(number=1, previous=sha("a model")), journals=first.journals)
    assert second.run().survivors == second.names


def test_rounds_must_follow_one_another() -> None:
    first = Table()
    first.run()
    for setting in (
        Setting(model="the next", number=0),
        Setting(model="the next", number=1, previous=sha("not the one before")),
        Setting(model="the next", number=0, previous=sha("a model")),
    ):
        again = Table(setting, journals=first.journals)
        refused(again, "bath", again.start()["bath"], RoundRepeated)
    following = Table(Setting(model="the next", number=1, previous=sha("a model")), journals=first.journals)
    assert following.run().survivors == following.names


def test_a_pod_takes_part_in_so_many_rounds_only() -> None:
    first = Table()
    first.run()
    policy = PodPolicy(minimum_survivors=3, maximum_rounds=1)
    again = Table(
        Setting(model="b", number=1, previous=sha("a model"), policy=policy), journals=first.journals
    )
    refused(again, "bath", again.start()["bath"], PolicyRefused, "1 rounds")


def test_a_pod_can_list_the_schemas_it_answers_for() -> None:
    listed = PodPolicy(minimum_survivors=3, schemas=frozenset({sha("another schema")}))
    table = Table(Setting(policy=listed))
    refused(table, "bath", table.start()["bath"], PolicyRefused, "not on this pod's list")


def test_a_pod_that_is_not_invited_does_not_answer() -> None:
    table = Table(Setting(pods=5))
    pinned = {name: identity.public for name, identity in IDENTITIES.items()}
    setup = PodSetup("dover", IDENTITIES["dover"], pinned, MODELLER.public, PodPolicy(minimum_survivors=3))
    stranger = Client(setup, PodJournal(), sha)  # type: ignore[arg-type]  # its entropy is never used
    with pytest.raises(RosterRefused, match="not in the cohort"):
        stranger.start(table.start()["bath"], table.contribution("bath"), 0.0)


def test_forwarded_shares_of_other_pods_than_the_neighbours_are_refused() -> None:
    table = Table()
    forward = messages.decode(table.up_to(FORWARD)["bath"], FORWARD, Forward, 5)
    for changed in (
        {"sealed": forward.sealed[1:]},
        {"shared": forward.shared[:3], "sealed": forward.sealed[:2]},
        {"shared": ("hull", "kent", "leeds", "york")},
        {"sealed": (forward.sealed[0], *forward.sealed)},
    ):
        table = Table()
        table.up_to(FORWARD)
        bad = messages.encode(FORWARD, msgspec.structs.replace(forward, **changed))
        refused(table, "bath", bad, SharesRefused)


def test_wrong_mask_ends_without_a_sum() -> None:
    """A pod that lies about the set it has masked over is caught by the server; and by the canaries after it."""
    table = Table()
    sent = table.up_to(SURVIVORS)
    table.server._sum.words[-1] += np.uint32(1)
    with pytest.raises(UnmaskIntegrityError, match="There is no sum"):
        table.finish(sent)
    assert table.server.result is None
