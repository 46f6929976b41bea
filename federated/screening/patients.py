"""Deciding for the rows of one site: each patient is decided and stored as soon as they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import Literal

from ehr.dates import BadDate, day_of, interval_of, parse_date
from ehr.people.identity import Ambiguous, Matched, NotFound, Undetermined
from ehr.people.matching import CONFLICTS
from ehr.people.people_file import Row
from ehr.reading.checkpoint import Checkpoint, Done, row_key
from ehr.reading.cohort import Reading
from ehr.reading.query import pseudonym
from ehr.records.patient import Appointment, Fetched, Kind, PatientRecord
from ehr.site import Site
from federated.errors import ConfigurationError
from federated.screening.decide.evaluate import compile_plan
from federated.screening.decide.evidence import Decision, Outcome, Verdict
from federated.screening.decide.missing_data import Shares, look_up_next
from federated.screening.plan.trial_plan import Plan, SiteFacts, make_plan
from federated.screening.report.heads import added_up, site_head, trial_head, value_set_heads, work_of
from federated.screening.report.results import MatchState, PatientResult, Run, Work
from federated.screening.trial.criteria import Trial

Progress = Callable[[int, int], None]
"""Is told how many patients are done, and how many there are."""

UNREAD = "IDENTITY_UNREAD"
"""Issue of a row whose patient could not be looked for, because the server failed."""
UNCONFIRMED = "NUMBER_NOT_CONFIRMED"
"""Note on a row whose id or record number is not that of the record that its name and birth date found."""
REPEATED = "SAME_PERSON"
"""Issue of a row that names the person of an earlier row."""

_NO_LONGER = frozenset({"cancelled", "noshow", "entered-in-error", "fulfilled"})


@dataclass(frozen=True, slots=True)
class StoredResult:
    """One finished patient, as a checkpoint keeps it: all that the outputs need of them."""

    result: PatientResult
    work: Work = field(default_factory=Work)


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a run needs to continue.

    Args:
        checkpoint: patients that are done, opened; None keeps nothing.
        progress: is told of each patient.
    """

    checkpoint: Checkpoint[StoredResult] | None = None
    progress: Progress = field(default=lambda done, total: None)


NOTHING_KEPT = ResumeState()


@dataclass(frozen=True, slots=True)
class Screening:
    """What one run decides by.

    Args:
        trial: checked.
        index_date: what ``index_date: run`` means.
        on_unknown: queue of the undecided: ``review`` or ``defer``; never the decision.
        tool_version: of this distribution, for the outputs.
    """

    trial: Trial
    index_date: date | None = None
    on_unknown: Literal["review", "defer"] = "review"
    tool_version: str = "0"


async def screen_patients(
    asked: Screening, site: Site, rows: Sequence[Row], ongoing: ResumeState = NOTHING_KEPT
) -> Run:
    """The whole run of one site, from which all outputs are made. Nothing leaves.

    Raises:
        PlanRefused: the trial asks for what this release cannot decide.
        AuthError: the EHR refused the login.
    """
    decider = Decider(asked.trial, site_facts(site), asked.index_date)
    kept = [one async for one in screen_rows(decider, site, rows, ongoing)]
    return Run(
        tool_version=asked.tool_version,
        trial=trial_head(decider.trial, decider.plan),
        site=site_head(site, decider.plan),
        index_date=decider.plan.index_date.isoformat(),
        patients=with_lookups(decider.plan, once_each(decider, rows, [one.result for one in kept])),
        on_unknown=asked.on_unknown,
        value_sets=value_set_heads(decider.trial),
        work=added_up(one.work for one in kept),
    )


def once_each(decider: Decider, rows: Sequence[Row], results: Sequence[PatientResult]) -> list[PatientResult]:
    """A second row about the same person and day is no second patient: it would be counted twice."""
    seen: set[tuple[str, date | None]] = set()
    kept = []
    for row, result in zip(rows, results, strict=True):
        key = (result.ref, decider.day_of(row))
        if result.outcome is not None and key in seen:
            result = PatientResult(row.number, result.ref, MatchState.DUPLICATE, issues=(REPEATED,))
        elif result.outcome is not None:
            seen.add(key)
        kept.append(result)
    return kept


