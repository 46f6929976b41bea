"""Who asked for what, and which token arrived where.

Several sandboxes may share one witness: a token that one of them issued and another received has leaked.
Tokens are kept as keyed hashes only.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import parse_qsl

Endpoint = Literal["discovery", "metadata", "authorize", "token", "search", "page", "read", "match", "other"]
Headers = Iterable[tuple[bytes, bytes]]

_SHOWN = frozenset(
    {
        "accept",
        "accept-encoding",
        "content-type",
        "prefer",
        "user-agent",
        "epic-client-id",
        "nx-practice-id",
        "x-ng-sessionid",
    }
)
_TOKEN_LENGTH = 20  # shorter pieces of a header are not tried as tokens


@dataclass(frozen=True, slots=True)
class Seen:
    """One request.

    Args:
        number: 1 for the first this witness saw.
        origin: scheme, host and port it was sent to.
        method: of HTTP.
        endpoint: what was asked of.
        resource_type: searched or read; None elsewhere.
        patient: the patient asked about, if one was named.
        page: 1 for a search, more for the pages after it; 0 elsewhere.
        tokens: keyed hashes of the tokens found anywhere in headers and query.
        client_id: the client that the first of these tokens was issued to; None if unknown.
        headers: those of interest, names in lower case.
    """

    number: int
    origin: str
    method: str
    endpoint: Endpoint
    resource_type: str | None
    patient: str | None
    page: int
    tokens: tuple[str, ...]
    client_id: str | None
    headers: MappingProxyType[str, str]


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """What a request turned out to ask for."""

    endpoint: Endpoint
    resource_type: str | None = None
    patient: str | None = None
    page: int = 0


class TokenLeaked(AssertionError):
    """A token arrived at an origin that did not issue it."""


class Witness:
    """Keeps what was seen; safe to use from several threads."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._requests: list[Seen] = []
        self._issued: dict[str, tuple[str, str]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._requests)} requests, {len(self._issued)} tokens issued)"

    @property
    def requests(self) -> tuple[Seen, ...]:
        """All requests in order of arrival."""
        return tuple(self._requests)

    @property
    def issued(self) -> dict[str, str]:
        """Keyed hash of each token that was issued, to the client it was issued to."""
        return {mark: client for mark, (client, _) in self._issued.items()}

    def mark(self, token: str) -> str:
        """The keyed hash by which this witness knows a token."""
        return hmac.new(self._key, token.encode(), hashlib.sha256).hexdigest()

    def note_issued(self, token: str, client_id: str, origin: str) -> None:
        self._issued[self.mark(token)] = (client_id, origin)

    def note_request(
        self, origin: str, method: str, asked: RequestTarget, headers: Headers, query: str
    ) -> Seen:
        """Record one request as it arrives."""
        plain = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
        tokens = self._tokens(plain, query)
        owner = next((self._issued[mark][0] for mark in tokens if mark in self._issued), None)
        shown = MappingProxyType({name: value for name, value in plain if name in _SHOWN})
        with self._lock:
            seen = Seen(
                len(self._requests) + 1,
                origin,
                method,
                asked.endpoint,
                asked.resource_type,
                asked.patient,
                asked.page,
                tokens,
                owner,
                shown,
            )
            self._requests.append(seen)
        return seen

    def _tokens(self, headers: list[tuple[str, str]], query: str) -> tuple[str, ...]:
        """Marks of the bearer token, and of issued tokens that hide in other headers or in the query."""
        marks = []
        for name, value in headers:
            bearer = name == "authorization"
            pieces = (
                [value.rpartition(" ")[2]] if bearer else value.replace(";", " ").replace("=", " ").split()
            )
            tried = [self.mark(piece) for piece in pieces if bearer or len(piece) >= _TOKEN_LENGTH]
            marks += [mark for mark in tried if bearer or mark in self._issued]
        for name, value in parse_qsl(query):
            mark = self.mark(value)
            if name == "access_token" or mark in self._issued:
                marks.append(mark)
        return tuple(dict.fromkeys(marks))

    def token_receivers(self) -> dict[str, frozenset[str]]:
        """Keyed hash of every token that arrived anywhere, to the origins it arrived at."""
        received: dict[str, set[str]] = {}
        for seen in self.requests:
            for mark in seen.tokens:
                received.setdefault(mark, set()).add(seen.origin)
        return {mark: frozenset(origins) for mark, origins in received.items()}

    def assert_tokens_stayed_home(self) -> None:
        """Every issued token arrived only at the origin that issued it.

        Raises:
            TokenLeaked: one did not.
        """
        for mark, origins in self.token_receivers().items():
            if mark in self._issued and origins - {self._issued[mark][1]}:
                raise TokenLeaked(f"a token reached {len(origins)} origins; it belongs to one")

    def counts(self) -> Counter[str]:
        """Number of requests by resource type; those without one by endpoint."""
        return Counter(seen.resource_type or seen.endpoint for seen in self.requests)

    def count(self, endpoint: Endpoint | None = None, resource_type: str | None = None) -> int:
        """Number of requests to an endpoint, about a type, or both."""
        return sum(
            endpoint in {None, seen.endpoint} and resource_type in {None, seen.resource_type}
            for seen in self.requests
        )

    def forget(self) -> None:
        """Drop the requests seen so far; issued tokens stay known."""
        with self._lock:
            self._requests.clear()
