"""Keys made once for the run, and sandboxes to log in to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, RSAKey

from ehr.auth.authenticator import Authenticator
from ehr.auth.keys import Algorithm, KeyRing, SigningKey
from ehr.auth.signed_jwt import BackendJWT
from ehr.sandbox import RegisteredClient
from ehr.transport.client import Transport
from tests.ehr.sandbox.synthetic import NOW

CLIENT = "screener"


@functools.cache
def key(algorithm: Algorithm = "ES384") -> SigningKey:
    kind = RSAKey if algorithm == "RS384" else ECKey
    made = kind.import_key(pem(algorithm))
    return SigningKey(made.thumbprint(), algorithm, made)


@functools.cache
def pem(algorithm: str = "ES384", *, public: bool = False, password: bytes | None = None) -> bytes:
    """A key as PKCS#8, or its public half."""
    made: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm.startswith("RS"):
        made = rsa.generate_private_key(65537, 1024 if algorithm == "RS-1024" else 2048)
    else:
        made = ec.generate_private_key(ec.SECP256R1() if algorithm == "P-256" else ec.SECP384R1())
    if public:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return made.public_key().public_bytes(serialization.Encoding.PEM, form)
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        locked = serialization.BestAvailableEncryption(password)
    return made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def owner_only(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def registered(
    algorithm: Algorithm = "ES384", *scopes: str, narrows: bool = False
) -> dict[str, RegisteredClient]:
    ring = KeyRing((key(algorithm),))
    return {CLIENT: RegisteredClient(ring.jwks(), scopes or ("system/*.rs",), narrows=narrows)}


def source(
    token_url: str,
    algorithm: Algorithm = "ES384",
    *,
    scope: str | None = "system/*.rs",
    now: Callable[[], datetime] = lambda: NOW,
) -> BackendJWT:
    return BackendJWT(CLIENT, token_url, KeyRing((key(algorithm),)), scope, now)


def authenticator(token_url: str, transport: Transport, algorithm: Algorithm = "ES384") -> Authenticator:
    made = source(token_url, algorithm, now=transport.clock.now)
    return Authenticator(made, monotonic=transport.clock.monotonic)
