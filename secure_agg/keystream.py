"""The keystream that every mask, rounding bit and noise bit comes from.

Stream ``(seed, domain)`` is AES-256 in counter mode under ``HKDF-SHA256(seed, info="sa1/prg" + domain)``.
It is cut into segments of 64 MiB; the counter block of a segment begins at its number in 12 bytes
(big-endian) followed by 00000002, so that any word can be reached without what lies before it. Counting
from 2 makes a segment equal, byte for byte, to AES-256-GCM over zeros under the 12-byte number as nonce
(NIST SP 800-38D, 7.1); GCM is the faster of the two on some processors, and `self_test` looks which. It can
begin at any block (`gcm_start`), so that threads share a segment.

Words are little-endian. A stream is never used twice for two different things: the domain says what for.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from secure_agg.errors import BadMaskInput, SecureAggError
from secure_agg.gcm_start import BLOCK_BYTES, nonce_for

Words = NDArray[Any]
"""A one-dimensional array of unsigned little-endian words of 16, 32 or 64 bits."""

SEED_BYTES = 32
CHUNK_BYTES = 256 * 1024
"""Keystream is made and used in pieces of this size, which stay in the processor's cache."""

SEGMENT_BYTES = 64 * 1024 * 1024
VECTOR, LANE = b"vector", b"lane"

_ZEROS = bytes(CHUNK_BYTES)
_TRIALS = 9
_TEST_KEY = bytes(range(32))
# Of the raw stream under the key 00..1f, segment 0: the first 1 MiB.
_TEST_DIGEST = "247ab188bbe24de385b7793d92f3b0acdb761ce25b3ac0e17e95a0c24d109cf7"


class Backend(Enum):
    """Two ways to the same bytes."""

    CTR = "aes-256-ctr"
    GCM = "aes-256-gcm"


class KeystreamFault(SecureAggError):
    """The cryptographic library of this machine does not give the bytes that the standard says."""


class _Context(Protocol):
    def update_into(self, data: bytes | memoryview, buf: bytearray | memoryview) -> int: ...


def stream_key(seed: bytes, domain: bytes = VECTOR) -> bytes:
    """The AES-256 key of stream ``(seed, domain)``.

    Raises:
        BadMaskInput: the seed is not 32 bytes.
    """
    if len(seed) != SEED_BYTES:
        raise BadMaskInput("seed", f"{len(seed)} bytes", f"{SEED_BYTES} bytes")
    return HKDF(SHA256(), length=32, salt=None, info=b"sa1/prg" + domain).derive(bytes(seed))


class Cursor:
    """One keystream, read forward from a byte that is a multiple of 2.

    Args:
        key: 32 bytes, of `stream_key`.
        start: first byte to be read.
        backend: which implementation makes the bytes.
    """

    __slots__ = ("_at", "_backend", "_context", "_key")

    def __init__(self, key: bytes, start: int = 0, backend: Backend = Backend.CTR) -> None:
        self._key, self._at, self._backend = key, start, backend
        self._context = self._enter(start)

    def __repr__(self) -> str:
        return "Cursor()"

    def read_into(self, buffer: memoryview) -> None:
        """Fill ``buffer`` with the next bytes of the stream."""
        done, size = 0, len(buffer)
        while done < size:
            left = SEGMENT_BYTES - self._at % SEGMENT_BYTES
            take = min(left, size - done, CHUNK_BYTES)
            self._context.update_into(_zeros(take), buffer[done : done + take])
            done += take
            self._at += take
            if take == left:
                self._context = self._enter(self._at)

    def words(self, count: int, dtype: str = "<u4") -> Words:
        """The next ``count`` words as a fresh array."""
        found = np.empty(count, dtype)
        if count:
            self.read_into(found.data.cast("B"))
        return found

    def _enter(self, at: int) -> _Context:
        segment, inside = divmod(at, SEGMENT_BYTES)
        nonce = segment.to_bytes(12, "big")
        block, odd = divmod(inside, BLOCK_BYTES)
        first = nonce + (2 + block).to_bytes(4, "big")
        if self._backend is Backend.GCM:
            mode: GCM | CTR = GCM(nonce_for(self._key, first) if block else nonce)
        else:
            mode = CTR(first)
        context = Cipher(AES(self._key), mode).encryptor()
        context.update(bytes(odd))
        return context


