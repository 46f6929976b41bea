"""Many patients: found and read side by side within bounds, handed out in input order.

What comes of a patient is made as soon as that patient is read, whoever stands before them in the input: so a
checkpoint has everybody who is done, and a waiting result is as small as the caller makes it.

One patient's failure never ends the run, not even a fault in this program or a plug-in: it is counted as
``internal`` and that patient's state is ERROR. Only a refused login does. A person who stands in several
rows is asked for once (S33).
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from ehr.errors import AuthError, CountNotKept, EHRError, QuotaSpent, TransportError
from ehr.fhir.outcome import error_word
from ehr.gather import gather_or_cancel
from ehr.people.identity import Matched, MatchResult, Person, Undetermined
from ehr.people.matching import CONFLICTS
from ehr.people.people_file import Row
from ehr.providers.adapter import EHRAdapter
from ehr.reading.collector import collecting_seldom
from ehr.reading.outage_wait import OutageWait
from ehr.records.failures import classes_of
from ehr.records.patient import (
    Fetched,
    Issue,
    Kind,
    PatientRecord,
    PatientRef,
    Severity,
    State,
    complete,
    nothing,
)

T = TypeVar("T")

LEFT_ALONE = "breaker-open"
"""The class of failures of what was not sent, because the host had failed too often in a row."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much at once, and how long.

    Args:
        patients: patients in work at a time; requests are bounded by the transport as well.
        ahead: patients that may be finished before the first of them is handed out.
        patient_s: deadline for one patient; kinds not read by then are unavailable.
    """

    patients: int = 8
    ahead: int = 32
    patient_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What came back for one row.

    Args:
        row: as asked.
        match: who was found, or why nobody was.
        record: None unless exactly one person was found: a doubtful match never yields clinical data (S36).
        failures: classes of failures (`ehr.records.failures`) and how many answers they hurt; no patient data.
    """

    row: Row
    match: MatchResult
    record: PatientRecord | None = None
    failures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def again(self) -> bool:
        """Whether asking again may bring more: the server failed, not the patient."""
        if isinstance(self.match, Undetermined):
            return self.match.state.passes
        return self.record is not None and any(kind.again for kind in self.record.kinds.values())


def read_cohort(
    adapter: EHRAdapter,
    rows: Iterable[Row],
    kinds: Sequence[Kind],
    bounds: Bounds = Bounds(),
    outage_wait: OutageWait | None = None,
) -> AsyncIterator[Reading]:
    """Find and read each row's patient.

    Args:
        adapter: an open EHR.
        rows: whom to read.
        kinds: what to read of each; the demographic record always comes.
        bounds: see `Bounds`.
        outage_wait: for an EHR that is left alone for a while; None takes its refusal for the answer.

    Yields:
        One `Reading` a row, in input order, as soon as it and all before it are done.

    Raises:
        AuthError: the login was refused; every further patient would fail in the same way.
    """
    return finished_cohort(adapter, rows, kinds, tuple, bounds, outage_wait)


async def finished_cohort(
    adapter: EHRAdapter,
    rows: Iterable[Row],
    kinds: Sequence[Kind],
    finish: Callable[[Sequence[Reading]], Sequence[T]],
    bounds: Bounds = Bounds(),
    outage_wait: OutageWait | None = None,
) -> AsyncIterator[T]:
    """`read_cohort`, with something made of each patient at once.

    Args:
        adapter, rows, kinds, bounds, outage_wait: as for `read_cohort`.
        finish: is given the readings of all rows of one person, and makes one result of each. It is called as soon
            as that person is read, in whichever order people are done.

    Yields:
        The results in input order.

    Raises:
        AuthError: the login was refused.
        Exception: what ``finish`` raises ends the run.
    """
    wait = outage_wait or OutageWait()
    asked = [(_whom(row), row) for row in rows]
    groups: dict[Hashable, list[Row]] = {}
    for whom, row in asked:
        groups.setdefault(whom, []).append(row)
    gate = asyncio.Semaphore(bounds.patients)
    running: dict[Hashable, asyncio.Task[deque[T]]] = {}
    window: deque[Hashable] = deque()

    async def one(group: Sequence[Row]) -> deque[T]:
        async def asked_once() -> tuple[Reading, bool]:
            reading = await read_one(adapter, group[0], kinds, bounds.patient_s)
            # Who was read in part stays so, for the next start: a server that fails at one kind alone gives no more.
            return reading, reading.record is None and LEFT_ALONE in reading.failures

        async with gate:
            reading = await wait.ask(asked_once)
        return deque(finish([_for_row(reading, row) for row in group]))

    async def first() -> T:
        whom = window[0]
        results = await asyncio.shield(running[whom])
        window.popleft()
        result = results.popleft()
        if not results:  # the last of its rows lets it go
            del running[whom]
        return result

    try:
        with collecting_seldom():
            for whom, _ in asked:
                if whom not in running:
                    running[whom] = asyncio.create_task(one(groups.pop(whom)))
                window.append(whom)
                if len(window) >= max(bounds.ahead, 1):
                    yield await first()
            while window:
                yield await first()
    finally:
        await _stop(list(running.values()))


