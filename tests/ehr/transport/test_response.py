"""What an error status says (S14, S23)."""

from __future__ import annotations

import json

import httpx
import pytest

from ehr.errors import (
    HttpStatusError,
)
from ehr.transport.client import Response, outcome_codes, raise_for_status


def outcome(*codes: str) -> bytes:
    issue = {
        "severity": "error",
        "code": "processing",
        "details": {"coding": [{"code": code} for code in codes], "text": "Canary"},
    }
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


def test_an_error_status_carries_outcome_codes_and_no_text() -> None:
    """S23."""
    with pytest.raises(HttpStatusError) as failed:
        raise_for_status(Response(403, httpx.Headers(), outcome("59108", "Canary text"), "https://h/Canary"))
    error = failed.value
    assert (error.status, error.outcome_codes) == (403, ("59108", "processing"))
    assert "Canary" not in str(error) + repr(error)
    # A code is text from the server: an id or a name can stand there.
    assert "59108" not in str(error) and "processing" in str(error)
    assert error.debug_detail is not None and "Canary" in error.debug_detail


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"resourceType":"Patient","issue":[{"code":"x"}]}', b"[" * 10**6, b"\xff"]
)
def test_what_is_no_outcome_has_no_codes(body: bytes) -> None:
    assert outcome_codes(body) == ()


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 404, 500])
def test_every_status_but_2xx_is_an_error_when_asked(status: int) -> None:
    """S14: also a redirect."""
    raise_for_status(Response(204, httpx.Headers(), b"", ""))
    with pytest.raises(HttpStatusError):
        raise_for_status(Response(status, httpx.Headers(), b"", ""))
