"""Double masking of Bonawitz et al. (CCS 2017), section 4: pairwise masks and an own mask.

The ring is that of the words: 2^16, 2^32 or 2^64. Over both ends of a pair the pairwise masks cancel; own
masks, and the pairwise masks of pods that were lost after sharing their keys, are removed by the server
from the shares of the pods that answered.

The loop is chunk outside, seeds inside: a chunk stays in the cache while all its masks are added.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from secure_agg.errors import BadMaskInput, MemoryRefused
from secure_agg.keystream import (
    CHUNK_BYTES,
    VECTOR,
    Backend,
    Cursor,
    Words,
    check_words,
    fastest,
    stream_key,
)
from secure_agg.layout import CHUNK, encoded_length, payload_length
from secure_agg.parameters import Bits

THREADS_AT_MOST = 4
_PART_BYTES = 4 << 20  # less than this is not worth a thread, nor the start of GCM inside a segment
_CONTEXT_BYTES = 2048  # one open AES context with its key; 1,200 were seen
_ENCODING_BYTES = 32 * CHUNK  # four arrays of float64 at most, while a piece is rounded or clipped


@dataclass(frozen=True, slots=True)
class LostPair:
    """The mask between a pod that answered and one that did not.

    Args:
        survivor: name of the pod whose vector is in the sum.
        lost: name of the pod whose vector is not.
        seed: 32 bytes, the pair's seed, recomputed from the lost pod's recovered key.
    """

    survivor: str
    lost: str
    seed: bytes

    def __repr__(self) -> str:
        return f"LostPair(survivor={self.survivor!r}, lost={self.lost!r})"


def mask(
    update: Words,
    me: str,
    own_seed: bytes,
    pair_seeds: Mapping[str, bytes],
    *,
    threads: int | None = None,
    domain: bytes = VECTOR,
) -> None:
    """Hide one pod's update in place, so that only the sum over all pods is readable.

    Adds the pod's own mask and, for every neighbour, the shared pairwise mask: plus for a neighbour
    whose name sorts before mine, minus for one after it.

    Args:
        update: shape ``(n,)``, encoded words (see `fixed_point.encode`); overwritten.
        me: this pod's name, as in the roster.
        own_seed: 32 bytes, fresh in every round.
        pair_seeds: neighbour's name to the 32-byte seed agreed with it.
        threads: over disjoint ranges, with identical bytes; None takes up to four.
        domain: `VECTOR` or `LANE`.

    Raises:
        BadMaskInput: ``me`` is among the neighbours, there are none, two seeds are equal, a seed is
            not 32 bytes, or the array is not of words.
    """
    if not pair_seeds or me in pair_seeds:
        raise BadMaskInput("pair_seeds", f"{len(pair_seeds)} names", "the neighbours, without this pod")
    signed = [(own_seed, 1)] + [(seed, pair_sign(me, peer)) for peer, seed in pair_seeds.items()]
    # Equal seeds of opposite sign would cancel here, and the pod would be bare.
    if len({bytes(seed) for seed, _ in signed}) != len(signed):
        raise BadMaskInput(
            "pair_seeds", "seeds of which two are equal", "a seed of its own for each neighbour"
        )
    _add_all(update, signed, threads, domain)


def remove(
    total: Words,
    own_seeds: Iterable[bytes],
    lost_pairs: Iterable[LostPair] = (),
    *,
    threads: int | None = None,
    domain: bytes = VECTOR,
) -> None:
    """Take the remaining masks off the sum of the survivors' vectors, in place.

    Args:
        total: shape ``(n,)``, the sum of the masked vectors of all survivors, modulo the word.
        own_seeds: the own seed of every survivor.
        lost_pairs: each pair of a survivor and a lost pod that had agreed on a mask.
        threads, domain: see `mask`.

    Raises:
        BadMaskInput: no own seed, a seed that is not 32 bytes, or an array that is not of words.
    """
    signed = [(seed, -1) for seed in own_seeds]
    if not signed:
        raise BadMaskInput("own_seeds", "empty", "the own seed of every survivor")
    signed += [(pair.seed, -pair_sign(pair.survivor, pair.lost)) for pair in lost_pairs]
    _add_all(total, signed, threads, domain)


def pair_sign(me: str, peer: str) -> int:
    """+1 where the peer's name sorts before mine (by code point), else -1."""
    if me == peer:
        raise BadMaskInput("pair", "one name twice", "two different pods")
    return 1 if peer < me else -1


