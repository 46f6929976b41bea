"""OperationOutcomes, and the error that becomes one."""

from __future__ import annotations

from typing import Any

from ehr.sandbox.skin import OutcomeCode, Situation


class Refused(Exception):
    """A request is answered with an error status and an OperationOutcome.

    Args:
        status: HTTP status.
        situation: which of the skin's outcome codes is used.
        diagnostics: one sentence, without values from the request.
        location: of a redirect, relative to the FHIR base.
    """

    def __init__(self, status: int, situation: Situation, diagnostics: str, location: str = "") -> None:
        super().__init__(diagnostics)
        self.status = status
        self.situation = situation
        self.location = location


def outcome(code: OutcomeCode, diagnostics: str, *, severity: str | None = None) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    issue: dict[str, Any] = {
        "severity": severity or code.severity,
        "code": code.code,
        "diagnostics": diagnostics,
    }
    if code.vendor:
        issue["details"] = {"coding": [{"system": code.system, "code": code.vendor}], "text": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
