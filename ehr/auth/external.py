"""Tokens that something else gets: a callable of the caller's, and none at all.

`ExternalCallable` fits the reference's externally managed token, whose ``get_token`` is a Python callable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ehr.auth.tokens import Flow, Silent, Token, lasting, usable
from ehr.config import AuthMode
from ehr.errors import LoginRefused, TokenResponseMalformed

GetToken = Callable[[], tuple[str, float | None]]
"""Returns an access token and the seconds until it expires, or None where that is not known."""


@dataclass(frozen=True, slots=True, repr=False)
class ExternalCallable(Silent):
    """Token source that asks a callable.

    Args:
        get_token: returns the access token and the seconds until it expires; may block, it is run in a thread.
        life_s: assumed where the callable gives None for the seconds.
        wanted_scope: what the caller says the token covers; None means unknown, and nothing is ruled out.
    """

    get_token: GetToken
    life_s: float = 300
    wanted_scope: str | None = None
    called = "a token source"  # a partial may hold what it logs in with
    mode: ClassVar[AuthMode] = "external"
    token_url: ClassVar[None] = None  # no token request of ours

    def fetch(self) -> Flow:
        """Ask the callable; see `TokenSource.fetch`."""
        yield from ()  # a flow that asks nothing over HTTP
        try:
            answer = self.get_token()
        except Exception:  # noqa: BLE001 - it is foreign code; its message may hold the token
            raise LoginRefused("the external token callable failed. See its own log.") from None
        if not isinstance(answer, tuple) or len(answer) != 2 or not usable(answer[0]):
            raise TokenResponseMalformed(
                "the external token callable gave no token; expected the token and the seconds until it expires."
            )
        return Token(answer[0], lasting(answer[1], self.life_s))


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No login: for open sandboxes."""

    wanted_scope: str | None = None
    mode: ClassVar[AuthMode] = "none"
    token_url: ClassVar[None] = None  # there is no token

    def fetch(self) -> Flow:
        """Never called: an anonymous authenticator adds nothing."""
        yield from ()
        raise LoginRefused("an anonymous source has no token.")