def _whom(row: Row) -> Hashable:
    """Who is meant, however it is typed: a person in several rows is asked for once."""
    person = row.person
    if person is None:
        return row.number
    typed = (person.family, person.given, person.birth_date)
    # Marks and hyphens stay: a server may find one spelling and not the other.
    folded = (unicodedata.normalize("NFC", " ".join((text or "").split()).casefold()) for text in typed)
    return (*folded, person.mrn, person.id, person.sex, person.phone, person.email)


def _for_row(reading: Reading, row: Row) -> Reading:
    if reading.row is row:
        return reading
    record = reading.record
    if record is not None:
        record = PatientRecord(record.ref, record.patient, record.kinds, row.columns)
    return Reading(row, reading.match, record, reading.failures)


async def _stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def read_one(adapter: EHRAdapter, row: Row, kinds: Sequence[Kind], patient_s: float = 300.0) -> Reading:
    """Find and read one row's patient.

    Raises:
        AuthError: the login was refused.
    """
    if row.person is None:
        issue = Issue("row-names-nobody", Severity.ERROR)
        return Reading(row, Undetermined(State.ERROR, (issue,)), None, {issue.code: 1})
    failures: Counter[str] = Counter()
    deadline = asyncio.get_running_loop().time() + patient_s
    match = await _found(adapter, row.person, deadline, failures)
    if not isinstance(match, Matched):
        return Reading(row, match, None, dict(failures))
    # The patient's own record comes with the match.
    ref, wanted = match.ref, [kind for kind in dict.fromkeys(kinds) if kind is not Kind.PATIENT]
    parts = await gather_or_cancel(_read(kind, adapter, ref, deadline, failures) for kind in wanted)
    fetched = dict(zip(wanted, parts, strict=True))
    fetched[Kind.PATIENT] = complete((match.patient,))
    record = PatientRecord(match.ref, match.patient, MappingProxyType(fetched), row.columns)
    return Reading(row, match, record, dict(failures))


async def _found(adapter: EHRAdapter, person: Person, deadline: float, failures: Counter[str]) -> MatchResult:
    try:
        async with asyncio.timeout_at(deadline):
            match = await adapter.find_patient(person)
    except AuthError:
        raise
    except Exception as error:  # noqa: BLE001 - one patient must not end the run for all others
        state, issue = _failed(error, failures)
        return Undetermined(state, (issue,))
    if isinstance(match, Undetermined) and not {issue.code for issue in match.issues} & CONFLICTS:
        failures.update(classes_of(match.state, match.issues))
    return match


async def _read(
    kind: Kind, adapter: EHRAdapter, ref: PatientRef, deadline: float, failures: Counter[str]
) -> Fetched[Any]:
    try:
        async with asyncio.timeout_at(deadline):
            fetched = await adapter.read(kind, ref)
    except AuthError:
        raise
    except Exception as error:  # noqa: BLE001 - one patient must not end the run for all others
        state, issue = _failed(error, failures)
        return nothing(state, issue)
    if not fetched.complete:
        failures.update(classes_of(fetched.state, fetched.issues))
    return fetched


def _failed(error: Exception, failures: Counter[str]) -> tuple[State, Issue]:
    """What a failure counts as; the error itself, which may hold data, is let go."""
    if isinstance(error, TimeoutError):
        state, code = State.UNAVAILABLE, "patient-deadline"
    elif isinstance(error, EHRError):
        state, code = _state_of(error), error_word(error)
    else:
        state, code = State.ERROR, f"internal:{type(error).__name__}"
    issue = Issue(code, Severity.ERROR)
    failures.update(classes_of(state, (issue,)))
    return state, issue


def _state_of(error: EHRError) -> State:
    if isinstance(error, QuotaSpent):
        return State.QUOTA
    passing = (TransportError, CountNotKept)
    return State.UNAVAILABLE if isinstance(error, passing) else State.ERROR
