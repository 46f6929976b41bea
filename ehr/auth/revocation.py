"""Tells the server that a login is over (RFC 7009)."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx

from ehr.auth.client_proof import Client
from ehr.auth.store import StoredLogin
from ehr.auth.tokens import Silent


class Revocation(Silent, httpx.Auth):
    """Drives one revocation request through the transport; nothing else is sent.

    Args:
        client: proves itself.
        url: revocation endpoint; None where the server has none.
        login: what is ended; its refresh token goes with all that came from it.

    Attributes:
        done: the server took it.
    """

    requires_response_body = True
    called = "a revocation holds a token and"

    def __init__(self, client: Client, url: str | None, login: StoredLogin) -> None:
        self._client = client
        self._login = login
        self.token_url = url
        self.done = False

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth`; the request itself is never sent."""
        if self._login.refresh_token is not None:
            fields = {"token": self._login.refresh_token, "token_type_hint": "refresh_token"}
        else:
            fields = {"token": self._login.access_token, "token_type_hint": "access_token"}
        answer = yield self._client.request(self.token_url or "", fields)
        self.done = answer.status_code == 200
