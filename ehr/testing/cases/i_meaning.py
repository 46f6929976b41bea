"""I. Privacy and meaning: what may be seen, and what an answer may be taken for."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import traceback
from typing import Any

from ehr.errors import EHRError, Unavailable
from ehr.files.settings import SiteFile
from ehr.people.identity import Matched, Person
from ehr.reading.query import QueryResult, status_column
from ehr.records.fetched import Kind, State
from ehr.sandbox.faults import Body, Fault, Status, When
from ehr.sync import open_site
from ehr.testing.case import case
from ehr.testing.case_context import SITE_KEY, CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.server import searchset
from ehr.testing.synthetic import (
    ANA,
    CANARIES,
    PERSON,
    SNOMED,
    WHO,
    appointment,
    concept,
    condition,
    observation,
    procedures,
)
from ehr.testing.walk import heard

TOKEN = "Canarytoken-91d4e7aa"  # noqa: S105 - invented; the case looks for it
_KINDS = [kind for kind in Kind if kind is not Kind.PATIENT]


def shown(thing: object) -> list[str]:
    """The text forms that end in a log or a notebook."""
    html = getattr(thing, "_repr_html_", None)
    return [repr(thing), str(thing), *([html()] if callable(html) else [])]


@case(149)
async def priv_logs_exceptions_contain_no_phi_or_token(context: CaseContext) -> None:
    """Whatever goes wrong, no log line, exception or text form holds a name, number, birth date or token."""
    if context.ehr.login:
        context.ehr.gives(TOKEN)
    context.people(
        condition("c1"), *procedures(2), observation("o1", subject={"reference": f"Patient/{WHO}"})
    )
    bad = {
        "resourceType": "Procedure",
        "id": PERSON.family,
        "subject": CANARIES[3],
        "status": {"x": CANARIES[0]},
    }
    context.ehr.says("Procedure", lambda _: searchset(bad))
    texts: list[str] = []
    with heard(logging.DEBUG) as lines:
        async with context.open() as site:
            for faults in ((), (Fault(Status(500)),), (Fault(Body("truncated")),), (Fault(Status(400)),)):
                context.ehr.fails(*faults)
                result = await site.query([PERSON, Person(mrn=CANARIES[3])], _KINDS)
                texts += shown(result) + [text for one in result for text in shown(one) + shown(one.match)]
                texts += [text for one in result for text in shown(one.record)]
                texts += [repr(one.failures) for one in result]
                texts += await _refusals(result)
            context.ehr.fails()
            texts += shown(site) + shown(site.adapter) + [repr(await site.probe())]
        texts += lines
    secrets = (*CANARIES, TOKEN)
    leaked = [number for number, secret in enumerate(secrets) if any(secret in text for text in texts)]
    equal(leaked, [], "canaries that were seen, by number")


async def _refusals(result: QueryResult) -> list[str]:
    texts = []
    for reading in result:
        kinds = {} if reading.record is None else reading.record.kinds
        for asked in (reading.match, *kinds.values()):
            try:
                asked.require()
            except EHRError as error:
                texts += traceback.format_exception(error)
    return texts


@case(150)
async def priv_pseudonym_keyed(context: CaseContext) -> None:
    """A pseudonym depends on the site's key, and is no plain hash of what it stands for."""
    context.people()
    other = context.folder / "other.key"
    context.folder.joinpath("site.key").write_bytes(SITE_KEY)
    other.write_bytes(SITE_KEY[::-1])
    for file in (other, context.folder / "site.key"):
        file.chmod(0o600)
    seen: list[str] = []
    for key in ("site.key", "site.key", "other.key"):
        async with context.open(site={"key": {"file": str(context.folder / key)}}) as site:
            (row,) = (await site.query([PERSON], [])).table(context.clock.now())
            seen.append(row["BitfountPatientID"])
    equal(seen[0], seen[1], "pseudonyms under one key")
    expect(seen[0] != seen[2], "the pseudonym is the same under another key")
    texts = [WHO, f"Patient/{WHO}", f"{PERSON.given}{PERSON.family}{PERSON.birth_date}"]
    plain = {hashlib.new(kind, text.encode(), usedforsecurity=False).hexdigest() for text in texts
             for kind in ("md5", "sha1", "sha256")}  # fmt: skip
    expect(not any(digest.startswith(seen[0]) for digest in plain), "the pseudonym is a plain hash")
    expect(WHO not in seen[0], "the pseudonym holds the id")


