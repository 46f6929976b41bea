"""An answer, whole and bounded, and what its status means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from ehr.errors import BadBody, HttpStatusError
from ehr.transport.body import check_json

_CODE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CODES_KEPT = 20
ISSUE_TYPES = frozenset(
    {
        *(
            "invalid",
            "structure",
            "required",
            "value",
            "invariant",
            "security",
            "login",
            "unknown",
            "expired",
        ),
        *("forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches"),
        *("not-found", "deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule"),
        *("conflict", "transient", "lock-error", "no-store", "exception", "timeout", "incomplete"),
        *("throttled", "informational"),
    }
)
"""FHIR R4's issue types (value set ``issue-type``): words that may be repeated, because they are known."""
_DETAIL_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """An HTTP answer.

    Attributes:
        status: 200 to 599.
        headers: case-insensitive.
        body: decoded bytes.
        url: the URL that was asked; never to be logged.
    """

    status: int
    headers: httpx.Headers
    body: bytes
    url: str

    def __repr__(self) -> str:
        return f"Response({self.status})"

    def json_bytes(self, *, depth: int | None = None, entries: int = 10_000) -> bytes:
        """The body, if it is JSON.

        Raises:
            BadBody: ``empty``, ``html``, ``wrong-type`` or ``not-json``.
            BodyTooLarge: deeper than ``depth``, or more than ``entries`` entries.
        """
        return check_json(self.body, self.headers.get("content-type"), depth=depth, entries=entries)

    def json(self) -> Any:
        """The body as plain Python values; errors as for `json_bytes`."""
        try:
            return msgspec.json.decode(self.json_bytes())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadBody("The body is not valid JSON.", reason="not-json") from None


class _Silent(msgspec.Struct):
    """What a server says; never shown."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class _Coding(_Silent):
    code: str | None = None


class _Details(_Silent):
    coding: list[_Coding] = []


class _Issue(_Silent):
    code: str | None = None
    severity: str | None = None
    details: _Details | None = None


class _Outcome(_Silent):
    resourceType: str  # noqa: N815 - FHIR's own spelling
    issue: list[_Issue] = []


_OUTCOME = msgspec.json.Decoder(_Outcome)


def outcome_codes(body: bytes) -> tuple[str, ...]:
    """Codes of an OperationOutcome: vendor codes first, then issue types, each once; none if it is no such thing."""
    try:
        outcome = _OUTCOME.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    if outcome.resourceType != "OperationOutcome":
        return ()
    vendor = [coding.code for issue in outcome.issue if issue.details for coding in issue.details.coding]
    found = [*vendor, *(issue.code for issue in outcome.issue)]
    codes = dict.fromkeys(code for code in found if code is not None and _CODE.fullmatch(code))
    return tuple(codes)[:_CODES_KEPT]


def raise_for_status(response: Response) -> None:
    """Nothing for 2xx; everything else is an error.

    Raises:
        HttpStatusError: with the codes of an OperationOutcome. A redirect is one too: none is followed. Its
            message repeats FHIR's own issue types alone: any other code is text from the server.
    """
    status = response.status
    if 200 <= status <= 299:
        return
    codes = outcome_codes(response.body)
    what = "redirected, which is not followed" if status < 400 else "refused the request"
    known = [code for code in codes if code in ISSUE_TYPES]
    shown = f", outcome {', '.join(known[:3])}" if known else ""
    raise HttpStatusError(
        f"The server {what} (HTTP {status}{shown}). Nothing was read.",
        status=status,
        outcome_codes=codes,
        debug_detail=response.body[:_DETAIL_CHARACTERS].decode("utf-8", "replace"),
    )
