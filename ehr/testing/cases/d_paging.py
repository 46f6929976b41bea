"""D. Search and paging: from page to page."""

from __future__ import annotations

from typing import Any

from ehr.fhir.paging import Budget
from ehr.records.fetched import Fetched, State
from ehr.sandbox.faults import (
    Action,
    Duplicate,
    ExpireSession,
    Fault,
    LostPage,
    NextLink,
    Status,
    When,
    WrongTotal,
)
from ehr.testing import capabilities as needs
from ehr.testing.case import case
from ehr.testing.case_context import CaseContext
from ehr.testing.expect import equal, expect
from ehr.testing.server import Received, Said, searchset
from ehr.testing.synthetic import ANA, ids, procedure, procedures

TYPE = "Procedure"
SIZE, COUNT = 3, 8
ALL = [f"p{number}" for number in range(1, COUNT + 1)]


def paged(context: CaseContext) -> None:
    """Eight procedures of the usual person, three a page."""
    context.ehr.reskin(paging={"default_count": SIZE, "max_count": SIZE})
    context.people(*procedures(COUNT), *procedures(4, "kit-other"))


def size(context: CaseContext) -> int:
    """How many entries come on a page: what the server gives, or less where the adapter asks for less."""
    return min(SIZE, context.profile.page_size)


async def read(context: CaseContext, *faults: Fault) -> Fetched[Any]:
    """The procedures, with faults."""
    context.ehr.fails(*faults)
    return await context.procedures()


def on(action: Action, page: int | None = None, times: int | None = None) -> Fault:
    """A fault on a page of procedures."""
    return Fault(action, When(resource_type=TYPE, page=page), times=times)


def page_requests(context: CaseContext) -> list[Received]:
    """Requests for procedures, first pages and later ones."""
    first = context.ehr.searches(TYPE)
    return [one for one in context.ehr.requests if one in first or "_getpages" in one.query]


@case(66)
async def page_all_pages_collected_in_order_without_duplicates(context: CaseContext) -> None:
    """All pages are read, in order, and what comes twice is kept once."""
    paged(context)
    found = await read(context, on(Duplicate(), 2))
    equal(ids(found.items), ALL, "what was read")
    equal(found.state, State.OK, "state")


@case(67)
async def page_relative_next_link(context: CaseContext) -> None:
    """A next link without scheme and host is followed."""
    paged(context)
    found = await read(context, on(NextLink("relative"), 1), on(NextLink("relative"), 2))
    equal((found.state, ids(found.items)), (State.OK, ALL), "what was read")


@case(68)
async def page_empty_middle_page_continues(context: CaseContext) -> None:
    """A page without entries is not the last one if it links to another."""
    paged(context)
    found = await read(context, on(LostPage(), 2), on(WrongTotal(None)))
    equal(ids(found.items), ALL[: size(context)] + ALL[2 * size(context) :], "what was read")
    equal(found.state, State.OK, "state")


@case(69)
async def page_loop_detected(context: CaseContext) -> None:
    """Links that go in a circle end in a state that says so, after few requests."""
    paged(context)
    for kind, page in (("loop", 2), ("first", 2)):
        context.ehr.requests.clear()
        found = await read(context, on(NextLink("loop" if kind == "loop" else "first"), page))
        expect(not found.complete, "a circle of pages ended as if all were read")
        expect(len(page_requests(context)) <= 6, f"{len(page_requests(context))} requests in a circle")


@case(70)
async def page_max_pages_gives_partial(context: CaseContext) -> None:
    """Pages without end are left after a bound, and the result says that it is not all."""
    context.budget = Budget(pages=12, unproductive=5)
    base = f"{context.ehr.base_url}/{TYPE}"

    def endless(received: Received) -> Said:
        number = int(dict(received.params).get("page", 1))
        (one,) = context.dressed(procedure(f"p{number}"))
        return searchset(one, next=f"{base}?page={number + 1}")

    context.ehr.says(TYPE, endless)
    found = await context.procedures()
    equal(found.state, State.PARTIAL, "state")
    expect(
        0 < len(context.ehr.asked(TYPE)) <= 60,
        f"{len(context.ehr.asked(TYPE))} requests for pages without end",
    )


@case(71)
async def page_expired_session_restarts_once(context: CaseContext) -> None:
    """When the server forgets where we were, the search is begun again, once."""
    paged(context)
    found = await read(context, on(ExpireSession(), 2, times=1))
    equal((found.state, ids(found.items)), (State.OK, ALL), "what was read after one restart")
    context.ehr.requests.clear()
    found = await read(context, on(ExpireSession(), 2))
    expect(not found.complete, "a search that never ends its pages reads as complete")
    equal(len(context.ehr.searches(TYPE)), 2, "searches begun")


@case(72)
async def page_failure_midway_is_partial_not_ok(context: CaseContext) -> None:
    """A page that cannot be had leaves what came before, as a part."""
    paged(context)
    found = await read(context, on(Status(500), 2))
    equal((found.state, ids(found.items)), (State.PARTIAL, ALL[: size(context)]), "what was read")


@case(73, needs=needs.inner_links)
async def page_next_link_to_internal_host_rewritten(context: CaseContext) -> None:
    """A next link to the vendor's inner host is followed on our own base, and only there."""
    paged(context)
    found = await read(context, on(NextLink("foreign", context.elsewhere.origin), 1, times=1))
    equal((found.state, ids(found.items)), (State.OK, ALL), "what was read")
    context.nothing_went_elsewhere()


@case(74)
async def page_plus_and_percent_preserved(context: CaseContext) -> None:
    """A next link goes out as it came: plus and percent signs are not read and written anew."""
    query = "cursor=a+b%2Bc%20d%2F%3D&x=%7e~"
    base = f"{context.ehr.base_url}/{TYPE}"
    first, second = context.dressed(*procedures(2))

    def pages(received: Received) -> Said:
        return searchset(second) if received.query == query else searchset(first, next=f"{base}?{query}")

    context.ehr.says(TYPE, pages)
    found = await context.procedures()
    equal((found.state, ids(found.items)), (State.OK, ["p1", "p2"]), "what was read")


@case(75)
async def page_size_within_provider_limit(context: CaseContext) -> None:
    """The page size is asked for by the vendor's parameter, and never above its limit."""
    paged(context)
    found = await read(context)
    equal(found.state, State.OK, "state")
    name, most = context.profile.page_parameter, context.profile.page_size_max
    for one in page_requests(context):
        params = dict(one.params)
        if name in params:
            expect(
                0 < int(params[name]) <= most, f"a page of {params[name]} was asked for; the limit is {most}"
            )
        odd = {"_count", "_maxresults"} & set(params) - {name}
        equal(odd, set(), "page sizes by another parameter")


@case(76, needs=needs.enterprise)
async def page_enterprise_second_page_every_route(context: CaseContext) -> None:
    """Every route of the second interface reads its second page."""
    context.ehr.reskin(paging={"default_count": SIZE, "max_count": SIZE})
    context.people(*procedures(COUNT))
    async with context.open() as site:
        for kind in ("procedures", "encounters", "medications", "conditions"):
            found = await site.read(kind, ANA)
            expect(found.complete, f"{kind} ended in {found.state.name}")
        equal(ids((await site.procedures(ANA)).items), ALL, "what was read over several pages")
