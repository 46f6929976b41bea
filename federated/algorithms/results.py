"""What a worker's run leaves behind, and what of it may leave the pod."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerResult(Generic[T]):
    """The end of one algorithm in one pod.

    Args:
        local: stays in the pod; may hold patient data.
        leaves: what the modeller gets. Empty unless the algorithm was made to release something.
    """

    local: T = field(repr=False)
    leaves: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def collect(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The modeller side of every algorithm that only gathers: what each pod released, by pod, in order."""
    return {pod: dict(results[pod]) for pod in sorted(results)}


# What a plug-in may use: docs/write-a-plugin.md.
__all__ = ["WorkerResult", "collect"]
