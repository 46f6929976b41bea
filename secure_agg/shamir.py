"""Shamir's secret sharing (CACM 22, 1979) of byte strings, 16 bits at a time, in the field of 65537.

Every 16-bit limb of a secret has a polynomial of its own with independent uniform coefficients, so that
``threshold - 1`` shares say nothing about it. Polynomials are evaluated, and secrets put together, as
matrix products of float64: each product is at most 65536^2 = 2^32, so sums of up to 2^21 of them stay
below 2^53 and are exact. A share needs 17 bits and is carried as uint32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.errors import BadMaskInput, BadShare

PRIME = 65537
LIMB_BYTES = 2
GENERATOR = 3
"""A generator of the multiplicative group of the field."""

EXACT_TERMS = 2**53 // (PRIME - 1) ** 2
"""Products of two field elements whose float64 sum is exact: 2^21."""

Entropy = Callable[[int], bytes]
Shares = NDArray[np.uint32]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def share(secrets: Sequence[bytes], holders: int, threshold: int, entropy: Entropy) -> Shares:
    """Share secrets of one length among holders 1 to ``holders``.

    Args:
        secrets: byte strings, all of one even length.
        holders: 1 to 65536.
        threshold: shares that give a secret back; 1 to ``holders``.
        entropy: returns so many fresh uniform bytes.

    Returns:
        Shape ``(holders, secrets, limbs)``; row ``h`` belongs to holder ``h + 1``.

    Raises:
        BadMaskInput: lengths or numbers that cannot be.
    """
    if not 1 <= threshold <= holders < PRIME:
        raise BadMaskInput("threshold", f"{threshold} of {holders}", "1 <= threshold <= holders <= 65536")
    limbs = _limbs_of(secrets)
    coefficients = np.empty((threshold, limbs.size))
    coefficients[0] = limbs.ravel()
    coefficients[1:] = uniform((threshold - 1) * limbs.size, entropy).reshape(threshold - 1, limbs.size)
    values = _exact_product(_powers(holders, threshold), coefficients)
    return values.astype(np.uint32).reshape(holders, *limbs.shape)


def combine(holders: Sequence[int], shares: Shares, threshold: int) -> list[bytes]:
    """Give secrets back from the shares of one set of holders.

    Args:
        holders: distinct numbers 1 to 65536, in the order of the rows of ``shares``.
        shares: shape ``(holders, secrets, limbs)``.
        threshold: shares that are needed; of more, the first ``threshold`` are used.

    Returns:
        One byte string per secret.

    Raises:
        BadShare: too few or doubled holders, a value outside the field, or a limb that is no limb.
    """
    if shares.ndim != 3 or len(shares) != len(holders):
        raise BadShare(f"shares have shape {shares.shape}; expected ({len(holders)}, secrets, limbs).")
    if threshold < 1 or len(holders) < threshold:
        raise BadShare(f"{len(holders)} shares came; {threshold} are needed. Nothing was recovered.")
    if shares.size and int(shares.max()) >= PRIME:
        raise BadShare("a share is outside the field of 65537; nothing was recovered.")
    weights = lagrange_at_zero(tuple(holders[:threshold]))
    used = shares[:threshold].reshape(threshold, -1)
    limbs = _exact_product(weights[np.newaxis], used.astype(np.float64))
    return _bytes_of(limbs.reshape(shares.shape[1:]))


def combine_all(
    asked: Mapping[str, tuple[Sequence[int], NDArray[np.uint32]]], threshold: int
) -> dict[str, bytes]:
    """Give one secret per owner back; owners with the same set of holders share their weights.

    Args:
        asked: owner to (holders, shares of shape ``(holders, limbs)``); limbs of one length.
        threshold: shares that are needed for each.

    Raises:
        BadShare: see `combine`.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for owner, (holders, _) in asked.items():
        groups.setdefault(tuple(holders), []).append(owner)
    found: dict[str, bytes] = {}
    for holders, owners in groups.items():
        together = np.stack([asked[owner][1] for owner in owners], axis=1)
        found.update(zip(owners, combine(holders, together, threshold), strict=True))
    return {owner: found[owner] for owner in asked}


def to_bytes(shares: NDArray[np.uint32]) -> bytes:
    """One holder's shares as little-endian words of 4 bytes."""
    return np.ascontiguousarray(shares, "<u4").tobytes()


