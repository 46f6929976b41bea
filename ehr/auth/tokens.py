"""Tokens and where they come from.

A `TokenSource` is a flow, not a client: it yields the token requests and is sent the answers, so each of them goes
through the one transport policy. `ehr.auth.authenticator` runs it, once for all waiting requests.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Protocol, TypeGuard

import httpx
import msgspec

from ehr.config import AuthMode
from ehr.errors import ClockWrong, LoginRefused, TokenResponseMalformed

SKEW_S = 60
"""A difference of clocks above this is named as the cause when an assertion is refused (S4)."""

_LONGEST_S = 10 * 365 * 86_400
# Longer headers are refused by servers, with an answer that does not say why.
_BEARER = re.compile(r"[\x21-\x7e]{1,16384}")
_CODE = re.compile(r"[a-z][a-z_]{1,39}")
_PASSING = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_TERMINAL = frozenset({"invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope", "access_denied",
                       "invalid_request", "unsupported_grant_type"})  # fmt: skip


class Silent:
    """What holds a secret: its text form is the name of its class, and it is never pickled.

    Attributes:
        called: what it is, for people.
    """

    __slots__ = ()
    called: ClassVar[str]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"{self.called} is never pickled")


@dataclass(frozen=True, slots=True, repr=False)
class Token(Silent):
    """An access token. Opaque: never decoded, never shown (S8, S9).

    Args:
        value: the secret itself.
        life_s: seconds from receipt to expiry.
        scope: what was granted, as text; None where the server did not say.
    """

    value: str
    life_s: float
    scope: str | None = None
    called = "a token"


Flow = Generator[httpx.Request, httpx.Response, Token]


class TokenSource(Protocol):
    """How a token is got."""

    @property
    def mode(self) -> AuthMode:
        """Which of the ways to log in this is."""
        ...

    @property
    def token_url(self) -> str | None:
        """The token endpoint; None where there is no token request over HTTP."""
        ...

    @property
    def wanted_scope(self) -> str | None:
        """What is asked for; stands for the grant where the server's answer names none (RFC 6749, 5.1)."""
        ...

    def fetch(self) -> Flow:
        """One login: yields token requests, returns the token.

        Raises:
            AuthError: refused, or the answer cannot be used.
        """
        ...


def token_from(response: httpx.Response, *, life_s: float) -> Token:
    """Read a successful token response.

    Args:
        response: with status 200.
        life_s: assumed where ``expires_in`` is missing; a token is never good for ever (S3).

    Raises:
        TokenResponseMalformed: not a JSON object with a bearer token.
    """
    document = _object(response.content)
    value = document.get("access_token")
    if not usable(value):
        raise TokenResponseMalformed("the token response has no usable access_token.")
    kind = document.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise TokenResponseMalformed("token_type is not bearer.")
    scope = document.get("scope")
    life = lasting(document.get("expires_in"), life_s)
    return Token(value, life, scope if isinstance(scope, str) else None)


@dataclass(frozen=True, slots=True, repr=False)
class Granted(Silent):
    """What the token endpoint gave to a login of a person.

    Args:
        token: the access token.
        refresh_token: for the next one; None where none came.
        patient: id of the one patient the login is for, as the server says; None for no such limit.
    """

    token: Token
    refresh_token: str | None = None
    patient: str | None = None
    called = "a token"


GrantedFlow = Generator[httpx.Request, httpx.Response, Granted]


def granted_from(response: httpx.Response, *, life_s: float) -> Granted:
    """Read a successful token response with its refresh token and launch context.

    Raises:
        TokenResponseMalformed: not a JSON object with a bearer token, or a refresh token that is none.
    """
    token = token_from(response, life_s=life_s)
    document = _object(response.content)
    refresh, patient = document.get("refresh_token"), document.get("patient")
    if refresh is not None and not usable(refresh):
        raise TokenResponseMalformed("the token response has a refresh_token that cannot be used.")
    return Granted(token, refresh, patient if isinstance(patient, str) and patient else None)


def usable(value: object) -> TypeGuard[str]:
    """Whether something can be sent as a bearer token: one short word of visible ASCII (RFC 6750, 2.1)."""
    return isinstance(value, str) and _BEARER.fullmatch(value) is not None


def lasting(value: object, assumed: float) -> float:
    """Seconds until a token expires, or ``assumed`` where what was said is no such number (S3)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return assumed
    try:
        life = float(value)  # some servers send a text
    except (ValueError, OverflowError):
        return assumed
    return life if 0 < life < _LONGEST_S else assumed


def refusal(response: httpx.Response, now: datetime) -> LoginRefused | None:
    """What an unsuccessful token response means; None where another try may succeed (408, 429, 5xx, bare 400).

    Args:
        response: with a status other than 200.
        now: this machine's time, aware; compared with the server's ``Date`` (S4).
    """
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        return None
    code, detail = _reason(response.content)
    if code in _PASSING or (status == 400 and code is None):
        return None  # so Epic's token endpoint answers now and then to what is good a moment later (SMART's client)
    if code == "invalid_client":
        off = _clock_difference_s(response, now)
        if off is not None and abs(off) > SKEW_S:
            return ClockWrong(
                f"the login was refused, and this machine's clock is {abs(off):.0f} s "
                f"{'ahead of' if off > 0 else 'behind'} the server's. Set the clock (NTP) and try again.",
                code=code,
                debug_detail=detail,
            )
    if code in _TERMINAL:
        return LoginRefused(_ADVICE.get(code, _ADVICE[""]).format(code=code), code=code, debug_detail=detail)
    return LoginRefused(
        f"the token endpoint answered HTTP {status} without a known OAuth error. "
        'Run "trialveil ehr probe" and check auth.token_url.',
        code=code,
        debug_detail=detail,
    )


def _reason(content: bytes) -> tuple[str | None, str | None]:
    """The OAuth error code, if it has a code's form, and the server's own words, which are never shown."""
    try:
        document = _object(content)
    except TokenResponseMalformed:
        return None, None
    code, words = document.get("error"), document.get("error_description")
    known = isinstance(code, str) and _CODE.fullmatch(code)
    return code if known else None, words if isinstance(words, str) else None


_ADVICE = {
    "invalid_client": "the EHR refused the client ({code}): client_id unknown, key not registered "
    '(kid or JWKS), or a claim of the assertion is wrong. Run "trialveil ehr probe".',
    "invalid_grant": "the EHR refused the login ({code}): it has ended or was withdrawn. Log in again.",
    "invalid_scope": "the EHR refused the scopes ({code}): ask for fewer in auth.scope, or have them approved.",
    "": "the EHR refused the login ({code}).",
}


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenResponseMalformed("the token endpoint's answer is not JSON.") from None
    if not isinstance(document, dict):
        raise TokenResponseMalformed("the token endpoint's answer is not a JSON object.")
    return document


def _clock_difference_s(response: httpx.Response, now: datetime) -> float | None:
    try:
        theirs = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return None
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    return (now - theirs).total_seconds()
