"""The bytes that pods and server exchange: versioned, strict, and limited in size before they are read.

A control message is a frame of five bytes (``SA1``, version, kind) and one MessagePack array of fixed
fields; an unknown kind, a further field or another type is refused. What a pod sends is an envelope whose
``body`` is signed exactly as it travels and never encoded again. The masked vector is a fixed header and
raw little-endian words, read without copying.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from secure_agg.errors import MalformedMessage

Data = bytes | memoryview
"""A message: a masked update is a view of the array that was masked, so that it is not copied."""

VERSION = 1
FRAME = b"SA1" + bytes([VERSION])

Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9._-]*\Z")]
Sealed = Annotated[bytes, msgspec.Meta(min_length=17, max_length=512)]
Share = Annotated[bytes, msgspec.Meta(min_length=4, max_length=256)]
Small = Annotated[bytes, msgspec.Meta(max_length=64)]


class Invitation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Server to pod: the specification's bytes and the modeller's signature over them."""

    spec: bytes
    signature: Signature


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Pod to server: a body, its author, and the author's signature over the body's bytes."""

    sender: Name
    body: bytes
    signature: Signature


class Advert(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Fresh public keys of one pod and its commitment to the seed of its own mask.

    Attributes:
        mask_key, channel_key: X25519 public keys, made for this round only.
        own_mask_commitment: binds the pod to the 32-byte seed that the server may open at the end.
        graph_nonce: opens the pod's commitment in the specification; empty for the complete graph.
    """

    sender: Name
    spec_hash: Hash
    mask_key: Key
    channel_key: Key
    own_mask_commitment: Hash
    graph_nonce: Small = b""


