"""D. Search and paging: what is sent, and what of the answer counts."""

from __future__ import annotations

from typing import Any

from ehr.people.identity import Matched, Person
from ehr.records.fetched import Kind, State
from ehr.records.patient import PatientRef
from ehr.sandbox.faults import Remark, WrongTotal
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext, security_issues
from ehr.testing.cases.d_paging import ALL, TYPE, on, paged, read
from ehr.testing.expect import equal, expect
from ehr.testing.server import searchset
from ehr.testing.synthetic import (
    PERSON,
    WHO,
    condition,
    ids,
    observation,
    outcome,
    patient,
    practitioner,
    procedure,
    procedures,
)

_KINDS = [kind for kind in Kind if kind is not Kind.PATIENT]
_SHAPING = {"_count", "_getpages", "_page", "_bundletype", "_sort", "_format", "_include", "_maxresults"}


@case(77, needs=needs.fan_out)
async def search_required_params_always_sent(context: CaseContext) -> None:
    """What the vendor requires is on every search, with every value that it keeps apart."""
    context.people(condition("c1"), observation("o1"))
    async with context.open() as site:
        await site.query([PERSON], list(_KINDS))
    for resource, (name, values) in context.profile.fan_out.items():
        searches = [dict(one.params) for one in context.ehr.searches(resource)]
        if not searches:
            continue
        equal([one for one in searches if name not in one], [], f"{resource} searches without {name}")
        asked = {value.rpartition("|")[2] for one in searches for value in one[name].split(",")}
        expect(
            {v.rpartition("|")[2] for v in values} <= asked, f"not every {name} of {resource} was asked for"
        )


@case(78)
async def search_unsupported_sort_modifier_not_sent(context: CaseContext) -> None:
    """No parameter, sort or modifier is sent that the profile does not have."""
    context.people(condition("c1"), *procedures(2), observation("o1"))
    async with context.open() as site:
        await site.query([PERSON], list(_KINDS))
    profile = context.profile
    for resource, allowed in profile.search_parameters.items():
        for one in context.ehr.searches(resource):
            for name, _ in one.params:
                stem, colon, modifier = name.partition(":")
                known = stem in allowed or stem in _SHAPING or stem == profile.page_parameter
                expect(known, f"{resource} was searched by {stem}, which the profile does not have")
                expect(name != "_sort" or profile.sort, f"{resource} was searched with _sort")
                fits = not colon or name in allowed or (modifier == "not" and profile.not_modifier)
                expect(fits, f"{resource} was searched with the modifier {modifier}")


@case(79)
async def search_filters_reapplied_locally(context: CaseContext) -> None:
    """Who and whose is compared here too, because servers ignore filters in silence."""
    everyone = context.dressed(patient(), patient("kit-other", "Otherfamily", "Other", "1961-07-08"))
    records = context.dressed(*procedures(2), *procedures(3, "kit-other"))
    for end in ("Patient", "Patient/_search", "Patient/$match"):
        context.ehr.says(end, lambda _: searchset(*everyone))
    context.ehr.says(TYPE, lambda _: searchset(*records))
    async with context.open() as site:
        match = await site.find(PERSON)
        nobody = await site.find(Person(family="Otherfamily", given="Other", birth_date="1961-07-09"))
        found = await site.procedures(match.require())
    equal(match.require(), PatientRef(WHO), "who was found among everyone")
    expect(not isinstance(nobody, Matched), "somebody with another birth date was found")
    equal(ids(found.items), ["p1", "p2"], "records of one patient among everyone's")


@case(80)
async def search_ignored_patient_param_detected_by_self_link_and_subject(context: CaseContext) -> None:
    """Where the server ignores whose records are asked for, nobody else's are kept, and the state says it."""
    everyone = context.dressed(*procedures(2), *procedures(3, "kit-other"))
    own = context.dressed(*procedures(2))
    self_link = f"{context.ehr.base_url}/{TYPE}"
    for answer in (
        searchset(*everyone, self_=self_link),
        searchset(*everyone),
        searchset(*own, self_=self_link),
    ):
        context.ehr.says(TYPE, lambda _, answer=answer: answer)  # type: ignore[misc]  # bound now
        found = await context.procedures()
        expect(not found.complete, "the whole population was read as one patient's complete record")
        expect(set(ids(found.items)) <= {"p1", "p2"}, "somebody else's records were kept")
        expect(bool(security_issues(found.issues)) or found.state is State.ERROR, "nothing was reported")


@case(81)
async def search_outcome_warning_entry_is_not_data_nor_error(context: CaseContext) -> None:
    """A warning among the entries is noted, and changes nothing."""
    paged(context)
    for severity in ("information", "warning"):
        found = await read(context, on(Remark("information" if severity == "information" else "warning")))
        equal((found.state, ids(found.items)), (State.OK, ALL), f"what was read beside a remark ({severity})")
        expect(bool(found.issues), "the remark was not noted")


@case(82)
async def search_outcome_error_entry_makes_partial(context: CaseContext) -> None:
    """An error among the entries makes the collection a part."""
    paged(context)
    for severity in ("error", "fatal"):
        found = await read(context, on(Remark("error" if severity == "error" else "fatal"), 2))
        equal(found.state, State.PARTIAL, f"state beside a remark ({severity})")
        equal(ids(found.items), ALL, "what was read")
    context.ehr.says(TYPE, lambda _: searchset(outcome("error")))
    alone = await read(context)
    expect(not alone.complete, f"an error without any match reads as {alone.state.name}")


@case(83)
async def search_include_entries_not_counted_as_matches(context: CaseContext) -> None:
    """What is included beside the matches is not a match, of whatever type."""
    match, beside = context.dressed(procedure("p1"), procedure("p2"))
    included: list[dict[str, Any]] = [
        {"resource": beside, "search": {"mode": "include"}},
        {"resource": practitioner("kit-doctor", "Doctor"), "search": {"mode": "include"}},
        {"resource": patient(), "search": {"mode": "include"}},
    ]
    context.ehr.says(TYPE, lambda _: searchset(match, *included, total=1))
    found = await context.procedures()
    equal((found.state, ids(found.items)), (State.OK, ["p1"]), "what was read")


@case(84)
async def search_total_missing_or_wrong_ignored(context: CaseContext) -> None:
    """A total is an estimate: without it, or with a wrong one, every page is read and kept."""
    paged(context)
    for total in (None, 0, 1):
        found = await read(context, on(WrongTotal(total)))
        equal((found.state, ids(found.items)), (State.OK, ALL), f"what was read with a total of {total}")
    (one,) = context.dressed(procedure("p1"))
    context.ehr.says(TYPE, lambda _: searchset(one, total=999))
    equal(ids((await context.procedures()).items), ["p1"], "what was read with a total of 999")
