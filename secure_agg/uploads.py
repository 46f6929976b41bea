"""The masked vector on the wire: a fixed, signed header, then raw little-endian words.

    bytes   field
    5       frame: ``SA1``, version, kind
    1       bits of a word (16, 32 or 64)
    8       number of words, unsigned, little endian
    32      hash of the specification
    32      hash of the roster
    32      hash of the set of pods whose masks were used
    1 + 64  name of the pod: length, then the name filled up with zero bytes
    32      header lane: four masked 64-bit words, little endian
    32      SHA-256 of the words
    1       zero
    64      Ed25519 signature over all of the above
    ...     the words

The header has 304 bytes, so that words lie at a multiple of 16 and are added without being moved. What is
signed is the header as sent; it holds the hash of the words. A pod encodes its update behind room for the
header, so that a message is not copied.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secure_agg.errors import MalformedMessage
from secure_agg.messages import FRAME, MASKED, Data

LANE_WORDS = 4
_HEADER = struct.Struct("<5sBQ32s32s32sB64s32s32sB")
SIGNED_SIZE = _HEADER.size
HEADER_SIZE = SIGNED_SIZE + 64

Words = NDArray[np.unsignedinteger[Any]]
_TYPES: dict[int, np.dtype[Any]] = {16: np.dtype("<u2"), 32: np.dtype("<u4"), 64: np.dtype("<u8")}


@dataclass(frozen=True, slots=True)
class Upload:
    """One pod's masked update.

    Attributes:
        bits: width of a word.
        spec_hash, roster_hash, shared_hash: what the pod has seen, 32 bytes each.
        sender: the pod.
        lane: shape ``(4,)``, masked 64-bit words of the header lane.
        words: shape ``(n,)``, masked words; a read-only view of the message.
        signed: the bytes that the signature covers.
        signature: 64 bytes.
    """

    bits: int
    spec_hash: bytes
    roster_hash: bytes
    shared_hash: bytes
    sender: str
    lane: NDArray[np.uint64]
    words: Words
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pod has seen of the round when it uploads; three hashes of 32 bytes."""

    spec_hash: bytes
    roster_hash: bytes
    shared_hash: bytes


def upload_header(seen: Seen, sender: str, lane: NDArray[np.uint64], words: Words) -> bytes:
    """The signed part of the header."""
    name = sender.encode()
    return _HEADER.pack(
        FRAME + MASKED,
        words.dtype.itemsize * 8,
        words.size,
        seen.spec_hash,
        seen.roster_hash,
        seen.shared_hash,
        len(name),
        name.ljust(64, b"\0"),
        lane.astype("<u8", copy=False).tobytes(),
        hashlib.sha256(words.data).digest(),
        0,
    )


def encode_upload(header: bytes, signature: bytes, words: Words) -> bytes:
    """The whole message, of words that lie elsewhere; see `fill_upload`."""
    return b"".join((header, signature, words.astype(words.dtype.newbyteorder("<"), copy=False).data))


def fill_upload(buffer: NDArray[np.uint8], header: bytes, signature: bytes) -> memoryview:
    """The whole message, in a buffer whose words begin at `HEADER_SIZE`; read-only from here on."""
    buffer[:HEADER_SIZE] = np.frombuffer(header + signature, np.uint8)
    return buffer.data.toreadonly()


def upload_size(length: int, bits: int) -> int:
    """Bytes of an upload of ``length`` words."""
    return HEADER_SIZE + length * bits // 8


def decode_upload(data: Data, length: int, bits: int) -> Upload:
    """The masked update of a message; its words are a view, not a copy.

    Args:
        data: what came.
        length: words that the round expects.
        bits: width of a word that the round expects.

    Raises:
        MalformedMessage: another size, version or word, a name that is none, or words whose hash differs.
    """
    expected = upload_size(length, bits)
    if len(data) != expected:
        raise MalformedMessage(f"A masked update of {len(data)} bytes came; expected {expected} bytes.")
    signed = bytes(data[:SIGNED_SIZE])
    frame, width, count, spec, roster, shared, size, padded, lane, digest, spare = _HEADER.unpack(signed)
    if frame != FRAME + MASKED or width != bits or count != length or spare:
        raise MalformedMessage("A masked update has another version, width or length than the round.")
    name = padded[:size]
    if not 1 <= size <= 64 or any(padded[size:]) or not name.isascii():
        raise MalformedMessage("A masked update names its pod in another form than this version's.")
    view = memoryview(data)[HEADER_SIZE:]
    if not hmac.compare_digest(hashlib.sha256(view).digest(), digest):
        raise MalformedMessage("The words of a masked update are not those of its header.")
    return Upload(
        bits=bits,
        spec_hash=spec,
        roster_hash=roster,
        shared_hash=shared,
        sender=name.decode("ascii"),
        lane=np.frombuffer(lane, dtype="<u8"),
        words=np.frombuffer(view, dtype=_TYPES[bits]),
        signed=signed,
        signature=bytes(data[SIGNED_SIZE:HEADER_SIZE]),
    )