def from_bytes(data: bytes, secrets: int) -> NDArray[np.uint32]:
    """Shares of ``secrets`` secrets, shape ``(secrets, limbs)``.

    Raises:
        BadShare: the length does not fit, or a value is outside the field.
    """
    if secrets < 1 or not data or len(data) % (4 * secrets):
        raise BadShare(f"a share is {len(data)} bytes; expected a multiple of {4 * secrets}.")
    values = np.frombuffer(data, "<u4").reshape(secrets, -1)
    if int(values.max()) >= PRIME:
        raise BadShare("a share is outside the field of 65537.")
    return values


@lru_cache(maxsize=64)
def lagrange_at_zero(holders: tuple[int, ...]) -> _Floats:
    """Weights that give a polynomial's value at 0 from its values at ``holders``.

    Raises:
        BadShare: a holder twice, or a number outside 1 to 65536.
    """
    points = np.array(holders, np.int64)
    if not holders or points.min() < 1 or points.max() >= PRIME or len(set(holders)) != len(holders):
        raise BadShare("holders are not distinct numbers from 1 to 65536; nothing was recovered.")
    logarithm, power = _logarithms()
    differences = logarithm[(points[np.newaxis] - points[:, np.newaxis]) % PRIME]
    np.fill_diagonal(differences, 0)
    exponents = logarithm[points].sum() - logarithm[points] - differences.sum(axis=1)
    weights: _Floats = power[exponents % (PRIME - 1)].astype(np.float64)
    weights.setflags(write=False)
    return weights


def uniform(count: int, entropy: Entropy) -> NDArray[np.uint32]:
    """Independent uniform elements of the field, by rejection from 32-bit words.

    2^32 = 65535 * 65537 + 1, so only the largest word is refused.
    """
    found = np.frombuffer(entropy(4 * count), "<u4")
    if len(found) != count:
        raise BadMaskInput("entropy", f"{len(found)} words", f"{count} words")
    while (rejected := found == 2**32 - 1).any():
        fresh = np.frombuffer(entropy(4 * int(rejected.sum())), "<u4")
        found = found.copy()
        found[rejected] = fresh
    return found % np.uint32(PRIME)


def _limbs_of(secrets: Sequence[bytes]) -> NDArray[np.uint16]:
    lengths = {len(secret) for secret in secrets}
    if len(lengths) != 1 or (size := lengths.pop()) == 0 or size % LIMB_BYTES:
        raise BadMaskInput(
            "secrets", f"{len(secrets)} byte strings", "byte strings of one even length above 0"
        )
    return np.frombuffer(b"".join(secrets), "<u2").reshape(len(secrets), -1)


def _bytes_of(limbs: _Integers) -> list[bytes]:
    if limbs.size and limbs.max() > 0xFFFF:
        raise BadShare("shares give 65536, which is no 16-bit limb; at least one share is wrong.")
    return [row.tobytes() for row in limbs.astype("<u2")]


def _exact_product(left: _Floats, right: _Floats) -> _Integers:
    """Product of matrices over the field; entries below 65537, so that float64 sums are exact."""
    if left.shape[1] > EXACT_TERMS:
        raise BadMaskInput(
            "threshold", f"{left.shape[1]} terms", f"at most {EXACT_TERMS} terms of 2^32, which is 2^53"
        )
    # Whole numbers divide many times faster than np.fmod does.
    product: _Integers = np.matmul(left, right).astype(np.int64)
    product %= PRIME
    return product


@lru_cache(maxsize=4)
def _powers(holders: int, threshold: int) -> _Floats:
    """Powers 0 to ``threshold - 1`` of 1 to ``holders``; doubled, so that few steps are taken."""
    points = np.arange(1, holders + 1, dtype=np.int64)[:, np.newaxis]
    powers = np.ones_like(points)
    while (width := powers.shape[1]) < threshold:
        following = powers[:, -1:] * points % PRIME
        powers = np.hstack([powers, powers[:, : threshold - width] * following % PRIME])
    found = powers.astype(np.float64)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=1)
def _logarithms() -> tuple[Any, Any]:
    """Discrete logarithms to base 3 (index 0 is never used), and powers of 3."""
    power = np.ones(1, np.int64)
    while len(power) < PRIME - 1:
        power = np.concatenate([power, power * (power[-1] * GENERATOR % PRIME) % PRIME])
    logarithm = np.zeros(PRIME, np.int64)
    logarithm[power] = np.arange(PRIME - 1)
    return logarithm, power
