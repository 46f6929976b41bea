"""A client's keys and signed assertions, made by hand, so that each part can be made wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ehr.sandbox.oauth import ASSERTION_TYPE

CLIENT = "screener"


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPublicKey, kid: str = "r") -> dict[str, str]:
    numbers = key.public_numbers()
    return {"kty": "RSA", "kid": kid, "alg": "RS384", "n": _number(numbers.n), "e": _number(numbers.e)}


def ec_jwk(key: ec.EllipticCurvePublicKey, kid: str = "e") -> dict[str, str]:
    numbers = key.public_numbers()
    x, y = (b64(value.to_bytes(48, "big")) for value in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-384", "kid": kid, "x": x, "y": y}


def jwks() -> dict[str, Any]:
    return {"keys": [rsa_jwk(rsa_key().public_key()), ec_jwk(ec_key().public_key())]}


def claims(audience: str, now: datetime, **changed: Any) -> dict[str, Any]:
    """Good claims; a value of None in ``changed`` leaves the claim out."""
    second = int(now.timestamp())
    made = {
        "iss": CLIENT,
        "sub": CLIENT,
        "aud": audience,
        "iat": second,
        "exp": second + 240,
        "jti": "j-1",
        **changed,
    }
    return {name: value for name, value in made.items() if value is not None}


def signed(body: Mapping[str, Any], head: Mapping[str, Any] | None = None, *, key: Any = None) -> str:
    """A compact JWS; the signature is made as the header's ``alg`` asks."""
    header = {"alg": "RS384", "kid": "r", "typ": "JWT", **(head or {})}
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{b64(_signature(str(header['alg']), text.encode(), key))}"


def _signature(algorithm: str, text: bytes, key: Any) -> bytes:
    if algorithm == "ES384":
        r, s = decode_dss_signature((key or ec_key()).sign(text, ec.ECDSA(hashes.SHA384())))
        return r.to_bytes(48, "big") + s.to_bytes(48, "big")
    if algorithm.startswith("HS"):
        return hmac.new(key, text, hashlib.sha384).digest()
    if algorithm == "none":
        return b"-"
    digest = hashes.SHA256() if algorithm == "RS256" else hashes.SHA384()
    return (key or rsa_key()).sign(text, padding.PKCS1v15(), digest)


def token_form(assertion: str, scope: str | None = "system/*.rs") -> dict[str, str]:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }
    return form if scope is None else {**form, "scope": scope}
