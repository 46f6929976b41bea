"""The roster of a sparse graph: what a pod checks of a message whose size is a few bytes for each other pod."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from secure_agg import messages
from secure_agg.errors import BadSignature, CohortRefused, MalformedMessage, OutOfOrder, RosterRefused
from secure_agg.graph import commitment
from secure_agg.keys import Identity, fingerprint, sign
from secure_agg.messages import (
    ADVERT,
    FORWARD,
    ROSTER,
    SURVIVORS,
    Advert,
    Envelope,
    SparseForward,
    SparseRoster,
    SparseSurvivors,
    Survivors,
    pack_names,
    unpack_names,
)
from secure_agg.name_lists import read_forward, read_survivors, write_forward, write_survivors
from secure_agg.parameters import Parameters
from secure_agg.roster import Round, read_advert
from secure_agg.simulation import simulate
from secure_agg.sparse_roster import make_sparse_rosters, read_sparse_roster
from secure_agg.specification import Member, RoundIdentity, make_spec, spec_hash
from tests.secure_agg.table import sha, update

NAMES = tuple(f"pod-{number:02}" for number in range(12))
IDENTITIES = {name: Identity(sha(f"identity of {name}")) for name in NAMES}
NONCES = {name: sha(f"nonce of {name}") for name in NAMES}
ME = "pod-03"


def make_round(number: int = 0) -> Round:
    parameters = Parameters(
        length=5,
        clip=1.0,
        minimum_survivors=3,
        mode="semi_honest",
        graph="sparse",
        degree=4,
        sparse_threshold=3,
    )
    cohort = [Member(n, fingerprint(IDENTITIES[n].public), commitment(n, NONCES[n])) for n in NAMES]
    spec = make_spec(parameters, cohort, RoundIdentity(bytes(16), number, bytes(32), bytes(32)))
    return Round(spec, spec_hash(spec.to_bytes()), {name: each.public for name, each in IDENTITIES.items()})


THIS = make_round()


def frame(name: str, nonce: bytes | None = None, *, key: str = "", by: str = "", this: Round = THIS) -> bytes:
    """A pod's advert; ``key`` names whose keys it shows, ``by`` who signs it."""
    keys = [sha(f"{part} of {key or name}") for part in "abc"]
    body = messages.encode_body(Advert(name, this.hash, *keys, NONCES[name] if nonce is None else nonce))
    return messages.encode(ADVERT, Envelope(name, body, sign(IDENTITIES[by or name], ADVERT, body)))


@dataclass(frozen=True)
class Made:
    """What an honest server makes of these adverts."""

    frames: dict[str, bytes]
    sent: dict[str, bytes]
    near: tuple[str, ...]
    hash: bytes


def made(names: tuple[str, ...] = NAMES) -> Made:
    frames = {name: frame(name) for name in names}
    adverts = {name: read_advert(data, THIS) for name, data in frames.items()}
    roster, sent = make_sparse_rosters(adverts, frames, THIS)
    return Made(frames, sent, roster.neighbours[ME], roster.hash)


def honest() -> SparseRoster:
    return messages.decode(made().sent[ME], ROSTER, SparseRoster, len(NAMES))


def read(roster: SparseRoster, mine: bytes | None = None) -> object:
    return read_sparse_roster(messages.encode(ROSTER, roster), THIS, ME, mine or frame(ME))


def test_every_pod_finds_the_same_graph_and_the_same_hash_as_the_server() -> None:
    for names in (NAMES, NAMES[:4] + NAMES[6:]):
        found = made(names)
        seen = {
            name: read_sparse_roster(data, THIS, name, found.frames[name])
            for name, data in found.sent.items()
        }
        assert {each.hash for each in seen.values()} == {found.hash}
        assert {each.names for each in seen.values()} == {names}
        for name, each in seen.items():
            assert len(each.neighbours[name]) == 4
            assert set(each.adverts) == {name, *each.neighbours[name]}
            assert all(each.neighbours[name] == other.neighbours[name] for other in seen.values())


def test_a_pod_gets_the_adverts_of_its_neighbours_alone() -> None:
    assert len(honest().adverts) == 1 + 4


def test_another_advert_anywhere_is_another_roster() -> None:
    """So masks do not cancel, and shares do not open, between pods that were shown different adverts."""
    found = made()
    stranger = next(name for name in NAMES if name != ME and name not in found.near)
    frames = found.frames | {stranger: frame(stranger, key="somebody else")}
    adverts = {name: read_advert(data, THIS) for name, data in frames.items()}
    other, sent = make_sparse_rosters(adverts, frames, THIS)
    assert other.hash != found.hash
    assert read_sparse_roster(sent[ME], THIS, ME, frame(ME)).hash == other.hash


