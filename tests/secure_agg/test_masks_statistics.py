"""Masked vectors look uniform whatever lies under them. Fixed seeds; bounds that chance would break below 1e-9."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from secure_agg.keystream import CHUNK_BYTES, Cursor, stream_key
from secure_agg.masks import mask
from tests.secure_agg.vectors import seed

LENGTH = 262_144
BOUND = 1e-9
HOSTILE = {
    "zeros": np.zeros(LENGTH, np.uint32),
    "ones": np.full(LENGTH, 2**32 - 1, np.uint32),
    "half": np.full(LENGTH, 2**31, np.uint32),
    "two values": np.tile(np.array([0, 2**30], np.uint32), LENGTH // 2),
    "ramp": np.arange(LENGTH, dtype=np.uint32),
    "one spike": np.where(np.arange(LENGTH) == 5, 2**31, 0).astype(np.uint32),
}


def masked(plain: np.ndarray, run: int = 0, me: str = "b", others: str = "acd") -> np.ndarray:
    vector = plain.copy()
    mask(vector, me, seed((run, "own", me)), {p: seed((run, *sorted([me, p]))) for p in others})
    return vector


def chi_square(values: np.ndarray, cells: int) -> float:
    return float(stats.chisquare(np.bincount(values, minlength=cells)).pvalue)


@pytest.mark.parametrize("name", HOSTILE)
def test_masked_bytes_chi_square_uniform(name: str) -> None:
    by_place = masked(HOSTILE[name]).view(np.uint8).reshape(-1, 4)
    assert all(chi_square(by_place[:, place], 256) > BOUND for place in range(4))


@pytest.mark.parametrize("name", HOSTILE)
def test_masked_words_uniform_for_constant_zero_and_extreme_inputs(name: str) -> None:
    words = masked(HOSTILE[name])
    assert stats.kstest(words / 2**32, "uniform").pvalue > BOUND
    # Of N uniform words about N^2 / 2^33 are repeats: 8 here.
    assert LENGTH - len(np.unique(words)) < 40


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.astype(float), b.astype(float))[0, 1])


LIMIT = 6.5 / math.sqrt(LENGTH)  # a normal deviate beyond 6.5 has probability 8e-11


@pytest.mark.parametrize("name", ["two values", "ramp", "one spike"])
def test_masked_vector_uncorrelated_with_plaintext(name: str) -> None:
    assert abs(correlation(masked(HOSTILE[name]), HOSTILE[name])) < LIMIT


@pytest.mark.parametrize("name", ["zeros", "two values"])
def test_pairwise_differences_do_not_leak(name: str) -> None:
    words = masked(HOSTILE[name])
    for step in (1, 2, 1000):
        differences = words[step:] - words[:-step]
        assert stats.kstest(differences / 2**32, "uniform").pvalue > BOUND
        assert len(np.unique(differences)) > len(differences) - 40


def test_known_coordinate_recovers_nothing() -> None:
    plain = HOSTILE["two values"]
    words = masked(plain)
    guessed = words - (words[0] - plain[0])  # right for every coordinate, if the mask were one number
    assert np.count_nonzero(guessed == plain) < 3
    assert abs(correlation(guessed, plain)) < LIMIT


def test_two_runs_same_input_unlinkable() -> None:
    first, second = masked(HOSTILE["ramp"], run=1), masked(HOSTILE["ramp"], run=2)
    assert abs(correlation(first, second)) < LIMIT
    assert stats.kstest((first - second) / 2**32, "uniform").pvalue > BOUND


def test_masks_of_distinct_pairs_independent() -> None:
    streams = [Cursor(stream_key(seed(("pair", i)))).words(LENGTH) for i in range(5)]
    for a, b in combinations(streams, 2):
        assert abs(correlation(a, b)) < LIMIT
        assert chi_square((a ^ b).view(np.uint8), 256) > BOUND
        assert stats.kstest((a - b) / 2**32, "uniform").pvalue > BOUND


def test_no_two_chunks_share_a_mask() -> None:
    length = 6 * CHUNK_BYTES // 4
    vector = np.zeros(length, np.uint32)
    mask(vector, "b", seed("own"), {"a": seed(1), "c": seed(2)}, threads=3)
    blocks = vector.reshape(-1, 4)
    assert len(np.unique(blocks, axis=0)) == len(blocks)
    for step in (CHUNK_BYTES // 8, CHUNK_BYTES // 4):
        assert abs(correlation(vector[step:], vector[:-step])) < LIMIT


def test_seed_full_entropy_single_bit_flip_avalanche() -> None:
    base = Cursor(stream_key(seed("s"))).words(256)
    for bit in range(256):
        flipped = bytearray(seed("s"))
        flipped[bit // 8] ^= 1 << bit % 8
        changed = np.unpackbits((base ^ Cursor(stream_key(bytes(flipped))).words(256)).view(np.uint8)).sum()
        assert (
            abs(int(changed) - 4096) < 7 * math.sqrt(8192) / 2
        )  # 8,192 bits, each changed with probability 1/2
