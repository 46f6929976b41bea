"""Checking a client's signed assertion (RFC 7523, SMART App Launch 2.2, "Client Authentication: Asymmetric").

Written on plain `cryptography`, on purpose: it shares no JWT code with the client it tests.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ehr.errors import ConfigurationError

MAX_LIFE_S = 300
SKEW_S = 60
_ALGORITHMS = ("RS384", "ES384")
_PRIVATE_PARTS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class AssertionRefused(Exception):
    """An assertion fails a check; the message says which, without values."""


@dataclass(frozen=True, slots=True, repr=False)
class KeySet:
    """A client's registered public keys by ``kid``."""

    keys: Mapping[str, tuple[str, PublicKey]]

    def __repr__(self) -> str:
        return f"KeySet({len(self.keys)} keys)"


def key_set(jwks: Mapping[str, Any]) -> KeySet:
    """Read a JWKS document as a client registers it.

    Raises:
        ConfigurationError: it holds no usable key, a private key, or one that is too weak.
    """
    listed = jwks.get("keys")
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError("jwks has no list of keys; expected a JWK Set with at least one public key")
    keys: dict[str, tuple[str, PublicKey]] = {}
    for number, jwk in enumerate(listed):
        if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or jwk["kid"] in keys:
            raise ConfigurationError(f"jwks.keys[{number}] has no kid of its own")
        if _PRIVATE_PARTS & jwk.keys():
            raise ConfigurationError(
                f"jwks.keys[{number}] is a private or secret key; register public keys only"
            )
        keys[jwk["kid"]] = _public_key(jwk, f"jwks.keys[{number}]")
    return KeySet(keys)


def _public_key(jwk: Mapping[str, Any], where: str) -> tuple[str, PublicKey]:
    try:
        if jwk.get("kty") == "RSA":
            numbers = rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"]))
            if numbers.n.bit_length() < 2048:
                raise ConfigurationError(f"{where} is an RSA key under 2048 bits")
            return "RS384", numbers.public_key()
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-384":
            point = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), ec.SECP384R1())
            return "ES384", point.public_key()
    except (KeyError, TypeError, ValueError, AssertionRefused) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{where} is not a valid public key") from None
    raise ConfigurationError(f"{where} is of another kind; expected RSA for RS384 or EC P-384 for ES384")


def _number(text: str) -> int:
    return int.from_bytes(_unpacked(text), "big")


def _unpacked(text: str) -> bytes:
    if not _SEGMENT.fullmatch(text):
        raise AssertionRefused("a part of the assertion is not base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise AssertionRefused("a part of the assertion is not base64url") from None


@dataclass(slots=True, repr=False)
class Replays:
    """Every ``jti`` seen, until its assertion is past; safe to use from several threads."""

    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def first_time(self, client_id: str, jti: str, until: float, now: float) -> bool:
        with self.lock:
            for key in [key for key, end in self.seen.items() if end + SKEW_S < now]:
                del self.seen[key]
            fresh = (client_id, jti) not in self.seen
            self.seen.setdefault((client_id, jti), until)
            return fresh


def client_named_in(assertion: str) -> str:
    """The ``iss`` an assertion claims, unproven: only to find whose keys to check it with.

    Raises:
        AssertionRefused: it is not a JWT, or says no issuer.
    """
    issuer = _json(_parts(assertion)[1]).get("iss")
    if not isinstance(issuer, str) or not issuer:
        raise AssertionRefused("iss is missing")
    return issuer


def check(
    assertion: str, client_id: str, keys: KeySet, replays: Replays, audience: str, now: datetime
) -> None:
    """Check signature and claims of one assertion: ``audience`` is the token endpoint, to the letter.

    Raises:
        AssertionRefused: a check fails; ``jti`` counts as used only if everything else held.
    """
    head, body, signature = _parts(assertion)
    _check_signature(_json(head), f"{head}.{body}".encode("ascii"), _unpacked(signature), keys)
    _check_claims(_json(body), client_id, replays, audience, now.timestamp())


def _parts(assertion: str) -> tuple[str, str, str]:
    parts = assertion.split(".")
    if len(parts) != 3 or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise AssertionRefused("the assertion is not a signed JWT of three parts")
    return parts[0], parts[1], parts[2]


def _json(segment: str) -> dict[str, Any]:
    try:
        decoded = json.loads(_unpacked(segment))
    except (ValueError, RecursionError):
        raise AssertionRefused("a part of the assertion is not JSON") from None
    if not isinstance(decoded, dict):
        raise AssertionRefused("a part of the assertion is not a JSON object")
    return decoded


def _check_signature(head: dict[str, Any], signed: bytes, signature: bytes, keys: KeySet) -> None:
    if head.get("alg") not in _ALGORITHMS:
        raise AssertionRefused("alg is not RS384 or ES384")
    if head.get("typ") != "JWT":
        raise AssertionRefused("typ is not JWT")
    if "crit" in head:
        raise AssertionRefused("crit is not understood")
    kid = head.get("kid")
    if not isinstance(kid, str) or kid not in keys.keys:
        raise AssertionRefused("kid names no registered key")
    algorithm, key = keys.keys[kid]
    if algorithm != head["alg"]:
        raise AssertionRefused("alg does not fit the registered key")
    try:
        _verify(key, signature, signed)
    except InvalidSignature:
        raise AssertionRefused("the signature does not hold") from None


def _verify(key: PublicKey, signature: bytes, signed: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA384())
        return
    if len(signature) != 96:
        raise InvalidSignature
    r, s = (int.from_bytes(half, "big") for half in (signature[:48], signature[48:]))
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))


def _check_claims(
    claims: dict[str, Any], client_id: str, replays: Replays, audience: str, now: float
) -> None:
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        raise AssertionRefused("iss and sub are not both the client id")
    if claims.get("aud") not in (audience, [audience]):
        raise AssertionRefused("aud is not the token endpoint")
    exp = _moment(claims, "exp")
    if exp is None:
        raise AssertionRefused("exp is missing or not a number")
    if exp <= now:
        raise AssertionRefused("exp is past")
    if exp > now + MAX_LIFE_S:
        raise AssertionRefused("exp is more than 300 s ahead")
    _check_start(claims, now, exp)
    jti = claims.get("jti")
    if not isinstance(jti, str) or not jti:
        raise AssertionRefused("jti is missing")
    if not replays.first_time(client_id, jti, exp, now):
        raise AssertionRefused("jti was used before")


def _check_start(claims: dict[str, Any], now: float, exp: float) -> None:
    for name in ("iat", "nbf"):
        if name not in claims:
            continue
        start = _moment(claims, name)
        if start is None:
            raise AssertionRefused(f"{name} is not a number")
        if start > now + SKEW_S:
            raise AssertionRefused(f"{name} is ahead of the server's clock")
        if start >= exp or (name == "iat" and start < now - MAX_LIFE_S - SKEW_S):
            raise AssertionRefused(f"{name} does not fit exp and the server's clock")


def _moment(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN passes every comparison, and Python's JSON reader takes it
    return float(value) if abs(value) < 1e12 else None
