"""How a screening run begins, or goes on where it stopped: the same for one site's run and for a step of a task."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

from ehr.people.identity import Person
from ehr.people.people_file import Row
from ehr.reading.checkpoint import Checkpoint
from ehr.site import Site
from federated.screening.patients import StoredResult, site_facts
from federated.screening.plan.trial_plan import make_plan
from federated.screening.report.results import Execution
from federated.screening.trial.criteria import Trial
from federated.screening.trial.lock import digest

CHECKPOINT = ".screening.jsonl"
"""In the output folder while a run is not complete: stopped, or with patients whose server failed."""
_MEMBERS = "members"


@dataclass(frozen=True, slots=True)
class ScreeningRequest:
    """What is asked for.

    Args:
        today: what ``index_date: run`` means in a run that begins now.
        index_date: the same where a person has fixed it, so that a run on another day is another run.
        patients: CSV file instead of the cohort of ``pod.yaml``.
        rows: whom to decide for, where that is known already; goes before ``patients``.
        out: folder of the results and of what is done so far; None keeps nothing on disk.
        fresh: ask for everyone, also where an earlier run stopped.
        say: is told what a person may want to know, such as that a run goes on.
    """

    today: date
    index_date: date | None = None
    patients: Path | None = None
    rows: tuple[Row, ...] = ()
    out: Path | None = None
    fresh: bool = False
    say: Callable[[str], object] = field(default=lambda text: None)


@dataclass(frozen=True, slots=True)
class ScreeningJob:
    """What a run begins with, or goes on with: fixed when it first began.

    Args:
        rows: whom to decide for, in the order of every output.
        index_date: what ``index_date: run`` means.
        checkpoint: who is done already, open; the caller closes it. None where nothing is kept.
    """

    rows: tuple[Row, ...]
    index_date: date
    checkpoint: Checkpoint[StoredResult] | None = None

    def close(self) -> None:
        """Everything is written: the checkpoint is removed unless the next start must ask somebody again."""
        if self.checkpoint is not None:
            self.checkpoint.close(finished=not self.checkpoint.waiting)


async def begin(site: Site, trial: Trial, wanted: ScreeningRequest) -> ScreeningJob:
    """Read whom to decide for, and open what an earlier start left behind.

    Raises:
        ConfigurationError: there is no cohort, or another process is at work in the folder.
    """
    today = wanted.index_date or wanted.today
    chosen = wanted.patients is not None or bool(wanted.rows)
    listed = None if chosen else site.listed_in_ehr
    rows = wanted.rows or (() if listed else await site.rows(wanted.patients))
    if wanted.out is None:
        return ScreeningJob(rows or await site.rows(), today)
    identity = _identity(site, trial, listed or str(len(rows)), wanted)
    checkpoint = Checkpoint(wanted.out / CHECKPOINT, identity, StoredResult)
    checkpoint.load(fresh=wanted.fresh)
    rows = rows or _remembered(checkpoint.facts) or await site.rows()
    if checkpoint.resumes:
        wanted.say(
            f"Going on where an earlier run stopped: {len(checkpoint.done)} of {len(rows)} patients are done, "
            f"the index date stays {checkpoint.facts['index_date']}. For a new run use --fresh."
        )
    # A Group or List may change between two starts: who is in it is fixed with the first.
    members = {_MEMBERS: " ".join(row.person.id or "" for row in rows if row.person)} if listed else {}
    checkpoint.start({"index_date": today.isoformat()} | members)
    return ScreeningJob(rows, date.fromisoformat(checkpoint.facts["index_date"]), checkpoint)


def _remembered(facts: Mapping[str, str]) -> tuple[Row, ...]:
    members = enumerate(facts.get(_MEMBERS, "").split(), start=1)
    return tuple(Row(number, Person(id=member)) for number, member in members)


def _identity(site: Site, trial: Trial, rows: str, wanted: ScreeningRequest) -> dict[str, str]:
    """What must be equal for an earlier start to be resumed: all that can change a patient's result."""
    # Any one day serves: the plan's digest then stands for the trial's constants and the site's facts.
    plan = make_plan(trial, site_facts(site), date(2000, 1, 1))
    section = site.file.ehr
    reading = f"{section.provider}|{section.base_url}|{section.validation}|{section.strict}"
    return {
        "tool": version("trialveil"),
        "trial": digest(trial),
        "plan": plan.digest,
        "ehr": hashlib.sha256(reading.encode()).hexdigest(),
        "rows": rows,
        "index_date": "" if wanted.index_date is None else wanted.index_date.isoformat(),
    }


def execution(site: Site, seconds: Mapping[str, float], started: str | None, ended: str | None) -> Execution:
    """What ``run.json`` says about how the run went."""
    names = ("trialveil", "httpx", "aiohttp", "msgspec", "pydantic")
    return Execution(
        started=started,
        ended=ended,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        versions={name: version(name) for name in names},
        host={
            "python": platform.python_version(),
            "system": platform.system(),
            "cpus": str(os.cpu_count() or 0),
        },
        requests=dict(sorted(site.adapter.counters.items())),
    )
