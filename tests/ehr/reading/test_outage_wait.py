"""A short outage passes over nobody; a long one does not hold a run for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ehr.errors import BreakerOpen, ConnectionFailed
from ehr.people.identity import Person, Undetermined
from ehr.people.people_file import Row
from ehr.reading.cohort import read_cohort
from ehr.reading.outage_wait import OutageWait
from ehr.records.patient import Kind
from tests.fakes.clock import FakeClock
from tests.fakes.fake_ehr import FakeEHR

COUNT = 400
LEFT_ALONE = BreakerOpen("The host failed 10 times in a row and is left alone for now.")


async def read(
    away: Callable[[float], bool], longest_s: float, each_s: float = 0.01
) -> tuple[int, int, float]:
    """Patients read, finds tried, and seconds that passed; the host is away as ``away`` says."""
    time = FakeClock()
    tried = 0

    async def finding(person: Person) -> None:
        nonlocal tried
        tried += 1
        time.seconds += each_s
        await asyncio.sleep(0)
        if away(time.seconds):
            raise LEFT_ALONE

    rows = [Row(number, Person(id=f"p{number}")) for number in range(1, COUNT + 1)]
    ehr, patience = FakeEHR(finding=finding), OutageWait(longest_s, time.clock)
    found = [one async for one in read_cohort(ehr.adapter, rows, [Kind.CONDITION], outage_wait=patience)]
    assert [one.row.number for one in found] == list(range(1, COUNT + 1))
    return sum(one.record is not None for one in found), tried, time.seconds


async def test_a_short_outage_passes_over_nobody() -> None:
    done, _, seconds = await read(lambda now: 1 < now < 31, 300)
    assert done == COUNT
    assert seconds < 60


async def test_every_outage_has_its_own_time() -> None:
    done, _, _ = await read(lambda now: now % 250 > 60, 300, each_s=1)
    assert done == COUNT


async def test_an_ehr_that_stays_away_holds_the_run_once_and_not_for_each_patient() -> None:
    done, tried, seconds = await read(lambda now: now > 1, 300)
    assert 50 < done < COUNT
    assert seconds < 1 + 300 + 8 * 5 + COUNT * 0.01 * 2
    assert tried < COUNT + 8 * 61


async def test_without_patience_the_refusal_is_the_answer() -> None:
    done, tried, _ = await read(lambda now: now > 1, 0)
    assert (done < COUNT, tried) == (True, COUNT)


async def test_one_patient_who_always_brings_the_host_down_waits_no_longer_than_an_outage() -> None:
    """Whoever is served meanwhile renews nobody else's time."""
    time = FakeClock()

    async def finding(person: Person) -> None:
        time.seconds += 1
        await asyncio.sleep(0)
        if person.id == "bad":
            raise LEFT_ALONE

    rows = [Row(1, Person(id="bad")), *(Row(number, Person(id=f"p{number}")) for number in range(2, 900))]
    ehr = FakeEHR(finding=finding)
    found = [one async for one in read_cohort(ehr.adapter, rows, [], outage_wait=OutageWait(60, time.clock))]
    assert isinstance(found[0].match, Undetermined) and found[0].again
    assert ehr.asked.count("bad") <= 61


async def test_who_was_read_in_part_is_not_asked_again_at_once() -> None:
    """A server that fails at one kind of record alone, and is left alone for it, would only fail again."""

    async def refused(*_: object) -> Any:
        raise LEFT_ALONE

    time, ehr = FakeClock(), FakeEHR(reading={Kind.CONDITION: refused})
    kinds, rows = [Kind.CONDITION, Kind.APPOINTMENT], [Row(1, Person(id="a"))]
    patience = OutageWait(60, time.clock)
    (found,) = [one async for one in read_cohort(ehr.adapter, rows, kinds, outage_wait=patience)]
    assert found.record is not None and found.again
    assert found.record.kinds[Kind.APPOINTMENT].complete
    assert time.slept == []


async def test_any_other_failure_is_the_answer_at_once() -> None:
    time = FakeClock()

    async def finding(person: Person) -> None:
        raise ConnectionFailed("No connection could be made.")

    rows = [Row(1, Person(id="a"))]
    ehr = FakeEHR(finding=finding)
    found = [one async for one in read_cohort(ehr.adapter, rows, [], outage_wait=OutageWait(60, time.clock))]
    assert (len(found), found[0].again, time.slept) == (1, True, [])