@case(151)
async def priv_nothing_leaves_site_but_declared_outputs(context: CaseContext) -> None:
    """Reading a patient writes no file, and sends nothing but reading requests to the EHR."""
    context.people(condition("c1"), *procedures(2))
    async with context.open() as site:
        before = {path: path.stat().st_mtime_ns for path in context.folder.rglob("*")}
        result = await site.query([PERSON], _KINDS)
        (row,) = result.table(context.clock.now())
        after = {path: path.stat().st_mtime_ns for path in context.folder.rglob("*")}
    equal(after, before, "files of the hospital's folder")
    context.nothing_went_elsewhere()
    for one in context.ehr.requests:
        reads = (
            one.method == "GET" or one.path.endswith(("/_search", "/$match")) or one in context.ehr.logins()
        )
        expect(reads, f"a {one.method} request that does not read")
        sent = f"{one.path} {one.query} {one.headers}".encode() + one.body
        expect(
            SITE_KEY not in sent and row["BitfountPatientID"].encode() not in sent,
            "a key or pseudonym was sent",
        )


@case(152)
async def mean_outage_never_satisfies_exclusion(context: CaseContext) -> None:
    """An outage is never the absence of a diagnosis: nothing can be required, and no list is empty."""
    context.people(condition("c1"))
    for status in (503, 403, 400):
        async with context.open() as site:
            ref = (await site.find(PERSON)).require()
            context.ehr.fails(Fault(Status(status)))
            for kind in _KINDS:
                found = await site.read(kind, ref)
                expect(not found.complete and not found.items, f"{kind} reads as {found.state.name}")
                try:
                    found.require()
                except Unavailable:
                    continue
                expect(False, f"{kind} of a server that fails could be required")
            context.ehr.fails(Fault(Status(status), When(resource_type="Condition")))
            (row,) = (await site.query([PERSON], ["conditions"])).table(context.clock.now())
            equal(row["ICD10"], None, "diagnoses in the table after an outage")
            context.ehr.fails()


@case(153)
async def mean_partial_proves_presence_not_absence(context: CaseContext) -> None:
    """What was read of a part is there; what was not is unknown."""
    context.ehr.reskin(paging={"default_count": 2, "max_count": 2})
    for code, wanted in ((concept("E11.9"), ["E11.9"]), (concept("44054006", SNOMED), None)):
        context.ehr.forget()
        context.people(*(condition(f"c{n}", code) for n in range(4)))
        context.ehr.fails(Fault(Status(500), When(resource_type="Condition", page=2)))
        async with context.open() as site:
            result = await site.query([PERSON], ["conditions"])
        record: Any = result.readings[0].record
        found = record.kinds[Kind.CONDITION]
        equal((found.state, len(found.items)), (State.PARTIAL, 2), "state, and how many were read")
        (row,) = result.table(context.clock.now())
        equal(row["ICD10"], wanted, "diagnoses in the table")


@case(154)
async def mean_state_survives_to_table_columns(context: CaseContext) -> None:
    """The state of each kind stands beside the data, in the table that people and programs read."""
    context.people(condition("c1"), appointment("a1", "2026-04-01T09:00:00Z"))
    context.ehr.fails(
        Fault(Status(503), When(resource_type="Observation")),
        Fault(Status(403), When(resource_type="Encounter")),
    )
    kinds = [Kind.CONDITION, Kind.PROCEDURE, Kind.OBSERVATION, Kind.ENCOUNTER]
    async with context.open() as site:
        result = await site.query([PERSON, Person(id="kit-nobody")], kinds)
    row, nobody = result.table(context.clock.now())
    states = [row[status_column(kind)] for kind in kinds]
    equal(states, ["OK", "EMPTY", "UNAVAILABLE", "FORBIDDEN"], "states in the table")
    equal((row["Match Status"], nobody["Match Status"]), ("matched", "not found"), "matches in the table")
    empty = {"OK", "EMPTY"} & {nobody[status_column(kind)] for kind in kinds}
    equal(empty, set(), "states of a person who was not found")


@case(155)
async def mean_sync_facade_equals_async(context: CaseContext) -> None:
    """The form without async gives the same answers."""
    context.people(condition("c1"), *procedures(3))
    people = [PERSON, Person(id="kit-nobody")]
    kinds = ["conditions", "procedures", "appointments"]
    file = SiteFile.model_validate(context.settings())
    around = context.surroundings

    def plainly() -> tuple[list[dict[str, Any]], Any, Any]:
        with open_site(file, around) as site:
            match = site.find(PERSON)
            table = site.query(people, kinds).table(context.clock.now())
            return table, match, site.conditions(match.require())

    table, match, conditions = await asyncio.to_thread(plainly)
    async with context.open() as site:
        same: Any = await site.find(PERSON)
        equal((await site.query(people, kinds)).table(context.clock.now()), table, "tables")
        equal((await site.conditions(ANA)).items, conditions.items, "conditions")
    expect(isinstance(match, Matched) and isinstance(same, Matched), "the person was not found")
    equal((match.ref, match.grade, match.evidence), (same.require(), same.grade, same.evidence), "matches")
