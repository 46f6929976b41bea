"""Counts of a finished run on their way out, and counts over several pods as documents."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from federated.counts.cells import (
    DECISIONS,
    EVALUATED,
    VERDICTS,
    CountCells,
    asked,
    bits_of,
    positions,
    profiles,
)
from federated.counts.differencing import Counted, shortened
from federated.counts.summed_counts import Released, SummedCounts, released
from federated.screening.decide.evidence import Outcome
from federated.screening.report.document_models import Closed, Count
from federated.screening.report.funnel import mask_table
from federated.screening.report.results import Run, units_by_ref
from federated.screening.trial.criteria import Trial
from federated.screening.trial.lock import digest


@dataclass(frozen=True, slots=True)
class PodCounts:
    """The counts of one pod.

    Args:
        vector: what leaves.
        ledger: the same as the pod's ledger must know it, with who stands behind each number that is shown.
    """

    vector: Released
    ledger: Counted = field(repr=False)


def cells_of(trial: Trial) -> CountCells:
    """The cells of a trial."""
    return CountCells(asked(trial))


def counts_of(run: Run, trial: Trial, smallest: int) -> PodCounts:
    """The counts of a run that may leave a pod.

    A patient with two eyes that count for themselves stands behind two units, so twice as many units must be in a
    cell before it may be seen.

    Args:
        run: finished.
        trial: that was asked.
        smallest: the smallest number of patients that may be seen.

    Raises:
        InvalidArgument: fewer than ``smallest`` patients were evaluated.
    """
    counted = list(units_by_ref(run))
    most = max(Counter(ref for ref, _ in counted).values(), default=1)
    cohort = hashlib.sha256("\n".join(sorted(patient.ref for patient in run.patients)).encode()).hexdigest()
    cells = cells_of(trial)
    table = profiles(mask_table(outcome.masks() for _, outcome in counted), positions(trial))
    # The pseudonyms are keyed with the site's secret and stay inside, so their digest is a secret that is the same
    # whenever the same people are counted.
    secret = hashlib.sha256(b"trialveil/counts" + cohort.encode()).digest()
    vector = released(cells, table, (smallest - 1) * most + 1, secret)
    members = _members(counted, trial, cells, vector)
    shown = {name: number for name, number in vector.named().items() if name in members}
    return PodCounts(vector, Counted(run.trial.plan_digest, cohort, shown, members, most))


def _members(
    counted: Iterable[tuple[str, Outcome]], trial: Trial, cells: CountCells, vector: Released
) -> dict[str, frozenset[bytes]]:
    shown = {place: name for place, name in enumerate(cells.names) if not vector.hidden >> place & 1}
    found: dict[str, set[str]] = {name: set() for name in shown.values()}
    bits = positions(trial)
    for ref, outcome in counted:
        (profile,) = profiles({outcome.masks(): 1}, bits)
        for place in bits_of(cells.of(profile)):
            if place in shown:
                found[shown[place]].add(ref)
    return {name: shortened(refs) for name, refs in found.items()}


class Number(Closed):
    """One number over all pods; see `Total`."""

    at_least: Count | None
    held_back: Count


class AskedTrial(Closed):
    """The trial that every pod asked."""

    id: str
    version: str
    title: str
    digest: str
    unit: Literal["patient", "eye", "visit"]


class CriterionTotals(Closed):
    """One criterion over everyone evaluated."""

    passed: Number
    failed: Number
    unknown: Number
    not_applicable: Number


class StepTotals(Closed):
    """One step of the ordered funnel."""

    criterion: str
    entering: Number
    lost: Number


class CountsDocument(Closed):
    """``counts.json``: a screening over several pods; each number is "at least N; m pods held back"."""

    schema_: Annotated[Literal["trialveil/counts/1"], Field(alias="schema")]
    trial: AskedTrial
    pods: tuple[str, ...]
    smallest_cell: Annotated[int, Field(ge=5)]
    evaluated: Number
    decisions: dict[Literal["eligible", "undecided", "not_eligible"], Number]
    criteria: dict[str, CriterionTotals]
    funnel: tuple[StepTotals, ...]


def document(found: SummedCounts, trial: Trial, pods: tuple[str, ...]) -> dict[str, Any]:
    """``counts.json`` as plain values.

    Args:
        found: see `SummedCounts`.
        trial: that was asked.
        pods: names of those in the sum, sorted.
    """

    def number(*name: str) -> dict[str, Any]:
        return Number.of(found.total(*name))

    return CountsDocument.of(
        trial=AskedTrial.of(trial, digest=digest(trial), unit=trial.grain),
        pods=list(pods),
        smallest_cell=found.smallest,
        evaluated=number(EVALUATED),
        decisions={name: number("decision", name) for name in DECISIONS},
        criteria={
            name: CriterionTotals.of(**{verdict: number("criterion", name, verdict) for verdict in VERDICTS})
            for name in found.criteria
        },
        funnel=[
            StepTotals.of(
                criterion=name,
                entering=number("funnel", name, "entering"),
                lost=number("funnel", name, "lost"),
            )
            for name in found.criteria
        ],
    )


def csv_text(found: SummedCounts) -> str:
    """``counts.csv``: one row a number; ``at_least`` is empty where it is not shown."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["count", "at_least", "held_back"])
    for name, total in found.totals.items():
        writer.writerow([name, "" if total.at_least is None else total.at_least, total.held_back])
    return out.getvalue()


def text(found: SummedCounts) -> str:
    """The funnel and the decisions for a person at a terminal."""
    unit_line = f"{found.pods} pods, no number below {found.smallest} is shown"
    rows = [("evaluated", found.total(EVALUATED))]
    rows += [(f"lost at {name}", found.total("funnel", name, "lost")) for name in found.criteria]
    rows += [(name.replace("_", " "), found.total("decision", name)) for name in DECISIONS]
    width = max(len(name) for name, _ in rows)
    return "\n".join([unit_line, *(f"{name:<{width}}  {total}" for name, total in rows)]) + "\n"