def test_graph_seed_not_server_controlled() -> None:
    """The order of a sparse graph comes from nonces that pods committed to; the server can only leave pods out."""
    with pytest.raises(RosterRefused, match="commitment to the graph"):
        read_advert(frame("pod-05", sha("chosen later")), THIS)
    with pytest.raises(RosterRefused, match="does not bring the graph nonce"):
        read_advert(frame("pod-05", b""), THIS)
    roster = honest()
    chosen = roster.nonces[:-32] + sha("chosen later")
    with pytest.raises(CohortRefused, match="not the one it committed to"):
        read(msgspec.structs.replace(roster, nonces=chosen))


def neighbour_replaced(change: Callable[[str], bytes]) -> SparseRoster:
    """One neighbour's advert replaced, with its digest in step."""
    roster, near = honest(), made().near
    victim = near[0]
    place = sorted((ME, *near)).index(victim)
    forged = change(victim)
    at = 32 * NAMES.index(victim)
    digests = (
        roster.digests[:at] + hashlib.sha256(b"sa1/advert" + forged).digest() + roster.digests[at + 32 :]
    )
    adverts = tuple(forged if each == place else data for each, data in enumerate(roster.adverts))
    return msgspec.structs.replace(roster, digests=digests, adverts=adverts)


def test_a_neighbour_s_advert_must_be_signed_by_its_pinned_key() -> None:
    with pytest.raises(BadSignature):
        read(neighbour_replaced(lambda name: frame(name, by="pod-11")))


def test_two_neighbours_with_one_key_are_refused() -> None:
    with pytest.raises(RosterRefused, match="same key"):
        read(neighbour_replaced(lambda name: frame(name, key=ME)))


def test_a_neighbour_s_advert_of_another_round_is_refused() -> None:
    with pytest.raises(RosterRefused, match="another round"):
        read(neighbour_replaced(lambda name: frame(name, this=make_round(1))))


def test_a_stranger_s_advert_in_a_neighbour_s_place_is_refused() -> None:
    stranger = next(name for name in NAMES if name != ME and name not in made().near)
    with pytest.raises(RosterRefused, match="exactly this pod and its neighbours"):
        read(neighbour_replaced(lambda _: frame(stranger)))


def test_an_advert_that_is_not_the_one_of_its_digest_is_refused() -> None:
    roster = honest()
    changed = bytes(32) + roster.digests[32:]
    first = msgspec.structs.replace(roster, digests=roster.digests[: 32 * NAMES.index(ME)] + changed)
    with pytest.raises(RosterRefused):
        read(first)
    near = 32 * NAMES.index(made().near[0])
    with pytest.raises(RosterRefused, match="exactly this pod and its neighbours"):
        read(
            msgspec.structs.replace(
                roster, digests=roster.digests[:near] + bytes(32) + roster.digests[near + 32 :]
            )
        )


@pytest.mark.parametrize("change", ["missing", "added", "own"])
def test_missing_added_and_changed_own_adverts_are_refused(change: str) -> None:
    roster = honest()
    adverts = {
        "missing": roster.adverts[:-1] if roster.adverts[-1] != frame(ME) else roster.adverts[1:],
        "added": (*roster.adverts, roster.adverts[-1]),
        "own": tuple(frame(ME, key="x") if each == frame(ME) else each for each in roster.adverts),
    }[change]
    with pytest.raises(RosterRefused):
        read(msgspec.structs.replace(roster, adverts=adverts))


def test_a_roster_without_this_pod_or_of_another_length_is_refused() -> None:
    roster = honest()
    without = pack_names(NAMES, [name for name in NAMES if name != ME])
    short = {"nonces": roster.nonces[32:], "digests": roster.digests[32:]}
    with pytest.raises(RosterRefused, match="leaves out this pod"):
        read(msgspec.structs.replace(roster, present=without, **short))
    for field in ("nonces", "digests"):
        for data in (getattr(roster, field)[:-1], getattr(roster, field) + b"x"):
            with pytest.raises(RosterRefused, match="32 bytes for each pod"):
                read(msgspec.structs.replace(roster, **{field: data}))


def test_a_roster_below_the_floor_or_of_another_round_is_refused() -> None:
    few = NAMES[2:4]
    roster = SparseRoster(
        THIS.hash, pack_names(NAMES, few), b"".join(NONCES[name] for name in few), bytes(64), (frame(ME),)
    )
    with pytest.raises(RosterRefused, match="The roster has 2 pods; the round needs 3"):
        read(roster)
    with pytest.raises(RosterRefused, match="another specification"):
        read(msgspec.structs.replace(honest(), spec_hash=bytes(32)))
    with pytest.raises(RosterRefused, match="2 pods"):
        adverts = {name: read_advert(frame(name), THIS) for name in few}
        make_sparse_rosters(adverts, {name: frame(name) for name in few}, THIS)


