"""From page to page, by ``link[next]`` alone, and never for ever.

Each link is resolved and checked against the pin before anything is sent. A walk ends with its last page, or
with `SearchFailed`, which says why it is not complete.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx

from ehr.config import ProviderProfile
from ehr.errors import DestinationRefused, EHRError
from ehr.fhir import outcome as outcomes
from ehr.fhir.entries import SearchPage, sift
from ehr.fhir.outcome import SearchFailed
from ehr.fhir.read import Leniency, read_page
from ehr.fhir.search import Query, ignored_parameters
from ehr.records.fetched import Issue, Severity, State
from ehr.transport.client import Response, Transport, outcome_codes
from ehr.transport.origin import reanchor


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a search stops, whatever the server says.

    Args:
        pages: pages of one search.
        entries: matches of one search.
        unproductive: pages in a row without one new entry; more than one, because vendors filter after
            paging and so send empty pages in between.
    """

    pages: int = 1000
    entries: int = 200_000
    unproductive: int = 20


@dataclass(frozen=True, slots=True, repr=False)
class Route:
    """How a search is sent and read.

    Args:
        transport: pinned to the FHIR base.
        auth: logs in.
        profile: the vendor.
        reading: how entries are read.
        budget: where it stops.
        deadline_s: for each request, its repetitions included; None leaves it to the transport.
    """

    transport: Transport
    auth: httpx.Auth | None
    profile: ProviderProfile
    reading: Leniency
    budget: Budget = field(default_factory=Budget)
    deadline_s: float | None = None

    async def send(self, query: Query) -> Response:
        """The first request of a search."""
        if query.method == "POST":
            return await self._request("POST", query.path, query, form=dict(query.pairs))
        return await self._request("GET", query.path, query, params=list(query.pairs))

    async def follow(self, url: str, query: Query) -> Response:
        """A further page."""
        return await self._request("GET", url, query)

    async def _request(
        self,
        method: str,
        url: str,
        query: Query,
        *,
        params: list[tuple[str, str]] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Response:
        return await self.transport.request(
            method,
            url,
            params=params,
            form=form,
            auth=self.auth,
            expect="searchset",
            endpoint_class=query.type_name,
            deadline_s=self.deadline_s,
        )


async def walk(route: Route, query: Query) -> AsyncGenerator[SearchPage, None]:
    """The pages of one search.

    A page whose ``restarted`` is True is the first one again: the paging session was over, and what came
    before is repeated.

    Raises:
        SearchFailed: an answer was an error or could not be read, a link led elsewhere or in a circle, or
            the budget was spent. The pages that were yielded before are good, but they are not all.
    """
    restarted = False
    while True:
        steps = _Steps(route, query)
        try:
            first = True
            async for page in steps.pages():
                yield replace(page, restarted=restarted) if first and restarted else page
                first = False
        except _Expired:
            # Epic ends a paging session after a while and answers 4113 (fhir.epic.com, outcome codes, read 2026-11).
            if restarted:
                raise SearchFailed(State.UNAVAILABLE, _error("paging:session-expired")) from None
            restarted = True
        else:
            return


class _Expired(Exception):
    """The server has forgotten where we were."""


@dataclass(slots=True, repr=False)
class _Steps:
    route: Route
    query: Query
    seen: set[str] = field(default_factory=set)
    known: set[str | None] = field(default_factory=set)
    unproductive: int = 0
    entries: int = 0

    async def pages(self) -> AsyncIterator[SearchPage]:
        url: str | None = None
        for _ in range(self.route.budget.pages):
            response = await self._answer(url)
            page = self._read(response)
            if page.expired:
                raise _Expired
            if url is None:
                _compare_with_self(page, self.query)
            yield page
            link = page.links.get("next")
            if link is None:
                return
            self._spend(page)
            url = self._next(response.url, link)
        raise SearchFailed(State.ERROR, _error("paging:page-limit"))

    async def _answer(self, url: str | None) -> Response:
        profile = self.route.profile
        try:
            if url is None:
                response = await self.route.send(self.query)
                self.seen.add(response.url)
            else:
                response = await self.route.follow(url, self.query)
        except EHRError as error:
            raise SearchFailed(*outcomes.from_error(error, profile)) from None
        if 200 <= response.status < 300:
            return response
        codes = outcome_codes(response.body)
        if url is not None and outcomes.is_expired(response.status, codes, profile):
            raise _Expired
        raise SearchFailed(*outcomes.from_status(response.status, codes, profile))

    def _read(self, response: Response) -> SearchPage:
        route = self.route
        try:
            check = (route.transport.small_page, route.transport.check_page)
            content = read_page(response.body, self.query.shape, route.reading, check)
        except EHRError as error:
            raise SearchFailed(*outcomes.from_error(error, route.profile)) from None
        return sift(content, self.query, route.profile, lower_case=not route.reading.strict)

    def _spend(self, page: SearchPage) -> None:
        # Short and empty pages with a further link are ordinary at Epic: since May 2024 many parameters filter what a
        # page already holds (its CapabilityStatement, captured 2026-07). Only many in a row are a server in a circle.
        fresh = {record.id for record in page.records} - self.known
        self.known |= fresh
        self.unproductive = 0 if fresh else self.unproductive + 1
        self.entries += page.received
        if self.unproductive >= self.route.budget.unproductive:
            raise SearchFailed(State.ERROR, _error("paging:no-progress"))
        if self.entries >= self.route.budget.entries:
            raise SearchFailed(State.ERROR, _error("paging:entry-limit"))

    def _next(self, request_url: str, link: str) -> str:
        try:
            url = resolved(self.route, self.query.type_name, request_url, link)
        except DestinationRefused:
            issue = Issue("security:foreign-next-link", Severity.SECURITY)
            raise SearchFailed(State.ERROR, issue) from None
        if url in self.seen:
            raise SearchFailed(State.ERROR, _error("paging:loop"))
        self.seen.add(url)
        return url


def _error(code: str) -> Issue:
    return Issue(code, Severity.ERROR)


def resolved(route: Route, type_name: str, request_url: str, link: str) -> str:
    """The address of a ``next`` link, inside the pin.

    NextGen Enterprise names an inner host, older samples of Nextech another one or plain http (public clients and
    documents, read 2026-11). Where the profile says that links do so, the path from the resource type on and the
    query are put on our own base.

    Raises:
        DestinationRefused: it leads elsewhere.
    """
    try:
        return route.transport.resolve_link(request_url, link)
    except DestinationRefused:
        if route.profile.next_link != "rewrite":
            raise
    return reanchor(route.transport.origin, _inner_base(link, type_name), link)


def _inner_base(link: str, type_name: str) -> str:
    """The path of an inner FHIR base: everything before the resource type, or all of it."""
    before, found, _ = urlsplit(link).path.rpartition(f"/{type_name}")
    return before if found else urlsplit(link).path


def _compare_with_self(page: SearchPage, query: Query) -> None:
    ignored = ignored_parameters(query, page.links.get("self"))
    for name in ignored:
        # A server may drop a parameter that it does not know, in silence: without the patient everybody would come.
        if name in ("patient", "subject"):
            page.states.append(State.ERROR)
            page.issues.append(_error("security:patient-parameter-ignored"))
        else:
            page.issues.append(Issue("parameter-ignored"))