class Roster(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Server to pod: every advert, as the frames that the pods sent, sorted by the pod's name."""

    spec_hash: Hash
    adverts: tuple[bytes, ...]


class SparseRoster(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Server to pod in a sparse graph: who has advertised, and the adverts of this pod and its neighbours.

    Attributes:
        present: the pods of the cohort that have advertised; see `pack_names`.
        nonces: of each that has, in the order of names, its 32 bytes for the graph's seed.
        digests: of each the SHA-256 of its advert's frame, 32 bytes.
        adverts: frames of this pod and its neighbours, sorted by name.
    """

    spec_hash: Hash
    present: bytes
    nonces: bytes
    digests: bytes
    adverts: tuple[bytes, ...]


class Shares(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A pod's shares, sealed for each neighbour: ``(recipient, ciphertext)``, sorted."""

    sender: Name
    spec_hash: Hash
    roster_hash: Hash
    sealed: tuple[tuple[Name, Sealed], ...]


class Forward(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Server to pod: who has shared, and what is sealed for this pod: ``(sender, ciphertext)``, sorted."""

    spec_hash: Hash
    roster_hash: Hash
    shared: tuple[Name, ...]
    sealed: tuple[tuple[Name, Sealed], ...]


class SparseForward(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`Forward` in a sparse graph: ``shared`` is packed over the names of the roster; see `pack_names`."""

    spec_hash: Hash
    roster_hash: Hash
    shared: bytes
    sealed: tuple[tuple[Name, Sealed], ...]


class Survivors(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Whose updates are in the sum, sorted. Server to pod; and, signed, the body of a confirmation."""

    spec_hash: Hash
    roster_hash: Hash
    survivors: tuple[Name, ...]


class SparseSurvivors(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`Survivors` in a sparse graph, packed over the names that have shared; never signed."""

    spec_hash: Hash
    roster_hash: Hash
    survivors: bytes


class Proofs(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Server to pod: who has confirmed the survivors, with signatures over the same bytes, sorted."""

    spec_hash: Hash
    roster_hash: Hash
    confirmations: tuple[tuple[Name, Signature], ...]


class Reveal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A pod's shares: of own masks of survivors, of mask keys of the lost; ``(owner, share)``, sorted."""

    sender: Name
    spec_hash: Hash
    roster_hash: Hash
    own_masks: tuple[tuple[Name, Share], ...]
    mask_keys: tuple[tuple[Name, Share], ...]


Message = TypeVar("Message", bound=msgspec.Struct)

ADVERT, SHARES, CONFIRM, REVEAL = b"\x01", b"\x03", b"\x07", b"\x09"
INVITATION, ROSTER, FORWARD, SURVIVORS, PROOFS = b"\x00", b"\x02", b"\x04", b"\x06", b"\x08"
MASKED = b"\x05"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of control message: its type, and its largest size as ``fixed + per_pod * pods`` bytes.

    ``sparse`` is the type in a sparse graph, where that is another one.
    """

    name: str
    message: type[msgspec.Struct]
    fixed: int
    per_pod: int = 0
    sparse: type[msgspec.Struct] | None = None


KINDS: dict[bytes, Kind] = {
    INVITATION: Kind("invitation", Invitation, 2048, 160),
    ADVERT: Kind("advert", Envelope, 768),
    ROSTER: Kind("roster", Roster, 256, 784, SparseRoster),
    SHARES: Kind("shares", Envelope, 512, 600),
    FORWARD: Kind("forward", Forward, 256, 680, SparseForward),
    SURVIVORS: Kind("survivors", Survivors, 256, 80, SparseSurvivors),
    CONFIRM: Kind("confirm", Envelope, 512, 80),
    PROOFS: Kind("proofs", Proofs, 256, 160),
    REVEAL: Kind("reveal", Envelope, 512, 680),
}
BODIES: dict[bytes, type[msgspec.Struct]] = {
    ADVERT: Advert,
    SHARES: Shares,
    CONFIRM: Survivors,
    REVEAL: Reveal,
}


def kind_of(data: Data) -> bytes:
    """The kind byte of a frame; nothing else is read.

    Raises:
        MalformedMessage: not a frame of this version.
    """
    if len(data) < 5 or bytes(data[:4]) != FRAME:
        raise MalformedMessage(f"A message of {len(data)} bytes is not of this protocol and version.")
    kind = bytes(data[4:5])
    if kind != MASKED and kind not in KINDS:
        raise MalformedMessage("A message is of an unknown kind.")
    return kind


def encode(kind: bytes, message: msgspec.Struct) -> bytes:
    """The frame of a control message."""
    return FRAME + kind + msgspec.msgpack.encode(message)


def decode(data: Data, kind: bytes, message: type[Message], pods: int) -> Message:
    """The control message of a frame.

    Args:
        data: what came.
        kind: the only kind that is expected now.
        message: the type of that kind.
        pods: size of the cohort, which limits the size of the message before it is read.

    Raises:
        MalformedMessage: another kind or version, too large, unknown or wrong fields.
    """
    expected = KINDS[kind]
    if message not in (expected.message, expected.sparse):
        raise TypeError("the type does not belong to the kind")
    limit = expected.fixed + expected.per_pod * pods
    if len(data) > limit:
        raise MalformedMessage(f"A {expected.name} of {len(data)} bytes is above its limit of {limit} bytes.")
    if kind_of(data) != kind:
        raise MalformedMessage(f"A message of another kind came where a {expected.name} was expected.")
    return _strict(bytes(data[5:]), message, expected.name)


def decode_body(kind: bytes, body: bytes, message: type[Message]) -> Message:
    """What a pod signed, from the body of its envelope (whose size `decode` has limited).

    Raises:
        MalformedMessage: unknown or wrong fields.
    """
    if BODIES[kind] is not message:
        raise TypeError("the type does not belong to the kind")
    return _strict(body, message, KINDS[kind].name)


def encode_body(message: msgspec.Struct) -> bytes:
    """The bytes that a pod signs."""
    return msgspec.msgpack.encode(message)


def _strict(data: bytes, message: type[Message], name: str) -> Message:
    try:
        found = msgspec.msgpack.decode(data, type=message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MalformedMessage(
            f"A {name} ({len(data)} bytes) has unknown, missing or wrong fields."
        ) from None
    # One meaning has one form: a second spelling of a message is somebody playing.
    if msgspec.msgpack.encode(found) != data:
        raise MalformedMessage(f"A {name} ({len(data)} bytes) is not in its one canonical form.")
    return found


def signed_bytes(kind: bytes, body: bytes) -> bytes:
    """What a signature covers: the protocol, the kind and the body as it travels.

    Kinds are kept apart here, so that no signed body can be shown again as another kind.
    """
    return b"sa1/sign/" + kind + body


def roster_hash(spec_hash: bytes, adverts: tuple[bytes, ...]) -> bytes:
    """The hash that binds everything after the roster to exactly these adverts: 32 bytes."""
    digest = hashlib.sha256(b"sa1/roster" + spec_hash + len(adverts).to_bytes(4, "big"))
    for advert in adverts:
        digest.update(len(advert).to_bytes(4, "big") + advert)
    return digest.digest()


def names_hash(spec_hash: bytes, names: tuple[str, ...]) -> bytes:
    """A hash over a sorted set of pods, bound to the round: 32 bytes."""
    return hashlib.sha256(b"sa1/names" + spec_hash + msgspec.msgpack.encode(names)).digest()


def sparse_roster_hash(spec_hash: bytes, roster: SparseRoster) -> bytes:
    """`roster_hash` in a sparse graph: over who is present, the nonces and the digests of all adverts."""
    size = len(roster.present).to_bytes(4, "big")
    parts = (spec_hash, size, roster.present, roster.nonces, roster.digests)
    return hashlib.sha256(b"sa1/sparse-roster" + b"".join(parts)).digest()


def pack_names(names: Sequence[str], chosen: Collection[str]) -> bytes:
    """Which of ``names`` are chosen: one bit for each, the first name in the highest bit of the first byte."""
    found = set(chosen)
    return np.packbits([name in found for name in names]).tobytes()


def unpack_names(packed: bytes, names: Sequence[str], what: str) -> tuple[str, ...]:
    """The chosen ones of ``names``, in their order.

    Raises:
        MalformedMessage: not one bit for each name; says which list.
    """
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if len(packed) != -(-len(names) // 8) or bits[len(names) :].any():
        raise MalformedMessage(f"The list of {what} has {len(packed)} bytes; expected a bit for each pod.")
    return tuple(compress(names, bits.tolist()))
