"""``example.CountBySex``: how many people of a cohort are recorded as female, male, other or unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ehr.people.people_file import Row
from ehr.site import Site
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.counts.suppression import DEFAULT, protected
from federated.errors import TaskRefused

__all__ = ["Parameters", "modeller", "step", "worker"]

SEXES = ("female", "male", "other", "unknown")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to release.

    Args:
        smallest: the smallest count that may leave the pod.
    """

    smallest: int = DEFAULT


async def worker(parameters: Parameters, site: Site, rows: Sequence[Row]) -> WorkerResult[Counter[str]]:
    """Count the people of some rows.

    Args:
        parameters: what to release.
        site: the open EHR.
        rows: whom to count; those who are not certainly found are left out.

    Returns:
        ``.local`` has the exact counts; small ones do not leave, nor what would give them away.
    """
    counts: Counter[str] = Counter(dict.fromkeys(SEXES, 0))
    async for reading in site.readings(rows, []):
        patient = None if reading.record is None else reading.record.patient
        if patient is not None:
            counts[patient.sex("administrative") or "unknown"] += 1
    shown = protected([counts[sex] for sex in SEXES], parameters.smallest)
    return WorkerResult(counts, {"total": shown.total, **dict(zip(SEXES, shown.cells, strict=True))})


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[Counter[str]]:
    """Count the site's cohort as one step of a task; the pod's own smallest count holds, whatever the task says.

    Raises:
        TaskRefused: the pod has no EHR.
    """
    if place.open_site is None:
        raise TaskRefused("MISSING_EHR_CONNECTION", "The pod has no EHR connected. Nothing was read.")
    smallest = max(parameters.smallest, place.smallest_cell)
    async with place.open_site() as site:
        return await worker(replace(parameters, smallest=smallest), site, await site.rows())
