"""``TrialInclusionCriteriaMatchAlgorithm``: decide for each patient of a site whether a trial's criteria hold.

With a ``trial:`` file it runs through the criteria engine. The bare name means the Jade colour, whose imaging half is
not part of this release: it is refused. Nothing leaves the pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from importlib.metadata import version
from typing import Annotated, Any, Literal

from pydantic import InstanceOf

from ehr.people.people_file import Row
from ehr.reading.query import QueryResult
from ehr.site import Site
from federated.aggregators.secure_rounds import Combined
from federated.aggregators.values import Layout, counts_layout
from federated.algorithms.results import WorkerResult
from federated.algorithms.results import collect as modeller
from federated.algorithms.step_context import StepContext
from federated.counts.counts_document import cells_of, counts_of, csv_text, document, text
from federated.counts.summed_counts import SummedCounts, read_counts, vector_names
from federated.counts.suppression import DEFAULT, LOWEST
from federated.errors import InvalidArgument, NameWaits, TaskRefused
from federated.reports.federation import FunnelSum
from federated.screening.patients import NOTHING_KEPT, ResumeState, Screening, screen_patients
from federated.screening.report.results import ALIVE, Run
from federated.screening.report.write import write_site
from federated.screening.resume import ScreeningRequest, begin, execution
from federated.screening.trial.criteria import Trial
from federated.screening.trial.load import read_trial
from federated.screening.trial.lock import digest
from federated.task.spec import TaskSpec

__all__ = [
    "Parameters",
    "layout",
    "modeller",
    "step",
    "totals_of",
    "values",
    "worker",
    "written",
]

FEWEST = 1_000_000
"""What ``maximum_count`` is at least: under a low one a pod's refusal would tell how many patients it has."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to decide by.

    Args:
        trial: a checked trial, or in a task the name of a document that travels inside it; None means the bare
            name.
        index_date: what "now" means where the file says ``run``; fixed once per run by the caller. A task without
            it takes the day on which it was made, so that every pod decides for one day.
        on_unknown: queue of the undecided: ``review`` or ``defer``; never the decision.
        tool_version: of this distribution, for the outputs; a task cannot choose it.
        maximum_count: largest number of patients that one pod may have where counts are added up.
        smallest_cell: the smallest count that may be seen; a pod takes its own limit where that is larger.
    """

    trial: Annotated[Trial, InstanceOf] | str | None = None
    index_date: date | None = None
    on_unknown: Literal["review", "defer"] = "review"
    tool_version: str = "0"
    maximum_count: int = FEWEST
    smallest_cell: int = DEFAULT


async def worker(
    parameters: Parameters, site: Site, rows: Sequence[Row], ongoing: ResumeState = NOTHING_KEPT
) -> WorkerResult[Run]:
    """Screen rows of people at one site.

    Args:
        parameters: what to decide by.
        site: the open EHR.
        rows: whom to decide for.
        ongoing: see `ResumeState`.

    Returns:
        ``.local`` is the whole run, from which all outputs are made. Nothing leaves.

    Raises:
        NameWaits: there is no trial file: the bare name is the Jade colour.
        PlanRefused: the trial asks for what this release cannot decide.
        AuthError: the EHR refused the login.
    """
    if not isinstance(parameters.trial, Trial):
        raise NameWaits(
            "TrialInclusionCriteriaMatchAlgorithm without a trial file", "the Jade colour (OCT measurements)"
        )
    asked = Screening(parameters.trial, parameters.index_date, parameters.on_unknown, parameters.tool_version)
    return WorkerResult(await screen_patients(asked, site, rows, ongoing))


async def step(
    parameters: Parameters, place: StepContext, inputs: Mapping[str, WorkerResult[Any]]
) -> WorkerResult[Run]:
    """Screen in a task: the trial comes with the task, the people from an earlier query or the site's cohort.

    Writes what ``trialveil screen`` writes into the task's folder. A step that was stopped goes on where it stopped.

    Args:
        parameters: ``trial`` names a document of the task.
        place: with the EHR.
        inputs: at most one result of ``EHRPatientQueryAlgorithm``, whose people are then decided for.

    Raises:
        TaskRefused: there is no such document, it is a draft or has mistakes, or the pod has no EHR.
        AuthError: the EHR refused the login.
    """
    trial = trial_of(parameters, place.spec)
    if place.open_site is None:
        raise TaskRefused("MISSING_EHR_CONNECTION", "The pod has no EHR connected. Nothing was read.")
    people = [row for part in inputs.values() for row in _people(part)]
    with ExitStack() as held:  # the folder is this run's until everything is written
        async with place.open_site() as site:
            created = datetime.fromisoformat(place.spec.created).astimezone(site.zone).date()
            wanted = ScreeningRequest(created, parameters.index_date, rows=tuple(people), out=place.results)
            start = await begin(site, trial, wanted)
            if start.checkpoint is not None:
                held.callback(start.checkpoint.close, finished=False)
            asked = replace(
                parameters, trial=trial, index_date=start.index_date, tool_version=version("trialveil")
            )
            ongoing = ResumeState(
                start.checkpoint, lambda done, total: place.progress("patients decided", done, total)
            )
            run = (await worker(asked, site, start.rows, ongoing)).local
            run = replace(run, execution=execution(site, {}, None, None))
        write_site(run, place.results)
        start.close()
    return WorkerResult(run)


def layout(parameters: Parameters, spec: TaskSpec) -> Layout:
    """What this algorithm gives to a sum: the counts of the trial, and which of them are suppressed.

    Raises:
        TaskRefused: as `trial_of`, or the parameters hold limits that cannot be kept.
    """
    if parameters.smallest_cell < LOWEST or not FEWEST <= parameters.maximum_count < 2**40:
        raise TaskRefused(
            "TASK_SETUP_ERROR", f"smallest_cell must be {LOWEST} or more, and maximum_count {FEWEST} to 2^40."
        )
    names = vector_names(cells_of(trial_of(parameters, spec)))
    return counts_layout(names, parameters.maximum_count)


def values(parameters: Parameters, place: StepContext, result: WorkerResult[Run]) -> dict[str, int]:
    """What this pod adds to the sum, after its own small-cell rule and with its ledger's consent.

    Raises:
        TaskRefused: fewer patients were evaluated than may be seen: the pod takes no part.
        PolicyRefused: the ledger refuses it.
    """
    smallest = max(parameters.smallest_cell, place.smallest_cell)
    try:
        counted = counts_of(result.local, trial_of(parameters, place.spec), smallest)
    except InvalidArgument:
        raise TaskRefused(
            "NO_DATA", "Fewer patients were evaluated than may be counted. Nothing was sent."
        ) from None
    place.admit_counts(counted.ledger)
    return counted.vector.named()


def totals_of(
    parameters: Parameters, spec: TaskSpec, sums: Mapping[str, int], pods: int
) -> tuple[Trial, SummedCounts]:
    """What the modeller's program may write down of a sum.

    Raises:
        TaskRefused: as `trial_of`.
        CheckFailed, InvalidArgument: it is no sum of pods that were asked this.
    """
    trial = trial_of(parameters, spec)
    return trial, read_counts(cells_of(trial), sums, pods, parameters.smallest_cell)


def written(parameters: Parameters, spec: TaskSpec, combined: Combined) -> dict[str, str]:
    """The files that the modeller gets of a sum, after the small-cell rule: for programs, tables and people.

    Raises:
        TaskRefused, CheckFailed, InvalidArgument: as `totals_of`.
    """
    from federated.reports.task_page import counts_page, head_of

    sums = {name: int(part) for name, part in combined.parts.items()}
    trial, counts = totals_of(parameters, spec, sums, len(combined.survivors))
    found = document(counts, trial, combined.survivors)
    names = {criterion.id: criterion.text for criterion in trial.criteria} | {ALIVE.id: ALIVE.text}
    head = head_of(spec, dict.fromkeys(combined.survivors, "in the sum") | dict(combined.lost))
    return {
        "counts.json": json.dumps(found, ensure_ascii=False, indent=2) + "\n",
        "counts.csv": csv_text(counts),
        "counts.txt": text(counts),
        "report.html": counts_page(head, FunnelSum(counts, names, len(spec.names), head.minimum)),
    }


def trial_of(parameters: Parameters, spec: TaskSpec) -> Trial:
    """The trial that a task means, from the text that travels inside it.

    Raises:
        TaskRefused: there is no such document, it is a draft, has mistakes, or is not the one of its digest.
    """
    name = parameters.trial
    document = spec.documents.get(name) if isinstance(name, str) else None
    if document is None or document.kind != "trial":
        raise TaskRefused("TASK_SETUP_ERROR", "The task holds no trial of the name that it asks for.")
    checked = read_trial(document.text, f"{name}.yaml")
    if checked.trial is None:
        raise TaskRefused(
            "TASK_SETUP_ERROR",
            f"The task's trial file has {len(checked.problems)} mistakes. Nothing was read.",
        )
    if digest(checked.trial) != document.digest:
        raise TaskRefused(
            "TASK_SETUP_ERROR", "The task's trial is not the one of its digest. Nothing was read."
        )
    if checked.trial.status == "draft":
        raise TaskRefused("TASK_SETUP_ERROR", "The task's trial is a draft. Nothing was read.")
    return checked.trial


def _people(result: WorkerResult[Any]) -> tuple[Row, ...]:
    found = result.local
    return tuple(reading.row for reading in found.readings) if isinstance(found, QueryResult) else ()
