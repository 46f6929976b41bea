"""Five flaws that masking protocols have had, each in the fewest lines that show it.

None of this is ever imported by the package; the attacks of `test_broken` succeed here and fail on ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secure_agg.keys import Identity, sign, verify
from secure_agg.messages import CONFIRM

Words = NDArray[np.uint32]


def scalar_mask(update: Words, mask: int) -> Words:
    """Flaw: one number hides all coordinates, so their differences stay as they are."""
    return update + np.uint32(mask)


def folded_seed(seed: bytes, bits: int) -> int:
    """Flaw: the seed is folded by XOR to a few bits before the generator is seeded."""
    folded = 0
    for byte_pair in zip(seed[::2], seed[1::2], strict=True):
        folded ^= int.from_bytes(bytes(byte_pair), "big")
    return folded % 2**bits


def folded_mask(seed: bytes, length: int, bits: int = 12) -> Words:
    """Flaw: a general-purpose generator, with a seed of a few bits (scaled down from 28 to be quick)."""
    return np.random.default_rng(folded_seed(seed, bits)).integers(0, 2**32, length, dtype=np.uint32)


@dataclass
class TrustingPod:
    """Flaw: gives whatever shares are asked for, without looking whether two lists overlap or come again."""

    own_mask_shares: Mapping[str, bytes]
    key_shares: Mapping[str, bytes]

    def reveal(self, live: Iterable[str], lost: Iterable[str]) -> tuple[dict[str, bytes], dict[str, bytes]]:
        return {name: self.own_mask_shares[name] for name in live}, {
            name: self.key_shares[name] for name in lost
        }


@dataclass
class UnsignedPod:
    """Flaw: opens the survivor set that it is shown; nobody has signed that others see the same."""

    name: str
    opened: list[tuple[str, ...]] = field(default_factory=list)

    def reveal(self, survivors: tuple[str, ...]) -> tuple[str, ...]:
        self.opened.append(survivors)
        return survivors


@dataclass
class SigningPod:
    """The same pod, with the remedy: a set must carry enough signatures over the same bytes."""

    name: str
    identity: Identity
    pinned: Mapping[str, bytes]
    threshold: int
    statement: bytes = b""

    def confirm(self, survivors: tuple[str, ...]) -> bytes:
        assert not self.statement
        self.statement = repr(survivors).encode()
        return sign(self.identity, CONFIRM, self.statement)

    def reveal(self, signatures: Mapping[str, bytes]) -> None:
        assert len(signatures) >= self.threshold
        for name, signature in signatures.items():
            verify(self.pinned, name, CONFIRM, self.statement, signature)


class EarlyDropoutFatal:
    """Flaw: every neighbour is expected to have shared; one that was lost before is a KeyError."""

    def __init__(self, roster: Iterable[str], shared: Mapping[str, bytes]) -> None:
        self._roster, self._shared = tuple(roster), dict(shared)

    def pair_seeds(self, me: str) -> dict[str, bytes]:
        return {peer: self._shared[peer] for peer in self._roster if peer != me}
