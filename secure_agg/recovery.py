"""Opening the sum: secrets from shares, checked against what their owners published, then masks removed.

The server does this once per round. For a pod whose update is in the sum only the seed of its own mask is
recovered; for a pod that was lost only its mask key. Both come from the pods, and each pod gives one of the two.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from secure_agg import shamir
from secure_agg.errors import BadShare, TooFewPods
from secure_agg.keys import Agreement, mask_seed, own_mask_commitment, public_key
from secure_agg.keystream import LANE, Words
from secure_agg.masks import LostPair, remove
from secure_agg.roster import CheckedRoster, Round

Given = dict[str, dict[str, bytes]]
"""Owner of a secret, to holder, to the holder's share."""


@dataclass(slots=True, repr=False)
class MaskedSum:
    """The sum of what the survivors have uploaded; one vector, whatever their number.

    Attributes:
        words: shape ``(n,)``.
        lane: shape ``(4,)``.
        survivors: who is in it.
    """

    words: Words
    lane: NDArray[np.uint64]
    survivors: list[str] = field(default_factory=list)

    def add(self, name: str, words: Words, lane: NDArray[np.uint64]) -> None:
        """Add one pod's masked vector."""
        np.add(self.words, words, out=self.words)
        np.add(self.lane, lane, out=self.lane)
        self.survivors.append(name)


def recovered(
    given: Given, roster: CheckedRoster, threshold: int, fits: Callable[[str, bytes], bool]
) -> dict[str, bytes]:
    """One secret per owner, each of which ``fits`` what its owner has published.

    Args:
        given: shares by owner and holder.
        roster: whose positions number the shares.
        threshold: shares that open a secret.
        fits: says whether the secret of an owner is the one that was committed to.

    Raises:
        TooFewPods: an owner with fewer shares than the threshold.
        BadShare: no choice of shares that was tried gives an owner's secret.
    """
    asked = {owner: _numbered(owner, shares, roster, threshold) for owner, shares in given.items()}
    found = _combined(asked, threshold)
    for owner in asked:
        if owner not in found or not fits(owner, found[owner]):
            found[owner] = _without_the_wrong(asked[owner], threshold, partial(fits, owner))
    return found


_Numbered = tuple[tuple[int, ...], NDArray[np.uint32]]


def _numbered(owner: str, shares: Mapping[str, bytes], roster: CheckedRoster, threshold: int) -> _Numbered:
    if len(shares) < threshold:
        raise TooFewPods("reveal", len(shares), threshold, len(roster.holders(owner)))
    place = {holder: number for number, holder in enumerate(roster.holders(owner), 1)}
    ordered = sorted(shares, key=place.__getitem__)
    rows = np.stack([shamir.from_bytes(shares[holder], 1)[0] for holder in ordered])
    return tuple(place[holder] for holder in ordered), rows


def _combined(asked: Mapping[str, _Numbered], threshold: int) -> dict[str, bytes]:
    try:
        return shamir.combine_all(asked, threshold)
    except BadShare:
        return {}  # at least one is wrong: each is looked at alone


def _without_the_wrong(numbered: _Numbered, threshold: int, fits: Callable[[bytes], bool]) -> bytes:
    """Try each run of ``threshold`` holders, around the circle: finds a run without the liars if they are few."""
    holders, rows = numbered
    for start in range(len(holders)):
        chosen = [(start + step) % len(holders) for step in range(threshold)]
        try:
            secret = shamir.combine([holders[each] for each in chosen], rows[chosen, np.newaxis], threshold)[
                0
            ]
        except BadShare:
            continue
        if fits(secret):
            return secret
    raise BadShare(
        "A secret could not be recovered: shares do not give what their owner published. There is no sum."
    )


def unmask(total: MaskedSum, own: Given, lost: Given, this: Round, roster: CheckedRoster) -> None:
    """Remove all masks from the sum, in place.

    Args:
        total: the masked sum.
        own: shares of the own masks of the survivors.
        lost: shares of the mask keys of pods that have shared but not uploaded.
        this: the round.
        roster: its roster.

    Raises:
        TooFewPods, BadShare: there is no sum.
    """
    threshold = this.spec.threshold
    seeds = recovered(own, roster, threshold, lambda owner, seed: _is_seed(owner, seed, this, roster))
    keys = recovered(lost, roster, threshold, lambda owner, key: _is_key(owner, key, roster))
    alive = set(total.survivors)
    pairs = [
        LostPair(survivor, gone, _pair_seed(key, survivor, gone, this, roster))
        for gone, key in ((gone, Agreement(key)) for gone, key in keys.items())
        for survivor in roster.neighbours[gone]
        if survivor in alive
    ]
    remove(total.words, seeds.values(), pairs)
    remove(total.lane, seeds.values(), pairs, threads=1, domain=LANE)


def _is_seed(owner: str, seed: bytes, this: Round, roster: CheckedRoster) -> bool:
    made = own_mask_commitment(this.hash, owner, seed)
    return hmac.compare_digest(made, roster.adverts[owner].own_mask_commitment)


def _is_key(owner: str, key: bytes, roster: CheckedRoster) -> bool:
    return hmac.compare_digest(public_key(key), roster.adverts[owner].mask_key)


def _pair_seed(key: Agreement, survivor: str, gone: str, this: Round, roster: CheckedRoster) -> bytes:
    shared = key.with_key(roster.adverts[survivor].mask_key)
    return mask_seed(shared, this.hash, roster.hash, survivor, gone)
