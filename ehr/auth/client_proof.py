"""How an application that a person logs in with proves at the token endpoint which one it is.

Public (only its client id), with a secret (RFC 6749, 2.3.1), or with a signed assertion. Source: SMART App Launch
2.2, "Client Authentication". RFC 6749, appendix B, says how id and secret stand in the header.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote_plus, urlencode

import httpx

from ehr.auth.keys import KeyRing
from ehr.auth.signed_jwt import ASSERTION_TYPE, new_id, signed_assertion
from ehr.auth.tokens import Silent
from ehr.transport.client import FRESH, ONCE

SecretPlace = Literal["header", "form"]


@dataclass(frozen=True, slots=True, repr=False)
class Client(Silent):
    """An application as it is registered with the EHR.

    Args:
        client_id: as registered.
        now: the clock, aware; for assertions.
        secret: shared with the EHR; None for a public application or one with keys.
        sent_in: where the secret goes: the ``Authorization`` header or the form.
        keys: signs assertions instead of a secret.
    """

    client_id: str
    now: Callable[[], datetime]
    secret: str | None = None
    sent_in: SecretPlace = "header"
    keys: KeyRing | None = None
    called = "a client with its secret"

    def request(self, token_url: str, fields: Mapping[str, str]) -> httpx.Request:
        """A token request that carries the proof; an assertion in it is fresh.

        Args:
            token_url: where it goes.
            fields: of the form; they hold a code or refresh token, so it is sent once.
        """
        form, headers = dict(fields), {"Accept": "application/json"}
        extensions: dict[str, Any] = {ONCE: True}
        if self.keys is not None:
            form["client_assertion_type"] = ASSERTION_TYPE
            form["client_assertion"] = signed_assertion(
                self.keys.signing, self.client_id, token_url, self.now(), new_id()
            )
            extensions[FRESH] = lambda: self.request(token_url, fields)
        elif self.secret is None:
            form["client_id"] = self.client_id
        elif self.sent_in == "form":
            form |= {"client_id": self.client_id, "client_secret": self.secret}
        else:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return httpx.Request(
            "POST", token_url, content=urlencode(form).encode(), headers=headers, extensions=extensions
        )


def secret_place(methods: frozenset[str]) -> SecretPlace:
    """Where a secret goes, by what the server announces; the header where it announces nothing."""
    return "form" if "client_secret_post" in methods and "client_secret_basic" not in methods else "header"
