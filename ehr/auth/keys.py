"""Signing keys of a site: made, read, rotated, and shown as a JWKS to register with the EHR.

A key ring is a folder: one PKCS#8 PEM file a key, owner-only, and ``ring.json`` that says which key signs now
and which is published beside it. Two live keys let a site rotate while the EHR's cached JWKS catches up
(Epic caches for up to 12 hours) and while programs that run still sign with the older one.
RFC 7517, RFC 7638; SMART: RS384 and ES384 only.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Mapping
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
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_LARGEST = 64 * 1024
_JWK_MEMBERS = frozenset({"kty", "kid", "n", "e", "d", "p", "q", "dp", "dq", "qi", "crv", "x", "y"})


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
            symmetric key, one that is encrypted, or a file that others can read.
    """
    key = _parsed(_owner_only(path))
    if not key.is_private:
        raise ConfigurationError("key file: holds a public key only; the private one is needed to sign.")
    if isinstance(key, ECKey):
        if key.curve_name != "P-384":
            raise ConfigurationError("key file: elliptic-curve key on another curve than P-384.")
        return SigningKey(kid or key.kid or key.thumbprint(), "ES384", key)
    bits = key.raw_value.key_size
    if bits < RSA_BITS_LEAST:
        raise ConfigurationError(f"key file: RSA key of {bits} bits; at least {RSA_BITS_LEAST} are needed.")
    return SigningKey(kid or key.kid or key.thumbprint(), "RS384", key)


def _owner_only(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
            raise ConfigurationError(
                "key file: is a folder or far too large; expected one key in PEM or JWK form."
            )
        if os.name == "posix" and about.st_mode & 0o077:
            raise ConfigurationError("key file: others than its owner can read it; run chmod 600 on it.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"key file: cannot be read ({type(error).__name__}).") from None


def _parsed(content: bytes) -> RSAKey | ECKey:
    if b"ENCRYPTED" in content:
        raise ConfigurationError(
            "key file: the key is encrypted with a passphrase. Give one without; "
            "the file itself must be its owner's alone."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a short key is refused by its caller, in our own words
            found = _from_jwk(content) if content.lstrip().startswith(b"{") else _from_pem(content)
    except ConfigurationError:
        raise
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        found = None
    if found is None:
        raise ConfigurationError("key file: not an RSA or P-384 private key in PEM or JWK form.")
    return found


def _from_jwk(content: bytes) -> RSAKey | ECKey:
    document = {name: value for name, value in json.loads(content).items() if name in _JWK_MEMBERS}
    if document.get("kty") == "RSA":
        return RSAKey.import_key(document)
    if document.get("kty") == "EC":
        return ECKey.import_key(document)
    raise ConfigurationError(
        "key file: a JWK that is neither RSA nor EC; SMART signs with RS384 and ES384 only."
    )


def _from_pem(content: bytes) -> RSAKey | ECKey | None:
    for kind in (RSAKey, ECKey):
        try:
            return kind.import_key(content)
        except (JoseError, ValueError, TypeError):
            continue
    return None


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The live keys of a site, the signing one first.

    Args:
        keys: at least one; all are published, the first signs.
        retires: the second key signed before and is to be removed; otherwise it is the one that signs next.
    """

    keys: tuple[SigningKey, ...]
    retires: bool = False

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
    document = _document(place)
    keys = tuple(read_key(place / file, kid=kid) for kid, file in _files(document).items())
    return KeyRing(keys, retires=len(keys) > 1 and document.get("retires") is True)


def make_ring(folder: Path, algorithm: Algorithm = "ES384") -> KeyRing:
    """Make a folder with one new key.

    Raises:
        ConfigurationError: the folder has a key ring already, or cannot be written.
    """
    if (folder / _RING).exists():
        raise ConfigurationError("the folder holds a key ring already; use rotate to add a key.")
    ring = KeyRing((new_key(algorithm),))
    _write(folder, ring, {})
    return ring


def rotate_ring(folder: Path, algorithm: Algorithm | None = None) -> KeyRing:
    """Step a ring on: publish a second key; then sign with it, the older one still published; then retire that.

    Between the steps the EHR has time to read the new JWKS, and programs that run have time to end.

    Raises:
        ConfigurationError: there is no ring, or it cannot be written.
    """
    files = _files(_document(folder))
    ring = read_ring(folder)
    if len(ring.keys) == 1:
        stepped = KeyRing((*ring.keys, new_key(algorithm or ring.signing.algorithm)))
    elif not ring.retires:
        stepped = KeyRing((*ring.keys[1:], ring.signing), retires=True)
    else:
        stepped = KeyRing(ring.keys[:1])
    _write(folder, stepped, files)
    gone = {key.kid for key in ring.keys} - {key.kid for key in stepped.keys}
    try:
        for kid in gone:
            (folder / files[kid]).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"keys: the old key is retired, but its file cannot be removed ({type(error).__name__})."
        ) from None
    return stepped


def _document(folder: Path) -> dict[str, Any]:
    try:
        document = json.loads((folder / _RING).read_bytes())
    except OSError:
        raise ConfigurationError('keys: no key ring there; make one with "trialveil ehr keys new".') from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ConfigurationError(_NO_RING)
    return document


def _files(document: Mapping[str, Any]) -> dict[str, str]:
    """Key id to file name, the signing key first."""
    try:
        listed = [(entry["kid"], entry["file"]) for entry in document["keys"]]
    except (KeyError, TypeError):
        raise ConfigurationError(_NO_RING) from None
    files = dict(listed) if all(_plain(kid) and _plain(file) for kid, file in listed) else {}
    if not files or len(files) < len(listed):
        raise ConfigurationError("keys: ring.json names no key, one key twice, or a file outside its folder.")
    return files


_NO_RING = "keys: ring.json is not a key ring."


def _plain(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _write(folder: Path, ring: KeyRing, files: Mapping[str, str]) -> None:
    # Key files first: whenever this is cut short, ring.json names only keys that are there.
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        entries = []
        for key in ring.keys:
            file = files.get(key.kid, f"{key.kid}.pem")
            if key.kid not in files:
                write_owner_only(folder / file, bytes(key.key.as_pem(private=True)))
            entries.append({"kid": key.kid, "alg": key.algorithm, "file": file})
        document = {"keys": entries} | ({"retires": True} if ring.retires else {})
        write_owner_only(folder / _RING, json.dumps(document, indent=2).encode() + b"\n")
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
        _flush_folder(target.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    # Without this a power cut may bring the file before back, and with it a refresh token that is used up.
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