def with_lookups(plan: Plan, results: Sequence[PatientResult]) -> list[PatientResult]:
    """The results, with what to look up next for the undecided; ordered by what this run has seen."""
    no: Counter[str] = Counter()
    yes: Counter[str] = Counter()
    for result in results:
        for criterion in () if result.outcome is None else result.outcome.criteria:
            no[criterion.id] += criterion.verdict is Verdict.FAIL
            yes[criterion.id] += criterion.verdict is Verdict.PASS
    shares = Shares(no, yes)
    return [_looked_up(plan, result, shares) for result in results]


def _looked_up(plan: Plan, result: PatientResult, shares: Shares) -> PatientResult:
    outcome = result.outcome
    if outcome is None or outcome.decision is not Decision.UNDECIDED:
        return result
    return replace(result, outcome=replace(outcome, lookups=look_up_next(plan, outcome, shares)))


class Decider:
    """A trial made ready for one site: its plan and evaluator, one for each index date.

    Args:
        trial: checked.
        facts: what the site knows.
        run_day: what ``index_date: run`` means.

    Attributes:
        plan: of the run's own day; with a column, rows that name another day have a plan of their own.

    Raises:
        ConfigurationError: the trial says ``run`` and no day was given.
    """

    def __init__(self, trial: Trial, facts: SiteFacts, run_day: date | None) -> None:
        self.trial = trial
        self._facts = facts
        self._made: dict[date, tuple[Plan, Callable[[PatientRecord], Outcome]]] = {}
        day = trial.index_date.day if trial.index_date.kind == "date" else run_day
        if day is None:
            raise ConfigurationError('the trial says "index_date: run"; give the day on which the run began.')
        self.plan = self._for(day)[0]

    def _for(self, day: date) -> tuple[Plan, Callable[[PatientRecord], Outcome]]:
        if day not in self._made:
            plan = make_plan(self.trial, self._facts, day)
            self._made[day] = (plan, compile_plan(plan))
        return self._made[day]

    def day_of(self, row: Row) -> date | None:
        """The index date of a row; None where its column names no day."""
        column = self.trial.index_date.column
        if self.trial.index_date.kind != "column" or column is None:
            return self.plan.index_date
        try:
            named = parse_date(row.columns.get(column, row.columns.get(column.lower(), "")))
        except BadDate:
            return None
        return named.first() if named.day is not None else None

    def decide(self, record: PatientRecord, day: date) -> Outcome:
        """The outcome of one patient."""
        return self._for(day)[1](record)


async def screen_rows(
    decider: Decider, site: Site, rows: Sequence[Row], ongoing: ResumeState
) -> AsyncIterator[StoredResult]:
    """One result a row, in input order; rows that the checkpoint holds are not asked again.

    A patient is decided and stored as soon as they are read, whoever stands before them in the input.
    """
    checkpoint = ongoing.checkpoint
    stored = _stored(checkpoint, rows, site.key)
    done = len(stored)
    ongoing.progress(done, len(rows))

    def finish(readings: Sequence[Reading]) -> Sequence[StoredResult]:
        nonlocal done
        kept = [StoredResult(_result(reading, decider, site), work_of(reading)) for reading in readings]
        if checkpoint is not None:
            checkpoint.add(
                [
                    Done(reading.row.number, _row_key(site.key, reading.row), one, reading.again)
                    for reading, one in zip(readings, kept, strict=True)
                ]
            )
        done += len(kept)
        ongoing.progress(done, len(rows))
        return kept

    left = [row for row in rows if row.number not in stored]
    fresh = site.finished(left, _kinds(decider.plan), finish)
    for row in rows:
        yield stored[row.number] if row.number in stored else await anext(fresh)


