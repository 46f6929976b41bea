"""The token source of a person's login: the stored token while it is good, then the refresh token, then a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from ehr.auth.browser import GrantFlow
from ehr.auth.client_proof import Client
from ehr.auth.store import Keeper, StoredLogin
from ehr.auth.tokens import Flow, Granted, Silent, Token
from ehr.config import AuthMode
from ehr.errors import LoginRefused

_SOON_S = 60.0  # a stored token with less than this left is renewed rather than used
_AGAIN = 'Log in again: "trialveil ehr login".'


def login_of(granted: Granted, token_url: str, wanted: str, now: datetime) -> StoredLogin:
    """What a first answer of the token endpoint leaves.

    Args:
        granted: the answer.
        token_url: where it came from.
        wanted: what was asked for; stands for the grant where the answer names none (RFC 6749, 5.1).
        now: aware.
    """
    token = granted.token
    return StoredLogin(
        token_url=token_url,
        access_token=token.value,
        received_at=now.timestamp(),
        life_s=token.life_s,
        scope=wanted if token.scope is None else token.scope,
        refresh_token=granted.refresh_token,
        patient=granted.patient,
    )


def renewed(login: StoredLogin, granted: Granted, now: datetime) -> StoredLogin:
    """What an answer to a refresh leaves: what it does not say stays as it was (RFC 6749, 6)."""
    token = granted.token
    return replace(
        login,
        access_token=token.value,
        received_at=now.timestamp(),
        life_s=token.life_s,
        scope=login.scope if token.scope is None else token.scope,
        refresh_token=granted.refresh_token or login.refresh_token,
    )


@dataclass(slots=True, repr=False)
class BrowserLogin(Silent):
    """Token source over a kept login. The authenticator holds ``keeper.turn()`` around `fetch`.

    Args:
        client: the application.
        token_url: of the server as it is now; a login that came from elsewhere is not sent there.
        keeper: where the login is.
        now: the clock, aware.
        life_s: assumed life of a token whose answer has no ``expires_in``.
    """

    client: Client
    token_url: str
    keeper: Keeper
    now: Callable[[], datetime]
    life_s: float
    _used: str | None = field(default=None, init=False)
    _unkept: StoredLogin | None = field(default=None, init=False)
    called = "a token source"
    mode: ClassVar[AuthMode] = "browser"
    wanted_scope: ClassVar[None] = None  # each token says what was granted

    def fetch(self) -> Flow:
        """A token; see `TokenSource.fetch`.

        A renewed login is kept before its token is given (S2). A refresh token that the server no longer takes
        ends the login (S6).

        Raises:
            LoginRefused: nobody is logged in, or the login has ended; it needs a person.
            LoginNotKept: the login cannot be read, or what came could not be kept.
            TransportError: the server gave no answer; the next request tries again.
        """
        if self._unkept is not None:  # the disk was full when it came; the token before it is used up
            return self._given(self._unkept)
        login = self._known()
        left = login.left_s(self.now().timestamp())
        least = 0.0 if login.refresh_token is None else _SOON_S
        if left > least and login.access_token != self._used:
            return self._token(login, left)
        if login.refresh_token is None:
            raise LoginRefused(f"the login has ended, and the EHR gave no refresh token. {_AGAIN}")
        fields = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
        try:
            granted = yield from GrantFlow(self.client, self.token_url, fields, self.life_s).ask()
        except LoginRefused as error:
            if error.code == "invalid_grant":
                self.keeper.write(None)
            raise
        return self._given(renewed(login, granted, self.now()))

    def _known(self) -> StoredLogin:
        login = self.keeper.read()
        if login is None:
            raise LoginRefused('nobody is logged in. Run "trialveil ehr login".')
        if login.token_url != self.token_url:
            raise LoginRefused(f"the EHR's token endpoint is another one than at the login. {_AGAIN}")
        return login

    def _given(self, login: StoredLogin) -> Token:
        self._unkept = login
        self.keeper.write(login)
        self._unkept = None
        return self._token(login, login.life_s)

    def _token(self, login: StoredLogin, left_s: float) -> Token:
        self._used = login.access_token
        return Token(login.access_token, left_s, login.scope)
