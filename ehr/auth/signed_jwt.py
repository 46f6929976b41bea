"""Backend services: the client signs a short assertion and gets a token for it.

Source: SMART App Launch 2.2, "Backend Services" and "Client Authentication: Asymmetric"; RFC 7523.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlencode

import httpx
from authlib.oauth2.rfc7523 import private_key_jwt_sign

from ehr.auth.keys import KeyRing, SigningKey
from ehr.auth.tokens import Flow, refusal, token_from
from ehr.config import AuthMode
from ehr.errors import LoginRefused, TransportError
from ehr.transport.client import FRESH

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BACKDATED_S = 30
LIFE_S = 240
"""``exp`` lies this far ahead: SMART allows 300 s, less what clocks may differ (S4)."""
BARE_TRIES = 2
_FIRST_BARE = (
    "the EHR refused the first login (HTTP 400 without a reason): most often client_id is unknown, or the public key "
    "(kid or JWKS) has not reached it yet. Check both; if they are right, start again."
)


def new_id() -> str:
    """A fresh ``jti``."""
    return secrets.token_urlsafe(24)


def signed_assertion(key: SigningKey, client_id: str, token_url: str, now: datetime, jti: str) -> str:
    """A signed assertion of who the client is, for one request to one token endpoint.

    Args:
        key: signs.
        client_id: ``iss`` and ``sub``.
        token_url: ``aud``, to the letter.
        now: aware.
        jti: never used before.
    """
    issued = int(now.timestamp())
    return str(
        private_key_jwt_sign(
            key.key,
            client_id=client_id,
            token_endpoint=token_url,
            alg=key.algorithm,
            # Nextech's sample has "kid" among the claims; RFC 7515 and SMART put it here.
            header={"alg": key.algorithm, "kid": key.kid, "typ": "JWT"},
            issued_at=issued - BACKDATED_S,
            expires_at=issued + LIFE_S,
            claims={"jti": jti},
        )
    )


@dataclass(slots=True, repr=False, eq=False)
class BackendJWT:
    """Token source for an unattended client with a registered key.

    Args:
        client_id: as registered.
        token_url: token endpoint; also the assertion's ``aud``, to the letter.
        keys: the site's live keys; the first signs.
        wanted_scope: scope string; None leaves ``scope`` out (where the app's record decides).
        now: the clock, aware.
        life_s: assumed life of a token whose answer has no ``expires_in``.
        new_id: makes a fresh ``jti``.

    Attributes:
        logins: how many tokens were given.
    """

    client_id: str
    token_url: str
    keys: KeyRing
    wanted_scope: str | None
    now: Callable[[], datetime]
    life_s: float = 300
    new_id: Callable[[], str] = new_id
    logins: int = field(default=0, init=False)
    mode: ClassVar[AuthMode] = "backend"

    def __repr__(self) -> str:
        return "<BackendJWT>"

    def assertion(self) -> str:
        """A signed assertion with a ``jti`` of its own."""
        return signed_assertion(self.keys.signing, self.client_id, self.token_url, self.now(), self.new_id())

    def request(self) -> httpx.Request:
        """A token request with a fresh assertion; built anew for every attempt (S5)."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(),
        }
        if self.wanted_scope is not None:
            form["scope"] = self.wanted_scope
        return httpx.Request(
            "POST",
            self.token_url,
            content=urlencode(form).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            extensions={FRESH: self.request},
        )

    def fetch(self) -> Flow:
        """Log in; see `TokenSource.fetch`.

        A 400 without an OAuth error, or with ``invalid_client``, is asked once more with a fresh assertion, if this
        client was given a token before: Epic's token endpoint answers at times to good requests as it does to a
        client that it does not know. 429 and 5xx were repeated by the transport already.

        Raises:
            LoginRefused: refused, or a first login that got a 400 without a reason.
            TransportError: the endpoint gives no token and no reason; nothing is wrong with the client.
        """
        known = self.logins > 0
        for left in reversed(range(BARE_TRIES)):
            response = yield self.request()
            if response.status_code == 200:
                token = token_from(response, life_s=self.life_s)
                self.logins += 1
                return token
            error = refusal(response, self.now())
            if error is not None:
                if left and known and response.status_code == 400 and error.code == "invalid_client":
                    continue
                raise error
            if response.status_code != 400:
                break
            if not known:
                raise LoginRefused(_FIRST_BARE)
        raise TransportError("the token endpoint gave no token and no reason. Try again later.")
