"""The seeded Hadamard rotation that spreads a vector evenly over its coordinates.

Short words have few steps, and one large coordinate would waste them for all others. Signs from a public
seed, followed by an orthonormal Walsh-Hadamard transform, keep the L2 norm and make every coordinate about
equally large (Suresh et al., "Distributed mean estimation with limited communication", ICML 2017). It is
linear, so the mean of rotated vectors is the rotated mean.

The vector is cut into blocks of 16,384 coordinates; the rest is padded to a multiple of 1,024 and cut into
powers of two, so that at most 1,023 words are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from secure_agg.keystream import Cursor, stream_key

LARGEST_BLOCK = 16_384
SMALLEST_BLOCK = 1_024
_DOMAIN = b"rotation"


def rotated_length(length: int) -> int:
    """Coordinates of a rotated vector: the next multiple of 1,024."""
    return -(-length // SMALLEST_BLOCK) * SMALLEST_BLOCK


def rotate(update: NDArray[np.floating], seed: bytes) -> NDArray[np.float32]:
    """The rotated vector.

    Args:
        update: shape ``(n,)``, finite.
        seed: 32 bytes, public, the same for all pods of a round.

    Returns:
        Shape ``(rotated_length(n),)``; its L2 norm is that of ``update``.
    """
    found = np.zeros(rotated_length(len(update)), np.float32)
    found[: len(update)] = update
    for block, signs in _blocks(found, seed):
        block[:] = _transform(block.astype(np.float64) * signs)
    return found


def unrotate(rotated: NDArray[np.floating], seed: bytes, length: int) -> NDArray[np.float64]:
    """The vector of ``length`` coordinates whose rotation is ``rotated``."""
    found = rotated.astype(np.float64)
    for block, signs in _blocks(found, seed):
        block[:] = _transform(block) * signs
    return found[:length]


def _blocks(
    vector: NDArray[np.floating], seed: bytes
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.int8]]]:
    """Each block as a view, with its signs of +1 and -1."""
    stream, start = Cursor(stream_key(seed, _DOMAIN)), 0
    while start < len(vector):
        left = len(vector) - start
        size = min(LARGEST_BLOCK, 1 << (left.bit_length() - 1))
        bits = np.unpackbits(stream.words(size // 16, "<u2").view(np.uint8), bitorder="little")
        yield vector[start : start + size], 1 - 2 * bits.astype(np.int8)
        start += size


def _transform(block: NDArray[np.floating]) -> NDArray[np.float64]:
    """Orthonormal Walsh-Hadamard transform; the matrix of size ab is the Kronecker product of two."""
    bits = len(block).bit_length() - 1
    left, right = _hadamard(bits - bits // 2), _hadamard(bits // 2)
    rows = block.reshape(len(left), len(right))
    found: NDArray[np.float64] = left @ rows @ right
    return found.ravel()


@lru_cache(maxsize=16)
def _hadamard(bits: int) -> NDArray[np.float64]:
    matrix = np.ones((1, 1))
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2.0)
    return matrix
