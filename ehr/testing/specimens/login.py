"""Bad ways to log in, and to keep what a login gives."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urljoin

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

import ehr.auth.browser
import ehr.auth.discovery
import ehr.auth.signed_jwt
import ehr.auth.tokens
from ehr.auth.authenticator import Authenticator
from ehr.auth.browser import Issuer, Launch
from ehr.auth.renewal import BrowserLogin
from ehr.auth.signed_jwt import BackendJWT
from ehr.auth.tokens import Token
from ehr.testing.specimens.specimen import Spoilt, part

_EVER_S = 10.0**8
_lasting, _rejected = ehr.auth.tokens.lasting, Authenticator._rejected


class _NoLock:
    async def __aenter__(self) -> None:
        await asyncio.sleep(0)

    async def __aexit__(self, *exc: object) -> None:
        return None


def _each_for_itself(self: Any, *given: Any, **named: Any) -> None:
    _init(self, *given, **named)
    self._lock = _NoLock()


def _timeless(self: Any, *given: Any, **named: Any) -> None:
    _init(self, *given, **{**named, "monotonic": lambda: 0.0})


_init = Authenticator.__init__


def _dropped_by_each(self: Any, generation: int, last: bool) -> None:
    _rejected(self, generation, last)
    self._token = None


def _whatever_state(self: Any, query: str) -> str:
    return dict(parse_qsl(query)).get("code", "")


def _without_audience(address: str, **named: Any) -> str:
    return str(prepare_grant_uri(address, **{name: value for name, value in named.items() if name != "aud"}))


SPOILT: dict[str, tuple[int, Spoilt]] = {
    "one jti for all assertions": (
        17,
        part(ehr.auth.signed_jwt, "BackendJWT", partial(BackendJWT, new_id=lambda: "one-and-the-same-id")),
    ),
    "assertions good for an hour": (16, part(ehr.auth.signed_jwt, "LIFE_S", 3600)),
    "a login for each of many requests": (29, part(Authenticator, "__init__", _each_for_itself)),
    "a new login for each 401 of a storm": (33, part(Authenticator, "_rejected", _dropped_by_each)),
    "a token used until the server refuses it": (27, part(Authenticator, "__init__", _timeless)),
    "a refused login tried again and again": (34, part(Authenticator, "_noted", lambda self: nullcontext())),
    "a token of unknown life good for ever": (
        28,
        part(
            ehr.auth.tokens,
            "lasting",
            lambda value, assumed: _EVER_S if value is None else _lasting(value, assumed),
        ),
    ),
    "a token that shows itself": (38, part(Token, "__repr__", lambda self: f"Token({self.value!r})")),
    "a login endpoint without TLS": (
        7,
        part(ehr.auth.discovery, "_secure", lambda name, address, base: urljoin(base, address)),
    ),
    "an answer taken without comparing its state": (25, part(Launch, "code", _whatever_state)),
    "any issuer believed": (26, part(Issuer, "check", lambda self, said: None)),
    "a login that names no FHIR base": (24, part(ehr.auth.browser, "prepare_grant_uri", _without_audience)),
    "a rotated refresh token not kept": (
        31,
        part(BrowserLogin, "_given", lambda self, login: self._token(login, login.life_s)),
    ),
}
