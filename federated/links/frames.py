"""How messages are cut out of a stream of bytes: a fixed header, then the head, then the body.

All numbers are big-endian::

    magic "TVLK" | version u8 | kind u8 | zero u16 | request u64 | head length u32 | body length u64

Lengths are checked against `Sizes` before anything is allocated, so what a stranger writes into a header costs
nothing. Pure: nothing here reads or writes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from federated.errors import MessageRefused
from federated.task.envelope import Buffer, Envelope

MAGIC = b"TVLK"
VERSION = 1
_LAYOUT = struct.Struct(">4sBBHQIQ")
HEADER_SIZE = _LAYOUT.size
HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 1024**3
AT_ONCE = 64
"""Requests of one connection that a pod takes before it has answered; the hub keeps more of them back."""
JOINED = 16 * 1024
"""A frame up to this size is one piece, so one TLS record; a larger body is sent from where it lies."""


class FrameKind(IntEnum):
    """What a frame is; the first five come once, in this order, before anything else."""

    HELLO = 1
    """Pod: a nonce."""
    CHALLENGE = 2
    """Hub: a nonce and the modeller's signature."""
    PROOF = 3
    """Pod: its signature and its name."""
    WELCOME = 4
    REFUSED = 5
    PING = 6
    """Both: I am here."""
    REQUEST = 7
    ANSWER = 8
    FAULT = 9
    """Pod: the program failed at this request; there is no answer."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The longest head and body that are taken, in bytes."""

    head: int = HEAD_LIMIT
    body: int = BODY_LIMIT


GREETING = Sizes(head=256, body=0)
"""What is taken from somebody who has proved nothing yet."""


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a frame says about itself.

    Attributes:
        kind: what it is.
        request: the hub's number of the request that it is, or belongs to; 0 for none.
        head, body: lengths in bytes.
    """

    kind: FrameKind
    request: int
    head: int
    body: int


def read_header(data: Buffer, sizes: Sizes) -> FrameHeader:
    """The header in these `HEADER_SIZE` bytes.

    Raises:
        MessageRefused: not ours, another version, an unknown kind, or longer than ``sizes`` allows.
    """
    magic, version, kind, zero, request, head, body = _LAYOUT.unpack(data)
    if magic != MAGIC or zero:
        raise MessageRefused("A message does not begin as messages of this link do; it was not read.")
    if version != VERSION:
        raise MessageRefused(f"A message is of another version of this link; expected {VERSION}.")
    if kind not in FrameKind.__members__.values():
        raise MessageRefused("A message is of a kind that this link does not know; it was not read.")
    if head > sizes.head or body > sizes.body:
        raise MessageRefused(
            # How long it was is left out: refusals are counted by their words, and a stranger chooses the length.
            f"A message has a longer head or body than {sizes.head} and {sizes.body} bytes. "
            "Nothing was read or allocated."
        )
    return FrameHeader(FrameKind(kind), request, head, body)


@dataclass(frozen=True, slots=True)
class Frame:
    """One message on its way out.

    Attributes:
        request: see `FrameHeader`.
        pieces: the bytes in order; a large body is the caller's own memory.
    """

    request: int
    pieces: tuple[memoryview, ...]


def frame(kind: FrameKind, envelope: Envelope | None = None, request: int = 0) -> Frame:
    """A message as it is sent; a body above 16 kB is not copied.

    Raises:
        MessageRefused: the head is longer than 64 kB.
    """
    head, body = (envelope.head, memoryview(envelope.body).cast("B")) if envelope else (b"", memoryview(b""))
    if len(head) > HEAD_LIMIT:
        raise MessageRefused(f"A message has a head of {len(head)} bytes; expected at most {HEAD_LIMIT}.")
    start = _LAYOUT.pack(MAGIC, VERSION, kind, 0, request, len(head), len(body)) + head
    if len(start) + len(body) <= JOINED:
        return Frame(request, (memoryview(start + bytes(body)),))
    return Frame(request, (memoryview(start), body))
