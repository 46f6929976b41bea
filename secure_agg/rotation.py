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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.keystream import Cursor, stream_key

LARGEST_BLOCK = 16_384
SMALLEST_BLOCK = 1_024
_DOMAIN = b"rotation"
_Reals = NDArray[np.floating[Any]]


def rotated_length(length: int) -> int:
    """Coordinates of a rotated vector: the next multiple of 1,024."""
    return -(-length // SMALLEST_BLOCK) * SMALLEST_BLOCK


def rotate(update: _Reals, seed: bytes) -> NDArray[np.float32]:
    """The rotated vector.

    Args:
        update: shape ``(n,)``, finite.
        seed: 32 bytes, public, the same for all pods of a round.

    Returns:
        Shape ``(rotated_length(n),)``; its L2 norm is that of ``update``.
    """
    found = np.zeros(rotated_length(len(update)), np.float32)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # beyond float32 becomes infinite, which the caller refuses
        found[: len(update)] = update
        for block, signs in _blocks(found, seed):
            block[:] = _transform(block * signs)
    return found


def unrotate(rotated: _Reals, seed: bytes, length: int) -> NDArray[np.float64]:
    """The vector of ``length`` coordinates whose rotation is ``rotated``."""
    found = rotated.astype(np.float64)
    for block, signs in _blocks(found, seed):
        block[:] = _transform(block) * signs
    return found[:length]


def _blocks(vector: _Reals, seed: bytes) -> Iterator[tuple[_Reals, NDArray[np.int8]]]:
    """Each block as a view, with its signs of +1 and -1."""
    stream, start = Cursor(stream_key(seed, _DOMAIN)), 0
    while start < len(vector):
        left = len(vector) - start
        size = min(LARGEST_BLOCK, 1 << (left.bit_length() - 1))
        bits = np.unpackbits(stream.words(size // 16, "<u2").view(np.uint8), bitorder="little")
        yield vector[start : start + size], 1 - 2 * bits.astype(np.int8)
        start += size


def _transform(block: _Reals) -> _Reals:
    """Orthonormal Walsh-Hadamard transform: over the columns of a square, then over its rows.

    A matrix product would do the same with more work, and on a busy machine its threads wait for each other.
    """
    bits = len(block).bit_length() - 1
    square = block.reshape(1 << (bits - bits // 2), 1 << bits // 2)
    turned = np.ascontiguousarray(_over_columns(square).T)
    found = np.ascontiguousarray(_over_columns(turned).T).ravel()
    found *= found.dtype.type(2.0 ** (-bits / 2))
    return found


def _over_columns(matrix: _Reals) -> _Reals:
    """The unscaled transform of every column, by butterflies between two buffers."""
    rows, columns = matrix.shape
    source, target, half = matrix, np.empty_like(matrix), 1
    spare = np.empty_like(matrix)
    while half < rows:
        pairs = source.reshape(-1, 2, half * columns)
        into = target.reshape(-1, 2, half * columns)
        np.add(pairs[:, 0], pairs[:, 1], out=into[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=into[:, 1])
        source, target, spare = target, spare, target
        half *= 2
    return source
