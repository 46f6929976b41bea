"""Many patients: in input order, within bounds, and nobody's failure is anybody else's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from ehr.errors import (
    ConfigurationError,
    ConnectionFailed,
    LoginRefused,
    QuotaSpent,
    ReadError,
    TokenResponseMalformed,
)
from ehr.people.identity import Ambiguous, Matched, MatchResult, NotFound, Person, Undetermined
from ehr.people.people_file import Row
from ehr.reading.cohort import Bounds, Reading, finished_cohort, read_cohort, read_one
from ehr.records.fetched import Issue, Severity
from ehr.records.patient import Fetched, Kind, State, complete, nothing
from tests.fakes.fake_ehr import FakeEHR

KINDS = (Kind.CONDITION, Kind.APPOINTMENT)
EASY = Bounds()


def rows(*numbers: str | None) -> list[Row]:
    return [
        Row(place, None if mrn is None else Person(mrn=mrn), {"place": str(place)})
        for place, mrn in enumerate(numbers, start=1)
    ]


async def everything(ehr: FakeEHR, asked: Iterable[Row], bounds: Bounds = EASY) -> list[Reading]:
    return [reading async for reading in read_cohort(ehr.adapter, asked, KINDS, bounds)]


def outcome(value: Any) -> Callable[..., Awaitable[Any]]:
    async def answer(*_: Any) -> Any:
        if isinstance(value, BaseException):
            raise value
        return value

    return answer


async def test_readings_come_in_input_order_whoever_is_done_first() -> None:
    dice = random.Random(7)

    async def dawdle(person: Person) -> None:
        for _ in range(dice.randrange(20)):
            await asyncio.sleep(0)

    names = [f"m{i}" for i in range(50)]
    found = await everything(FakeEHR(finding=dawdle), rows(*names), Bounds(patients=7, ahead=20))
    assert [reading.row.number for reading in found] == list(range(1, 51))
    assert [reading.record.ref.id for reading in found if reading.record] == names


@pytest.mark.parametrize(("patients", "ahead"), [(1, 1), (3, 10), (8, 32), (4, 1)])
async def test_never_more_patients_are_in_work_than_allowed(patients: int, ahead: int) -> None:
    ehr = FakeEHR()
    await everything(ehr, rows(*map(str, range(60))), Bounds(patients=patients, ahead=ahead))
    assert ehr.most_at_work == min(patients, ahead)


async def test_work_does_not_run_far_ahead_of_who_takes_the_results() -> None:
    ehr = FakeEHR()
    async with aclosing(_cohort(ehr, 1000, Bounds(patients=4, ahead=10))) as readings:
        async for _ in readings:
            for _ in range(50):
                await asyncio.sleep(0)
            break
    assert len(ehr.asked) <= 11


def _cohort(ehr: FakeEHR, count: int, bounds: Bounds) -> AsyncIterator[Reading]:
    return read_cohort(ehr.adapter, rows(*map(str, range(count))), KINDS, bounds)  # type: ignore[return-value]


async def test_a_person_in_several_rows_is_asked_once_and_stands_in_each() -> None:
    ehr = FakeEHR()
    names = ["a", "b", "a", *(f"x{i}" for i in range(40)), "a", "b"]
    found = await everything(ehr, rows(*names), Bounds(patients=2, ahead=4))
    assert sorted(ehr.asked) == sorted(set(names))
    assert [reading.record.ref.id for reading in found if reading.record] == names
    assert [reading.row.number for reading in found] == list(range(1, len(names) + 1))
    columns = [reading.record.columns["place"] for reading in found if reading.record]
    assert columns == [str(n) for n in range(1, len(names) + 1)]  # each row keeps its own columns
    assert ehr.reads[Kind.CONDITION] == len(set(names))


@pytest.mark.parametrize(
    ("one", "other", "times"),
    [
        (Person(family="Shaw", given="Amy"), Person(family=" SHAW", given="amy "), 1),
        (Person(family="de  la Cruz"), Person(family="De La Cruz"), 1),
        (Person(family="N\u00fa\u00f1ez"), Person(family="Nu\u0301n\u0303ez"), 1),
        (Person(family="O'Brien"), Person(family="OBrien"), 2),  # a server may find the one and not the other
        (Person(family="Shaw", birth_date="1950-01-01"), Person(family="Shaw", birth_date="1950-01-02"), 2),
        (Person(id="a"), Person(id="A"), 2),
        (Person(mrn="a"), Person(mrn="A"), 2),
        (Person(family="Shaw", sex="male"), Person(family="Shaw", sex="female"), 2),
        (Person(family="Shaw", phone="555-0100"), Person(family="Shaw", phone="555-0101"), 2),
        (Person(family="Shaw", email="a@x.example"), Person(family="Shaw", email="b@x.example"), 2),
    ],
)
async def test_who_is_typed_in_another_way_is_the_same_person(one: Person, other: Person, times: int) -> None:
    ehr = FakeEHR()
    found = await everything(ehr, [Row(1, one), Row(2, other)])
    assert [reading.row.number for reading in found] == [1, 2]
    assert len(ehr.asked) == times


async def test_something_is_made_of_each_patient_as_soon_as_they_are_read() -> None:
    """Whoever stands before them, and of all rows of one person at once: a checkpoint misses nobody."""
    held = asyncio.Event()
    made: list[tuple[int, ...]] = []

    async def first_waits(person: Person) -> None:
        if person.mrn == "slow":
            await held.wait()

    def finish(readings: Sequence[Reading]) -> list[str]:
        made.append(tuple(reading.row.number for reading in readings))
        return [f"{reading.row.number}" for reading in readings]

    ehr = FakeEHR(finding=first_waits)
    asked = rows("slow", "b", "c", "b", "d")
    results: list[str] = []

    async def take() -> None:
        results.extend([one async for one in finished_cohort(ehr.adapter, asked, KINDS, finish, EASY)])

    taking = asyncio.create_task(take())
    for _ in range(50):
        await asyncio.sleep(0)
    assert sorted(made) == [(2, 4), (3,), (5,)]
    assert results == []
    held.set()
    await taking
    assert results == ["1", "2", "3", "4", "5"]


async def test_what_cannot_be_stored_ends_the_run_and_leaves_no_task() -> None:
    def full(readings: Sequence[Reading]) -> list[int]:
        raise ConfigurationError("the disk is full.")

    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError):
        async with aclosing(_finished(FakeEHR(), full)) as results:
            async for _ in results:
                pass
    assert asyncio.all_tasks() == before


def _finished(ehr: FakeEHR, finish: Any) -> Any:
    return finished_cohort(ehr.adapter, rows(*map(str, range(20))), KINDS, finish, EASY)


async def test_a_row_that_names_nobody_is_asked_for_nobody() -> None:
    ehr = FakeEHR()
    (reading,) = await everything(ehr, rows(None))
    assert ehr.asked == []
    assert isinstance(reading.match, Undetermined)
    assert reading.failures == {"row-names-nobody": 1}
    assert not reading.again


@pytest.mark.parametrize("match", [NotFound(), Ambiguous(2), Undetermined(State.FORBIDDEN)])
async def test_a_doubtful_match_never_yields_data(match: MatchResult) -> None:
    ehr = FakeEHR(finding=outcome(match))
    (reading,) = await everything(ehr, rows("a"))
    assert reading.match is match
    assert reading.record is None
    assert not ehr.reads


@pytest.mark.parametrize(
    ("code", "counted"),
    [("mrn-birth-date-conflict", {}), ("merge-unresolved", {}), ("http-503", {"http-503": 1})],
)
async def test_records_that_contradict_each_other_are_no_failed_request(
    code: str, counted: dict[str, int]
) -> None:
    ehr = FakeEHR(finding=outcome(Undetermined(State.ERROR, (Issue(code, Severity.ERROR),))))
    (reading,) = await everything(ehr, rows("a"))
    assert reading.failures == counted


@pytest.mark.parametrize(
    ("error", "state", "name", "again"),
    [
        (ConnectionFailed("x"), State.UNAVAILABLE, "connection-failed", True),
        (QuotaSpent("x"), State.QUOTA, "quota-spent", True),
        (ReadError("x"), State.ERROR, "read-error", False),
        (KeyError("canary"), State.ERROR, "internal", False),
        (RecursionError("canary"), State.ERROR, "internal", False),
    ],
)
@pytest.mark.parametrize("where", ["finding", "reading"])
async def test_one_patient_s_failure_is_counted_and_ends_nothing_else(
    error: Exception, state: State, name: str, again: bool, where: str
) -> None:
    async def fail(asked: Any) -> Any:
        if (asked.mrn if isinstance(asked, Person) else asked) == "bad":
            raise error
        return None if where == "finding" else complete(())

    ehr = FakeEHR(finding=fail) if where == "finding" else FakeEHR(reading={Kind.CONDITION: fail})
    first, bad, last = await everything(ehr, rows("a", "bad", "z"))
    assert not first.failures
    assert not last.failures
    assert bad.failures == {name: 1}
    assert bad.again is again
    if where == "finding":
        assert isinstance(bad.match, Undetermined)
        assert bad.match.state is state
        assert bad.record is None
    else:
        assert bad.record is not None
        assert bad.record.kinds[Kind.CONDITION].state is state
        assert bad.record.kinds[Kind.APPOINTMENT].state is State.EMPTY
    assert "canary" not in repr(bad) + str(bad.record)


async def test_an_incomplete_kind_is_counted_by_its_state() -> None:
    quota: Fetched[Any] = nothing(State.QUOTA)
    ehr = FakeEHR(reading={Kind.CONDITION: outcome(quota)})
    (reading,) = await everything(ehr, rows("a"))
    assert reading.failures == {"quota": 1}
    assert reading.again


async def test_a_part_of_a_kind_that_an_outage_left_is_asked_again() -> None:
    part: Fetched[Any] = Fetched(("a",), State.PARTIAL)
    for found in (part, replace(part, cut=True)):
        ehr = FakeEHR(reading={Kind.CONDITION: outcome(found)})
        (reading,) = await everything(ehr, rows("a"))
        assert reading.again is found.cut


@pytest.mark.parametrize("where", ["finding", "reading"])
async def test_who_is_not_read_by_the_deadline_is_unavailable(where: str) -> None:
    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    ehr = FakeEHR(finding=never) if where == "finding" else FakeEHR(reading={Kind.CONDITION: never})
    (reading,) = await everything(ehr, rows("a"), Bounds(patient_s=0.05))
    assert reading.failures == {"patient-deadline": 1}
    assert reading.again
    if where == "finding":
        assert isinstance(reading.match, Undetermined)
        assert reading.match.state is State.UNAVAILABLE
    else:
        assert reading.record is not None
        assert reading.record.kinds[Kind.CONDITION].state is State.UNAVAILABLE
        assert reading.record.kinds[Kind.APPOINTMENT].state is State.EMPTY


@pytest.mark.parametrize("error", [LoginRefused("no"), TokenResponseMalformed("no")])
@pytest.mark.parametrize("where", ["finding", "reading"])
async def test_a_refused_login_ends_the_run_and_leaves_no_task(error: Exception, where: str) -> None:
    async def waits(_: Any) -> Any:
        await asyncio.Event().wait()

    if where == "finding":
        ehr = FakeEHR(finding=outcome(error))
    else:
        ehr = FakeEHR(reading={Kind.CONDITION: outcome(error), Kind.APPOINTMENT: waits})
    before = asyncio.all_tasks()
    with pytest.raises(type(error)):
        await everything(ehr, rows(*map(str, range(20))))
    assert asyncio.all_tasks() == before


async def test_being_cancelled_leaves_no_task() -> None:
    async def waits(_: Any) -> Any:
        await asyncio.Event().wait()

    ehr = FakeEHR(reading={Kind.CONDITION: waits})
    before = asyncio.all_tasks()
    run = asyncio.create_task(everything(ehr, rows("a", "b", "a", "c")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert ehr.reads[Kind.CONDITION] == 3
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert asyncio.all_tasks() == before


async def test_stopping_early_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with aclosing(_cohort(FakeEHR(), 100, Bounds(patients=2, ahead=8))) as readings:
        async for _ in readings:
            break
    assert asyncio.all_tasks() == before


async def test_a_kind_asked_twice_is_read_once_and_the_person_comes_with_the_match() -> None:
    ehr = FakeEHR()
    kinds = [Kind.CONDITION, Kind.CONDITION, Kind.PATIENT]
    reading = await read_one(ehr.adapter, rows("a")[0], kinds)
    assert ehr.reads == {Kind.CONDITION: 1}
    assert reading.record is not None
    assert set(reading.record.kinds) == {Kind.CONDITION, Kind.PATIENT}
    assert isinstance(reading.match, Matched)
    assert reading.record.kinds[Kind.PATIENT].items == (reading.match.patient,)


async def test_nobody_asked_gives_nothing() -> None:
    assert await everything(FakeEHR(), []) == []