def _add_all(part: Words, signed: Sequence[tuple[bytes, int]], threads: int | None, domain: bytes) -> None:
    check_words(part)
    keys = [(stream_key(seed, domain), sign) for seed, sign in signed]
    backend = fastest()
    ranges = _ranges(part, thread_count(part.nbytes, threads))
    if len(ranges) == 1:
        _add_range(part, 0, keys, backend)
        return
    with ThreadPoolExecutor(len(ranges)) as pool:
        work = [pool.submit(_add_range, part[a:b], a, keys, backend) for a, b in ranges]
        for each in work:
            each.result()


def thread_count(size: int, asked: int | None = None) -> int:
    """How many threads a vector of ``size`` bytes is shared among.

    Raises:
        BadMaskInput: less than one was asked for.
    """
    if asked is not None and asked < 1:
        raise BadMaskInput("threads", f"{asked}", "1 or more")
    allowed = min(THREADS_AT_MOST, os.cpu_count() or 1) if asked is None else asked
    return max(1, min(allowed, -(-size // _PART_BYTES)))


def _ranges(part: Words, count: int) -> list[tuple[int, int]]:
    """Disjoint ranges of whole chunks, as even as chunks allow."""
    step = CHUNK_BYTES // part.itemsize
    chunks = -(-len(part) // step)
    edges = [min(len(part), round(chunks * number / count) * step) for number in range(count + 1)]
    return [(a, b) for a, b in pairwise(edges) if a < b] or [(0, len(part))]


def _add_range(part: Words, start: int, keys: Sequence[tuple[bytes, int]], backend: Backend) -> None:
    """Add the streams' words from ``start`` on; one buffer, reused for every seed of every chunk."""
    if not len(part):
        return
    cursors = [
        (Cursor(key, start * part.itemsize, backend).read_into, np.add if sign > 0 else np.subtract)
        for key, sign in keys
    ]
    step = CHUNK_BYTES // part.itemsize
    stream = np.empty(min(step, len(part)), part.dtype)
    for first in range(0, len(part), step):
        piece = part[first : first + step]
        words = stream[: len(piece)]
        raw = words.data.cast("B")
        for read_into, combine in cursors:
            read_into(raw)
            combine(piece, words, out=piece)


def needed_bytes(length: int, bits: Bits, threads: int = 1, *, input_bytes: int = 4, masks: int = 1) -> int:
    """Memory that encoding and then masking one update needs: input, vector, buffers and open ciphers.

    Noise takes tables besides, below 8 MiB in all and the same for any length.

    Args:
        length: coordinates.
        bits: width of a word; short words need the rotated update besides.
        threads: as in `mask`.
        input_bytes: bytes per coordinate of the update; 4 for float32.
        masks: own and pairwise masks together.
    """
    vector = encoded_length(length, bits) * bits // 8
    rotated = 4 * payload_length(length, bits) if bits == 16 else 0
    masking = CHUNK_BYTES * (1 + threads) + threads * masks * _CONTEXT_BYTES  # the zeros are shared
    return length * input_bytes + vector + max(rotated + _ENCODING_BYTES, masking)


def check_memory(needed: int, allowed: int) -> None:
    """Refuse a vector that would not fit, before any memory is taken.

    Raises:
        MemoryRefused: with both numbers.
    """
    if needed > allowed:
        raise MemoryRefused(
            f"Masking needs {needed} bytes and {allowed} are allowed. Nothing was sent. "
            "Use 16-bit words, fewer threads, or allow more memory."
        )
