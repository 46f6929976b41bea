"""Identities, the keys of one round, and what is derived from them.

Identities are Ed25519 (RFC 8032) and pinned: a public key that a pod has not been given beforehand does not
exist for it. Agreement is X25519 (RFC 7748) with keys that live for one round; an all-zero result is refused.
Derivation is HKDF-SHA256 (RFC 5869), sealing ChaCha20-Poly1305 (RFC 8439) under a key that is used for one
message in one direction, so its nonce is constant.

Secrets show their class only, cannot be pickled or copied into a string, and are overwritten when a round
ends. That is best effort: CPython gives no guarantee that no other copy is left in memory.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NoReturn, Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secure_agg.errors import BadSignature, ParameterError, RosterRefused, SharesRefused
from secure_agg.messages import signed_bytes

KEY_SIZE = 32
_NONCE = bytes(12)

Entropy = Callable[[int], bytes]
"""Gives that many bytes nobody can predict: `os.urandom` outside tests."""


class Secret:
    """Bytes that are never shown, pickled or compared in variable time; `wipe` overwrites them."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = bytearray(data)

    def open(self) -> bytes:
        """The bytes, for a computation that needs them now.

        Raises:
            ParameterError: the secret was wiped.
        """
        if not self._data:
            raise ParameterError("This secret was overwritten when its round ended.")
        return bytes(self._data)

    def wipe(self) -> None:
        """Overwrite and forget; may be called again."""
        self._data[:] = bytes(len(self._data))
        self._data.clear()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._data, other._data)

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a dict; mypy sees object.__hash__

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled or copied")


class Signer(Protocol):
    """Who can sign: an Ed25519 key in memory, or a device that holds one."""

    @property
    def public(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        ...


class Identity:
    """A pod's or modeller's long-term Ed25519 key, kept in memory.

    Args:
        seed: the 32-byte private key.
    """

    __slots__ = ("_key", "_public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_SIZE:
            raise ParameterError(f"seed is {len(seed)} bytes; expected {KEY_SIZE} bytes.")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled or copied")


@lru_cache(maxsize=1 << 14)
def fingerprint(public: bytes) -> bytes:
    """SHA-256 of a raw Ed25519 public key: what a cohort lists."""
    return hashlib.sha256(public).digest()


def sign(signer: Signer, kind: bytes, body: bytes) -> bytes:
    """The signature of ``body`` as a message of ``kind``: 64 bytes."""
    return signer.sign(signed_bytes(kind, body))


def verify(pinned: Mapping[str, bytes], sender: str, kind: bytes, body: bytes, signature: bytes) -> None:
    """Check that a pinned identity signed these bytes as this kind of message.

    Args:
        pinned: names to raw Ed25519 public keys that were agreed outside the protocol.
        sender: who is said to have signed.
        kind, body: the kind of the message and its bytes as they travelled.
        signature: 64 bytes.

    Raises:
        BadSignature: no key is pinned for ``sender``, or the signature is not by it.
    """
    public = pinned.get(sender)
    if public is None:
        raise BadSignature("A message came from a pod whose key is not pinned here.")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed_bytes(kind, body))
    except (InvalidSignature, ValueError):
        raise BadSignature("A message is not signed by the key that is pinned for its sender.") from None


def derive(secret: bytes, salt: bytes, info: bytes, size: int = KEY_SIZE) -> bytes:
    """HKDF-SHA256."""
    return HKDF(SHA256(), size, salt, info).derive(secret)


def public_key(private: bytes) -> bytes:
    """The X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


class Agreement:
    """One X25519 private key, loaded once, to agree with many public keys.

    Args:
        private: 32 bytes.
    """

    __slots__ = ("_key",)

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)

    def with_key(self, public: bytes) -> bytes:
        """The shared secret, 32 bytes.

        Raises:
            RosterRefused: the other key is a point of low order, so the result would be all zero.
        """
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            shared = b""
        if not any(shared):  # the library refuses it today; the promise must not hang on that
            raise RosterRefused(
                "A public key in the roster is a point of low order. Nothing was sent."
            ) from None
        return shared

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled or copied")


def _named(*names: str) -> bytes:
    """Names with their lengths, so that no two lists of names have the same bytes."""
    return b"".join(len(name.encode()).to_bytes(2, "big") + name.encode() for name in names)


def mask_seed(shared: bytes, spec_hash: bytes, roster_hash: bytes, one: str, other: str) -> bytes:
    """The seed of the mask that two pods share; the same whichever is named first. 32 bytes."""
    info = b"sa1/mask" + roster_hash + _named(*sorted((one, other)))
    return derive(shared, spec_hash, info)


def own_mask_commitment(spec_hash: bytes, owner: str, seed: bytes) -> bytes:
    """What a pod publishes about the seed of its own mask before anybody holds a share: 32 bytes."""
    return hashlib.sha256(b"sa1/b" + spec_hash + _named(owner) + seed).digest()


class Channel:
    """One direction between two pods in one round; good for one message.

    Args:
        shared: the X25519 secret of the two channel keys.
        spec_hash, roster_hash: the round and its roster.
        sender, recipient: the two pods, in the direction of the message.
    """

    __slots__ = ("_cipher", "_context")

    def __init__(
        self, shared: bytes, spec_hash: bytes, roster_hash: bytes, sender: str, recipient: str
    ) -> None:
        self._context = spec_hash + roster_hash + _named(sender, recipient)
        key = derive(shared, spec_hash, b"sa1/channel" + roster_hash + _named(sender, recipient))
        self._cipher = ChaCha20Poly1305(key)

    def seal(self, plain: bytes) -> bytes:
        """The ciphertext with its 16-byte tag."""
        return self._cipher.encrypt(_NONCE, plain, self._context)

    def unseal(self, sealed: bytes, sender: str) -> bytes:
        """The plain text.

        Raises:
            SharesRefused: it was changed, or belongs to another pod, direction, roster or round.
        """
        try:
            return self._cipher.decrypt(_NONCE, sealed, self._context)
        except InvalidTag:
            raise SharesRefused(
                f"The share from pod {sender!r} could not be authenticated; the round is over.", sender
            ) from None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is a secret and cannot be pickled or copied")