def site_facts(site: Site) -> SiteFacts:
    """What the site knows and the trial does not, as the engine takes it."""
    section = site.file.site
    return SiteFacts(
        zone=site.zone,
        world=MappingProxyType(dict(section.world)),
        care_since=section.care_since,
        key=site.key,
        code_systems=site.adapter.profile.code_systems,
        assume_complete=frozenset(section.consent_complete),
    )


def _kinds(plan: Plan) -> list[Kind]:
    # Appointments order the worklist, encounters tell who has not been seen for long.
    return sorted((plan.kinds | {Kind.APPOINTMENT, Kind.ENCOUNTER}) - {Kind.PATIENT})


def _identity(row: Row) -> tuple[str | None, ...]:
    person = row.person
    return () if person is None else (person.id, person.mrn, person.family, person.given, person.birth_date)


def _row_key(key: bytes, row: Row) -> str:
    """What a stored result stands for: who is meant, and every cell that the trial may ask about."""
    cells = [text for pair in sorted(row.columns.items()) for text in pair]
    return row_key(key, (*_identity(row), *cells))


def _stored(
    checkpoint: Checkpoint[StoredResult] | None, rows: Sequence[Row], key: bytes
) -> Mapping[int, StoredResult]:
    if checkpoint is None:
        return {}
    keys = {row.number: _row_key(key, row) for row in rows}
    return {number: result for number, (name, result) in checkpoint.done.items() if keys.get(number) == name}


def _result(reading: Reading, decider: Decider, site: Site) -> PatientResult:
    row, record = reading.row, reading.record
    day = decider.day_of(row)
    if record is None:
        ref = pseudonym(site.key, f"row/{row_key(site.key, _identity(row))}/{row.number}")
        return PatientResult(row.number, ref, _match_state(reading), issues=_why_nobody(reading))
    ref = pseudonym(site.key, f"Patient/{record.ref.id}")
    states = {str(kind): fetched.state.name for kind, fetched in sorted(record.kinds.items())}
    if day is None:
        return PatientResult(row.number, ref, MatchState.BAD_ROW, issues=("MISSING_COLUMN",), states=states)
    return PatientResult(
        row.number,
        ref,
        outcome=decider.decide(record, day),
        issues=tuple(
            sorted(
                {issue.code for fetched in record.kinds.values() for issue in fetched.issues}
                | _unconfirmed(reading)
            )
        ),
        next_appointment=_next_appointment(record.kinds.get(Kind.APPOINTMENT), day, site),
        states=states,
    )


def _unconfirmed(reading: Reading) -> set[str]:
    person, match = reading.row.person, reading.match
    if person is None or not isinstance(match, Matched):
        return set()
    given = {name for name, text in (("id", person.id), ("mrn", person.mrn)) if text and text.strip()}
    return {UNCONFIRMED} if given and given.isdisjoint(match.evidence) else set()


def _why_nobody(reading: Reading) -> tuple[str, ...]:
    match = reading.match
    if isinstance(match, Matched):
        return ()
    codes = tuple(sorted({issue.code for issue in match.issues}))
    # Records that contradict each other are an answer, and so is a person whom nothing could be asked about; a
    # search that failed is none.
    answered = CONFLICTS | {"nothing-to-search-by"}
    failed = isinstance(match, Undetermined) and not set(codes) & answered and reading.row.person is not None
    return (UNREAD, *codes) if failed else codes


def _match_state(reading: Reading) -> MatchState:
    if reading.row.person is None:
        return MatchState.BAD_ROW
    if isinstance(reading.match, Ambiguous):
        return MatchState.AMBIGUOUS
    return MatchState.NOT_FOUND if isinstance(reading.match, NotFound) else MatchState.UNDETERMINED


def _next_appointment(fetched: Fetched[Appointment] | None, day: date, site: Site) -> str | None:
    if fetched is None:
        return None
    spans = [interval_of(visit.start, site.zone) for visit in fetched.items if visit.status not in _NO_LONGER]
    days = sorted(found for span in spans if span is not None and (found := day_of(span.lo)) >= day)
    return days[0].isoformat() if days else None
