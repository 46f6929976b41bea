"""The roster of a sparse graph: what one pod needs of a cohort of any size.

The promise is semi-honest, so the server has checked every advert. A pod sees the adverts of its neighbours
alone, with their signatures, and yet finds its neighbours itself: it opens every pod's commitment to the
graph's seed. Everything that grows with the cohort is a hash or a few bytes for each pod.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence

from secure_agg.errors import RosterRefused
from secure_agg.graph import NONCE_BYTES, Ring, joint_seed
from secure_agg.messages import (
    ROSTER,
    Advert,
    Data,
    SparseRoster,
    decode,
    encode,
    pack_names,
    sparse_roster_hash,
    unpack_names,
)
from secure_agg.roster import (
    CheckedRoster,
    Round,
    check_distinct,
    check_floor,
    check_own,
    check_round,
    read_unsigned,
    verify_advert,
)

_DIGEST_BYTES = 32


def make_sparse_rosters(
    adverts: Mapping[str, Advert], frames: Mapping[str, bytes], this: Round
) -> tuple[CheckedRoster, dict[str, bytes]]:
    """The roster as the server holds it, and each pod's message.

    Args:
        adverts: of each pod that has advertised; `read_advert` has checked them one by one.
        frames: of each the bytes that came.
        this: the round.

    Raises:
        RosterRefused: a key twice, or fewer pods than the round's floor.
    """
    names = tuple(sorted(adverts))
    check_distinct([adverts[name] for name in names])
    check_floor(len(names), this)
    nonces = {name: adverts[name].graph_nonce for name in names}
    ring = _ring(nonces, this)
    everybody = SparseRoster(
        spec_hash=this.hash,
        present=pack_names(this.spec.names, names),
        nonces=b"".join(nonces.values()),
        digests=b"".join(_digest(frames[name]) for name in names),
        adverts=(),
    )
    found = CheckedRoster(sparse_roster_hash(this.hash, everybody), names, adverts, ring)
    return found, {
        name: _for_one(everybody, [frames[peer] for peer in found.holders(name)]) for name in names
    }


def _for_one(everybody: SparseRoster, frames: Sequence[bytes]) -> bytes:
    return encode(
        ROSTER,
        SparseRoster(
            everybody.spec_hash, everybody.present, everybody.nonces, everybody.digests, tuple(frames)
        ),
    )


def read_sparse_roster(data: Data, this: Round, me: str, advert: bytes) -> CheckedRoster:
    """A sparse roster with everything checked that concerns this pod.

    Args:
        data: the message.
        this: the round.
        me: this pod.
        advert: what it has sent.

    Raises:
        RosterRefused: another round, too few pods, other adverts than the neighbours', or changed ones.
        CohortRefused: a nonce is not the one that its pod committed to.
        MalformedMessage, BadSignature: an advert is none, or not by its author.
    """
    roster = decode(data, ROSTER, SparseRoster, len(this.spec.cohort))
    check_round(roster, this)
    names = unpack_names(roster.present, this.spec.names, "pods that have advertised")
    check_floor(len(names), this)
    if me not in names or {len(roster.nonces), len(roster.digests)} != {len(names) * _DIGEST_BYTES}:
        raise RosterRefused("The roster leaves out this pod, or has other than 32 bytes for each pod.")
    check_own(advert, roster.adverts)
    ring = _ring(dict(zip(names, _pieces(roster.nonces), strict=True)), this)
    mine = sorted((me, *ring[me]))
    places = [_DIGEST_BYTES * bisect_left(names, name) for name in mine]
    expected = [roster.digests[place : place + _DIGEST_BYTES] for place in places]
    if expected != [_digest(frame) for frame in roster.adverts]:
        raise RosterRefused(
            "The adverts are not those of exactly this pod and its neighbours. Nothing was sent."
        )
    return CheckedRoster(sparse_roster_hash(this.hash, roster), names, _adverts(roster, mine, this), ring)


def _adverts(roster: SparseRoster, mine: Sequence[str], this: Round) -> dict[str, Advert]:
    found = [read_unsigned(frame, this) for frame in roster.adverts]
    adverts = {advert.sender: advert for _, advert in found}
    if list(adverts) != mine:
        raise RosterRefused(
            "The adverts are not those of exactly this pod and its neighbours. Nothing was sent."
        )
    check_distinct(list(adverts.values()))
    for envelope, _ in found:
        verify_advert(envelope, this)
    return adverts


def _ring(nonces: Mapping[str, bytes], this: Round) -> Ring:
    # Pods that never advertised have no say in the order. Withholding a nonce is thus one choice
    # between two orders, which the semi-honest promise of a sparse graph allows for.
    promised = {name: this.members[name].nonce_commitment for name in nonces}
    return Ring(nonces, this.spec.degree, joint_seed(promised, nonces))


def _digest(frame: bytes) -> bytes:
    return hashlib.sha256(b"sa1/advert" + frame).digest()


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + NONCE_BYTES] for at in range(0, len(data), NONCE_BYTES)]