def _zeros(count: int) -> bytes | memoryview:
    return _ZEROS if count == CHUNK_BYTES else memoryview(_ZEROS)[:count]


def add_keystream(part: Words, seed: bytes, sign: Literal[1, -1], start: int, domain: bytes = VECTOR) -> None:
    """Add (or subtract) the stream's words ``start .. start + len(part)`` to ``part``, in place.

    Args:
        part: shape ``(n,)``, unsigned words of 16, 32 or 64 bits; arithmetic is modulo the word.
        seed: 32 bytes.
        sign: +1 or -1.
        start: number of the first word, 0 or more.
        domain: what the stream is for.

    Raises:
        BadMaskInput: a short seed, a wrong sign or start, or an array that is not of such words.
    """
    check_words(part)
    if sign not in (1, -1) or start < 0:
        raise BadMaskInput("sign or start", "out of range", "+1 or -1, and a word number of 0 or more")
    cursor = Cursor(stream_key(seed, domain), start * part.itemsize)
    step = CHUNK_BYTES // part.itemsize
    for first in range(0, len(part), step):
        piece = part[first : first + step]
        stream = cursor.words(len(piece), piece.dtype.str)
        (np.add if sign == 1 else np.subtract)(piece, stream, out=piece)


def check_words(part: Words) -> None:
    """Refuse what is not a writeable one-dimensional array of little-endian words.

    Raises:
        BadMaskInput: says what came.
    """
    is_words = part.ndim == 1 and part.dtype.str in {"<u2", "<u4", "<u8"}
    if not (is_words and part.flags.writeable and part.flags.c_contiguous):
        raise BadMaskInput(
            "vector",
            f"an array of shape {part.shape} and type {part.dtype.name}",
            "a writeable, contiguous, one-dimensional array of uint16, uint32 or uint64",
        )


def self_test(clock: Callable[[], float] = time.thread_time) -> Backend:
    """Compare both backends with each other and with a frozen digest; return the faster one.

    Args:
        clock: seconds of this thread; an argument so that tests decide which is faster.

    Raises:
        KeystreamFault: the counter mode of this machine does not give the frozen bytes.
    """
    expected, _ = _timed(Backend.CTR, clock)
    if hashlib.sha256(expected).hexdigest() != _TEST_DIGEST:
        raise KeystreamFault(
            "AES-256-CTR of this machine does not give the frozen bytes. Nothing was masked."
        )
    half = len(expected) // 2
    later = bytearray(half)
    try:
        equal = _timed(Backend.GCM, clock)[0] == expected
        Cursor(_TEST_KEY, half, Backend.GCM).read_into(memoryview(later))
        equal = equal and later == expected[half:]
    except ValueError:  # a library that refuses GCM for any reason still has the counter mode
        return Backend.CTR
    if not equal:
        return Backend.CTR
    # In turn, so that a load that comes and goes falls on both.
    pairs = [(_timed(Backend.CTR, clock)[1], _timed(Backend.GCM, clock)[1]) for _ in range(_TRIALS)]
    counter, galois = (min(each) for each in zip(*pairs, strict=True))
    return Backend.GCM if galois < counter else Backend.CTR


def _timed(backend: Backend, clock: Callable[[], float]) -> tuple[bytes, float]:
    buffer = bytearray(1 << 20)
    before = clock()
    Cursor(_TEST_KEY, 0, backend).read_into(memoryview(buffer))
    return bytes(buffer), clock() - before


@cache
def fastest() -> Backend:
    """The backend that `self_test` chose, once per process."""
    return self_test()
