"""The roster of a round: which pods have advertised keys, checked against the specification and the pins.

Pods and server read it with the same functions, and each for itself: that the server has checked it means
nothing to a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secure_agg.errors import RosterRefused
from secure_agg.graph import commitment, complete
from secure_agg.keys import fingerprint, verify
from secure_agg.messages import (
    ADVERT,
    ROSTER,
    Advert,
    Data,
    Envelope,
    Roster,
    SparseRoster,
    decode,
    decode_body,
    encode,
    roster_hash,
)
from secure_agg.specification import Member, RoundSpec


@dataclass(frozen=True, slots=True)
class Round:
    """One specification as a participant holds it.

    Attributes:
        spec: the specification.
        hash: of its bytes as received.
        pinned: names to raw Ed25519 public keys, agreed outside the protocol.
        members: names to the pods of the specification's cohort.
    """

    spec: RoundSpec
    hash: bytes
    pinned: Mapping[str, bytes] = field(repr=False)
    members: Mapping[str, Member] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", {member.name: member for member in self.spec.cohort})


@dataclass(frozen=True, slots=True)
class CheckedRoster:
    """A roster that was checked.

    Attributes:
        hash: binds all that follows to these adverts.
        names: all pods that have advertised, sorted.
        adverts: name to advert, sorted by name; in a sparse graph a pod has its neighbours' and its own.
        neighbours: for each pod, those it shares masks and secrets with, sorted.
    """

    hash: bytes
    names: tuple[str, ...]
    adverts: Mapping[str, Advert]
    neighbours: Mapping[str, tuple[str, ...]]

    def holders(self, owner: str) -> tuple[str, ...]:
        """Who holds shares of ``owner``'s secrets: its neighbours and itself, sorted.

        The position of a name, counted from 1, is the number of its share.
        """
        return tuple(sorted((*self.neighbours[owner], owner)))


def check_pins(spec: RoundSpec, pinned: Mapping[str, bytes]) -> None:
    """Refuse a cohort with a pod whose identity is not the pinned one.

    Raises:
        RosterRefused: an unknown pod, or another key than the pinned one.
    """
    try:
        known = list(map(fingerprint, map(pinned.__getitem__, spec.names)))
    except KeyError:
        known = []
    if known != [member.fingerprint for member in spec.cohort]:
        raise RosterRefused(
            "The cohort names a pod whose identity key is not pinned here. Nothing was sent. "
            "Exchange the key outside the protocol first."
        )


def read_advert(frame: bytes, this: Round) -> Advert:
    """One advert, with its signature and its place in the round checked.

    Raises:
        MalformedMessage, BadSignature: it is no advert, or not by its author.
        RosterRefused: it is for another round, or by a pod that was not invited.
    """
    envelope, advert = read_unsigned(frame, this)
    verify_advert(envelope, this)
    promised = this.members[advert.sender].nonce_commitment
    if promised and commitment(advert.sender, advert.graph_nonce) != promised:
        raise RosterRefused("An advert does not open its pod's commitment to the graph's seed.")
    return advert


def verify_advert(envelope: Envelope, this: Round) -> None:
    """Refuse an advert that is not by its author."""
    verify(this.pinned, envelope.sender, ADVERT, envelope.body, envelope.signature)


def read_unsigned(frame: bytes, this: Round) -> tuple[Envelope, Advert]:
    """One advert with its place in the round checked, and not yet its signature; see `read_advert`."""
    envelope = decode(frame, ADVERT, Envelope, len(this.members))
    member = this.members.get(envelope.sender)
    if member is None:
        raise RosterRefused("An advert is by a pod that was not invited.")
    advert = decode_body(ADVERT, envelope.body, Advert)
    if advert.sender != envelope.sender or advert.spec_hash != this.hash:
        raise RosterRefused("An advert is for another round or another pod.")
    if len(advert.graph_nonce) != len(member.nonce_commitment):
        raise RosterRefused("An advert does not bring the graph nonce that its pod's commitment is for.")
    return envelope, advert


def make_roster(frames: Mapping[str, bytes], this: Round) -> bytes:
    """The message with all adverts of a complete graph, sorted by the names of their pods."""
    return encode(ROSTER, Roster(this.hash, tuple(frames[name] for name in sorted(frames))))


def read_roster(data: Data, this: Round, advert: bytes) -> CheckedRoster:
    """A roster with everything checked, in which the advert of this pod is the one that it has sent.

    Raises:
        RosterRefused: another round, unsorted, doubled names or keys, uninvited pods, too few, or another
            advert of this pod.
        MalformedMessage, BadSignature: an advert is none, or not by its author.
    """
    roster = decode(data, ROSTER, Roster, len(this.spec.cohort))
    check_round(roster, this)
    found = [read_unsigned(frame, this) for frame in roster.adverts]
    checked = check_roster([each for _, each in found], roster.adverts, this)
    for envelope, _ in found:
        verify_advert(envelope, this)
    check_own(advert, roster.adverts)
    return checked


def check_round(roster: Roster | SparseRoster, this: Round) -> None:
    """Refuse the roster of another round."""
    if roster.spec_hash != this.hash:
        raise RosterRefused("The roster is for another specification. Nothing was sent.")


def check_own(advert: bytes, frames: tuple[bytes, ...]) -> None:
    """Refuse a roster without the advert that this pod has sent."""
    if advert not in frames:
        raise RosterRefused("The roster does not hold this pod's own advert, unchanged. Nothing was sent.")


def check_roster(found: list[Advert], frames: tuple[bytes, ...], this: Round) -> CheckedRoster:
    """The roster of adverts that were checked one by one.

    Raises:
        RosterRefused: unsorted or doubled names, a key twice, or fewer pods than the round's floor.
    """
    names = tuple(advert.sender for advert in found)
    check_distinct(found)
    check_floor(len(names), this)
    adverts = {advert.sender: advert for advert in found}
    neighbours = {name: tuple(sorted(near)) for name, near in complete(names).items()}
    return CheckedRoster(roster_hash(this.hash, frames), names, adverts, neighbours)


def check_distinct(found: list[Advert]) -> None:
    """Refuse adverts that are not sorted by name, or of which two share a name, a key or a commitment."""
    names = [advert.sender for advert in found]
    if names != sorted(set(names)):
        raise RosterRefused("The roster is not sorted by name, or names a pod twice. Nothing was sent.")
    keys = [key for advert in found for key in (advert.mask_key, advert.channel_key)]
    keys += [advert.own_mask_commitment for advert in found]
    if len(set(keys)) != len(keys):
        raise RosterRefused("Two entries of the roster have the same key. Nothing was sent.")


def check_floor(pods: int, this: Round) -> None:
    """Refuse a roster with fewer pods than a sum must have."""
    if pods < this.spec.floor:
        raise RosterRefused(
            f"The roster has {pods} pods; the round needs {this.spec.floor}. Nothing was sent."
        )
