"""One site's screening run in this process: `screen()`.

Opens the EHR of ``pod.yaml``, decides for each patient by ``trial.yaml``, and writes the results. A run that was
stopped goes on where it stopped: what is done is kept beside the results until the run is complete.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ehr.files.settings import SiteFile
from ehr.people.matching import record_numbers
from ehr.people.people_file import Row
from ehr.records.patient import Patient
from ehr.site import REAL, ClockAndWire, Site, open_site_async
from ehr.sync import run_here
from federated.errors import ConfigurationError, MissingExtra
from federated.screening.decide.evidence import Decision
from federated.screening.patients import UNREAD, Progress, ResumeState, Screening, screen_patients
from federated.screening.report import decisions_csv, json_documents
from federated.screening.report.decisions_csv import Contact
from federated.screening.report.results import Run
from federated.screening.resume import CHECKPOINT, ScreeningJob, ScreeningRequest, begin, execution
from federated.screening.trial.criteria import Trial
from federated.screening.trial.load import load_trial

if TYPE_CHECKING:
    import pandas

__all__ = ["CHECKPOINT", "Decisions", "Options", "screen", "screen_async"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to screen.

    Args:
        patients: CSV file instead of the cohort of ``pod.yaml``.
        out: folder of the results and of what is done so far; None keeps nothing on disk.
        on_unknown: queue of the undecided: ``review`` or ``defer``; never the decision.
        draft: True lets a draft be tried.
        overrides: values for parameters that the trial lets a site set.
        index_date: what ``index_date: run`` means; None is the site's today.
        with_identifiers: also write ``contacts.csv`` with names, for the coordinator.
        fresh: ask for everyone, also where an earlier run stopped.
        progress: is told how many patients are done.
        say: is told what a person may want to know, such as that a run goes on.
    """

    patients: Path | None = None
    out: Path | None = None
    on_unknown: Literal["review", "defer"] = "review"
    draft: bool = False
    overrides: Mapping[str, str] = field(default_factory=dict)
    index_date: date | None = None
    with_identifiers: bool = False
    fresh: bool = False
    progress: Progress = field(default=lambda done, total: None)
    say: Any = field(default=lambda text: None)


