"""The roster of a round: which pods have advertised keys, checked against the specification and the pins.

Pods and server read it with the same functions, and each for itself: that the server has checked it means
nothing to a pod.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from secure_agg.errors import MalformedMessage, RosterRefused
from secure_agg.graph import commitment, complete, harary, joint_seed
from secure_agg.keys import fingerprint, verify
from secure_agg.messages import (
    ADVERT,
    ROSTER,
    Advert,
    Envelope,
    Roster,
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
    """

    spec: RoundSpec
    hash: bytes
    pinned: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckedRoster:
    """A roster whose every entry was checked.

    Attributes:
        hash: binds all that follows to these adverts.
        adverts: name to advert, sorted by name.
        neighbours: for each pod, those it shares masks and secrets with, sorted.
    """

    hash: bytes
    adverts: Mapping[str, Advert]
    neighbours: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """All pods of the roster, sorted."""
        return tuple(self.adverts)

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
    for member in spec.cohort:
        public = pinned.get(member.name)
        if public is None or not hmac.compare_digest(fingerprint(public), member.fingerprint):
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
    members = {member.name: member for member in this.spec.cohort}
    envelope, advert = _read_unsigned(frame, this, members)
    _verify_advert(envelope, this)
    promised = members[advert.sender].nonce_commitment
    if promised and not hmac.compare_digest(commitment(advert.sender, advert.graph_nonce), promised):
        raise RosterRefused("An advert does not open its pod's commitment to the graph's seed.")
    return advert


def _verify_advert(envelope: Envelope, this: Round) -> None:
    verify(this.pinned, envelope.sender, ADVERT, envelope.body, envelope.signature)


def _read_unsigned(frame: bytes, this: Round, members: Mapping[str, Member]) -> tuple[Envelope, Advert]:
    envelope = decode(frame, ADVERT, Envelope, len(members))
    member = members.get(envelope.sender)
    if member is None:
        raise RosterRefused("An advert is by a pod that was not invited.")
    advert = decode_body(ADVERT, envelope.body, Advert)
    if advert.sender != envelope.sender or advert.spec_hash != this.hash:
        raise RosterRefused("An advert is for another round or another pod.")
    if len(advert.graph_nonce) != len(member.nonce_commitment):
        raise RosterRefused("An advert does not bring the graph nonce that its pod's commitment is for.")
    return envelope, advert


def make_roster(frames: Mapping[str, bytes], this: Round) -> bytes:
    """The message with all adverts, sorted by the names of their pods."""
    return encode(ROSTER, Roster(this.hash, tuple(frames[name] for name in sorted(frames))))


def read_roster(data: bytes, this: Round, me: str) -> tuple[CheckedRoster, tuple[bytes, ...]]:
    """A roster with everything checked, and its frames as they came.

    In a complete graph every signature is checked. In a sparse one those of ``me`` and its neighbours are:
    its promise is semi-honest, so the server has checked the others, and a pod's work does not grow with
    the cohort.

    Raises:
        RosterRefused: another round, unsorted, doubled names or keys, uninvited pods, or too few.
        MalformedMessage, BadSignature: an advert is none, or not by its author.
    """
    roster = decode(data, ROSTER, Roster, len(this.spec.cohort))
    if roster.spec_hash != this.hash:
        raise RosterRefused("The roster is for another specification. Nothing was sent.")
    members = {member.name: member for member in this.spec.cohort}
    found = [_read_unsigned(frame, this, members) for frame in roster.adverts]
    checked = check_roster([advert for _, advert in found], roster.adverts, this)
    for envelope, _ in found:
        if this.spec.graph == "complete" or envelope.sender in {me, *checked.neighbours.get(me, ())}:
            _verify_advert(envelope, this)
    return checked, roster.adverts


def check_roster(found: list[Advert], frames: tuple[bytes, ...], this: Round) -> CheckedRoster:
    """The roster of adverts that were checked one by one.

    Raises:
        RosterRefused: unsorted or doubled names, a key twice, or fewer pods than the round's floor.
    """
    names = [advert.sender for advert in found]
    if names != sorted(set(names)):
        raise RosterRefused("The roster is not sorted by name, or names a pod twice. Nothing was sent.")
    keys = [key for advert in found for key in (advert.mask_key, advert.channel_key)]
    keys += [advert.own_mask_commitment for advert in found]
    if len(set(keys)) != len(keys):
        raise RosterRefused("Two entries of the roster have the same key. Nothing was sent.")
    if len(names) < this.spec.floor:
        raise RosterRefused(
            f"The roster has {len(names)} pods; the round needs {this.spec.floor}. Nothing was sent."
        )
    adverts = {advert.sender: advert for advert in found}
    return CheckedRoster(roster_hash(this.hash, frames), adverts, _neighbours(adverts, this))


def _neighbours(adverts: Mapping[str, Advert], this: Round) -> dict[str, tuple[str, ...]]:
    if this.spec.graph == "complete":
        found = complete(adverts)
    else:
        # Pods that never advertised have no say in the order. Withholding a nonce is thus one choice
        # between two orders, which the semi-honest promise of a sparse graph allows for.
        promised = {m.name: m.nonce_commitment for m in this.spec.cohort if m.name in adverts}
        seed = joint_seed(promised, {name: advert.graph_nonce for name, advert in adverts.items()})
        found = harary(adverts, this.spec.degree, seed)
    return {name: tuple(sorted(found[name])) for name in adverts}


def check_names(names: tuple[str, ...], allowed: Iterable[str], what: str) -> None:
    """Refuse a list of pods that is unsorted, doubled, or has others than are allowed.

    Raises:
        MalformedMessage: says which list.
    """
    if list(names) != sorted(set(names)) or not set(names) <= set(allowed):
        raise MalformedMessage(f"The list of {what} is unsorted, names a pod twice, or one that is unknown.")
