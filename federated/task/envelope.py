"""What surrounds every message between the modeller and a pod: who, to whom, of which task, and its number.

The header is signed and holds the hash of the task and the SHA-256 of the body, so no message can serve in another
task, for another pod, in another place or with another body. Domains keep a signature of one kind from serving as
one of another. Bytes are verified as they were sent, never after a second encoding.

A masked upload is megabytes large and signed inside by the same key over the same task; its header says so
(``sealed``) and leaves out the second hash.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import msgspec

from federated.errors import MessageRefused, TaskRefused
from federated.task.signatures import check_signature
from secure_agg import Signer

MESSAGE_DOMAIN = b"trialveil/message\0"
HEAD_LIMIT = 64 * 1024
SIGNATURE_SIZE = 64
_REMEMBER_FROM = 1 << 20

Asked = Literal["offer", "weigh", "compute", "sum", "result", "finish"]
Answered = Literal["accepted", "sum", "vector", "result", "done", "refused"]
KINDS: tuple[str, ...] = (*get_args(Asked), *get_args(Answered))


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The signed part of a message.

    Attributes:
        version: 1.
        task: the task's hash, 32 bytes.
        sender, recipient: names of the task.
        number: of the request, from 1, growing; an answer has its request's.
        kind: see `Asked` and `Answered`.
        note: small facts of the message, such as the number of a round.
        size: bytes of the body.
        digest: SHA-256 of the body, 32 bytes; empty where ``sealed``.
        sealed: the body is a masked upload, signed inside.
    """

    version: int
    task: bytes
    sender: str
    recipient: str
    number: int
    kind: str
    note: dict[str, Any]
    size: int
    digest: bytes
    sealed: bool = False


Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message.

    Attributes:
        head: the signed header with its signature; small.
        body: the rest, which may be large and is not copied where that can be helped.
    """

    head: bytes = field(repr=False)
    body: Buffer = field(default=b"", repr=False)


class Message(msgspec.Struct, frozen=True):
    """A message that was verified.

    Attributes:
        header: see `Header`.
        body: its body; not copied.
        head: the signed bytes, by which a repeated request is known.
    """

    header: Header
    body: Buffer
    head: bytes

    @property
    def note(self) -> Mapping[str, Any]:
        """The small facts."""
        return self.header.note


class _LastDigest:
    """Remembers the digest of one large, unchangeable body, which the pods of one process share."""

    def __init__(self) -> None:
        self._body: Buffer = b""
        self._digest = b""

    def of(self, body: Buffer) -> bytes:
        if body is self._body and self._digest:
            return self._digest
        digest = hashlib.sha256(body).digest()
        view = memoryview(body)
        if view.readonly and view.nbytes >= _REMEMBER_FROM:
            self._body, self._digest = body, digest
        return digest

    def forget(self) -> None:
        self._body, self._digest = b"", b""


_last = _LastDigest()


def forget_last_body() -> None:
    """Let go of the body whose digest was remembered."""
    _last.forget()


def body_digest(body: Buffer) -> bytes:
    """SHA-256 of a body; computed once for a large one that several messages share."""
    return _last.of(body)


def signed(signer: Signer, header: Header, body: Buffer = b"") -> Envelope:
    """A message, ready to be sent; ``size`` and ``digest`` of the header are filled in here."""
    size = memoryview(body).nbytes
    digest = b"" if header.sealed else body_digest(body)
    data = msgspec.msgpack.encode(msgspec.structs.replace(header, size=size, digest=digest))
    return Envelope(signer.sign(MESSAGE_DOMAIN + data) + data, body)


def opened(envelope: Envelope, keys: Mapping[str, bytes], *, sealed_allowed: bool = False) -> Message:
    """A message that is what its header says, from somebody whose key is pinned.

    Args:
        envelope: as it came.
        keys: names to raw Ed25519 public keys.
        sealed_allowed: whether a masked upload may come now.

    Raises:
        MessageRefused: it is malformed, not signed by its sender's pinned key, or has another body.
    """
    head = envelope.head
    if not SIGNATURE_SIZE < len(head) <= HEAD_LIMIT:
        raise MessageRefused(f"A message has a head of {len(head)} bytes; it was dropped.")
    signature, data = head[:SIGNATURE_SIZE], head[SIGNATURE_SIZE:]
    try:
        header = msgspec.msgpack.decode(data, type=Header)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MessageRefused("The head of a message cannot be read; it was dropped.") from None
    if header.version != 1 or header.kind not in KINDS or len(header.task) != 32 or header.number < 1:
        raise MessageRefused("A message is of another version or kind; it was dropped.")
    check_signature(keys.get(header.sender), signature, MESSAGE_DOMAIN + data)
    if memoryview(envelope.body).nbytes != header.size:
        raise MessageRefused("The body of a message has another size than its head says; it was dropped.")
    if header.sealed:
        if not sealed_allowed:
            raise MessageRefused("A message without a digest came where none may; it was dropped.")
    elif not hmac.compare_digest(body_digest(envelope.body), header.digest):
        raise MessageRefused("The body of a message is not the one that was signed; it was dropped.")
    return Message(header, envelope.body, head)


def is_sealed(envelope: Envelope) -> bool:
    """Whether a message says of itself that its body is a masked upload; nothing is verified."""
    try:
        return msgspec.msgpack.decode(envelope.head[SIGNATURE_SIZE:], type=Header).sealed
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def refusal(error: TaskRefused) -> dict[str, str]:
    """A refusal as a pod's answer carries it."""
    return {"code": error.code, "sentence": str(error)}
