"""The secrets of one pod in one round, and everything that is computed with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from secure_agg import shamir
from secure_agg.errors import BadShare, OutOfOrder, SharesRefused
from secure_agg.fixed_point import Encoded
from secure_agg.keys import (
    KEY_SIZE,
    Agreement,
    Channel,
    Entropy,
    Secret,
    mask_seed,
    own_mask_commitment,
    public_key,
)
from secure_agg.keystream import LANE
from secure_agg.masks import mask
from secure_agg.roster import CheckedRoster, Round

_SHARE_BYTES = 2 * KEY_SIZE  # one word of 4 bytes for each 16-bit limb


class PodSecrets:
    """Two X25519 keys, the seed of the pod's own mask, and the shares it holds.

    Args:
        owner: this pod.
        entropy: gives bytes that nobody can predict.
    """

    __slots__ = ("_channel_key", "_channels", "_held", "_mask_key", "_owner", "_pairs", "_seed")

    def __init__(self, owner: str, entropy: Entropy) -> None:
        self._owner = owner
        self._mask_key = Secret(entropy(KEY_SIZE))
        self._channel_key = Secret(entropy(KEY_SIZE))
        self._seed = Secret(entropy(KEY_SIZE))
        self._channels: dict[str, Channel] = {}
        self._pairs: dict[str, Secret] = {}
        self._held: dict[str, tuple[Secret, Secret]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled or copied")

    @property
    def mask_public(self) -> bytes:
        """The X25519 public key for masks."""
        return public_key(self._mask_key.open())

    @property
    def channel_public(self) -> bytes:
        """The X25519 public key for sealing shares."""
        return public_key(self._channel_key.open())

    def commitment(self, spec_hash: bytes) -> bytes:
        """The commitment to the seed of this pod's own mask."""
        return own_mask_commitment(spec_hash, self._owner, self._seed.open())

    def seal_shares(
        self, this: Round, roster: CheckedRoster, entropy: Entropy
    ) -> tuple[tuple[str, bytes], ...]:
        """Agree on keys with every neighbour, share both secrets, and seal each neighbour's share.

        Raises:
            RosterRefused: a key in the roster is a point of low order.
        """
        me = self._owner
        channels = {}
        channel_key, mask_key = Agreement(self._channel_key.open()), Agreement(self._mask_key.open())
        for peer in roster.neighbours[me]:
            advert = roster.adverts[peer]
            shared = channel_key.with_key(advert.channel_key)
            channels[peer] = Channel(shared, this.hash, roster.hash, me, peer)
            self._channels[peer] = Channel(shared, this.hash, roster.hash, peer, me)
            pair = mask_key.with_key(advert.mask_key)
            self._pairs[peer] = Secret(mask_seed(pair, this.hash, roster.hash, me, peer))
        holders = roster.holders(me)
        secrets = (self._seed.open(), self._mask_key.open())
        rows = shamir.share(secrets, len(holders), this.spec.threshold, entropy)
        shares = {holder: shamir.to_bytes(row) for holder, row in zip(holders, rows, strict=True)}
        self._hold(me, shares[me])
        return tuple((peer, channels[peer].seal(shares[peer])) for peer in roster.neighbours[me])

    def open_shares(self, sealed: Mapping[str, bytes], roster: CheckedRoster) -> None:
        """Open what the neighbours have sealed for this pod.

        Raises:
            SharesRefused: a share was changed, is malformed, or was sealed for another pod or round;
                names its sender.
        """
        for sender, data in sealed.items():
            plain = self._channels[sender].unseal(data, sender)
            try:
                shamir.from_bytes(plain, 2)
            except BadShare:
                plain = b""
            if len(plain) != 2 * _SHARE_BYTES:
                raise SharesRefused(f"The share from pod {sender!r} is malformed; the round is over.", sender)
            self._hold(sender, plain)
        self._channels.clear()

    def _hold(self, owner: str, share: bytes) -> None:
        self._held[owner] = (Secret(share[:_SHARE_BYTES]), Secret(share[_SHARE_BYTES:]))

    def mask(self, encoded: Encoded, shared: tuple[str, ...], threads: int | None) -> None:
        """Mask an encoded update in place, over the neighbours that have shared; forgets their seeds.

        Raises:
            BadMaskInput: no neighbour is left.
        """
        pairs = {peer: self._pairs[peer].open() for peer in shared if peer in self._pairs}
        own = self._seed.open()
        mask(encoded.vector, self._owner, own, pairs, threads=threads)
        mask(encoded.lane, self._owner, own, pairs, threads=1, domain=LANE)
        for secret in (*self._pairs.values(), self._mask_key, self._channel_key, self._seed):
            secret.wipe()
        self._pairs.clear()

    def own_mask_share(self, owner: str) -> bytes:
        """This pod's share of the seed of ``owner``'s own mask; its share of the mask key is overwritten."""
        seed, key = self._both(owner)
        key.wipe()
        return seed.open()

    def mask_key_share(self, owner: str) -> bytes:
        """This pod's share of ``owner``'s mask key; its share of the own mask is overwritten."""
        seed, key = self._both(owner)
        seed.wipe()
        return key.open()

    def _both(self, owner: str) -> tuple[Secret, Secret]:
        try:
            return self._held[owner]
        except KeyError:
            raise OutOfOrder("This pod holds no share of a pod that was asked for.") from None

    def wipe(self) -> None:
        """Overwrite everything; best effort."""
        shares = (secret for both in self._held.values() for secret in both)
        for secret in (self._mask_key, self._channel_key, self._seed, *self._pairs.values(), *shares):
            secret.wipe()
        self._pairs.clear()
        self._held.clear()
        self._channels.clear()
