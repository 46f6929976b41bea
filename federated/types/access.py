"""What an access manager answers: may the task run, how often, and where its models are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from federated.names import ACCESS_CODES, _PodResponseType

MODEL_INFERENCE = "MODEL_INFERENCE"


class _LimitRequired(TypedDict):
    resourceType: str
    resourceName: str
    totalUsage: int


class ResourceLimit(_LimitRequired, total=False):
    """One limit, as the access manager's JSON has it; ``limit`` absent or null means unlimited."""

    limit: int | None
    modelDownloadUrl: str | None
    weightsDownloadUrl: str | None


class AccessCheckResult(TypedDict):
    """The answer to an access check."""

    response_type: _PodResponseType
    limits: list[ResourceLimit] | None


def read_access_check(response: object) -> AccessCheckResult:
    """Read the JSON of an access manager; whatever cannot be understood means no access.

    Args:
        response: the decoded JSON; ``code`` names the answer, ``limits`` is a list or absent.

    Returns:
        `NO_ACCESS` with ``limits`` None for an unknown or missing code and for limits that are not
        what they should be. It never raises.
    """
    if not isinstance(response, Mapping):
        return _no_access()
    code, limits = response.get("code"), response.get("limits")
    answer = _PodResponseType.__members__.get(code) if isinstance(code, str) else None
    if answer not in ACCESS_CODES or answer is None:
        return _no_access()
    if limits is None:
        return {"response_type": answer, "limits": None}
    if not isinstance(limits, list) or not all(_is_limit(entry) for entry in limits):
        return _no_access()
    return {"response_type": answer, "limits": limits}


def _no_access() -> AccessCheckResult:
    return {"response_type": _PodResponseType.NO_ACCESS, "limits": None}


def _is_limit(entry: Any) -> bool:
    if not isinstance(entry, Mapping):
        return False
    if not isinstance(entry.get("resourceType"), str) or not isinstance(entry.get("resourceName"), str):
        return False
    if not _is_count(entry.get("totalUsage")):
        return False
    if entry.get("limit") is not None and not _is_count(entry["limit"]):
        return False
    return all(isinstance(entry.get(url), str | None) for url in ("modelDownloadUrl", "weightsDownloadUrl"))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _models(result: AccessCheckResult) -> list[ResourceLimit]:
    return [entry for entry in result["limits"] or () if entry["resourceType"] == MODEL_INFERENCE]


@dataclass(kw_only=True)
class InferenceLimits:
    """How many predictions of one model are allowed, and how many were made.

    ``total_usage`` grows during a run; `initial_total_usage` stays what it was at the start. The
    limit is reached when they are equal.
    """

    limit: int
    total_usage: int

    def __post_init__(self) -> None:
        self._initial_total_usage = self.total_usage

    @property
    def initial_total_usage(self) -> int:
        """Predictions made before this run."""
        return self._initial_total_usage

    @classmethod
    def from_access_check_result(cls, result: AccessCheckResult) -> dict[str, InferenceLimits]:
        """Limits by model (``owner/model:version``); a model without a limit is left out."""
        found: dict[str, InferenceLimits] = {}
        for entry in _models(result):
            limit = entry.get("limit")
            if limit is None:
                continue
            limits = cls(limit=limit, total_usage=entry["totalUsage"])
            known = found.get(entry["resourceName"])
            # Two limits on one model: both hold, so the one with less left counts.
            if known is None or limits.limit - limits.total_usage < known.limit - known.total_usage:
                found[entry["resourceName"]] = limits
        return found


@dataclass(kw_only=True, repr=False)
class ModelURLs:
    """Where one model is fetched from. Who holds these pre-signed URLs may fetch it, so they are secrets."""

    model_download_url: str
    model_weights_url: str | None

    def __repr__(self) -> str:
        return "ModelURLs(...)"

    @classmethod
    def from_access_check_result(cls, result: AccessCheckResult) -> dict[str, ModelURLs]:
        """URLs by model (``owner/model:version``), whether it has a limit or not."""
        return {
            entry["resourceName"]: cls(
                model_download_url=url, model_weights_url=entry.get("weightsDownloadUrl")
            )
            for entry in _models(result)
            if (url := entry.get("modelDownloadUrl"))
        }
