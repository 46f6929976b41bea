"""Signatures of tasks and messages: Ed25519 by keys that were pinned beforehand, each under a domain of its own."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from federated.errors import MessageRefused
from secure_agg import Signer

TASK_DOMAIN = b"trialveil/task\0"


def check_signature(public: bytes | None, signature: bytes, data: bytes) -> None:
    """Refuse what was not signed by this raw Ed25519 key.

    Raises:
        MessageRefused: no key is pinned, or the signature is not by it.
    """
    try:
        if public is None:
            raise ValueError
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        raise MessageRefused(
            "A message is not signed by the key that is pinned for its sender; it was dropped."
        ) from None


def sign_task(signer: Signer, spec: bytes) -> bytes:
    """The modeller's signature of a task's canonical bytes: 64 bytes."""
    return signer.sign(TASK_DOMAIN + spec)


def check_task_signature(public: bytes, signature: bytes, spec: bytes) -> None:
    """Refuse a task that was not signed by this key.

    Raises:
        MessageRefused: it was not.
    """
    check_signature(public, signature, TASK_DOMAIN + spec)
