"""HTTP as the sandbox sees it: a request that was read whole, and an answer before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl

FHIR_JSON = "application/fhir+json"
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, read whole.

    Args:
        method: of HTTP.
        path: as sent, percent-decoded.
        query: as sent.
        headers: names in lower case; of repeated ones the last.
        body: all of it.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def form(self) -> Pairs:
        """Parameters of a form body; none if it is not a form."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return ()
        return tuple(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def parameters(self) -> Pairs:
        return tuple(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer.

    Args:
        status: of HTTP.
        body: all of it.
        content_type: of the body.
        headers: besides type, length and date.
    """

    status: int
    body: bytes
    content_type: str = FHIR_JSON
    headers: dict[str, str] = field(default_factory=dict)
