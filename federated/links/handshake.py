"""Who is there: how hub and pod prove their pinned keys to each other before anything else is said.

Inside the TLS connection, three messages::

    pod → hub   HELLO      pod nonce
    hub → pod   CHALLENGE  hub nonce, modeller's signature of  "…modeller" + T
    pod → hub   PROOF      pod's signature of  "…pod" + T + name,  and the name
    hub → pod   WELCOME or REFUSED

    T = hash of the hub's certificate + pod nonce + hub nonce + the modeller's public key

Both nonces are 32 fresh random bytes, so an earlier greeting proves nothing now. The pod believes the hub only if
the signature is by the key that it has pinned; the hub believes the pod only if it is by the key that is pinned
for the name that it gives. Unknown names and wrong keys are refused in the same words.

*A relay is impossible.* Whoever sits between the two has to end TLS, thus show the pod a certificate of its own:
it does not have the private key of the hub's certificate, and TLS 1.3 makes the server sign the handshake with
that key. The modeller's signature is over the certificate that the hub really uses; the pod checks it against the
certificate that it was really shown. They differ, so the pod ends the connection before it has signed anything.
The pod's signature covers the same hash, so it is worth nothing on another connection either.

Signatures carry a text that no other signed thing of this project begins with, and one for each side.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Protocol

from federated.errors import LinkLost, MessageRefused
from federated.links.frames import GREETING, Frame, FrameHeader, FrameKind, Sizes, frame
from federated.task.envelope import Envelope
from federated.task.signatures import check_signature
from federated.task.spec import POD_NAME
from secure_agg import Signer

NONCE_SIZE = 32
SIGNATURE_SIZE = 64
_MODELLER = b"trialveil/link/modeller\0"
_POD = b"trialveil/link/pod\0"


class Talk(Protocol):
    """What a greeting needs of a connection; both are steps of its thread."""

    def receive(self, sizes: Sizes) -> Generator[int, None, tuple[FrameHeader, bytes]]:
        """The next frame: its header and its head."""
        ...

    def transmit(self, frame: Frame) -> Generator[int, None, None]:
        """Send a frame."""
        ...


def _is_signed(key: bytes, data: bytes, signature: bytes) -> bool:
    try:
        check_signature(key, signature, data)
    except MessageRefused:
        return False
    return True


def _next(talk: Talk, kind: FrameKind) -> Generator[int, None, bytes]:
    header, head = yield from talk.receive(GREETING)
    if header.kind is FrameKind.REFUSED and kind is FrameKind.WELCOME:
        raise LinkLost(
            "The modeller's program does not take this pod: its name or its key is not pinned there."
            " Nothing was sent."
        )
    if header.kind is not kind:
        raise MessageRefused("A greeting is not in its order; the connection was closed.")
    return head


def _refuse(talk: Talk, sentence: str) -> Generator[int, None, MessageRefused]:
    yield from talk.transmit(frame(FrameKind.REFUSED))
    return MessageRefused(sentence)


def greet_pod(
    talk: Talk, signer: Signer, pods: Mapping[str, bytes], certificate: bytes
) -> Generator[int, None, str]:
    """The hub's side: who is there.

    Args:
        talk: the connection, TLS established.
        signer: the modeller's key.
        pods: names to pinned Ed25519 public keys.
        certificate: hash of the hub's certificate.

    Returns:
        The name of the pod, which has proved its key.

    Raises:
        MessageRefused: it has not.
    """
    pod_nonce = yield from _next(talk, FrameKind.HELLO)
    if len(pod_nonce) != NONCE_SIZE:
        raise MessageRefused(f"A greeting has a nonce of {len(pod_nonce)} bytes; expected {NONCE_SIZE}.")
    nonce = os.urandom(NONCE_SIZE)
    bound = certificate + pod_nonce + nonce + signer.public
    yield from talk.transmit(frame(FrameKind.CHALLENGE, Envelope(nonce + signer.sign(_MODELLER + bound))))
    proof = yield from _next(talk, FrameKind.PROOF)
    signature, name = proof[:SIGNATURE_SIZE], proof[SIGNATURE_SIZE:].decode("ascii", "replace")
    # An unknown name is checked against a key that no pod has, so that it takes as long as a known one.
    key = pods.get(name, signer.public)
    signed = _is_signed(key, _POD + bound + name.encode(), signature)
    if not (signed and name in pods):
        raise (
            yield from _refuse(talk, "A connection gave a name and a key that are not pinned together here.")
        )
    yield from talk.transmit(frame(FrameKind.WELCOME))
    return name


def greet_hub(
    talk: Talk, signer: Signer, modeller: bytes, name: str, certificate: bytes
) -> Generator[int, None, str]:
    """The pod's side: is this the modeller, and does it take me.

    Args:
        talk: the connection, TLS established.
        signer: the pod's key.
        modeller: the pinned Ed25519 public key.
        name: this pod's name at the modeller.
        certificate: hash of the certificate that this connection has shown.

    Returns:
        ``name``.

    Raises:
        MessageRefused: the other end has not proved the pinned key; nothing was signed.
        LinkLost: the hub does not take this pod.
    """
    if not POD_NAME.fullmatch(name):
        raise MessageRefused("This pod's name is not one that a task may have; nothing was sent.")
    nonce = os.urandom(NONCE_SIZE)
    yield from talk.transmit(frame(FrameKind.HELLO, Envelope(nonce)))
    answer = yield from _next(talk, FrameKind.CHALLENGE)
    bound = certificate + nonce + answer[:NONCE_SIZE] + modeller
    if len(answer) != NONCE_SIZE + SIGNATURE_SIZE or not _is_signed(
        modeller, _MODELLER + bound, answer[NONCE_SIZE:]
    ):
        raise MessageRefused(
            "The other end has not proved the key that is pinned for the modeller. Nothing was sent to it."
        )
    proof = signer.sign(_POD + bound + name.encode()) + name.encode()
    yield from talk.transmit(frame(FrameKind.PROOF, Envelope(proof)))
    yield from _next(talk, FrameKind.WELCOME)
    return name