def test_the_server_refuses_one_key_of_two_pods() -> None:
    frames = {name: frame(name, key="pod-00" if name == "pod-07" else "") for name in NAMES}
    adverts = {name: read_advert(data, THIS) for name, data in frames.items()}
    with pytest.raises(RosterRefused, match="same key"):
        make_sparse_rosters(adverts, frames, THIS)


# ---- lists of pods as bits ----


def test_a_bit_stands_for_a_name_the_first_in_the_highest() -> None:
    assert pack_names(NAMES[:9], [NAMES[0], NAMES[8]]) == b"\x80\x80"
    assert unpack_names(b"\x80\x80", NAMES[:9], "pods") == (NAMES[0], NAMES[8])
    assert unpack_names(pack_names(NAMES, NAMES), NAMES, "pods") == NAMES
    assert unpack_names(b"", (), "pods") == ()


@pytest.mark.parametrize("packed", [b"", b"\x80", b"\x80\x00\x00", b"\x80\x08", b"\x00\x01"])
def test_bits_of_nobody_and_other_lengths_are_refused(packed: bytes) -> None:
    with pytest.raises(MalformedMessage, match="a bit for each pod"):
        unpack_names(packed, NAMES, "pods")


def test_lists_of_pods_come_back_and_belong_to_their_round() -> None:
    roster = read_sparse_roster(made().sent[ME], THIS, ME, frame(ME))
    shared = NAMES[1:9]
    sealed = ((NAMES[1], bytes(40)),)
    forward = write_forward(shared, sealed, THIS, roster)
    assert (read_forward(forward, THIS, roster).shared, read_forward(forward, THIS, roster).sealed) == (
        shared,
        sealed,
    )
    survivors = write_survivors(Survivors(THIS.hash, roster.hash, NAMES[2:8]), shared, THIS)
    assert read_survivors(survivors, THIS, roster, shared).survivors == NAMES[2:8]
    for kind, message, again in (
        (FORWARD, SparseForward(THIS.hash, bytes(32), b"\x80\x00", ()), read_forward),
        (FORWARD, SparseForward(bytes(32), roster.hash, b"\x80\x00", ()), read_forward),
    ):
        with pytest.raises(OutOfOrder, match="another round or another roster"):
            again(messages.encode(kind, message), THIS, roster)
    for both in ((THIS.hash, bytes(32)), (bytes(32), roster.hash)):
        with pytest.raises(OutOfOrder, match="another round or another roster"):
            read_survivors(messages.encode(SURVIVORS, SparseSurvivors(*both, b"\x80")), THIS, roster, shared)


def test_a_pod_s_work_on_the_wire_hardly_grows_with_the_cohort() -> None:
    """Bytes down for each pod: the specification and 64 bytes of roster for each further pod, and no advert."""
    sizes = []
    for pods in (12, 24):
        names = [f"pod-{number:03}" for number in range(pods)]
        parameters = Parameters(
            length=5,
            clip=8.0,
            minimum_survivors=3,
            mode="semi_honest",
            graph="sparse",
            degree=8,
            sparse_threshold=6,
            sparse_corrupt=0.0,
            sparse_dropped=0.0,
        )
        result = simulate(parameters, {name: update(name, 5) for name in names})
        sizes.append(result.report.bytes_down / pods)
    assert sizes[1] - sizes[0] < 12 * 160


def test_the_list_of_bits_that_is_wrong_is_named() -> None:
    with pytest.raises(
        MalformedMessage, match=r"^The list of pods that have advertised has 0 bytes; expected a bit"
    ):
        read(msgspec.structs.replace(honest(), present=b""))
    roster = read_sparse_roster(made().sent[ME], THIS, ME, frame(ME))
    forward = messages.encode(FORWARD, SparseForward(THIS.hash, roster.hash, b"\x80", ()))
    with pytest.raises(
        MalformedMessage, match=r"^The list of pods that have shared has 1 bytes; expected a bit"
    ):
        read_forward(forward, THIS, roster)
    survivors = messages.encode(SURVIVORS, SparseSurvivors(THIS.hash, roster.hash, bytes(3)))
    with pytest.raises(MalformedMessage, match=r"^The list of survivors has 3 bytes; expected a bit"):
        read_survivors(survivors, THIS, roster, NAMES)
