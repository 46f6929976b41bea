"""Signing keys of a site: made, read, rotated, and shown as a JWKS to register with the EHR.

A key ring is a folder: one PKCS#8 PEM file a key, owner-only, and ``ring.json`` that says which key signs now
and which is published beside it. Two live keys let a site rotate while the EHR's cached JWKS catches up
(Epic caches for up to 12 hours). RFC 7517, RFC 7638; SMART: RS384 and ES384 only.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ehr.errors import ConfigurationError

Algorithm = Literal["RS384", "ES384"]
RSA_BITS = 3072
RSA_BITS_LEAST = 2048
_RING = "ring.json"


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key with its name and algorithm.

    Args:
        kid: key id; the RFC 7638 thumbprint unless the file names another.
        algorithm: ``RS384`` or ``ES384``.
        key: joserfc key object, private.
    """

    kid: str
    algorithm: Algorithm
    key: RSAKey | ECKey

    def __repr__(self) -> str:
        return f"<SigningKey {self.algorithm}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a signing key is never pickled")

    def public_jwk(self) -> dict[str, Any]:
        """The public half with ``kid``, ``use`` and ``alg``, as a JWKS needs it."""
        public: dict[str, Any] = dict(self.key.as_dict(private=False))
        return public | {"kid": self.kid, "use": "sig", "alg": self.algorithm}


def new_key(algorithm: Algorithm = "ES384") -> SigningKey:
    """A fresh key: RSA of 3072 bits, or EC on P-384."""
    key: RSAKey | ECKey
    if algorithm == "RS384":
        key = RSAKey.generate_key(RSA_BITS, private=True)
    elif algorithm == "ES384":
        key = ECKey.generate_key("P-384", private=True)
    else:
        raise ConfigurationError("algorithm is not one of RS384, ES384.")
    return SigningKey(key.thumbprint(), algorithm, key)


def read_key(path: Path, *, kid: str | None = None) -> SigningKey:
    """Read a private key from a PEM or JWK file.

    Raises:
        ConfigurationError: no such file, not a private key, RSA below 2048 bits, another curve than P-384, a
            symmetric key, or a file that others can read.
    """
    content = _owner_only(path)
    key = _parse(content)
    if isinstance(key, RSAKey):
        algorithm: Algorithm = "RS384"
        bits = key.raw_value.key_size
        if bits < RSA_BITS_LEAST:
            raise ConfigurationError(
                f"key file: RSA key of {bits} bits; at least {RSA_BITS_LEAST} are needed."
            )
    else:
        algorithm = "ES384"
        if key.curve_name != "P-384":
            raise ConfigurationError("key file: elliptic-curve key on another curve than P-384.")
    if not key.is_private:
        raise ConfigurationError("key file: holds a public key only; the private one is needed to sign.")
    return SigningKey(kid or key.kid or key.thumbprint(), algorithm, key)


def _owner_only(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"key file: cannot be read ({type(error).__name__}).") from None
    if os.name == "posix" and mode & 0o077:
        raise ConfigurationError("key file: others than its owner can read it; run chmod 600 on it.")
    if len(content) > 64 * 1024:
        raise ConfigurationError(f"key file: {len(content)} bytes is no key.")
    return content


def _parse(content: bytes) -> RSAKey | ECKey:
    try:
        if content.lstrip().startswith(b"{"):
            document = json.loads(content)
            kind = document.get("kty")
            if kind == "RSA":
                return RSAKey.import_key(document)
            if kind == "EC":
                return ECKey.import_key(document)
            raise ConfigurationError("key file: a JWK of another type than RSA or EC; SMART uses neither.")
        for kind_of_key in (RSAKey, ECKey):
            try:
                return kind_of_key.import_key(content)
            except (JoseError, ValueError, TypeError):
                continue
    except (JoseError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, ConfigurationError):
            raise
    raise ConfigurationError(
        "key file: not an unencrypted RSA or P-384 private key in PEM or JWK form."
    ) from None


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The live keys of a site, the signing one first.

    Args:
        keys: at least one; all are published, the first signs.
    """

    keys: tuple[SigningKey, ...]

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self.keys)}>"

    @property
    def signing(self) -> SigningKey:
        """The key that signs now."""
        return self.keys[0]

    def jwks(self) -> dict[str, Any]:
        """The public JWK set to host or to hand to the EHR."""
        return {"keys": [key.public_jwk() for key in self.keys]}


def read_ring(place: Path) -> KeyRing:
    """A key ring from a folder made by `make_ring`, or from one key file.

    Raises:
        ConfigurationError: there is none, or a key in it cannot be used.
    """
    if place.is_file():
        return KeyRing((read_key(place),))
    entries = _entries(place)
    return KeyRing(tuple(read_key(place / str(entry["file"]), kid=str(entry["kid"])) for entry in entries))


def make_ring(folder: Path, algorithm: Algorithm = "ES384") -> KeyRing:
    """Make a folder with one new key.

    Raises:
        ConfigurationError: the folder has a key ring already, or cannot be written.
    """
    if (folder / _RING).exists():
        raise ConfigurationError("the folder holds a key ring already; use rotate to add a key.")
    key = new_key(algorithm)
    _write(folder, [(key, key.kid)])
    return KeyRing((key,))


def rotate_ring(folder: Path, algorithm: Algorithm | None = None) -> KeyRing:
    """Step a ring on: with one live key publish a second; with two, sign with the newer and retire the older.

    The first call adds the next key, which is published and does not sign yet. When the EHR has read the new
    JWKS, the second call makes it the signing key and removes the old one.

    Raises:
        ConfigurationError: there is no ring, or it cannot be written.
    """
    ring = read_ring(folder)
    if len(ring.keys) >= 2:
        kept = ring.keys[1:]
        _write(folder, [(key, key.kid) for key in kept])
        (folder / f"{ring.signing.kid}.pem").unlink(missing_ok=True)
        return KeyRing(kept)
    grown = (*ring.keys, new_key(algorithm or ring.signing.algorithm))
    _write(folder, [(key, key.kid) for key in grown])
    return KeyRing(grown)


def _entries(folder: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads((folder / _RING).read_bytes())
        entries = document["keys"]
        names = [(Path(entry["file"]).name == entry["file"], entry["kid"]) for entry in entries]
    except OSError:
        raise ConfigurationError('keys: no key ring there; make one with "trialveil ehr keys new".') from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError("keys: ring.json is not a key ring.") from None
    if not names or not all(plain for plain, _ in names):
        raise ConfigurationError("keys: ring.json names no key, or a file outside its folder.")
    return list(entries)


def _write(folder: Path, keys: list[tuple[SigningKey, str]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for key, kid in keys:
            target = folder / f"{kid}.pem"
            if not target.exists():
                write_owner_only(target, bytes(key.key.as_pem(private=True)))
        ring = {"keys": [{"kid": kid, "alg": key.algorithm, "file": f"{kid}.pem"} for key, kid in keys]}
        write_owner_only(folder / _RING, json.dumps(ring, indent=2).encode() + b"\n")
    except OSError as error:
        raise ConfigurationError(f"keys: the folder cannot be written ({type(error).__name__}).") from None


def write_owner_only(target: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