@dataclass(frozen=True, slots=True, repr=False)
class Decisions:
    """A finished screening run.

    Args:
        run: all of it; see `federated.screening.report.results.Run`.
        contacts: row to person, for ``contacts.csv``, where that was asked for; None otherwise.
    """

    run: Run
    contacts: Mapping[int, Contact] | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` holds."""
        return json_documents.summary(self.run)

    @property
    def some_unread(self) -> bool:
        """Whether a patient could not be read completely, or not at all because a server failed."""
        gaps = {"UNAVAILABLE", "QUOTA", "ERROR", "PARTIAL"}
        return any(
            UNREAD in patient.issues or gaps & set(patient.fetched.values()) for patient in self.run.patients
        )

    @property
    def quota_spent(self) -> bool:
        """Whether a patient is left for tomorrow because today's quota of requests was spent."""
        return any(
            "QUOTA" in patient.fetched.values() or "quota-spent" in patient.issues
            for patient in self.run.patients
        )

    def to_pandas(self) -> pandas.DataFrame:
        """The rows of ``decisions.csv`` as a data frame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtra(".to_pandas()", "pandas") from None
        text = "".join(decisions_csv.decisions(self.run))
        return pandas.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write ``decisions.csv``, ``decisions.json``, ``summary.json``, ``run.json`` and ``report.html``.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        from federated.screening.report.write import write_contacts, write_site  # jinja2 takes its time

        written = write_site(self.run, Path(folder))
        if self.contacts is not None:
            written = (*written, write_contacts(self.run, Path(folder), self.contacts))
        return written

    def __repr__(self) -> str:
        counts = self.summary["counts"]
        words = ", ".join(f"{name}={count}" for name, count in counts.items())
        return f"Decisions({self.run.trial.id}, {self.run.index_date}, {words})"

    def _repr_html_(self) -> str:
        counts = self.summary["counts"]
        rows = "".join(f"<tr><th>{name}</th><td>{count}</td></tr>" for name, count in counts.items())
        return f"<table><caption>{self.run.trial.id}, {self.run.index_date}</caption>{rows}</table>"


def screen(
    config: str | Path | SiteFile,
    trial: str | Path | Trial,
    options: Options | None = None,
    surroundings: ClockAndWire = REAL,
) -> Decisions:
    """Decide for each patient of a site whether a trial's criteria hold.

    Args:
        config: ``pod.yaml``, or settings that are checked already.
        trial: ``trial.yaml``, or a checked trial.
        options: see `Options`; by default the pod's cohort, and nothing is written.
        surroundings: clock and wire, for tests.

    Raises:
        TrialFileErrors: the trial file has mistakes; all of them.
        ConfigurationError: the pod file is wrong, or the trial is a draft.
        AuthError: the EHR refused the login.
    """
    return run_here(screen_async(config, trial, options, surroundings))


async def screen_async(
    config: str | Path | SiteFile,
    trial: str | Path | Trial,
    options: Options | None = None,
    surroundings: ClockAndWire = REAL,
) -> Decisions:
    """`screen`, for programs with an event loop of their own."""
    chosen = options or Options()
    checked = trial if isinstance(trial, Trial) else _loaded(Path(trial), chosen)
    if checked.status == "draft" and not chosen.draft:
        raise ConfigurationError(
            'the trial is a draft ("status: draft"): set "status: final" when it is reviewed, or try it with --draft.'
        )
    started = surroundings.clock.now()
    began = time.perf_counter()
    with ExitStack() as held:  # the output folder is this run's until everything is written
        async with open_site_async(config, surroundings, counted_in=chosen.out) as site:
            start = await begin(site, checked, _wanted(site, chosen, started))
            if start.checkpoint is not None:
                held.callback(start.checkpoint.close, finished=False)
            rows = start.rows
            opened = time.perf_counter()
            run = await _screened(site, checked, start, chosen)
            contacts = await _contacts(site, rows, run, chosen) if chosen.with_identifiers else None
            read = time.perf_counter()
            seconds = {"open": opened - began, "read": read - opened}
            ended = surroundings.clock.now()
            times = [moment.isoformat(timespec="seconds") for moment in (started, ended)]
            done = execution(site, seconds, *times)
        decisions = Decisions(replace(run, execution=done), contacts)
        if chosen.out is not None:
            decisions.write(chosen.out)
        start.close()
        return decisions


def _wanted(site: Site, options: Options, started: datetime) -> ScreeningRequest:
    return ScreeningRequest(
        today=started.astimezone(site.zone).date(),
        index_date=options.index_date,
        patients=options.patients,
        out=options.out,
        fresh=options.fresh,
        say=options.say,
    )


def _loaded(path: Path, options: Options) -> Trial:
    try:
        return load_trial(path, overrides=options.overrides)
    except FileNotFoundError:
        raise ConfigurationError("trial file: there is no such file.") from None
    except OSError as error:
        raise ConfigurationError(f"trial file: cannot be read ({type(error).__name__}).") from None


async def _screened(site: Site, trial: Trial, start: ScreeningJob, options: Options) -> Run:
    asked = Screening(trial, start.index_date, options.on_unknown, version("trialveil"))
    return await screen_patients(asked, site, start.rows, ResumeState(start.checkpoint, options.progress))


async def _contacts(site: Site, rows: tuple[Row, ...], run: Run, options: Options) -> dict[int, Contact]:
    """Who is to be called or reviewed, from the EHR's own record; nobody else's name is written."""
    wanted = {
        patient.input_row
        for patient in run.patients
        if patient.decision in (Decision.ELIGIBLE, Decision.UNDECIDED)
    }
    found: dict[int, Contact] = {}
    async for reading in site.readings([row for row in rows if row.number in wanted], []):
        patient = None if reading.record is None else reading.record.patient
        if patient is not None:
            found[reading.row.number] = _contact(patient)
    if len(found) < len(wanted):
        # An empty line must not look like somebody without a telephone.
        options.say(
            f"contacts.csv: {len(wanted) - len(found)} of {len(wanted)} people could not be read again."
        )
    return found


def _contact(patient: Patient) -> Contact:
    name = next((name for name in patient.name if name.use in ("official", "usual")), None)
    name = name or next(iter(patient.name), None)
    phones = [point.value for point in patient.telecom if point.system == "phone" and point.value]
    return Contact(
        mrn=next((number.value or "" for number in record_numbers(patient)), ""),
        family="" if name is None else name.family or "",
        given="" if name is None else " ".join(name.given),
        birth_date=patient.birth_date or "",
        phone=next(iter(phones), ""),
    )
