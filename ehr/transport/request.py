"""A request before it is anyone's object: its parts, once its URL was checked against the pin.

Most requests go out from here as they are. An `httpx.Request` is made only for a login flow that has to be driven,
for an inner transport that is not our engine, and for streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode

import httpx
import msgspec

Form = Mapping[str, str] | Callable[[], Mapping[str, str]]


@dataclass(slots=True, repr=False)
class ReadyRequest:
    """A request that is ready to be sent. Never shown: headers hold a token, a form holds an assertion.

    Attributes:
        method: upper case.
        url: absolute, inside the pin.
        headers: names in lower case.
        content: None is no body.
    """

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None

    @property
    def path(self) -> str:
        """The URL's path, escapes undone: what rules about paths are compared with."""
        path = "/" + self.url.partition("?")[0].split("/", 3)[-1]
        return unquote(path) if "%" in path else path

    def plain(self) -> httpx.Request:
        """The same as httpx's own."""
        return httpx.Request(self.method, self.url, headers=self.headers, content=self.content)


@dataclass(frozen=True, slots=True, repr=False)
class RequestParts:
    """The parts of a request that do not depend on the attempt. Never shown: a form holds an assertion."""

    method: str
    url: str
    headers: dict[str, str]
    form: Form | None
    json: Any

    def outgoing(self) -> ReadyRequest:
        """Made anew for each attempt: a form may be a function that gives other fields each time."""
        headers = self.headers.copy()
        content: bytes | None = None
        if self.form is not None:
            fields = self.form() if callable(self.form) else self.form
            content = urlencode(dict(fields)).encode("ascii")
            headers.setdefault("content-type", "application/x-www-form-urlencoded")
        elif self.json is not None:
            content = self.json if isinstance(self.json, bytes) else msgspec.json.encode(self.json)
            headers.setdefault("content-type", _json_type(headers.get("accept", "")))
        return ReadyRequest(self.method, self.url, headers, content)

    def build(self) -> httpx.Request:
        """The same as httpx's own."""
        return self.outgoing().plain()


def _json_type(accept: str) -> str:
    return "application/fhir+json" if accept.startswith("application/fhir") else "application/json"
