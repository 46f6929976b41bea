"""Where numbers and canaries lie in an encoded vector.

The payload is cut into runs that fill 1 MiB together with the eight words of zero that follow each; the
last run is shorter and has its eight words too, and an empty payload has eight words alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from secure_agg.keystream import Words
from secure_agg.parameters import Bits
from secure_agg.rotation import rotated_length

CANARY_WORDS = 8
CANARY_SEGMENT_BYTES = 1 << 20
CHUNK = 32_768
"""Coordinates that are encoded or decoded at a time; buffers of so many float64 stay in the cache."""


def payload_length(length: int, bits: Bits) -> int:
    """Words that carry numbers: the coordinates, padded for the rotation where words are short."""
    return rotated_length(length) if bits == 16 else length


def encoded_length(length: int, bits: Bits) -> int:
    """Words of an encoded vector of ``length`` coordinates, canaries included; 8 for an empty one."""
    payload = payload_length(length, bits)
    return payload + CANARY_WORDS * max(1, -(-payload // run_length(bits)))


def run_length(bits: Bits) -> int:
    """Payload words between two groups of canaries."""
    return CANARY_SEGMENT_BYTES * 8 // bits - CANARY_WORDS


def pieces(payload: int, bits: Bits) -> Iterator[tuple[slice, slice]]:
    """Where each short piece of the payload lies, and where in the encoded vector."""
    run = run_length(bits)
    for number, first in enumerate(range(0, payload, run)):
        for start in range(first, min(first + run, payload), CHUNK):
            end = min(start + CHUNK, first + run, payload)
            shift = number * CANARY_WORDS
            yield slice(start, end), slice(start + shift, end + shift)


def canaries(vector: Words, payload: int, bits: Bits) -> Iterator[Words]:
    run = run_length(bits)
    for number in range(max(1, -(-payload // run))):
        start = min((number + 1) * run, payload) + number * CANARY_WORDS
        yield vector[start : start + CANARY_WORDS]
