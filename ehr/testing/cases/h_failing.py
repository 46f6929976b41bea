"""H. Reliability: what a failure means, for one patient and for all others."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from ehr.people.identity import Person
from ehr.people.people_file import Row
from ehr.reading.checkpoint import Checkpoint, Done
from ehr.records.fetched import Kind, State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import Body, Fault, Hang, Status, When
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.synthetic import ANA, PERSON, condition, ids, patient, procedures

TYPE = "Procedure"
_BODIES = ("html", "truncated", "empty", "not-utf8")


def several(context: CaseContext, count: int) -> list[Person]:
    """So many people, each with a procedure, asked for by their ids."""
    for number in range(count):
        key = f"kit-{number}"
        context.ehr.put(patient(key, f"Family{number}"), *procedures(1, key))
    return [Person(id=f"kit-{number}") for number in range(count)]


@case(141, needs=needs.empty_is_quota)
async def rel_empty_200_body_is_quota(context: CaseContext) -> None:
    """An empty answer that the vendor uses for a spent quota is a spent quota."""
    context.people(*procedures(1))
    context.ehr.fails(Fault(Body("empty"), When(resource_type=TYPE)))
    equal((await context.procedures()).state, State.QUOTA, "state after an empty answer")


@case(142)
async def rel_malformed_json_html_200_typed(context: CaseContext) -> None:
    """A page of HTML, cut JSON and an empty body with HTTP 200 are failures, each with its own name."""
    context.people(*procedures(2))
    codes: list[tuple[str, ...]] = []
    async with context.open() as site:
        for kind in _BODIES:
            context.ehr.fails(Fault(Body(kind), When(resource_type=TYPE)))  # type: ignore[arg-type]  # one of its words
            found = await site.procedures(ANA)
            expect(not found.complete and not found.items, f"a body of {kind} reads as {found.state.name}")
            codes.append(tuple(sorted(issue.code for issue in found.issues)))
    expect(len(set(codes[:3])) == 3 and all(codes), "html, cut JSON and an empty body have one name")


@case(143)
async def rel_one_patient_failure_does_not_stop_run(context: CaseContext) -> None:
    """What goes wrong with one patient costs nobody else their record."""
    people = several(context, 5)
    context.ehr.fails(Fault(Status(500), When(resource_type=TYPE, patient="kit-2")))
    async with context.open() as site:
        result = await site.query([*people, Person(id="kit-nobody")], ["procedures"])
    states = [None if one.record is None else one.record.kinds[Kind.PROCEDURE].state for one in result]
    wanted = [State.OK, State.OK, State.UNAVAILABLE, State.OK, State.OK, None]
    equal(states, wanted, "states, in the order of the rows")
    expect(bool(result.readings[2].failures), "the failure was not counted")


@case(144)
async def rel_errors_never_cached_never_empty(context: CaseContext) -> None:
    """A failure reads as a failure, and is forgotten when the server answers again."""
    context.people(*procedures(1))
    async with context.open() as site:
        for status in (500, 403, 400):
            context.ehr.fails(Fault(Status(status), When(resource_type=TYPE)))
            found = await site.procedures(ANA)
            expect(not found.complete, f"HTTP {status} reads as {found.state.name}")
            context.ehr.fails()
            equal((await site.procedures(ANA)).state, State.OK, f"state after HTTP {status} is over")


@case(145)
async def rel_cache_key_by_server_and_principal(context: CaseContext) -> None:
    """What one server or one client was told is never told to another."""
    context.people(condition("c1", "E11.9"))
    context.elsewhere.dress = context.ehr.dress
    context.elsewhere.login = context.ehr.login
    context.elsewhere.put(patient(), condition("c2", "I10"))
    equal(ids((await context.conditions()).items), ["c1"], "records of the first server")
    equal(
        ids((await context.conditions(base_url=context.elsewhere.base_url)).items),
        ["c2"],
        "records of the second server",
    )
    if not context.ehr.login:
        return
    context.ehr.grants = ("system/Patient.rs",)
    context.ehr.restart()
    equal((await context.conditions()).state, State.FORBIDDEN, "state for a client without the right")


@case(146, level="should")
async def rel_resume_after_crash_skips_done(context: CaseContext) -> None:
    """After a crash, patients that are done are not asked again, and none is lost or doubled."""
    people = several(context, 6)
    rows = [Row(number, person) for number, person in enumerate(people, 1)]
    run = {"run": hashlib.sha256(b"the same run").hexdigest()}
    done: list[int] = []
    for most in (3, 6):
        checkpoint: Checkpoint[list[str]] = Checkpoint(context.folder / "progress.jsonl", run, list[str])
        checkpoint.load()
        checkpoint.start({})
        left = [row for row in rows if row.number not in checkpoint.done]
        context.ehr.requests.clear()
        async with context.open() as site:
            async for reading in site.readings(left[:most], [Kind.PROCEDURE]):
                record: Any = reading.record
                found = ids(record.kinds[Kind.PROCEDURE].items)
                checkpoint.add([Done(reading.row.number, "key", found)])
                done.append(reading.row.number)
        checkpoint.close(finished=False)
    again = {dict(one.params).get("_id") for one in context.ehr.searches("Patient")}
    equal(again & {f"kit-{number}" for number in range(3)}, set(), "patients asked again")
    equal(done, [1, 2, 3, 4, 5, 6], "patients done")


@case(147)
async def rel_cancellation_clean(context: CaseContext) -> None:
    """A run that is stopped leaves no task, no file and no broken adapter behind."""
    people = several(context, 4)
    files = {path.name for path in context.folder.iterdir()}
    async with context.open() as site:
        before = asyncio.all_tasks()
        context.ehr.fails(Fault(Hang(), When(resource_type=TYPE)))
        work = asyncio.create_task(site.query(people, ["procedures"]))
        while not context.ehr.searches(TYPE):  # noqa: ASYNC110 - the server may run in another thread
            await asyncio.sleep(0.001)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        expect(work.cancelled(), "the run did not end as cancelled")
        for _ in range(20):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - before - {work}
        equal(len(left), 0, "tasks that go on")
        context.ehr.app.held.release()
        context.ehr.fails()
        equal((await site.procedures(PatientRef("kit-0"))).state, State.OK, "state afterwards")
    new = {path.name for path in context.folder.iterdir()} - files
    equal({name for name in new if not name.endswith((".pem", ".key"))}, set(), "files left behind")


@case(148)
async def rel_duplicate_rows_queried_once_results_fanned_out(context: CaseContext) -> None:
    """A person who stands in several rows is asked for once, and every row gets the answer."""
    context.people(*procedures(2))
    async with context.open() as site:
        result = await site.query([PERSON, PERSON, Person(id="kit-nobody"), PERSON], ["procedures"])
    found = [None if one.record is None else ids(one.record.kinds[Kind.PROCEDURE].items) for one in result]
    equal(found, [["p1", "p2"], ["p1", "p2"], None, ["p1", "p2"]], "records, in the order of the rows")
    parts = len(context.profile.fan_out.get(TYPE, ("", ("",)))[1])
    equal(len(context.ehr.searches(TYPE)), parts, "searches for the records of one person")
